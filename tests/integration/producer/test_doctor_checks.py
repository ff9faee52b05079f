"""What ``tenstep doctor`` tells apart, check by check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import text

from producer.doctor.database import DATABASE_CHECKS, examine_database
from producer.doctor.devices import DEVICE_CHECKS, examine_devices
from producer.doctor.finding import Verdict
from producer.doctor.models import examine_models, model_checks
from producer.doctor.redis import REDIS_CHECKS, examine_redis
from producer.doctor.storage import STORAGE_CHECKS, examine_storage
from producer.doctor.variables import check_settings, check_variables
from producer.doctor.versions import VERSION_CHECKS, examine_versions
from shared.clock import utc_now
from shared.db.device_faults import note_fault
from shared.db.engine import Database
from shared.db.fault_tables import DeviceFault
from shared.db.migrate import known_revisions
from shared.messaging.embedded_redis import EmbeddedRedis
from shared.models.catalog import SHIPPED
from shared.settings import Settings
from support.doctor import examined, remedy, verdicts
from support.factories import add_price, add_worker
from support.seaweedfs import S3Bucket
from support.valkey import run_valkey

OK, WARNING, FAULT, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAULT, Verdict.SKIPPED
LAST_BUT_ONE = known_revisions()[-2]
OF_THE_BOOKS = ("prices", "workers", "faulty devices")


def settings_of(database: Database) -> Settings:
    url = database.engine.url.render_as_string(hide_password=False)
    return Settings(database_url=SecretStr(url))


# The database


@pytest.mark.parametrize(
    ("revision", "said"), [(LAST_BUT_ONE, "1 migration before"), ("9999", "of a newer tenstep")]
)
def test_tables_of_another_version_are_told_apart(
    database: Database, revision: str, said: str
) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :is"), {"is": revision})
        session.execute(text("UPDATE compatibility SET oldest_revision = :is"), {"is": revision})

    found = examined(DATABASE_CHECKS, examine_database(settings_of(database)))

    assert found["revision"].verdict is FAULT
    assert said in found["revision"].found
    is_older = revision == LAST_BUT_ONE
    assert ("tenstep migrate" in remedy(found["revision"])) is is_older
    assert {found[check].verdict for check in OF_THE_BOOKS} == {SKIPPED}
    assert found["database"].verdict is OK


def test_newer_tables_that_this_version_can_work_with_are_fine(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    found = examined(DATABASE_CHECKS, examine_database(settings_of(database)))

    assert found["revision"].verdict is OK
    assert "9999 is of a newer tenstep" in found["revision"].found
    assert SKIPPED not in {found[check].verdict for check in OF_THE_BOOKS}


def test_a_database_without_tables_is_told_of(postgres_url: str) -> None:
    settings = Settings(database_url=SecretStr(postgres_url))

    found = examined(DATABASE_CHECKS, examine_database(settings))

    assert found["revision"].verdict is FAULT
    assert "no tables" in found["revision"].found
    assert "tenstep migrate" in remedy(found["revision"])


def test_a_database_that_cannot_be_written_to_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_dir=tmp_path / "file" / "data")

    found = examined(DATABASE_CHECKS, examine_database(settings))

    assert found["database"].verdict is FAULT
    assert "is no folder" in found["database"].found
    assert "TENSTEP_DATA_DIR" in remedy(found["database"])


def test_live_workers_without_a_price_of_another_version_and_out_are_told_of(
    database: Database,
) -> None:
    with database.write() as session:
        now = database.now(session)
        add_price(session, device_kind="cpu", effective_from=now - timedelta(days=1))
        for kind, sku in (("cpu", ""), ("cuda", "g0.none")):
            add_worker(session, device_kind=kind, sku=sku, started_at=now)
        silent = add_worker(session, device_kind="qaic", started_at=now)
        silent.heartbeat_at = now - timedelta(hours=1)
        fault = DeviceFault(
            host="box-2",
            device="cuda:1",
            device_kind="cuda",
            device_sku="",
            model="tiny",
            since=now,
            last_seen=now,
            reason="it fell off the bus",
        )
        note_fault(session, fault)

    found = examined(DATABASE_CHECKS, examine_database(settings_of(database)))

    told = {check: found[check].verdict for check in OF_THE_BOOKS}
    assert told == {"prices": FAULT, "workers": WARNING, "faulty devices": WARNING}
    assert "'cuda', SKU 'g0.none'" in found["prices"].found
    assert "qaic" not in found["prices"].found
    expected = "tenstep prices set cuda --sku g0.none --usd-per-hour AMOUNT"
    assert expected in remedy(found["prices"])
    assert "of 2 alive 2 of tenstep 0" in found["workers"].found
    assert "cuda:1 on box-2: it fell off the bus" in found["faulty devices"].found


def test_a_clock_that_is_wrong_is_told_of(
    postgres_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.doctor.database.utc_now", lambda: utc_now() + timedelta(hours=1))

    found = examined(DATABASE_CHECKS, examine_database(settings_of(postgres_database)))

    assert found["clock"].verdict is WARNING
    assert "3,600 s ahead of the database's" in found["clock"].found
    assert "Leases are by the database's clock" in remedy(found["clock"])


# Redis


@pytest.fixture(scope="module")
def own_redis_url() -> Iterator[str]:
    """A Redis whose configuration may be changed."""
    with run_valkey() as server:
        yield server.url


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ({}, {"redis eviction": OK, "redis persistence": WARNING}),
        ({"save": "3600 1"}, {"redis eviction": OK, "redis persistence": OK}),
        (
            {"maxmemory-policy": "allkeys-lru", "appendonly": "yes"},
            {"redis eviction": FAULT, "redis persistence": OK},
        ),
    ],
)
def test_what_redis_does_with_messages_is_told(
    own_redis_url: str, configuration: dict[str, str], expected: dict[str, Verdict]
) -> None:
    kept_by_default = {"maxmemory-policy": "noeviction", "appendonly": "no", "save": ""}
    with Redis.from_url(own_redis_url) as client:
        for name, value in (kept_by_default | configuration).items():
            client.config_set(name, value)

    found = examined(REDIS_CHECKS, examine_redis(Settings(redis_url=SecretStr(own_redis_url))))

    assert verdicts(found) == {"redis": OK} | expected
    if found["redis eviction"].verdict is FAULT:
        assert "maxmemory-policy noeviction" in remedy(found["redis eviction"])
    if found["redis persistence"].verdict is WARNING:
        assert "appendonly yes" in remedy(found["redis persistence"])


def test_a_wrong_password_of_redis_is_told_of(redis_url: str) -> None:
    scheme, _, address = redis_url.rpartition("@")
    wrong = f"{scheme.rpartition(':')[0]}:swordfish@{address}"

    found = examined(REDIS_CHECKS, examine_redis(Settings(redis_url=SecretStr(wrong))))

    assert found["redis"].verdict is FAULT
    assert "invalid username-password" in found["redis"].found
    assert "swordfish" not in found["redis"].found


def test_a_redis_of_tensteps_own_is_told_as_such(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    redis = EmbeddedRedis(settings.data_dir, settings.redis_port)
    redis.ensure_running()

    running = examined(REDIS_CHECKS, examine_redis(settings))
    redis.stop()
    stopped = examined(REDIS_CHECKS, examine_redis(settings))

    assert set(verdicts(running).values()) == {OK}
    assert running["redis"].found.endswith("tenstep's own")
    assert verdicts(stopped) == dict(zip(REDIS_CHECKS, (OK, SKIPPED, SKIPPED), strict=True))
    assert "not running" in stopped["redis"].found


# The storage


def test_rights_that_lack_are_told_apart(s3: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = s3.server.reader
    settings = Settings(
        storage_url=s3.url,
        s3_endpoint_url=s3.server.endpoint_url,
        s3_access_key_id=SecretStr(reader.access_key_id),
        s3_secret_access_key=SecretStr(reader.secret_access_key),
    )

    found = examined(STORAGE_CHECKS, examine_storage(settings))

    assert verdicts(found) == {
        "storage put": FAULT,
        "storage get": OK,
        "storage url": SKIPPED,
        "storage list": OK,
        "storage delete": FAULT,
    }
    assert "s3:PutObject" in remedy(found["storage put"])
    assert "s3:DeleteObject" in remedy(found["storage delete"])


def test_keys_that_are_wrong_are_one_fault(s3: S3Bucket) -> None:
    settings = Settings(
        storage_url=s3.url,
        s3_endpoint_url=s3.server.endpoint_url,
        s3_access_key_id=SecretStr(s3.server.admin.access_key_id),
        s3_secret_access_key=SecretStr("swordfish"),
    )

    found = examined(STORAGE_CHECKS, examine_storage(settings))

    assert list(verdicts(found).values()) == [FAULT, SKIPPED, SKIPPED, SKIPPED, SKIPPED]
    assert "credentials" in remedy(found["storage put"])
    assert "swordfish" not in str(found)


def test_an_endpoint_that_is_no_url_is_told_of() -> None:
    settings = Settings(storage_url="s3://bucket", s3_endpoint_url="minio:9000")

    found = examined(STORAGE_CHECKS, examine_storage(settings))

    assert "TENSTEP_S3_ENDPOINT_URL is no URL" in found["storage put"].found
    assert "http://" in remedy(found["storage put"])


def test_a_folder_that_cannot_be_written_to_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(storage_url=(tmp_path / "file" / "objects").as_uri())

    found = examined(STORAGE_CHECKS, examine_storage(settings))

    assert found["storage put"].verdict is FAULT
    assert "is no folder" in found["storage put"].found


# Settings


@pytest.mark.parametrize(
    ("settings", "verdict", "said"),
    [
        (Settings(), OK, "default"),
        (Settings(heartbeat_seconds=30, lease_seconds=30), FAULT, "renewed"),
        (Settings(s3_access_key_id=SecretStr("key")), FAULT, "one alone is set"),
        (
            Settings(redis_url=SecretStr("redis://host"), redis_port=6379),
            WARNING,
            "TENSTEP_REDIS_PORT",
        ),
        (Settings(s3_endpoint_url="http://127.0.0.1"), WARNING, "in a folder"),
        (
            Settings(redis_url=SecretStr("redis://host")),
            WARNING,
            "TENSTEP_DATABASE_URL and TENSTEP_STORAGE_URL cannot",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_told_of(
    settings: Settings, verdict: Verdict, said: str
) -> None:
    found = check_settings("settings", settings)

    assert found.verdict is verdict
    assert said in found.found
    assert "key" not in found.found


def test_variables_that_nothing_reads_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("tenstep_model", "emoji-64")
    monkeypatch.setenv("TENSTEP_WORKER_ID", "a child's")
    assert check_variables("variables").verdict is OK

    monkeypatch.setenv("TENSTEP_DATABASE_ULR", "secret")
    monkeypatch.setenv("TENSTEP_QQQQ", "secret")
    found = check_variables("variables")

    assert found.verdict is WARNING
    assert "TENSTEP_DATABASE_ULR, TENSTEP_QQQQ" in found.found
    assert "did you mean TENSTEP_DATABASE_URL?" in remedy(found)
    assert "Unset TENSTEP_QQQQ" in remedy(found)
    assert "secret" not in str(found)


def test_variables_that_kubernetes_sets_are_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP_ADDR"):
        monkeypatch.setenv(f"TENSTEP_API_{name}", "10.0.0.1")

    said = remedy(check_variables("variables"))

    assert said.count("enableServiceLinks: false") == 1
    assert "did you mean" not in said


# Models, devices, versions


def test_models_that_lack_or_are_incomplete_are_told_of(tmp_path: Path) -> None:
    gutted, pointed = tmp_path / "gutted", tmp_path / "pointed"
    for folder in (gutted, pointed):
        shutil.copytree(SHIPPED / "emoji-64", folder)
    weights = "vae/diffusion_pytorch_model.safetensors"
    (gutted / weights).unlink()
    (pointed / weights).write_text("version https://git-lfs.github.com/spec/v1\n", "utf-8")
    names = ("emoji-64", "sd-1.5", "Deci/none", str(gutted), str(pointed))
    settings = Settings(data_dir=tmp_path, model=names[0], also_models=names[1:])

    found = examined(model_checks(settings), examine_models(settings))

    told = [found[f"model {name}"] for name in names]
    assert [finding.verdict for finding in told] == [OK, OK, FAULT, FAULT, FAULT]
    assert "tenstep model pull Deci/none" in remedy(told[2])
    assert "no weights in vae" in told[3].found
    assert "no weights in vae" in told[4].found


def test_a_device_that_is_not_there_is_told_of() -> None:
    found = examined(DEVICE_CHECKS, examine_devices(Settings(device="cuda:99"), 60))

    assert found["devices"].verdict is FAULT
    assert "this host has no cuda:99" in found["devices"].found
    assert "TENSTEP_DEVICE" in remedy(found["devices"])


def write_metadata(site: Path, name: str, version: str, *lines: str) -> None:
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    head = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}")
    (folder / "METADATA").write_text("\n".join([*head, *lines, ""]), "utf-8")


def test_packages_that_tenstep_was_not_made_for_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metadata(tmp_path, "celery", "4.0")
    write_metadata(tmp_path, "torch", "1.0")
    monkeypatch.syspath_prepend(tmp_path)

    (found,) = examined(VERSION_CHECKS, examine_versions()).values()

    assert found.verdict is WARNING
    assert "celery 4.0, not " in found.found
    assert "torch 1.0, not " in found.found
    assert "pip install 'celery" in remedy(found)


def test_devices_are_not_looked_at_where_no_worker_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = "Requires-Dist: no-such-package>=1; extra == 'worker'"
    write_metadata(tmp_path, "tenstep", "1.0", "Provides-Extra: worker", needs)
    monkeypatch.syspath_prepend(tmp_path)

    (found,) = examined(DEVICE_CHECKS, examine_devices(Settings(), 60)).values()

    assert found.verdict is SKIPPED
    assert "no-such-package" in found.found
    assert json.dumps(found.to_json())
