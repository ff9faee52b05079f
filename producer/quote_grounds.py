"""What quotes go by: the rates and prices of devices, the workers that live, waste so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from sqlalchemy import select
from sqlalchemy.orm import Session

from producer.local_devices import choose_devices
from producer.quote import Bought, Devices, Fleet, Origin, Rated
from shared.db.cost_sums import read_costs
from shared.db.cost_tables import Price
from shared.db.fleet import live_models
from shared.db.prices import MissingPriceError, device_name
from shared.db.rates import read_rates
from shared.db.served_models import Served, of_model
from shared.db.tables import Batch
from shared.domain.devices import Device
from shared.domain.jobs import LedgerKind
from shared.domain.rates import DeviceRate, by_sku
from shared.errors import TenstepError
from shared.settings import Settings

LATEST_BATCHES = 200
"""Whose waste is taken for that of the next."""
WASTE_OF_ATTEMPTS = (LedgerKind.FAILED_ATTEMPT, LedgerKind.DUPLICATE)


class NoRateError(TenstepError):
    """Nobody knows how long an image takes: nothing can be said of its cost."""

    def __init__(self, model: str, bought: Bought | None = None) -> None:
        where = f" on {device_name(*bought)}" if bought else ""
        super().__init__(
            f"nothing is known yet of how long images of {model} take{where}",
            hint="Measure it: tenstep calibrate draws a few images, and says what that cost.",
        )


@dataclass(frozen=True, slots=True)
class Grounds:
    """What quotes for a model go by."""

    rated: Mapping[Bought, Rated]
    live: Fleet | None
    """The workers that are alive and take jobs of the model."""
    waste: Fraction
    """What attempts without an image have cost so far for each dollar of images."""


def read_grounds(session: Session, settings: Settings, model: str, now: datetime) -> Grounds:
    """Return what is known of a model's images.

    Raises:
        NoRateError: nothing is.
        MissingPriceError: a device whose rate is known has no price.
    """
    rates = by_sku(read_rates(session, model))
    if not rates:
        raise NoRateError(model)
    return Grounds(
        {bought: _rated(session, bought, rates[bought], now) for bought in sorted(rates)},
        live_fleet(session, settings, model, now),
        waste_so_far(session, model),
    )


def rated_where_priced(session: Session, model: str, now: datetime) -> Mapping[Bought, Rated]:
    """Return what is known of the devices that have a price."""
    rated = {}
    for bought, rates in sorted(by_sku(read_rates(session, model)).items()):
        try:
            rated[bought] = _rated(session, bought, rates, now)
        except MissingPriceError:
            continue
    return rated


def _rated(session: Session, bought: Bought, rates: Sequence[DeviceRate], now: datetime) -> Rated:
    kind, sku = bought
    in_force = (
        select(Price)
        .where(Price.device_kind == kind, Price.sku == sku, Price.effective_from <= now)
        .order_by(Price.effective_from.desc())
        .limit(1)
    )
    price = session.scalar(in_force)
    if price is None:
        raise MissingPriceError(kind, sku)
    return Rated(rates, price.nanodollars_per_hour, price.is_example)


def live_fleet(session: Session, settings: Settings, model: str, now: datetime) -> Fleet | None:
    """Return the workers that are alive and take jobs of a model, or None.

    One that has claimed before and has the model in memory has its loading on somebody else's bill.
    """
    silence = timedelta(seconds=settings.lease_seconds)
    counts = Counter(
        (one.worker.device_kind, one.worker.device_sku, _is_loaded_and_paid(one))
        for one in of_model(live_models(session, now, silence), model)
        if not one.worker.draining
    )
    devices = [
        Devices(kind, sku, count, is_loaded=is_loaded)
        for (kind, sku, is_loaded), count in sorted(counts.items())
    ]
    return Fleet(devices, Origin.LIVE) if devices else None


def _is_loaded_and_paid(served: Served) -> bool:
    return served.is_loaded and served.worker.last_claim_at is not None


def waste_so_far(session: Session, model: str) -> Fraction:
    """Return what attempts without an image cost for each dollar of images; 0 if unknown."""
    latest = (
        select(Batch.id).where(Batch.model == model).order_by(Batch.id.desc()).limit(LATEST_BATCHES)
    )
    costs: Counter[LedgerKind] = Counter()
    for row in read_costs(session, batch_ids=session.scalars(latest).all()):
        costs[row.kind] += row.booked.nanodollars
    of_images = costs[LedgerKind.RENDER]
    wasted = sum(costs[kind] for kind in WASTE_OF_ATTEMPTS)
    return Fraction(wasted, of_images) if of_images else Fraction(0)


def local_fleet(settings: Settings, workers: int) -> Fleet:
    """Return workers that this host could start: so many for each of its devices.

    Raises:
        ConfigurationError: the settings name a device that it does not have.
    """
    places = [Device.parse_all(name) for name in choose_devices(settings.device).names]
    kinds = Counter(device.kind for devices in places for device in devices)
    sku = settings.device_sku
    return Fleet(
        [Devices(kind, sku, count * workers) for kind, count in kinds.items()], Origin.ASKED
    )
