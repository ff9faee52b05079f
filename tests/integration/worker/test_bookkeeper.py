"""Images that come together are booked together, and one that cannot be is booked by nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from shared.db.engine import Database
from shared.db.many_outcomes import DoneJob
from shared.domain.jobs import JobState, LedgerKind
from support.commands import wait_until
from support.factories import IMAGE, TIMES, attempts_of
from support.scene import Scene
from worker.bookkeeper import Bookkeeper, Done

DONE, LEASED, PENDING = JobState.DONE, JobState.LEASED, JobState.PENDING


@dataclass
class Desk:
    """A bookkeeper, three jobs that are drawn, and what it says of each."""

    scene: Scene
    jobs: list[DoneJob]
    on_their_way: int = 3
    said: dict[int, bool | Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bookkeeper = Bookkeeper(self.scene.database, 1.0, lambda: self.on_their_way)

    def book(self, *positions: int) -> None:
        """Bring some of them, and wait until each is told of."""
        self.on_their_way = len(positions)
        for position in positions:
            tell = partial(self.said.__setitem__, position)
            self.bookkeeper.add(Done(self.jobs[position], tell))
        wait_until(lambda: set(positions) <= self.said.keys(), seconds=20)


@pytest.fixture
def desk(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr("worker.bookkeeper.LINGER_SECONDS", 10.0)
    scene = Scene.made(database)
    found = Desk(scene, [DoneJob(held, IMAGE, TIMES, {"model": "tiny"}) for held in scene.claim()])
    yield found
    found.bookkeeper.close()


def test_images_that_come_together_share_a_transaction(desk: Desk) -> None:
    desk.book(2, 0, 1)

    assert desk.said == {0: True, 1: True, 2: True}
    assert desk.scene.states() == [DONE] * 3
    with desk.scene.database.read() as session:
        moments = {attempt.finished_at for attempt in attempts_of(session, desk.scene.batch_id)}
    assert len(moments) == 1, "each transaction has one"
    assert desk.scene.kinds_booked() == {LedgerKind.RENDER: 3}
    desk.scene.assert_books_agree()


def test_an_image_that_comes_after_its_lease_keeps_no_other_from_the_books(desk: Desk) -> None:
    desk.scene.fail(desk.jobs[1].held, again=True)

    desk.book(0, 1, 2)

    assert desk.said == {0: True, 1: False, 2: True}
    assert desk.scene.states() == [DONE, PENDING, DONE]
    desk.scene.assert_books_agree()


def no_json(job: DoneJob) -> DoneJob:
    return job._replace(record={"model": object()})


def too_many_bytes(job: DoneJob) -> DoneJob:
    return job._replace(image=replace(IMAGE, bytes=2**80))


@pytest.mark.parametrize("poisoned", [no_json, too_many_bytes])
def test_an_image_that_cannot_be_booked_fails_alone_and_the_next_are_booked(
    desk: Desk, poisoned: Callable[[DoneJob], DoneJob]
) -> None:
    good = desk.jobs[1]
    desk.jobs[1] = poisoned(good)

    desk.book(0, 1, 2)

    assert isinstance(desk.said.pop(1), Exception)
    assert desk.said == {0: True, 2: True}
    assert desk.scene.states() == [DONE, LEASED, DONE]
    desk.jobs[1] = good
    desk.book(1)
    assert desk.said[1] is True
    desk.scene.assert_books_agree()


def test_what_is_there_at_the_end_is_booked_before_it(desk: Desk) -> None:
    desk.on_their_way = 64
    for position, job in enumerate(desk.jobs):
        desk.bookkeeper.add(Done(job, partial(desk.said.__setitem__, position)))

    desk.bookkeeper.close()

    assert desk.said == {0: True, 1: True, 2: True}
    assert desk.scene.states() == [DONE] * 3
