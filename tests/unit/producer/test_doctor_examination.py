"""Examinations end in time, and one that fails takes no other along."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from producer.doctor.examination import Examination, run_all
from producer.doctor.finding import Finding, Verdict, fine
from shared.errors import ServiceUnavailableError


def well() -> Iterator[Finding]:
    yield fine("first", "there")
    yield fine("second", "there, too")


def ends_early() -> Iterator[Finding]:
    yield fine("first", "nothing yet")


def fails() -> Iterator[Finding]:
    yield fine("first", "there")
    raise ServiceUnavailableError("it is gone", hint="Bring it back.")


def breaks() -> Iterator[Finding]:
    yield from ()
    raise ValueError("the password geheim is none")


def told(look: object, seconds: float = 30) -> list[Finding]:
    assert callable(look)
    return list(run_all([Examination(("first", "second"), look, seconds)]))


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (well, [Verdict.OK, Verdict.OK]),
        (ends_early, [Verdict.OK, Verdict.SKIPPED]),
        (fails, [Verdict.OK, Verdict.FAULT]),
        (breaks, [Verdict.FAULT, Verdict.SKIPPED]),
    ],
)
def test_there_is_a_finding_for_each_check(look: object, expected: list[Verdict]) -> None:
    found = told(look)

    assert [finding.check for finding in found] == ["first", "second"]
    assert [finding.verdict for finding in found] == expected


def test_what_was_skipped_says_which_check_kept_it_from_being_made() -> None:
    assert told(ends_early)[1].found == "not looked at, see first"
    assert told(breaks)[1].found == "not looked at, see first"


def test_an_error_of_ours_tells_what_to_do_and_any_other_only_what_it_is() -> None:
    known = told(fails)[1]
    assert (known.found, known.remedy) == ("it is gone", "Bring it back.")
    unknown = told(breaks)[0]
    assert "ValueError" in unknown.found
    assert "geheim" not in str(unknown.to_json())


def test_one_that_hangs_is_left_alone_and_others_are_told_of() -> None:
    released = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield fine("first", "there")
        released.wait(60)
        yield fine("second", "too late")

    hanging = Examination(("first", "second", "third"), hangs, 2)
    found = list(run_all([hanging, Examination(("other", "another"), well, 30)]))
    released.set()

    assert [finding.verdict for finding in found] == [
        *(Verdict.OK, Verdict.FAULT, Verdict.SKIPPED),
        *(Verdict.OK, Verdict.OK),
    ]
    assert found[1].found == "no answer within 2 s"
