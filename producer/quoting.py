"""Quotes of prompts that were counted: for a fleet, and for one of each device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from producer.amounts import usd
from producer.batch_options import BatchOptions
from producer.order import RefusedError, check_order
from producer.planning.offers import Work
from producer.prompt_files import PromptSource
from producer.prompt_shapes import CountedPrompts, count_prompts
from producer.quote import Fleet, Quote, make_quote
from producer.quote_batch import one_of_each
from producer.quote_grounds import Grounds, read_grounds
from producer.services import Services
from producer.settle import Settler
from shared.db.drawable_sizes import live_sizes
from shared.domain.jobs import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class QuotedPrompts:
    """What some prompts are expected to cost."""

    model: str
    prompts: CountedPrompts
    grounds: Grounds
    quotes: Sequence[Quote]
    unquoted: Fleet | None
    """The workers that are alive, if not all of their devices were measured."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "model": self.model,
            "images": self.prompts.total,
            "shapes": [
                {**shape._asdict(), "images": images}
                for shape, images in self.prompts.images.items()
            ],
            "rejected": self.prompts.rejects.to_json(),
            "waste_nanodollars_per_dollar": int(self.grounds.waste * 10**9),
            "prices": [
                {
                    "device_kind": kind,
                    "sku": sku,
                    "nanodollars_per_hour": rated.nanodollars_per_hour,
                    "usd_per_hour": usd(rated.nanodollars_per_hour),
                    "is_example": rated.is_example,
                }
                for (kind, sku), rated in self.grounds.rated.items()
            ],
            "quotes": [quote.to_json() for quote in self.quotes],
        }


def quote_prompts(
    model: str, prompts: CountedPrompts, grounds: Grounds, chunk_size: int, asked: Fleet | None
) -> QuotedPrompts:
    """Quote prompts for the fleet that is asked for, else the workers that live; and each device.

    Args:
        model: what draws them.
        prompts: how many of which shape.
        grounds: what is known of devices.
        chunk_size: jobs a queue message.
        asked: a fleet; None takes the workers that are alive.
    """
    work = Work(prompts.images, chunk_size)
    first, unquoted = asked or grounds.live, None
    if first is not None and any(bought not in grounds.rated for bought in first.bought):
        first, unquoted = None, first
    fleets = [*([first] if first else []), *one_of_each(grounds.rated)]
    quotes = [make_quote(work, fleet, grounds.rated, grounds.waste) for fleet in fleets]
    return QuotedPrompts(model, prompts, grounds, quotes, unquoted)


def quote_source(services: Services, options: BatchOptions, source: PromptSource) -> QuotedPrompts:
    """Read prompts and quote them for the workers that live, and for each device.

    Args:
        services: database and settings.
        options: what they would be submitted with.
        source: the prompts.

    Raises:
        InputError: no line can be drawn, or an option is wrong.
        NoRateError: nothing was measured yet.
        MissingPriceError: a device has no price.
    """
    settings = services.settings
    card = options.card(settings)
    order = options.order(DEFAULT_TENANT)
    check_order(order, card, settings)
    with services.database.read() as session:
        grounds = read_grounds(session, settings, card.name, services.database.now(session))
    sizes = live_sizes(services.database, card.name, timedelta(seconds=settings.lease_seconds))
    prompts = count_prompts(source, Settler(order.defaults, card, sizes))
    if not prompts.total:
        raise RefusedError(prompts.rejects, "no line of it can be drawn")
    return quote_prompts(card.name, prompts, grounds, settings.chunk_size, None)
