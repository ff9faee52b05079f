"""A plan as programs read it: times in nanoseconds, money in decimal dollars."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from producer.amounts import usd
from producer.plan_offers import LeftOut, OnOffer
from producer.planning.fleet import Fleet, Hired
from producer.planning.offers import Offer
from producer.planning.plan import Plan, Remedy
from producer.prompt_shapes import CountedPrompts
from shared.domain.money import NANOSECONDS, NANOSECONDS_PER_MICROSECOND


def plan_json(
    plan: Plan, model: str, prompts: CountedPrompts, on_offer: OnOffer, now: datetime
) -> dict[str, Any]:
    """Return a plan as plain values."""
    return {
        "model": model,
        "images": plan.work.total,
        "shapes": [
            {**shape._asdict(), "images": images} for shape, images in plan.work.images.items()
        ],
        "rejected": prompts.rejects.to_json(),
        "deadline_ns": plan.deadline_ns,
        "max_cost_usd": None if plan.budget is None else usd(plan.budget),
        "possible": plan.is_possible,
        "fleet": _optional(plan.fleet),
        "finish_at": None if plan.fleet is None else finish_at(now, plan.fleet).isoformat(),
        "late_finish_ns": plan.late_finish_ns,
        "soonest": _fleet(plan.soonest),
        "within_max_cost": None if plan.remedy is None else _remedy(plan.remedy),
        "single_kind": [_fleet(fleet) for fleet in plan.by_kind],
        "frontier": [_fleet(fleet) for fleet in plan.frontier],
        "offers": [_offer(offer) for offer in on_offer.offers],
        "not_considered": [_left_out(left) for left in on_offer.left_out],
    }


def finish_at(now: datetime, fleet: Fleet) -> datetime:
    """Return when a fleet is done that is started now."""
    return now + timedelta(microseconds=fleet.finish_ns // NANOSECONDS_PER_MICROSECOND)


def _optional(fleet: Fleet | None) -> dict[str, Any] | None:
    return None if fleet is None else _fleet(fleet)


def _fleet(fleet: Fleet) -> dict[str, Any]:
    return {
        "finish_ns": fleet.finish_ns,
        "cost_usd": usd(fleet.nanodollars),
        "devices": fleet.devices,
        "hired": [_hired(hired) for hired in fleet.hired],
    }


def _hired(hired: Hired) -> dict[str, Any]:
    return {
        "device_kind": hired.offer.device_kind,
        "sku": hired.offer.sku,
        "spot": hired.offer.is_spot,
        "devices": hired.devices,
        "usd_per_hour": usd(hired.offer.nanodollars_per_hour),
        "images": hired.images,
        "images_per_second": hired.devices * NANOSECONDS / hired.image_ns,
        "cost_usd": usd(hired.nanodollars),
    }


def _remedy(remedy: Remedy) -> dict[str, Any]:
    bought = remedy.bought
    return {
        "soonest": _optional(remedy.soonest),
        "cheapest": _fleet(remedy.cheapest),
        "images": None
        if bought is None
        else {
            "images": bought.images,
            "device_kind": bought.offer.device_kind,
            "sku": bought.offer.sku,
            "finish_ns": bought.finish_ns,
        },
    }


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "device_kind": offer.device_kind,
        "sku": offer.sku,
        "spot": offer.is_spot,
        "usd_per_hour": usd(offer.nanodollars_per_hour),
        "example_price": offer.is_example,
        "rate": offer.basis.value,
        "image_ns": [
            {**shape._asdict(), "expected": expected, "late": offer.late_image_ns[shape]}
            for shape, expected in offer.image_ns.items()
        ],
        "load_ns": offer.load_ns,
        "start_up_ns": offer.start_up_ns,
        "most": offer.most,
    }


def _left_out(left: LeftOut) -> dict[str, Any]:
    return {"device_kind": left.device_kind, "sku": left.sku, "reason": left.reason}
