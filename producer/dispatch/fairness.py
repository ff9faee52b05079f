"""Whose jobs go next: tenants by their weights, then priority, deadline, and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

DEFAULT_WEIGHT = 1.0
NO_DEADLINE = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch that has jobs to send."""

    id: UUID
    tenant: str
    model: str
    priority: int = 0
    deadline_at: datetime | None = None
    is_limited: bool = False
    """Whether it, or its tenant, may cost only so much."""
    images_per_pass: int | None = None
    """How many of its images are to be drawn at once, if somebody said so."""

    @property
    def rank(self) -> tuple[int, datetime]:
        """What decides among a tenant's batches; the lowest goes first."""
        return -self.priority, self.deadline_at or NO_DEADLINE


class Shares:
    """What each tenant has had of one queue, in jobs by its weight.

    Stride scheduling (Waldspurger and Weihl, 1995): the tenant that has had least goes
    next. One that comes, or comes back, starts level with the one that has had least: it is
    served soon, and gets nothing for the time when it wanted nothing.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._had: dict[str, float] = {}
        self._least = 0.0
        self._turns: dict[UUID, int] = {}
        self._turn = 0

    def start_with(self, tenant: str, jobs: int) -> None:
        """Count what a tenant had before anybody counted."""
        self._had[tenant] = self._had.get(tenant, 0.0) + jobs / self._weight(tenant)

    def choose(self, batches: Sequence[OpenBatch]) -> OpenBatch:
        """Choose the batch of the next chunk.

        Args:
            batches: at least one, oldest first; the older goes first where all is equal.
        """
        tenant = min((batch.tenant for batch in batches), key=self._standing)
        of_tenant = [batch for batch in batches if batch.tenant == tenant]
        rank = min(batch.rank for batch in of_tenant)
        equals = [batch for batch in of_tenant if batch.rank == rank]
        return min(equals, key=lambda batch: self._turns.get(batch.id, 0))

    def charge(self, batch: OpenBatch, jobs: int) -> None:
        """Write down that the chosen batch has had a chunk of so many jobs."""
        self._least = standing = self._standing(batch.tenant)
        self._had[batch.tenant] = standing + jobs / self._weight(batch.tenant)
        self._turn += 1
        self._turns[batch.id] = self._turn

    def forget_all_but(self, batches: Sequence[OpenBatch]) -> None:
        """Drop what no longer matters: ended batches, and tenants that are owed no wait."""
        ids = {batch.id for batch in batches}
        self._turns = {batch: turn for batch, turn in self._turns.items() if batch in ids}
        self._had = {tenant: had for tenant, had in self._had.items() if had > self._least}

    def _weight(self, tenant: str) -> float:
        return self._weights.get(tenant, DEFAULT_WEIGHT)

    def _standing(self, tenant: str) -> float:
        return max(self._had.get(tenant, 0.0), self._least)
