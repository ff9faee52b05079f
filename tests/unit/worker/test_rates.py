from __future__ import annotations

import pytest

from shared.db.outcomes import PhaseTimes
from shared.domain.pass_rates import MeasuredPasses, PassSize
from shared.domain.phases import BOUNDS_NS, UNBOUNDED_NS, PhaseBucket, PhaseSum, bound_of
from shared.domain.rates import Measured, Shape
from worker.rates import ImageTime, RateLog

SHAPE = Shape(64, 64, 10, is_guided=True)
MILLISECOND = 10**6


def test_the_images_of_a_chunk_share_its_time_and_those_that_failed_have_their_share() -> None:
    log = RateLog()
    images = [ImageTime(SHAPE, 100 * MILLISECOND), ImageTime(SHAPE, 200 * MILLISECOND)]

    log.add_chunk(images, tried=3, wall_ns=900)

    with log.taken() as taken:
        assert taken.images == {SHAPE: Measured(2, 300 * MILLISECOND, 50_000, 600)}


def test_a_phase_is_in_the_first_bucket_that_holds_it() -> None:
    first, second, last = BOUNDS_NS[0], BOUNDS_NS[1], BOUNDS_NS[-1]
    taken_ns = (0, 1, first, first + 1, second, last, last + 1)

    found = [bound_of(nanoseconds) for nanoseconds in taken_ns]

    assert found == [first, first, first, second, second, last, UNBOUNDED_NS]


def test_what_was_taken_is_not_taken_twice() -> None:
    log = RateLog()
    log.add_chunk([ImageTime(SHAPE, 1)], tried=1, wall_ns=1)

    with log.taken() as first:
        pass
    with log.taken() as second:
        pass

    assert first.images
    assert not second.images


def test_what_could_not_be_written_down_is_kept_with_what_came_meanwhile() -> None:
    log = RateLog()
    log.add_chunk([ImageTime(SHAPE, 1)], tried=1, wall_ns=1)

    log.add_phases(PhaseTimes(denoise_ns=3 * MILLISECOND))

    def meanwhile() -> None:
        with log.taken():
            log.add_chunk([ImageTime(SHAPE, 10)], tried=1, wall_ns=10)
            log.add_phases(PhaseTimes(denoise_ns=4 * MILLISECOND))
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        meanwhile()

    with log.taken() as taken:
        assert taken.images == {SHAPE: Measured(2, 11, 0, 11)}
        of_denoise = {bucket: sums for bucket, sums in taken.phases.items() if "denoise" in bucket}
        assert of_denoise == {PhaseBucket("denoise", 5 * MILLISECOND): PhaseSum(2, 7 * MILLISECOND)}


def test_passes_are_added_up_by_how_many_images_they_drew_at_once() -> None:
    log = RateLog()
    log.add_pass(SHAPE, 4, 400 * MILLISECOND, peak_bytes=7)
    log.add_pass(SHAPE, 4, 600 * MILLISECOND, peak_bytes=5)
    log.add_pass(SHAPE, 1, 300 * MILLISECOND)

    with log.taken() as taken:
        assert taken.passes == {
            PassSize(SHAPE, 4): MeasuredPasses(2, 1_000 * MILLISECOND, 40_000 + 90_000, 7),
            PassSize(SHAPE, 1): MeasuredPasses(1, 300 * MILLISECOND, 90_000, 0),
        }
