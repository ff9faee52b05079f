"""A batch, or an even sample of it, as one file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from producer.gallery.cards import Card, make_card
from producer.gallery.page import Heading, render_page
from producer.gallery.sample import sample_positions
from producer.gallery_state import GalleryState
from producer.manifest import JobFacts
from producer.manifest.jobs import read_jobs
from producer.progress import Progress, Report, unseen
from producer.pull.fetch import map_ahead
from shared.db.engine import Database
from shared.db.tables import Batch, Job
from shared.db.tallies import read_tally
from shared.domain.jobs import JobState
from shared.errors import InputError
from shared.files import atomic_file
from shared.storage.base import ObjectStore

PARALLEL = 4
"""The largest images take 50 MB each while they are made small."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """A page that was written."""

    file: Path
    shown: int
    """How many jobs are on it."""
    of: int
    """How many there are in that state."""
    missing: int
    """How many images could not be had."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "file": str(self.file),
            "shown": self.shown,
            "of": self.of,
            "missing": self.missing,
        }


def write_gallery(
    database: Database,
    store: ObjectStore,
    batch_id: UUID,
    file: Path,
    *,
    state: GalleryState = GalleryState.DONE,
    limit: int = 500,
    report: Report = unseen,
) -> Gallery:
    """Write a batch, or an even sample of it, as one page of HTML that needs nothing else.

    Raises:
        InputError: the file cannot be written.
        ServiceUnavailableError: the store does not answer.
    """
    with database.read() as session:
        positions, of = sample_positions(session, batch_id, state, limit)
        jobs = read_jobs(session, batch_id, Job.position.in_(positions))
        batch, tally = session.get_one(Batch, batch_id), read_tally(session, batch_id)
        heading = Heading(
            name=batch.name,
            batch_id=batch.id,
            model=batch.model,
            state=state,
            shown=len(jobs),
            of=of,
            total=batch.total,
            done=tally.counts[JobState.DONE],
            failed=tally.counts[JobState.FAILED],
            nanodollars=tally.nanodollars,
        )
    cards = _cards(store, jobs, report)
    page = render_page(heading, cards)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as target:
            target.write(page.encode())
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error
    return Gallery(file, len(cards), of, sum(card.is_broken for card in cards))


def _cards(store: ObjectStore, jobs: Sequence[JobFacts], report: Report) -> Sequence[Card]:
    cards: list[Card] = []
    with closing(map_ahead(partial(make_card, store), jobs, PARALLEL)) as made:
        for _, card in made:
            cards.append(card)
            report(Progress("images", len(cards), len(jobs)))
    return cards
