"""A server with something to look at: batches in every state, of two tenants."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import product
from uuid import UUID

from producer.batch_options import BatchOptions
from producer.control import approve, cancel
from producer.inline_batches import submit_inline
from shared.db.batches import count_jobs, set_control
from shared.db.claims import claim_chunk
from shared.db.outcomes import PhaseTimes, record_failure
from shared.db.tables import Batch
from shared.domain.access import Scope
from shared.domain.jobs import BatchControl, JobState
from support.api import ApiServer
from support.factories import add_price, add_worker, dispatch

STUDIO, ATELIER = "studio", "atelier"
NANODOLLARS_PER_HOUR = 76_500_000
SUBJECTS = (
    *("a red apple", "a dog face", "a cat face", "a pig face", "a panda", "a frog"),
    *("a rocket", "a slice of pizza", "a hamburger", "a banana", "a strawberry", "a watermelon"),
    *("a birthday cake", "fire", "a sunflower", "a rainbow", "a tree", "a soccer ball", "a car"),
    *("a grinning face", "a red heart"),
)
STYLES = ("glossy 3d style", "flat twemoji style", "noto style")
"""What the model that ships knows."""
FLAGGED = ("content_flagged", "the model's safety checker flagged the image")
BAD_SETTINGS = ("bad_settings", "the sampler needs at least 2 timesteps, and got 1")
FAILED = (FLAGGED, FLAGGED, BAD_SETTINGS, FLAGGED, BAD_SETTINGS, FLAGGED)
NO_ROOM = ("out_of_memory", "CUDA out of memory. Tried to allocate 1.17 GiB.")
LEFT_BEHIND = 2
SHORT = timedelta(seconds=1)
WASTED = PhaseTimes(text_encode_ns=10_000_000, denoise_ns=80_000_000)
BETWEEN_FAILURES = timedelta(milliseconds=100)
MODEL = "emoji-64"
PATIENCE_SECONDS = 600
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Showcase:
    """What there is to look at; the other tenant has a finished batch too."""

    finished: UUID
    working: UUID
    """A fifth of it is drawn; a real device needs minutes for the rest."""
    troubled: UUID
    """Finished, but for six images that failed for two reasons."""
    paused: UUID
    held: UUID
    """Of this a sample is drawn, and the rest waits for approval."""
    over_budget: UUID
    cancelled: UUID
    others: UUID
    """Of the other tenant."""
    retried: int
    """Position in `troubled` of a job that was drawn in a second attempt."""
    lost: int
    """The same, of one whose first worker fell silent."""
    admin_key: str
    """Sees all."""
    studio_key: str
    """Sees all but `others`."""


@contextmanager
def showcase(server: ApiServer, *, device: str = "simulated:0") -> Iterator[Showcase]:
    """Fill a server that has no batch yet; its worker goes on drawing while the block runs.

    Args:
        server: of which nobody draws.
        device: cpu has the model draw some 150 images, which takes a minute or so.

    Raises:
        TimeoutError: that took ten.
    """
    with server.database.write() as session:
        add_price(
            session,
            nanodollars_per_hour=NANODOLLARS_PER_HOUR,
            effective_from=server.database.now(session) - timedelta(days=1),
        )
    shown = _submit(server, "0.0001" if device == "cpu" else "0.0000005")
    _have_trouble(server, shown.troubled)
    with server.drawing(device=device):
        _wait_until_drawn(server, shown)
        _decide(server, shown)
        yield shown


def _submit(server: ApiServer, budget: str) -> Showcase:
    """Submit the batches, the most urgent first.

    Those that end in the middle have a sample drawn, so that it is always the same middle.
    """
    spring, menu = {"campaign": "spring"}, {"campaign": "menu", "client": "trattoria"}
    return Showcase(
        troubled=_batch(server, 24, name="menu-icons", tags=menu, priority=9),
        finished=_batch(server, 48, name="spring-stickers", tags=spring, priority=8),
        others=_batch(server, 12, tenant=ATELIER, name="album-covers", priority=7),
        held=_batch(server, 60, name="mascot-drafts", tags=menu, hold=True, sample=6),
        paused=_batch(server, 32, name="autumn-icons", hold=True, sample=8),
        cancelled=_batch(server, 40, name="wrong-colours", hold=True, sample=4),
        over_budget=_batch(server, 64, name="winter-cards", max_cost_usd=budget),
        working=_batch(server, 300, name="catalogue", tags=spring, hold=True, sample=60),
        retried=len(FAILED),
        lost=len(FAILED) + 1,
        admin_key=server.new_key("operator", Scope.ADMIN),
        studio_key=server.new_key(STUDIO),
    )


def _batch(server: ApiServer, count: int, *, tenant: str = STUDIO, **options: object) -> UUID:
    known = [", ".join(pair) for pair in product(SUBJECTS, STYLES)]
    prompts = [known[index % len(known)] for index in range(count)]
    chosen = BatchOptions.model_validate(options)
    return submit_inline(server.services, chosen, prompts, tenant=tenant, key=None).batch_id


def _have_trouble(server: ApiServer, batch_id: UUID) -> None:
    """Have a worker fail at the first jobs of a batch, then fall silent with two in hand."""
    with server.database.write() as session:
        now = server.database.now(session)
        worker = add_worker(session, started_at=now)
        worker.host, worker.model, worker.queue = "render-2", MODEL, f"cpu.{MODEL}"
        jobs = len(FAILED) + 1 + LEFT_BEHIND
        chunk_id = dispatch(session, batch_id, jobs=jobs, now=now)
        leases = claim_chunk(session, chunk_id, worker.id, now, SHORT)
        worker.draining = True  # or chunks would be kept for it
    for held, (code, message) in zip(leases, (*FAILED, NO_ROOM), strict=False):
        now += BETWEEN_FAILURES
        with server.database.write() as session:
            record_failure(
                session,
                held,
                code=code,
                message=message,
                retry_at=now if code == NO_ROOM[0] else None,
                times=WASTED,
                now=now,
            )


def _wait_until_drawn(server: ApiServer, shown: Showcase) -> None:
    batches = [value for value in asdict(shown).values() if isinstance(value, UUID)]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(_is_being_drawn(server, batch_id) for batch_id in batches):
        if time.monotonic() > deadline:
            raise TimeoutError("the batches of the showcase are not drawn")
        time.sleep(POLL_SECONDS)


def _is_being_drawn(server: ApiServer, batch_id: UUID) -> bool:
    with server.database.read() as session:
        counts = count_jobs(session, batch_id)
    return bool(counts[JobState.PENDING] + counts[JobState.LEASED])


def _decide(server: ApiServer, shown: Showcase) -> None:
    """Do what the batches are called after, with those of which a sample is drawn."""
    database = server.database
    with database.write() as session:
        set_control(session, session.get_one(Batch, shown.paused), BatchControl.PAUSED)
    with database.write() as session:
        cancel(session, session.get_one(Batch, shown.cancelled), (), database.now(session))
    for batch_id in (shown.paused, shown.working):
        approve(database, batch_id)
