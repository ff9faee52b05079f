"""A worker that is started while its database is still to be made."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from producer.worker_process import head_start, start_worker_process
from shared.db.engine import Database
from shared.db.tables import Worker
from shared.domain.identifiers import new_id
from shared.settings import Settings
from support.commands import processes_of, tenstep

PATIENCE_SECONDS = 60


def settings_in(folder: Path, **others: object) -> Settings:
    return Settings.model_validate({"data_dir": folder, **others})


def test_until_it_is_let_go_it_makes_and_opens_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    started = start_worker_process(settings, [new_id()], waits=True)
    assert started.process.stdin is not None
    time.sleep(1)
    assert started.process.poll() is None

    started.process.stdin.close()

    assert started.process.wait(PATIENCE_SECONDS) == 0
    assert not settings.local_database.exists()
    assert started.log_path.read_text() == ""


def test_it_is_gone_when_nobody_has_let_it_go(tmp_path: Path) -> None:
    with head_start(settings_in(tmp_path), 1) as ahead:
        assert ahead is not None
        pid = ahead.process.pid
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("others", "workers"),
    [
        ({"device": "cuda:0"}, 1),
        ({"device": "auto"}, 1),
        ({}, 2),
        ({"redis_url": "redis://127.0.0.1/0"}, 1),
        ({"database_url": "sqlite:///elsewhere.sqlite3"}, 1),
    ],
)
def test_nothing_is_started_where_it_may_not_be_what_is_needed(
    tmp_path: Path, others: dict[str, str], workers: int
) -> None:
    with head_start(settings_in(tmp_path, **others), workers) as ahead:
        assert ahead is None
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_started_in_a_folder_that_has_a_database(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.local_database.touch()
    with head_start(settings, 1) as ahead:
        assert ahead is None


def test_a_refused_render_leaves_no_worker(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    environment = {"TENSTEP_DATA_DIR": str(data_dir), "PATH": os.environ["PATH"]}

    refused = tenstep(environment, "render", "-", cwd=tmp_path, stdin='{"prompt": 5}\n')

    assert refused.returncode == 2, refused.stderr
    assert "stdin:1: prompt" in refused.stderr
    assert [*processes_of(data_dir)] == []
    database = Database(settings_in(data_dir).resolved_database_url)
    with database.read() as session:
        assert [one for one in session.scalars(select(Worker)) if one.stopped_at is None] == []
    database.close()
