"""Random stories: rules in any order, and laws that hold after every step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from shared.db.engine import Database

T = TypeVar("T")
Opened = Callable[[], AbstractContextManager[Database]]
"""Opens the database of a story."""


def pick(remembered: list[T], back: int) -> T:
    """Return one of the last few, the last of all if there are not so many."""
    return remembered[max(0, len(remembered) - 1 - back)]


def run_stories(
    machine: type[RuleBasedStateMachine], opened: Opened, stories: int, *, steps: int = 50
) -> None:
    """Run a machine that has a class attribute ``opened``, and ``stories`` that counts them."""
    run_state_machine_as_test(
        type("Machine", (machine,), {"opened": staticmethod(opened), "stories": count()}),
        settings=settings(
            max_examples=stories,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            # Shrinking takes minutes; set Phase.shrink to look into a failure.
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
