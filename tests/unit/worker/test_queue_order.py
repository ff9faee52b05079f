"""Which queue a worker of several models looks into first."""

from __future__ import annotations

from collections import Counter

from kombu.utils.scheduling import cycle_by_name

from worker.queue_order import CHUNKS_IN_A_ROW, InARow


def taken(queues: dict[str, int], chunks: int) -> str:
    """Return from which queues messages come, of so many that wait in each."""
    order = InARow()
    order.update(queues)
    left, found = Counter(queues), ""
    for _ in range(chunks):
        queue = next(name for name in order.consume(len(queues)) if left[name])
        left[queue] -= 1
        order.rotate(queue)
        found += queue
    return found


def test_chunks_of_one_model_come_in_a_row_and_no_other_starves() -> None:
    row = CHUNKS_IN_A_ROW
    assert taken({"a": 100, "b": 100, "c": 1}, 4 * row) == (
        "a" * row + "b" * row + "c" + "a" * row + "b" * (row - 1)
    )


def test_an_empty_queue_is_passed_over() -> None:
    assert taken({"a": 0, "b": 30}, 30) == "b" * 30


def test_kombu_finds_it_by_its_name() -> None:
    found: object = cycle_by_name("worker.queue_order:InARow")
    assert found is InARow


def test_a_queue_that_was_let_go_meanwhile_is_no_matter() -> None:
    order = InARow()
    order.update(["a", "b"])
    order.update(["b"])
    order.rotate("a")
    assert list(order.consume(2)) == ["b"]
