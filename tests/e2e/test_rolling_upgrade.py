"""The previous release's own processes beside this version's, on one database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from shared.db.migrate import known_revisions
from support import previous_release
from support.commands import tenstep, wait_until
from support.previous_release import unpack, with_code_of
from support.rollout import FAST, SIMULATED, SLOW, Rollout, rolled_out, stop

pytestmark = pytest.mark.timeout(400)

JOBS = 400
PROMPTS = [f"a red apple number {number}" for number in range(JOBS)]
DRAWN = ["a red apple, glossy 3d style", "a dog face"]
MOST_SHADES = 2
"""Of 255, as far as backends may be apart."""
Pixels = npt.NDArray[np.int16]
HEAD = known_revisions()[-1]
WHICH = "import producer, shared.db.migrate as m; print(producer.__file__, m.known_revisions()[-1])"


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("previous_release"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    data_dir = str(tmp_path / "data")
    return {**os.environ, "TENSTEP_DATA_DIR": data_dir, "TENSTEP_CPU_THREADS": "1"}


@pytest.fixture
def rollout(
    environment: dict[str, str], old_code: Path, postgres_url: str, redis_url: str, tmp_path: Path
) -> Iterator[Rollout]:
    services = {
        **environment,
        **SIMULATED,
        "TENSTEP_DATABASE_URL": postgres_url,
        "TENSTEP_REDIS_URL": redis_url,
    }
    with rolled_out(services, with_code_of(old_code, services), tmp_path) as rollout:
        yield rollout


def test_the_archive_is_what_runs_as_the_previous_release(
    environment: dict[str, str], old_code: Path, tmp_path: Path
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", WHICH],
        env=with_code_of(old_code, environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.split() == [str(old_code / "producer/__init__.py"), previous_release.HEAD]


def test_producers_are_replaced_first_then_workers_and_a_batch_notices_nothing(
    rollout: Rollout,
) -> None:
    old, new = rollout.old, rollout.new
    old_server, url = rollout.serve(old)
    old_dispatcher = rollout.start(old, "dispatch")
    old_worker, old_ids = rollout.work({**old, **SLOW}, 2)
    rollout.batch_id = rollout.submit(url, PROMPTS)
    wait_until(lambda: rollout.done() >= 8)
    assert rollout.revision() == previous_release.HEAD

    rollout.migrate()
    assert rollout.revision() == HEAD
    rollout.wait_for_more(8)

    _, url = rollout.serve(new)
    stop(old_server)
    rollout.start(new, "dispatch")
    stop(old_dispatcher)
    sent_by_the_old = rollout.chunks()
    wait_until(lambda: rollout.drawn_by(old_ids, without=sent_by_the_old) >= 8)

    _, new_ids = rollout.work({**new, **FAST}, 1)
    wait_until(lambda: rollout.drawn_by(new_ids) >= 8)
    rollout.drain(min(old_ids))
    stop(old_worker)
    wait_until(lambda: rollout.done() == JOBS)

    assert rollout.problems() == []
    first = PROMPTS[:60]
    again = rollout.submit(url, first)
    wait_until(lambda: rollout.done(again) == len(first))
    assert rollout.images(again) == rollout.images(rollout.batch_id)[: len(first)]
    assert rollout.drawn_by(old_ids) > len(first), "so two releases drew them"
    reused = rollout.submit(url, PROMPTS, reuse="true")
    assert rollout.done(reused) == JOBS, "both make the same fingerprint of a job"


def test_workers_are_replaced_first_under_the_old_producers(rollout: Rollout) -> None:
    old, new = rollout.old, rollout.new
    _, url = rollout.serve(old)
    rollout.start(old, "dispatch")
    old_worker, old_ids = rollout.work({**old, **SLOW}, 1)
    rollout.migrate()
    rollout.batch_id = rollout.submit(url, PROMPTS[:200])
    wait_until(lambda: rollout.drawn_by(old_ids) >= 4)

    _, new_ids = rollout.work({**new, **FAST}, 1)
    wait_until(lambda: rollout.drawn_by(new_ids) >= 8)
    stop(old_worker)
    wait_until(lambda: rollout.done() == 200)

    assert rollout.problems() == []
    assert rollout.drawn_by(old_ids) + rollout.drawn_by(new_ids) == 200


def test_a_process_of_the_release_before_that_starts_again_is_refused_the_newer_tables(
    rollout: Rollout,
) -> None:
    """True of the release of revision 0016 alone: those after it go by what the tables say."""
    rollout.migrate()

    refused = tenstep(rollout.old, "workers", "list", cwd=rollout.folder)

    assert refused.returncode == 2
    assert f"written by a newer tenstep (revision {HEAD})" in refused.stderr


def test_both_releases_draw_the_same_pictures(
    environment: dict[str, str], old_code: Path, tmp_path: Path
) -> None:
    """Kernels change float32's last digits from release to release, and nothing that is seen."""
    (tmp_path / "prompts.txt").write_text("\n".join(DRAWN), "utf-8")

    ours = drawn(environment, tmp_path, "ours")
    theirs = drawn(with_code_of(old_code, environment), tmp_path, "theirs")

    assert len(ours) == len(DRAWN)
    assert ours.keys() == theirs.keys()
    for name, pixels in ours.items():
        assert int(abs(pixels - theirs[name]).max()) <= MOST_SHADES, name


def drawn(environment: Mapping[str, str], folder: Path, name: str) -> dict[str, Pixels]:
    """Draw with the real model; returns the images' pixels by their files' names."""
    mine = {**environment, "TENSTEP_DATA_DIR": str(folder / f"{name}-data")}
    done = tenstep(mine, "render", "prompts.txt", "--out", name, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {
        path.name: np.asarray(Image.open(path), dtype=np.int16)
        for path in (folder / name).glob("[0-9]*.png")
    }
