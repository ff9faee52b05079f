"""An id is found again however many there are, whatever their hashes are."""

from __future__ import annotations

import random

import pytest

import producer.seen_ids
from producer.seen_ids import SeenIds
from shared.errors import InputError


def test_every_second_use_is_found_with_the_line_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(producer.seen_ids, "FIRST_SLOTS", 8)
    monkeypatch.setattr(producer.seen_ids, "IDS_A_WRITE", 20)
    dice = random.Random(5)
    uses = [(line, str(dice.randrange(3_000))) for line in range(1, 5_001)]
    first: dict[str, int] = {}
    expected = {}
    for line, used in uses:
        if used in first:
            expected[line] = first[used]
        first.setdefault(used, line)

    seen = SeenIds()
    found: dict[int, int] = {}
    for start in range(0, len(uses), 64):
        found |= seen.second_uses(uses[start : start + 64])
    seen.close()

    assert len(expected) > 1_000
    assert found == expected


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer.seen_ids, "HASH_MASK", 3)
    monkeypatch.setattr(producer.seen_ids, "IDS_A_WRITE", 10)
    seen = SeenIds()

    for line in range(1, 101):
        assert seen.second_uses([(line, f"id {line}")]) == {}
    assert seen.second_uses([(101, "id 7"), (102, "id 101"), (103, "id 101")]) == {101: 7, 103: 102}
    seen.close()


def test_more_ids_than_a_batch_has_jobs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer.seen_ids, "MAX_IDS", 2)
    seen = SeenIds()
    seen.second_uses([(1, "a"), (2, "b")])

    with pytest.raises(InputError, match="there are more than 2 ids"):
        seen.second_uses([(3, "c")])
    seen.close()
