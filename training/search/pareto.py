"""What a search found, as files and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.files import atomic_file, ensure_writable
from training.search.evolution import Plan
from training.search.family import Member, Trunk
from training.search.latency import Conditions
from training.search.members import short
from training.search.scoring import MILLION, Judge, Limits, Scored, front

REPORT, PLOT = "pareto.json", "pareto.png"


class Found(BaseModel):
    """A member, what it costs, and how good it is."""

    model_config = ConfigDict(frozen=True)

    member: Member
    parameters: int
    gmacs: float
    """Of convolutions and linear layers, one row of an image."""
    latency_ms: float | None
    """Of one guided pass of the table's batch, by the table."""
    quality: float
    """Of the kind that the report names."""


class OnFront(Found):
    """A member that no other beats in one objective and meets in the other."""

    file: str
    """Its ``config.json``, beside the report."""
    configurations: Mapping[str, Any]


class Report(BaseModel):
    """``pareto.json``."""

    model_config = ConfigDict(frozen=True)

    space: str
    trunk: Trunk
    plan: Plan
    limits: Limits
    is_whole: bool
    """Whether the search came to its end, and was not stopped."""
    quality: str
    """What stands for quality."""
    more_is_better: bool
    """Whether it is a gain, or else a loss."""
    measured_on: Conditions | None
    """The table's; without a table the other objective is GMACs."""
    front: tuple[OnFront, ...]
    """From the quickest to the best."""
    marks: Mapping[str, Found]
    """Other members, to compare with, by name."""
    others: tuple[Found, ...]
    """All that were scored and are not on the front, those that break limits too."""

    @property
    def axes(self) -> tuple[str, str]:
        """What the objectives are called, with their units."""
        direction = "more is better" if self.more_is_better else "less is better"
        quality = f"{self.quality} ({direction})"
        if self.measured_on is None:
            return "GMAC, one row of an image", quality
        on = self.measured_on
        return f"ms a guided pass of {on.batch} images on {on.target}", quality

    @staticmethod
    def point(found: Found) -> tuple[float, float]:
        """Return a member's objectives, as people are shown them."""
        return found.gmacs if found.latency_ms is None else found.latency_ms, found.quality


def report_of(
    space: str, judge: Judge, plan: Plan, marks: Mapping[str, Member], *, is_whole: bool
) -> Report:
    """Sum up what a judge saw.

    Raises:
        InputError: the judge's table lacks a part of a member that is marked.
    """
    scored = judge.scored
    best = front(scored)
    on_front = set(map(id, best))
    return Report(
        space=space,
        trunk=judge.trunk,
        plan=plan,
        limits=judge.limits,
        is_whole=is_whole,
        quality=judge.quality.name,
        more_is_better=judge.quality.is_gain,
        measured_on=None if judge.table is None else judge.table.conditions,
        front=tuple(
            OnFront(
                **dict(_found(one, judge)),
                file=f"config-{number}.json",
                configurations=one.member.configurations(judge.trunk),
            )
            for number, one in enumerate(best, start=1)
        ),
        marks={name: _found(judge(member), judge) for name, member in marks.items()},
        others=tuple(_found(one, judge) for one in scored if id(one) not in on_front),
    )


def write_files(report: Report, folder: Path) -> None:
    """Write ``pareto.json``, a ``config-N.json`` for each member of the front, and the plot.

    Configurations that an earlier report in that folder names are removed.

    Raises:
        InputError: the folder cannot be written to.
    """
    from training.search.plot import plot_front

    ensure_writable(folder)
    for name in _named_before(folder / REPORT):
        (folder / Path(name).name).unlink(missing_ok=True)
    for one in report.front:
        _write(folder / one.file, {"configurations": dict(one.configurations)})
    plot_front(report, folder / PLOT)
    _write(folder / REPORT, report.model_dump(mode="json"))


def print_front(report: Report) -> None:
    """Print a table of the front, and of what is marked, at 80 columns."""
    quality = "quality" if report.more_is_better else "loss"
    print(f"{'':>3} {'params':>8} {'GMAC':>8} {'ms':>8} {quality:>8}  member")
    for number, one in enumerate(report.front, start=1):
        print(_line(f"{number}", one))
    for name, marked in report.marks.items():
        print(_line("*", marked), f"\n    that is {name}")
    scored = len(report.front) + len(report.others)
    ended = "" if report.is_whole else " The search was stopped."
    print(f"\n{scored:,} members scored, {len(report.front)} on the front.{ended}")


def _line(head: str, one: Found) -> str:
    took = f"{one.latency_ms:8.3f}" if one.latency_ms is not None else f"{'-':>8}"
    size = f"{one.parameters / MILLION:7.2f}M"
    return f"{head:>3} {size} {one.gmacs:8.3f} {took} {one.quality:8.4g}  {short(one.member)}"


def _found(one: Scored, judge: Judge) -> Found:
    return Found(
        member=one.member,
        parameters=one.parameters,
        gmacs=one.gmacs,
        latency_ms=one.latency_ms,
        quality=judge.quality.shown(one.loss),
    )


def _named_before(path: Path) -> Sequence[str]:
    try:
        return [one.file for one in Report.model_validate_json(path.read_bytes()).front]
    except (OSError, ValidationError):
        return []


def _write(path: Path, document: Any) -> None:
    with atomic_file(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")
