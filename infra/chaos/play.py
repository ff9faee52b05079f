"""One scenario from its empty services to its verdict."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Self
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from chaos.checks import Figures, inspect, longest_silence
from chaos.fleet import Fleet, Unit, usual_units
from chaos.stacks import LOCAL, MakeStack, Servers, Stack, local_stack, services_stack
from shared.clock import utc_now
from shared.db.batches import count_jobs, is_finished
from shared.domain.jobs import JobState

POLL_SECONDS = 0.1
SAMPLE_SECONDS = 0.25
FIRST_PART = 0.1
"""Of the jobs are done when the fault begins."""
RECOVERY_SECONDS = 10.0
KILLER_PROMPT = "simulate: kill"


@dataclass(frozen=True)
class Scenario:
    """A fault, and what it is done to."""

    name: str
    title: str
    fault: Callable[[Run], None]
    stack: str
    killers: int = 0
    """Jobs that kill the process which draws them."""
    settings: dict[str, str] = field(default_factory=dict)
    units: Callable[[str, int], list[Unit]] = usual_units
    make_stack: MakeStack | None = None
    bites: Callable[[Figures], bool] = lambda _: True
    """Whether the figures show that the fault did anything at all."""
    limit_seconds: float = 240
    recovers_within_seconds: float = RECOVERY_SECONDS


@dataclass
class Outcome:
    """What became of it."""

    scenario: str
    stack: str
    figures: Figures
    recovery_seconds: float | None
    """The longest that no image was finished after the end of a fault."""
    seconds: float
    """From the first worker's start to the last job's end."""
    problems: list[str]
    notes: list[str]

    @property
    def is_ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "ok": self.is_ok}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Make it again from what `to_json` returned."""
        rest = {name: value for name, value in values.items() if name not in {"ok", "figures"}}
        return cls(figures=Figures(**values["figures"]), **rest)


class Run:
    """What a fault can see and do."""

    def __init__(self, stack: Stack, fleet: Fleet, batch_id: UUID, jobs: int) -> None:
        self.stack = stack
        self.fleet = fleet
        self.batch_id = batch_id
        self.jobs = jobs
        self.random = Random(jobs)  # noqa: S311 - chaos that can be repeated
        self.notes: list[str] = []
        self._begins: list[datetime] = []
        self._ends: list[datetime] = []
        self.counts: dict[JobState, int] = {}
        self.miscounts: set[int] = set()
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="sampler", daemon=True)

    @property
    def done(self) -> int:
        """Images so far."""
        return self.counts.get(JobState.DONE, 0)

    @property
    def is_finished(self) -> bool:
        """Whether every job has ended."""
        return bool(self.counts) and is_finished(self.counts)

    def pause(self, seconds: float) -> None:
        """Let time pass while dead commands are started again."""
        self.wait_for(lambda: False, seconds)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for something while dead commands are started again; False if it does not come."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.fleet.tend()
            time.sleep(POLL_SECONDS)
        return True

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Write down when something is broken and when no more."""
        self._begins.append(utc_now())
        yield
        self._ends.append(utc_now())

    @property
    def quiet_times(self) -> list[tuple[datetime, datetime]]:
        """From the end of each fault to the begin of the next, or to now."""
        return list(zip(self._ends, [*self._begins[1:], utc_now()], strict=False))

    def start_sampling(self) -> None:
        """Count the jobs again and again from here on."""
        self._sampler.start()

    def stop_sampling(self) -> None:
        """Stop counting."""
        self._stop.set()
        self._sampler.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            try:
                with self.stack.database.read() as session:
                    self.counts = dict(count_jobs(session, self.batch_id))
            except SQLAlchemyError:
                continue  # the database may be what is broken
            if (counted := sum(self.counts.values())) != self.jobs:
                self.miscounts.add(counted)


def play(scenario: Scenario, servers: Servers, *, jobs: int, workers: int) -> Outcome:
    """Play a scenario; what was left of it stays in a temporary folder if it went wrong."""
    folder = Path(tempfile.mkdtemp(prefix=f"tenstep-chaos-{scenario.name}-"))
    make = scenario.make_stack or (local_stack if scenario.stack == LOCAL else services_stack)
    try:
        with make(folder, servers) as stack:
            stack.environment |= scenario.settings
            outcome = _play_on(stack, scenario, jobs, workers)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if outcome.is_ok:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        outcome.notes.append(f"logs: {folder}")
    return outcome


def _play_on(stack: Stack, scenario: Scenario, jobs: int, workers: int) -> Outcome:
    batch_id = submit(stack, jobs, scenario.killers)
    fleet = Fleet(stack, scenario.units(stack.kind, workers))
    run = Run(stack, fleet, batch_id, jobs)
    problems: list[str] = []
    begin = time.monotonic()
    try:
        fleet.tend()
        run.start_sampling()
        if not run.wait_for(lambda: run.done >= jobs * FIRST_PART, scenario.limit_seconds):
            problems.append("it never got going")
        scenario.fault(run)
        if not run.wait_for(lambda: run.is_finished, scenario.limit_seconds):
            problems.append(f"not finished {scenario.limit_seconds:.0f} s after the fault")
        seconds = time.monotonic() - begin
    finally:
        run.stop_sampling()
        problems += fleet.stop()
    figures, wrong = inspect(stack, batch_id, scenario.killers)
    problems += wrong
    if run.miscounts:
        problems.append(f"of {jobs} jobs at times {sorted(run.miscounts)} were counted")
    if not scenario.bites(figures):
        problems.append("the fault did nothing: the scenario proves nothing")
    recovery = longest_silence(stack, batch_id, run.quiet_times)
    if run.quiet_times and recovery is None:
        problems.append("the jobs had ended before the fault had")
    if recovery is not None and recovery > scenario.recovers_within_seconds:
        problems.append(f"after a fault nothing was finished for {recovery:.1f} s")
    return Outcome(scenario.name, stack.label, figures, recovery, seconds, problems, run.notes)


def submit(stack: Stack, jobs: int, killers: int = 0) -> UUID:
    """Put a batch in the queue, with jobs among it that kill whoever draws them."""
    path = stack.folder / "prompts.jsonl"
    places = {(number + 1) * jobs // (killers + 1) for number in range(killers)}
    with path.open("w") as file:
        for number in range(jobs):
            prompt = KILLER_PROMPT if number in places else f"image {number}"
            file.write(json.dumps({"prompt": prompt, "seed": number}) + "\n")
    done = stack.tenstep("submit", str(path), "--json")
    if done.returncode:
        raise RuntimeError(done.stderr)
    return UUID(json.loads(done.stdout)["batch_id"])
