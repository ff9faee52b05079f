"""What a batch was expected to cost, beside what it has cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from producer.amounts import per_cent
from producer.costs.amounts import money_json


@dataclass(frozen=True, slots=True)
class QuoteComparison:
    """A quote, beside the cost of the images that are done by now."""

    low: int | None
    """Nano-dollars of all images; what the quote does not say is None."""
    expected: int | None
    high: int | None
    images: int | None
    images_done: int
    actual: int
    """Nano-dollars of all work on devices so far."""

    @property
    def expected_for_done(self) -> int | None:
        """What so many images were expected to cost, rounded half up."""
        if self.expected is None or not self.images:
            return None
        return (2 * self.expected * self.images_done + self.images) // (2 * self.images)

    @property
    def difference_per_cent(self) -> float | None:
        """By how much the images that are done were dearer than expected; negative if cheaper."""
        due = self.expected_for_done
        return None if due is None else per_cent(self.actual - due, due)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        amounts = {
            "low": self.low,
            "expected": self.expected,
            "high": self.high,
            "expected_for_done": self.expected_for_done,
            "actual": self.actual,
        }
        return {
            "images": self.images,
            "images_done": self.images_done,
            **money_json(amounts),
            "difference_per_cent": self.difference_per_cent,
        }


def compare(quote: Mapping[str, Any], images_done: int, actual: int) -> QuoteComparison:
    """Put a quote beside what was spent.

    Args:
        quote: as the batch has it; whatever it lacks, or that is no whole number, is unknown.
        images_done: images that were drawn so far.
        actual: nano-dollars of all work on devices so far.
    """
    low, expected, high = (
        _whole(quote.get(f"nanodollars_{name}")) for name in ("low", "expected", "high")
    )
    return QuoteComparison(low, expected, high, _whole(quote.get("images")), images_done, actual)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
