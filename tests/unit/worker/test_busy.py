from __future__ import annotations

import pytest

from worker.bench.busy import Busy, DrawnImage, spans_of

SECOND = 10**9


def image(device: str, begin: int, end: int) -> DrawnImage:
    """Draw for the whole of some seconds."""
    return DrawnImage(device, begin * SECOND, end * SECOND, (end - begin) * SECOND)


def test_a_gap_between_two_images_counts_and_what_is_before_the_first_does_not() -> None:
    (span,) = spans_of([image("a", 100, 104), image("a", 105, 110)])

    assert span.images == 2
    assert span.busy_share == pytest.approx(0.9)


def test_the_share_is_the_median_of_devices_and_the_overall_share_has_what_they_wait() -> None:
    run = Busy(spans_of([image("a", 0, 10), image("b", 0, 10), image("c", 0, 20)]), 1.0)

    assert run.busy_share == 1
    assert run.overall_busy_share == pytest.approx(40 / 60)
    assert run.images_per_second == pytest.approx(3 / 20)


def test_images_of_a_chunk_were_begun_at_its_claim_and_their_device_times_add_up() -> None:
    (span,) = spans_of(
        [DrawnImage("a", 0, 8 * SECOND, 4 * SECOND), DrawnImage("a", 0, 10 * SECOND, 4 * SECOND)]
    )

    assert span.busy_share == pytest.approx(0.8)
