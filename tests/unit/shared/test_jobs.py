"""The life of a job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.identifiers import new_id
from shared.domain.jobs import FINAL_STATES, TRANSITIONS, JobState, origins

LEGAL = {
    ("pending", "leased"),
    ("pending", "cancelled"),
    ("pending", "held"),
    ("leased", "done"),
    ("leased", "failed"),
    ("leased", "pending"),
    ("leased", "cancelled"),
    ("held", "pending"),
    ("held", "cancelled"),
    ("failed", "pending"),
    ("cancelled", "pending"),
}


@pytest.mark.parametrize("origin", JobState)
@pytest.mark.parametrize("target", JobState)
def test_a_job_moves_as_the_table_says(origin: JobState, target: JobState) -> None:
    is_legal = (origin.value, target.value) in LEGAL

    assert (target in TRANSITIONS[origin]) == is_legal
    assert (origin in origins(target)) == is_legal


def test_a_job_becomes_done_from_a_lease_alone() -> None:
    assert origins(JobState.DONE) == {JobState.LEASED}


def test_what_is_done_stays_done() -> None:
    assert TRANSITIONS[JobState.DONE] == frozenset()


def test_no_worker_has_a_job_in_a_final_state() -> None:
    assert {JobState.DONE, JobState.FAILED, JobState.CANCELLED} == FINAL_STATES
    assert all(JobState.LEASED not in TRANSITIONS[state] for state in FINAL_STATES)


@given(st.sampled_from(JobState))
def test_every_state_can_come_to_an_end(state: JobState) -> None:
    reached = {state}
    while more := {target for origin in reached for target in TRANSITIONS[origin]} - reached:
        reached |= more
    assert reached & FINAL_STATES


def test_keys_sort_by_the_time_they_were_made() -> None:
    made = [new_id() for _ in range(1_000)]

    assert made == sorted(made)
    assert len(set(made)) == 1_000
    assert {key.version for key in made} == {7}
