"""Traces from submission to upload: real processes, and a stand-in for a collector."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from shared.db.batches import count_jobs, find_batch
from support.books import opened_books
from support.collector import SeenSpan, collecting
from support.commands import running, tenstep, tenstep_json, wait_until

pytestmark = pytest.mark.timeout(300)
CLIENT_TRACE, CLIENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"}
IMAGES = 4
CHUNKS = {"TENSTEP_CHUNK_SIZE": "2", "TENSTEP_IMAGES_PER_PASS": "2"}
SECRET = "correct-horse-battery"


@pytest.fixture
def environment(stack_env: dict[str, str]) -> dict[str, str]:
    return {**stack_env, **CHUNKS}


@pytest.fixture
def simulated(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "TENSTEP_DEVICE": "simulated:0"}


def prompts_in(folder: Path) -> str:
    path = folder / "prompts.txt"
    path.write_text("".join(f"a red apple number {i}\n" for i in range(IMAGES)), "utf-8")
    return str(path)


def all_done(environment: dict[str, str]) -> bool:
    with opened_books(environment) as database, database.read() as session:
        found = count_jobs(session, find_batch(session, None).id)
    return {str(state): count for state, count in found.items()}["done"] == IMAGES


def children(span: SeenSpan, spans: list[SeenSpan]) -> list[SeenSpan]:
    found = [one for one in spans if one.parent == span.id]
    return sorted(found, key=lambda one: (one.begin_ns, one.end_ns))


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_a_batch_is_traced_from_its_submission_through_redis_to_its_images(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with collecting() as collector:
        environment |= collector.settings
        with running(environment, "up", "--port", "0", "--json", cwd=tmp_path) as up:
            assert up.stdout is not None
            url = json.loads(up.stdout.readline())["url"]
            wait_until(lambda: answers(url))
            lines = "".join(f"a red apple {SECRET} {i}\n" for i in range(IMAGES)).encode()
            of_file = {**TRACEPARENT, "content-type": "text/plain"}
            made = httpx.post(f"{url}/api/batches", content=lines, headers=of_file, timeout=60)
            asked = {"prompts": [f"a pear {SECRET}"], "hold": True}
            held = httpx.post(f"{url}/api/batches", json=asked, headers=TRACEPARENT, timeout=60)
            wait_until(lambda: len(collector.named("publish")) == IMAGES)
            wait_until(lambda: len(collector.named("submit")) == 2)
        batch = made.json()["batch_id"]
        of_held = {"tenstep.batch_id": held.json()["batch_id"]}
        [other] = [span for span in collector.spans if of_held.items() <= span.attributes.items()]
        assert (other.name, other.trace, other.parent) == ("submit", CLIENT_TRACE, CLIENT_SPAN)
        spans = [span for span in collector.spans if span != other]
        sent = b"".join(call.body for call in collector.receiver.calls)

    [submit] = [span for span in spans if span.name == "submit"]
    assert (submit.trace, submit.parent) == (CLIENT_TRACE, CLIENT_SPAN)
    assert submit.attributes["tenstep.jobs"] == IMAGES
    assert submit.attributes["tenstep.tenant"] == "default"
    chunks = [span for span in spans if span.name == "chunk"]
    assert len(chunks) == 2
    assert len({span.trace for span in (submit, *chunks)}) == 3
    for chunk in chunks:
        assert (chunk.parent, chunk.links) == ("", [submit.id])
        assert chunk.service == "tenstep"
        of_worker = children(chunk, spans)
        assert sorted(span.name for span in of_worker) == ["claim", "image", "image", "pass"]
        assert {span.service for span in of_worker} == {"tenstep-worker"}
        assert {span.trace for span in of_worker} == {chunk.trace}
        assert all(span.begin_ns >= chunk.begin_ns for span in of_worker)
        [drawn] = [span for span in of_worker if span.name == "pass"]
        phases = children(drawn, spans)
        assert [span.name for span in phases][-2:] == ["denoise", "decode"]
        assert sum(span.duration_ns for span in phases) == drawn.duration_ns
        for image in (span for span in of_worker if span.name == "image"):
            assert image.attributes["tenstep.outcome"] == "done"
            assert image.attributes["tenstep.attempt"] == 1
            steps = children(image, spans)
            assert [span.name for span in steps] == ["png", "upload", "publish"]
            assert image.begin_ns >= drawn.end_ns - 10**6
    named = {span.attributes["tenstep.batch_id"] for span in spans}
    assert named == {batch}
    assert SECRET.encode() not in sent
    traces = {json.loads(line).get("trace") for line in worker_log(environment)}
    assert {chunk.trace for chunk in chunks} <= traces


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


def worker_log(environment: dict[str, str]) -> list[str]:
    folder = Path(environment["TENSTEP_DATA_DIR"]) / "logs"
    lines = [line for path in folder.glob("worker-*") for line in path.read_text().splitlines()]
    return [line for line in lines if line.startswith("{")]


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_a_worker_that_traces_takes_the_messages_of_a_dispatcher_that_does_not(
    simulated: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    simulated |= {"TENSTEP_REDIS_URL": redis_url}
    with collecting() as collector:
        # Where to send traces is said, and not that any are wanted.
        silent = {**simulated, **collector.settings, "TENSTEP_TRACES": "false"}
        tenstep_json(silent, "submit", prompts_in(tmp_path), cwd=tmp_path)
        with (
            running(silent, "dispatch", cwd=tmp_path),
            running({**silent, "TENSTEP_TRACES": "true"}, "worker", cwd=tmp_path),
        ):
            wait_until(lambda: all_done(simulated))

        assert collector.receiver.calls == []


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_a_collector_that_is_away_costs_one_line_and_no_image(
    simulated: dict[str, str], tmp_path: Path
) -> None:
    with collecting() as collector:
        away = collector.settings
    # The second of the headers is none.
    headers = f"authorization=Bearer%20{SECRET},{SECRET}"
    simulated |= away | {"OTEL_EXPORTER_OTLP_HEADERS": headers}

    done = tenstep(simulated, "render", prompts_in(tmp_path), "--out", "out", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("[0-9]*.png"))) == IMAGES
    log = "\n".join(worker_log(simulated))
    assert log.count("traces_not_sent") == 1
    folder = Path(simulated["TENSTEP_DATA_DIR"]) / "logs"
    said = [path.read_text() for path in folder.iterdir()]
    assert SECRET not in "".join([done.stdout, done.stderr, *said])
    assert "Traceback" not in "".join([done.stderr, *said])


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_of_a_sample_of_none_nothing_is_sent(simulated: dict[str, str], tmp_path: Path) -> None:
    with collecting() as collector:
        simulated |= collector.settings | {
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0",
        }
        done = tenstep(simulated, "render", prompts_in(tmp_path), "--out", "out", cwd=tmp_path)

        assert done.returncode == 0, done.stderr
        assert collector.receiver.calls == []


NOT_IMPORTED = """
import sys
from shared.settings import load_settings
from shared.telemetry.traces import active_recorder, start_traces
import producer.api.app, producer.dispatch, producer.submit, worker.lifecycle
start_traces("tenstep", is_on=load_settings().traces)
of_traces = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "shared.telemetry.recorder")
print(active_recorder(), [name for name in sys.modules if name.startswith(of_traces)])
"""
"""redis-py imports the SDK's metrics by itself, where they are installed."""


def test_while_it_is_off_nothing_of_it_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOT_IMPORTED],
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "None []\n"


@pytest.mark.parametrize("stack_env", ["local"], indirect=True)
def test_switched_on_without_what_it_needs_a_command_says_what_to_install(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # As if it were not there: its folder is hidden by a module of the same name.
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(
        "import sys\nsys.modules['opentelemetry.sdk'] = None\n"
    )
    environment |= {"TENSTEP_TRACES": "true", "PYTHONPATH": str(tmp_path / "hidden")}

    done = tenstep(environment, "submit", prompts_in(tmp_path), cwd=tmp_path)

    assert done.returncode == 2
    assert "TENSTEP_TRACES is set" in done.stderr
    assert "pip install 'tenstep[telemetry]'" in done.stderr
