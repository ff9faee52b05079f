"""Prices that are set after the fact, and somebody who has drawn before it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from producer.reconcile.proof import prove
from shared.db.corrections import Corrected, correct
from shared.db.cost_tables import LedgerEntry, Price
from shared.db.engine import Database
from shared.db.fleet import mark_stopped
from shared.db.price_spans import PriceSpan
from shared.db.prices import keep_others_from_pricing, price_steps
from shared.domain.jobs import LedgerKind
from shared.storage.folder import FolderStore
from support.drawing import Drawer
from support.factories import add_batch, add_price

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def set_price(
    session: Session, begin: datetime, nanodollars_per_hour: int, kind: str = "cpu", sku: str = ""
) -> Corrected:
    """Set a price from a moment on, and correct what was booked since then."""
    keep_others_from_pricing(session)
    span = span_from(session, begin, kind, sku)
    price = add_price(
        session,
        device_kind=kind,
        sku=sku,
        nanodollars_per_hour=nanodollars_per_hour,
        effective_from=begin,
    )
    return correct(session, price, span)


def span_from(session: Session, begin: datetime, kind: str = "cpu", sku: str = "") -> PriceSpan:
    begins = [step.effective_from for step in price_steps(session, kind, sku)]
    return PriceSpan(kind, sku, begin, min((at for at in begins if at > begin), default=None))


class Fleet:
    """A worker that drew four images, an hour ago."""

    def __init__(self, database: Database, folder: Path, now: datetime) -> None:
        self.database = database
        self.began = now - HOUR
        self.drawer = Drawer(database, FolderStore(folder), now=self.began)
        with database.write() as session:
            self.batch_id = add_batch(session, jobs=8, created_at=self.began).id
        self.drawer.now += MINUTE
        self.drawer.draw(self.batch_id, 4)

    def stop(self) -> None:
        with self.database.write() as session:
            mark_stopped(session, self.drawer.worker_id, self.began + HOUR / 2)


def rates_of(database: Database, kind: str = "cpu", sku: str = "") -> Sequence[int]:
    with database.read() as session:
        return session.scalars(
            select(Price.nanodollars_per_hour)
            .where(Price.device_kind == kind, Price.sku == sku)
            .order_by(Price.effective_from)
        ).all()


def corrections(database: Database) -> int:
    with database.read() as session:
        of_kind = LedgerEntry.kind == LedgerKind.CORRECTION
        return session.scalar(select(func.count()).where(of_kind)) or 0


def assert_proved(database: Database) -> None:
    with database.snapshot() as session:
        proof = prove(session)
    assert proof.holds, [finding.examples for finding in proof.findings if finding.differences]
