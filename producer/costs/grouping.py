"""From rows of the books to groups: by batch, model, device, worker, tenant, tag or day."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.costs.amounts import Amounts, Entity, sums_by
from producer.costs.scope import MOST_NAMED, tag_names
from producer.costs_by import CostsBy
from shared.db.cost_sums import CostRow
from shared.db.tables import Batch, Worker
from shared.domain.identifiers import NOBODY

Key = tuple[str | date | None, ...]
"""The values of a grouping's `COLUMNS`; None where there is no such thing, as a batch's tag."""

COLUMNS: Mapping[CostsBy, Sequence[str]] = {
    CostsBy.BATCH: ("batch_id", "batch_name", "tenant", "model"),
    CostsBy.MODEL: ("model",),
    CostsBy.DEVICE: ("device_kind", "sku", "device_name"),
    CostsBy.WORKER: ("worker_id", "host", "device_kind", "sku", "device_name"),
    CostsBy.TENANT: ("tenant",),
    CostsBy.TAG: ("tag",),
    CostsBy.DAY: ("day",),
}
OF_WORKERS = frozenset({CostsBy.DEVICE, CostsBy.WORKER})


class BatchNames(NamedTuple):
    """What a batch is grouped by."""

    name: str
    tenant: str
    model: str
    tags: Mapping[str, Any] | None


UNKNOWN = BatchNames("", "", "", None)


class Grouped(NamedTuple):
    """Rows, grouped."""

    groups: Mapping[Key, Amounts]
    of_no_batch: Amounts
    """What no batch is to blame for; in groups by worker, device or day it has its place."""
    overlap: bool
    """Whether something is in several groups."""


def group(
    session: Session, rows: Iterable[CostRow], by: CostsBy, workers: Mapping[UUID, Worker]
) -> Grouped:
    """Group rows.

    Args:
        session: reads what is known of their batches.
        rows: with idle time shared out.
        by: not by job.
        workers: those of the rows.
    """
    of_no_batch = Amounts()
    if by is CostsBy.DAY:
        return Grouped(sums_by(rows, lambda row: (row.day,)), of_no_batch, overlap=False)
    if by in OF_WORKERS:
        each = sums_by(rows, lambda row: row.worker_id or NOBODY)
        keys = {worker_id: [_worker_key(by, workers, worker_id)] for worker_id in each}
        return Grouped(_merged(each, keys), of_no_batch, overlap=False)
    batches = sums_by(rows, lambda row: row.batch_id or NOBODY)
    of_no_batch = batches.pop(NOBODY, of_no_batch)
    names = _names(session, batches)
    batch_keys = {
        batch_id: _batch_keys(by, batch_id, names.get(batch_id, UNKNOWN)) for batch_id in batches
    }
    overlap = any(len(keys) > 1 for keys in batch_keys.values())
    return Grouped(_merged(batches, batch_keys), of_no_batch, overlap)


def _merged(
    sums: Mapping[Entity, Amounts], keys: Mapping[Entity, Sequence[Key]]
) -> dict[Key, Amounts]:
    groups: dict[Key, Amounts] = {}
    for entity, amounts in sums.items():
        for key in keys[entity]:
            groups.setdefault(key, Amounts()).add_all([amounts])
    return groups


def _worker_key(by: CostsBy, workers: Mapping[UUID, Worker], worker_id: UUID) -> Key:
    worker = workers.get(worker_id)
    if worker is None:
        device: Key = (None, None, None)
        which: Key = (None if worker_id == NOBODY else str(worker_id), None)
    else:
        device = (worker.device_kind, worker.device_sku, worker.device_name)
        which = (str(worker.id), worker.host)
    return device if by is CostsBy.DEVICE else (*which, *device)


def _batch_keys(by: CostsBy, batch_id: UUID, names: BatchNames) -> list[Key]:
    if by is CostsBy.TAG:
        return [(tag,) for tag in tag_names(names.tags)] or [(None,)]
    if by is CostsBy.MODEL:
        return [(names.model,)]
    if by is CostsBy.TENANT:
        return [(names.tenant,)]
    return [(str(batch_id), names.name, names.tenant, names.model)]


def _names(session: Session, batch_ids: Collection[UUID]) -> Mapping[UUID, BatchNames]:
    known = select(Batch.id, Batch.name, Batch.tenant, Batch.model, Batch.tags)
    if len(batch_ids) <= MOST_NAMED:
        known = known.where(Batch.id.in_(batch_ids))
    return {batch_id: BatchNames(*names) for batch_id, *names in session.execute(known)}
