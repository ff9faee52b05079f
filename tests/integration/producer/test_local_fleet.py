"""Real workers under supervision, of which some devices are not sound."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from producer.local_fleet import LocalFleet
from shared.db.device_faults import list_faults
from shared.db.engine import Database
from shared.db.fleet import live_workers
from shared.db.tables import Worker
from shared.errors import ConfigurationError, TenstepError
from shared.settings import Settings
from support.commands import wait_until

BAD = "simulated:1"
BREAKS = f"""
import os, sys
flag = os.environ.get("TEST_BREAKS", "")
if os.environ.get("TENSTEP_DEVICE") == "{BAD}" and os.path.exists(flag):
    sys.stderr.write(open(flag).read())
    sys.stderr.flush()
    os._exit(int(os.environ["TEST_STATUS"]))
"""
"""Python imports it before anything else, so that a device is out of order for real processes."""
SAYS_SO = "device fault: the card fell off the bus\n"


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, sqlite_database: Database) -> Settings:
    return Settings(
        data_dir=tmp_path,
        database_url=SecretStr(sqlite_database.engine.url.render_as_string(hide_password=False)),
        redis_url=SecretStr(redis_url),
        device="simulated:0,simulated:1",
        device_retry_seconds=0.5,
        heartbeat_seconds=0.5,
    )


@pytest.fixture
def breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], Path]:
    """Have one device be out of order for as long as a file is there."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BREAKS, "utf-8")
    flag = tmp_path / "flag"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, _old_path())]))
    monkeypatch.setenv("TEST_BREAKS", str(flag))

    def broken(says: str, status: int) -> Path:
        flag.write_text(says, "utf-8")
        monkeypatch.setenv("TEST_STATUS", str(status))
        return flag

    return broken


def _old_path() -> list[str]:
    return os.environ.get("PYTHONPATH", "").split(os.pathsep)


@contextmanager
def started(fleet: LocalFleet) -> Iterator[LocalFleet]:
    fleet.start()
    try:
        yield fleet
    finally:
        fleet.stop()


def ready_on(database: Database) -> set[str]:
    with database.read() as session:
        alive = live_workers(session, database.now(session), timedelta(seconds=30))
        return {worker.device for worker in alive}


def supervised(fleet: LocalFleet, condition: Callable[[], bool]) -> None:
    def holds() -> bool:
        fleet.supervise()
        return condition()

    wait_until(holds, seconds=60)


@pytest.mark.parametrize(("says", "status"), [(SAYS_SO, 1), ("", 3)])
def test_a_device_at_fault_is_taken_out_until_it_works_and_the_others_go_on(
    settings: Settings,
    sqlite_database: Database,
    breaks: Callable[[str, int], Path],
    says: str,
    status: int,
) -> None:
    """Whether its worker says three times that the device is to blame, or just dies as often."""
    flag = breaks(says, status)
    fleet = LocalFleet(settings, sqlite_database, 1)
    with started(fleet):
        supervised(
            fleet, lambda: bool(fleet.faults) and ready_on(sqlite_database) == {"simulated:0"}
        )
        reason = "the card fell off the bus" if says else "its process ended with status 3 before"
        assert reason in fleet.faults[BAD]
        with sqlite_database.read() as session:
            [fault] = list_faults(session, sqlite_database.now(session))
            assert (fault.device, fault.device_kind, fault.model) == (BAD, "simulated", "emoji-64")
            assert reason in fault.reason
            assert fault.since <= fault.last_seen

        flag.unlink()
        supervised(fleet, lambda: ready_on(sqlite_database) == {"simulated:0", BAD})
        supervised(fleet, lambda: not fleet.faults)
        with sqlite_database.read() as session:
            assert not list_faults(session, sqlite_database.now(session))


def test_with_no_sound_device_left_the_fleet_ends_and_says_why(
    settings: Settings, sqlite_database: Database, breaks: Callable[[str, int], Path]
) -> None:
    breaks(SAYS_SO, 69)
    fleet = LocalFleet(settings, sqlite_database, 1, [BAD])
    with (
        started(fleet),
        pytest.raises(TenstepError, match="does not start: the card fell off the bus") as caught,
    ):
        supervised(fleet, lambda: False)
    assert caught.value.hint is not None
    assert "Its log is" in caught.value.hint


def test_an_error_that_is_no_devices_fault_ends_the_whole_fleet(
    settings: Settings, sqlite_database: Database
) -> None:
    unpriced = settings.model_copy(update={"device_sku": "never-priced"})
    fleet = LocalFleet(unpriced, sqlite_database, 1)
    with started(fleet), pytest.raises(ConfigurationError, match="no price is set for"):
        supervised(fleet, lambda: False)


def test_several_simulated_devices_share_a_process(
    settings: Settings, sqlite_database: Database
) -> None:
    fleet = LocalFleet(settings, sqlite_database, 1, ["simulated:qaic:0-2"])
    with started(fleet):
        supervised(fleet, lambda: len(ready_on(sqlite_database)) == 3)
        assert len(fleet.worker_ids) == 3
        with sqlite_database.read() as session:
            workers = [session.get_one(Worker, worker_id) for worker_id in fleet.worker_ids]
        assert len({worker.pid for worker in workers}) == 1


def test_a_device_that_one_worker_has_at_a_time_gets_no_two() -> None:
    with pytest.raises(ConfigurationError, match="--workers 2: one worker has qaic:0 at a time"):
        LocalFleet(Settings(), None, 2, ["cpu", "qaic:0"])  # type: ignore[arg-type]
