"""Read a whole source once, and tell which examples are bad."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import InputError
from training.data.examples import Flaw, FlawError, Limits, Shard
from training.data.pictures import load_picture
from training.data.sources import open_shards

logger = logging.getLogger(__name__)

#: Every so many examples it is said how far the check has come.
_REPORT_EXAMPLES = 10_000


@dataclass
class Report:
    """What a check found."""

    shards: int
    good: int = 0
    flaws: list[Flaw] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return it as JSON: numbers of shards, good and bad examples, and every flaw."""
        return {
            "shards": self.shards,
            "good": self.good,
            "bad": len(self.flaws),
            "flaws": [vars(flaw) for flaw in self.flaws],
        }


def check(paths: Sequence[str], limits: Limits) -> Report:
    """Decode every example of sources, one after the other.

    Raises:
        InputError: a source is not there, or is empty.
    """
    shards = open_shards(paths, limits)
    report = Report(len(shards))
    for shard in shards:
        for flaw in _flaws(shard, limits):
            if flaw is None:
                report.good += 1
            else:
                report.flaws.append(flaw)
            if (report.good + len(report.flaws)) % _REPORT_EXAMPLES == 0:
                logger.info("%d good, %d bad until now", report.good, len(report.flaws))
    if not report.good and not report.flaws:
        raise InputError(
            f"{', '.join(paths)}: no example there",
            hint="an example of a shard is KEY.jpg beside KEY.txt or KEY.json; KEY has no dot",
        )
    return report


def _flaws(shard: Shard, limits: Limits) -> Iterator[Flaw | None]:
    """Yield what is wrong with each example, None if it is good."""
    for found in shard.entries():
        if isinstance(found, Flaw):
            yield found
            continue
        try:
            load_picture(found, limits)
            yield None
        except FlawError as error:
            yield error.at(found.source, found.example)
