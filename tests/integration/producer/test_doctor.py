"""``tenstep doctor`` as a whole: installations that are well, and broken in every part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from producer.doctor.finding import Verdict
from shared.db.engine import Database
from shared.settings import Settings
from shared.storage.open import open_store
from support.doctor import doctor, remedy, silent_ports, verdicts
from support.seaweedfs import S3Bucket
from support.servers import free_port
from support.shell import Shell
from support.valkey import run_valkey

PASSWORD = "swordfish"


@pytest.fixture
def lasting_redis_url() -> Iterator[str]:
    """A Redis of its own, which keeps messages over a restart."""
    with run_valkey() as server:
        with Redis.from_url(server.url) as client:
            client.config_set("appendonly", "yes")
        yield server.url


def test_an_installation_on_services_is_well(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    postgres_database: Database,
    s3: S3Bucket,
    lasting_redis_url: str,
) -> None:
    for name, value in s3.settings.items():
        monkeypatch.setenv(name, value)
    url = postgres_database.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("TENSTEP_DATABASE_URL", url)
    monkeypatch.setenv("TENSTEP_REDIS_URL", lasting_redis_url)

    code, found = doctor(shell)

    assert set(verdicts(found).values()) == {Verdict.OK}, found
    assert code == 0
    assert not list(open_store(Settings()).list(""))
    assert "Postgres" in found["database"].found
    assert "Valkey" in found["redis"].found


def test_a_local_installation_is_well(shell: Shell, sqlite_database: Database) -> None:
    settings = Settings()
    settings.data_dir.mkdir()
    shutil.copy(sqlite_database.engine.url.database or "", settings.local_database)
    objects = settings.data_dir / "objects"
    objects.mkdir()

    code, found = doctor(shell)

    assert code == 0
    assert not {Verdict.WARNING, Verdict.FAULT} & set(verdicts(found).values()), found
    assert found["storage delete"].verdict is Verdict.OK
    assert not list(objects.iterdir())
    assert found["redis"].found.startswith("tenstep's own, not running")


def test_where_nothing_is_yet_nothing_is_made(shell: Shell) -> None:
    assert shell("doctor") == 0
    assert not list(Path().iterdir())
    lines = shell.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith("ok")
    assert "What to do" not in shell.out


def test_servers_that_never_answer_are_told_of_in_time(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_ports(3) as (postgres, redis, s3):
        monkeypatch.setenv("TENSTEP_DATABASE_URL", f"postgresql+psycopg://x@127.0.0.1:{postgres}/x")
        monkeypatch.setenv("TENSTEP_REDIS_URL", f"redis://127.0.0.1:{redis}/0")
        monkeypatch.setenv("TENSTEP_STORAGE_URL", "s3://bucket")
        monkeypatch.setenv("TENSTEP_S3_ENDPOINT_URL", f"http://127.0.0.1:{s3}")
        monkeypatch.setenv("TENSTEP_S3_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("TENSTEP_S3_SECRET_ACCESS_KEY", PASSWORD)

        code, found = doctor(shell, "--timeout", "0.5")

    assert code == 1
    late = [name for name, one in found.items() if one.found == "no answer within 0.5 s"]
    assert late == ["database", "redis", "storage put"]
    assert found["versions"].verdict is Verdict.OK


def test_services_that_are_down_are_told_of_without_their_passwords(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    query = f"sslpassword={PASSWORD}"
    database_url = f"postgresql+psycopg://ada:{PASSWORD}@{nowhere}/x?{query}"
    monkeypatch.setenv("TENSTEP_DATABASE_URL", database_url)
    monkeypatch.setenv("TENSTEP_REDIS_URL", f"redis://:{PASSWORD}@{nowhere}/0?password={PASSWORD}")
    monkeypatch.setenv("TENSTEP_STORAGE_URL", "s3://bucket/some/prefix")
    monkeypatch.setenv("TENSTEP_S3_ENDPOINT_URL", f"http://{nowhere}")
    monkeypatch.setenv("TENSTEP_S3_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("TENSTEP_S3_SECRET_ACCESS_KEY", PASSWORD)
    monkeypatch.setenv("TENSTEP_API_KEY", PASSWORD)
    monkeypatch.setenv("TENSTEP_PASWORD", PASSWORD)

    code, found = doctor(shell)

    assert code == 1
    faulty = [name for name, one in found.items() if one.verdict is Verdict.FAULT]
    assert faulty == ["database", "redis", "storage put"]
    assert "TENSTEP_DATABASE_URL" in remedy(found["database"])
    assert "TENSTEP_REDIS_URL" in remedy(found["redis"])
    assert "TENSTEP_S3_ENDPOINT_URL" in remedy(found["storage put"])
    assert PASSWORD not in shell.out + shell.err
    assert shell("doctor") == 1
    assert PASSWORD not in shell.out + shell.err


@pytest.mark.parametrize("password", ["xyzzy@plugh", "xyzzy@plu/gh", "@xyzzy:plugh"])
def test_a_password_that_breaks_its_url_is_not_shown(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("TENSTEP_DATABASE_URL", f"postgresql+psycopg://ada:{password}@127.0.0.1/x")
    monkeypatch.setenv("TENSTEP_REDIS_URL", "redis://:xyzzy/plugh@127.0.0.1/0")

    code, found = doctor(shell)

    assert code == 1
    for check in ("database", "redis"):
        assert found[check].verdict is Verdict.FAULT
        assert "%2F" in remedy(found[check])
    assert "xyzzy" not in shell.out + shell.err
    assert "gh@" not in shell.out + shell.err


def test_settings_that_cannot_be_read_do_not_keep_the_rest_from_being_told(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSTEP_CHUNK_SIZE", "eight")

    code, found = doctor(shell)

    assert code == 1
    assert found["settings"].verdict is Verdict.FAULT
    assert "TENSTEP_CHUNK_SIZE" in found["settings"].found
    assert found["database"].verdict is Verdict.SKIPPED
    assert found["versions"].verdict is Verdict.OK


def test_people_are_told_what_to_do_in_80_columns(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSTEP_MODEL", "no-such-model")
    monkeypatch.setenv("TENSTEP_LOOKAHEAD", "3")

    assert shell("doctor") == 1

    table, what_to_do = shell.out.split("What to do:")
    assert max(map(len, shell.out.splitlines())) <= 80
    assert "no model 'no-such-model'" in table
    assert "tenstep model list" in what_to_do
    assert "TENSTEP_LOOKAHEAD: did you mean TENSTEP_LOOK_AHEAD?" in " ".join(what_to_do.split())
    assert what_to_do.splitlines()[-1].startswith("1 fault, 1 warning, ")


def test_it_works_on_its_host_and_not_over_a_server(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell("--server", "https://tenstep.example", "doctor", "--json") == 2
    assert "does not work over a server" in json.loads(shell.err)["error"]["message"]

    monkeypatch.setenv("TENSTEP_SERVER", "https://tenstep.example")
    code, found = doctor(shell)
    assert (code, found["settings"].verdict) == (0, Verdict.WARNING)
