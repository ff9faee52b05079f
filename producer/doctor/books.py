"""The live workers in the database: their prices and versions, and devices that are out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from producer.doctor.finding import Finding, fault, fine, warning
from shared.db.device_faults import list_faults
from shared.db.fleet import live_workers
from shared.db.prices import MissingPriceError, price_in_force
from shared.db.tables import Worker
from shared.settings import Settings
from shared.version import VERSION

MOST_NAMED = 5
NOBODY = "no worker is alive"


def check_prices(check: str, session: Session, settings: Settings, now: datetime) -> Finding:
    """Find kinds of devices that draw, and whose price nobody has set."""
    workers = _live(session, settings, now)
    kinds = sorted({(worker.device_kind, worker.device_sku) for worker in workers})
    missing = list(_missing(session, kinds, now))
    if missing:
        found = "; ".join(error.message for error in missing)
        remedies = " ".join(error.hint or "" for error in missing)
        return fault(check, f"{found}: live workers on it can claim no job", remedies)
    if not kinds:
        return fine(check, NOBODY)
    of_kinds = "kind of device" if len(kinds) == 1 else "kinds of devices"
    return fine(check, f"set for {len(kinds)} {of_kinds} that live workers have")


def _missing(
    session: Session, kinds: Sequence[tuple[str, str]], now: datetime
) -> Iterator[MissingPriceError]:
    for kind, sku in kinds:
        try:
            price_in_force(session, kind, sku, now)
        except MissingPriceError as error:
            yield error


def check_workers(check: str, session: Session, settings: Settings, now: datetime) -> Finding:
    """Find live workers of other versions of tenstep."""
    versions = Counter(worker.version for worker in _live(session, settings, now))
    alive = versions.total()
    if not alive:
        return fine(check, NOBODY)
    others = {version: count for version, count in versions.items() if version != VERSION}
    if not others:
        return fine(check, f"{alive} alive, of tenstep {VERSION}")
    listed = ", ".join(f"{count} of tenstep {version}" for version, count in others.items())
    return warning(
        check,
        f"of {alive} alive {listed}; this is {VERSION}",
        "Bring all to one version: start new ones, then stop the others, which give back what "
        "they have not begun.",
    )


def check_faulty_devices(check: str, session: Session, now: datetime) -> Finding:
    """Find devices, on whichever host, that workers took out."""
    faults = list_faults(session, now)
    if not faults:
        return fine(check, "none was taken out")
    named = [f"{one.device} on {one.host}: {one.reason}" for one in faults[:MOST_NAMED]]
    more = [f"{len(faults) - MOST_NAMED} more"] if len(faults) > MOST_NAMED else []
    return warning(
        check,
        "; ".join([*named, *more]),
        "See to these devices; each is tried again by itself. tenstep fleet lists them.",
    )


def _live(session: Session, settings: Settings, now: datetime) -> Sequence[Worker]:
    return live_workers(session, now, timedelta(seconds=settings.lease_seconds))
