"""What a proof of the books has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from producer.amounts import usd

MAX_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not in the books as it should be."""

    what: str
    booked_nanodollars: int
    due_nanodollars: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "what": self.what,
            "booked_nanodollars": self.booked_nanodollars,
            "due_nanodollars": self.due_nanodollars,
        }


@dataclass(slots=True)
class Finding:
    """One law of the books, and whether it holds."""

    name: str
    law: str
    compared: int = 0
    booked_nanodollars: int = 0
    due_nanodollars: int = 0
    differences: int = 0
    examples: list[Difference] = field(default_factory=list)

    def compare(self, what: str, booked: int, due: int) -> None:
        """Compare one amount."""
        self.compared += 1
        self.booked_nanodollars += booked
        self.due_nanodollars += due
        if booked != due:
            self.differ(what, booked, due)

    def differ(self, what: str, booked: int, due: int) -> None:
        """Note that something is wrong, even if the amounts agree."""
        self.differences += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(Difference(what, booked, due))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "check": self.name,
            "law": self.law,
            "compared": self.compared,
            "booked_nanodollars": self.booked_nanodollars,
            "due_nanodollars": self.due_nanodollars,
            "differences": self.differences,
            "examples": [example.to_json() for example in self.examples],
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """All laws, and the sum that they end in."""

    findings: Sequence[Finding]
    entries_nanodollars: int
    """All entries of the books."""
    online_nanodollars: int
    """Every worker's time online at the prices in force, as far as its books are complete."""
    in_hand_nanodollars: int
    """Entries of workers that have gone on since their books were last complete."""
    store_nanodollars: int
    """Entries for keeping and writing images, which no device is involved in."""
    workers: int
    at_work: int
    """Workers that have a job in hand: the time since they were settled is not proved yet."""

    @property
    def unexplained_nanodollars(self) -> int:
        """What is booked and not explained, or the other way round."""
        explained = self.online_nanodollars + self.in_hand_nanodollars + self.store_nanodollars
        return self.entries_nanodollars - explained

    @property
    def holds(self) -> bool:
        """Whether not a nano-dollar is missing."""
        return not self.unexplained_nanodollars and not any(
            finding.differences for finding in self.findings
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        sums = {
            "entries": self.entries_nanodollars,
            "online": self.online_nanodollars,
            "in_hand": self.in_hand_nanodollars,
            "store": self.store_nanodollars,
            "unexplained": self.unexplained_nanodollars,
        }
        return {
            "holds": self.holds,
            **{f"{name}_nanodollars": amount for name, amount in sums.items()},
            **{f"{name}_usd": usd(amount) for name, amount in sums.items()},
            "workers": self.workers,
            "workers_at_work": self.at_work,
            "checks": [finding.to_json() for finding in self.findings],
        }
