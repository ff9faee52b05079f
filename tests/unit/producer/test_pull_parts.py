"""What a pull is made of: work ahead within bounds, notes about positions, and what it shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.cli import pull_view
from producer.cli.pull_view import counting_view
from producer.progress import Progress
from producer.pull.fetch import Problems, map_ahead
from producer.pull.positions import PositionMap, PositionSet

positions = st.integers(min_value=0, max_value=5_000)


def test_results_come_in_the_order_of_their_items() -> None:
    with closing(map_ahead(lambda number: number * number, range(100), 4)) as results:
        assert list(results) == [(number, number * number) for number in range(100)]


def test_no_more_is_asked_for_than_can_be_held() -> None:
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        for number in range(100):
            asked += 1
            yield number

    with closing(map_ahead(lambda number: number, items(), 4)) as results:
        next(results)
        assert asked == 8
        next(results)
        assert asked == 9


def test_what_is_closed_early_begins_nothing_more() -> None:
    begun: list[int] = []
    may_end = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            may_end.wait()
        return number

    results = map_ahead(work, range(100), 1)
    next(results)
    closer = threading.Timer(0, may_end.set)
    closer.start()
    results.close()

    assert len(begun) <= 2


def test_an_error_in_a_thread_is_raised() -> None:
    with closing(map_ahead(lambda number: 1 // number, [1, 0], 2)) as results:
        assert next(results) == (1, 1)
        with pytest.raises(ZeroDivisionError):
            next(results)


@given(st.lists(st.tuples(st.booleans(), positions)))
def test_a_set_of_positions_is_a_set(changes: list[tuple[bool, int]]) -> None:
    ours, real = PositionSet(), set[int]()
    for is_added, position in changes:
        if is_added:
            ours.add(position)
            real.add(position)
        else:
            ours.discard(position)
            real.discard(position)

    assert len(ours) == len(real)
    assert {position for _, position in changes if position in ours} == real


@given(st.dictionaries(positions, st.integers(min_value=0, max_value=2**31 - 1)), positions)
def test_a_map_of_positions_is_a_map(numbers: dict[int, int], another: int) -> None:
    ours = PositionMap()
    for position, number in numbers.items():
        ours[position] = number

    assert all(ours.get(position) == number for position, number in numbers.items())
    assert ours.get(another) == numbers.get(another)


def test_of_many_problems_all_are_counted_and_the_first_are_told() -> None:
    problems = Problems()
    for position in range(5_000):
        problems.add(position, "gone")
    problems.solve(0)

    assert problems.count == 4_999
    assert [problem.position for problem in problems.told()] == list(range(1, 1_000))


def test_elsewhere_than_on_a_terminal_a_long_pull_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with counting_view() as report:
        report(Progress("images", 1, 5_000, 100))
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(pull_view, "PLAIN_LINE_SECONDS", 0.0)
    with counting_view() as report:
        report(Progress("images", 1, 5_000, 100))
        report(Progress("images", 2_001, 5_000, 40_000_100))
    assert capsys.readouterr().err.splitlines()[1].startswith("images: 2,001 of 5,000, ")


def test_programs_are_not_shown_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with counting_view(quiet=True) as report:
        report(Progress("images", 1, 2))

    assert capsys.readouterr().err == ""
