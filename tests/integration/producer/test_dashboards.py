"""Dashboards and alerts ask for what a live installation exports, on Postgres."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from pydantic import SecretStr
from sqlalchemy import func, select

from producer.api.measures import BOUNDS
from shared.db.cost_tables import LedgerEntry
from shared.db.engine import Database
from shared.db.outcomes import PHASES
from shared.db.tables import Attempt, Job
from shared.domain.jobs import ON_DEVICE, WORKER_LOST, AttemptOutcome, JobState
from shared.settings import Settings
from support.api import ApiServer, run_api
from support.figures import SECRET_PROMPT, exported, names_in, read
from support.postgres import Postgres
from support.valkey import RedisServer

INFRA = Path(__file__).parents[3] / "infra"
LABELS = frozenset(
    {
        *("device_kind", "kind", "model", "phase", "queue", "reason", "service"),
        *("state", "version", "process", "method", "route", "status", "le"),
    }
)
"""Each has a few values. No batch, job, worker, tenant, prompt or message is one."""
NOT_BASE_UNITS = re.compile(r"_(ms|milliseconds|ns|nanoseconds|minutes|hours|nanodollars|kb|mb)\b")
BY = re.compile(r"\bby \(([^)]*)\)")


@pytest.fixture(scope="module")
def server(
    _postgres: Postgres,
    _migrated_postgres: str,
    _redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ApiServer]:
    name = _postgres.create_database(template=_migrated_postgres)
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("dashboards"),
        database_url=SecretStr(_postgres.url(name)),
        redis_url=SecretStr(_redis.url),
        redis_key_prefix=f"{name}:",
    )
    with run_api(settings) as running:
        yield running
    _postgres.drop_database(name)


@pytest.fixture(scope="module")
def text(server: ApiServer) -> str:
    return exported(server)


@pytest.fixture(scope="module")
def families(text: str) -> Mapping[str, Metric]:
    return read(text)


def values(families: Mapping[str, Metric], name: str, label: str) -> dict[str, float]:
    """Return the samples of a figure by a label of it, added up."""
    found: Counter[str] = Counter()
    for sample in families[name].samples:
        found[sample.labels[label]] += sample.value
    return dict(found)


def dashboard_targets() -> list[tuple[str, dict[str, str]]]:
    dashboard = json.loads((INFRA / "grafana/dashboards/tenstep.json").read_text("utf-8"))
    return [
        (panel["title"], target)
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((INFRA / "prometheus/alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_whatever_is_asked_for_is_there(families: Mapping[str, Metric]) -> None:
    samples = {sample.name for family in families.values() for sample in family.samples}
    asked = [target["expr"] for _, target in dashboard_targets()]
    asked += [rule["expr"] for rule in alerts()]

    assert len(asked) > 40
    assert all(names_in(expression) for expression in asked)
    assert set().union(*map(names_in, asked)) - samples == {"up"}


def test_expressions_group_by_labels_that_their_figures_have(
    families: Mapping[str, Metric],
) -> None:
    labels = {
        sample.name: set(sample.labels) for family in families.values() for sample in family.samples
    }
    of_prometheus = {"instance", "job"}
    for title, target in dashboard_targets():
        grouped = {
            label.strip() for by in BY.findall(target["expr"]) for label in by.split(",")
        } - of_prometheus
        known = set().union(*(labels[name] for name in names_in(target["expr"])))
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - of_prometheus
        assert grouped <= known, title
        assert shown <= grouped, title


def test_a_panel_of_the_installation_counts_it_once_however_many_servers_there_are() -> None:
    for title, target in dashboard_targets():
        if "_http_" not in target["expr"]:
            assert re.search(r"\b(max|min)\b *(by|\()", target["expr"]), title


def test_names_and_units_are_as_prometheus_would_have_them(text: str) -> None:
    for name, family in read(text).items():
        assert re.fullmatch(r"tenstep_[a-z0-9_]+", name)
        assert family.documentation, name
        assert not NOT_BASE_UNITS.search(name), name
        ends = [sample.name.endswith("_total") for sample in family.samples]
        assert all(ends) if family.type == "counter" else not any(ends), name


def test_labels_are_few_and_tell_nothing_of_a_tenant(text: str) -> None:
    found = {
        (label, value)
        for family in read(text).values()
        for sample in family.samples
        for label, value in sample.labels.items()
    }

    assert {label for label, _ in found} <= LABELS
    assert SECRET_PROMPT not in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", text)
    assert "operators" not in text


def test_counters_say_what_the_books_say(server: ApiServer, families: Mapping[str, Metric]) -> None:
    database = server.database

    assert families["tenstep_images"].samples[0].value == _count_done(database) == 3
    assert values(families, "tenstep_attempts_failed", "reason") == _count_failed(database)
    assert values(families, "tenstep_retries", "reason") == {"store_unavailable": 1, WORKER_LOST: 1}
    assert families["tenstep_lease_expiries"].samples[0].value == 1
    assert families["tenstep_storage_errors"].samples[0].value == 2
    costs = values(families, "tenstep_cost_dollars", "kind")
    costs |= values(families, "tenstep_cost_adjusted_dollars", "kind")
    booked, device_ns = _booked(database)
    assert costs == pytest.approx(booked)
    assert values(families, "tenstep_device_seconds", "kind") == pytest.approx(device_ns)


def test_histograms_of_phases_add_up_to_the_attempts(
    server: ApiServer, families: Mapping[str, Metric]
) -> None:
    spent: Counter[str] = Counter()
    with server.database.read() as session:
        done = select(Attempt).where(Attempt.outcome == AttemptOutcome.DONE)
        for attempt in session.scalars(done):
            spent.update({phase: getattr(attempt, field) for phase, field in PHASES.items()})
    found = families["tenstep_phase_seconds"]

    assert found.type == "histogram"
    sums = {one.labels["phase"]: one.value for one in found.samples if one.name.endswith("_sum")}
    assert sums == pytest.approx({phase: ns / 1e9 for phase, ns in spent.items()})
    for phase in PHASES:
        of_phase = [one for one in found.samples if one.labels["phase"] == phase]
        counts = [one.value for one in of_phase if one.name.endswith("_bucket")]
        assert counts == sorted(counts)
        assert len(counts) == len(BOUNDS)
        assert {one.value for one in of_phase if one.name.endswith("_count")} == {3}
        assert {one.labels["le"] for one in of_phase if "le" in one.labels and one.value == 3} >= {
            "+Inf"
        }


def _count_done(database: Database) -> int:
    with database.read() as session:
        done = select(func.count()).select_from(Job).where(Job.state == JobState.DONE)
        return session.scalar(done) or 0


def _count_failed(database: Database) -> dict[str, int]:
    ended = (AttemptOutcome.FAILED, AttemptOutcome.LOST)
    failed = select(Attempt.error_code, func.count()).where(Attempt.outcome.in_(ended))
    with database.read() as session:
        return dict(session.execute(failed.group_by(Attempt.error_code)).all())


def _booked(database: Database) -> tuple[dict[str, float], dict[str, float]]:
    """Return dollars, and device seconds of work, by kind."""
    sums = (func.sum(LedgerEntry.amount_nanodollars), func.sum(LedgerEntry.device_ns))
    with database.read() as session:
        rows = session.execute(select(LedgerEntry.kind, *sums).group_by(LedgerEntry.kind)).all()
    dollars = {kind: float(nanodollars) / 1e9 for kind, nanodollars, _ in rows}
    seconds = {kind: float(device_ns) / 1e9 for kind, _, device_ns in rows if kind in ON_DEVICE}
    return dollars, seconds


def test_each_alert_says_what_it_means_and_where_to_read_on() -> None:
    rules = alerts()
    headings = re.findall(
        r"^### (\w+)$", (INFRA / "operations.md").read_text("utf-8"), re.MULTILINE
    )
    anchors = {f"infra/operations.md#{heading.lower()}" for heading in headings}

    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    for rule in rules:
        notes, name = rule["annotations"], rule["alert"]
        assert set(notes) == {"summary", "description", "runbook_url"}, name
        assert notes["runbook_url"] in anchors, name
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name


def test_every_alert_is_tried_by_promtools_tests() -> None:
    tried = (INFRA / "prometheus/alerts_test.yml").read_text("utf-8")

    assert [rule["alert"] for rule in alerts() if rule["alert"] not in tried] == []


def test_prometheus_and_grafana_are_pointed_at_files_that_are_there() -> None:
    config = yaml.safe_load((INFRA / "prometheus/prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    assert all((INFRA / "prometheus" / name).is_file() for name in config["rule_files"])
    assert set(job["authorization"]) == {"credentials_file"}
    provisioning = INFRA / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text("utf-8"))[
        "datasources"
    ]
    dashboard = json.loads((INFRA / "grafana/dashboards/tenstep.json").read_text("utf-8"))
    (variable,) = dashboard["templating"]["list"]
    assert variable["current"]["value"] == source["uid"]
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers)
