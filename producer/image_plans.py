"""Plans for a number of images of one kind, without their prompts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from producer.batch_options import Dollars, Hours
from producer.new_jobs import MAX_JOBS_A_BATCH
from producer.plan_offers import OnOffer, Terms, read_offers
from producer.planning.offers import Work
from producer.planning.plan import Plan, make_plan
from producer.rejects import first_reason
from producer.services import Services
from producer.settle import BatchDefaults, Settled, Settler
from shared.domain.money import NANOSECONDS, parse_dollars
from shared.domain.prompts import Label, PromptRequest
from shared.domain.rates import Shape
from shared.errors import InputError
from shared.models.card import ModelCard
from shared.models.catalog import load_served_card

START_UP_SECONDS = 180
"""From paying for a device until it begins to load the model."""
SECONDS_AN_HOUR = 3_600
ANY_PROMPT = PromptRequest(prompt="any")


class ImageWish(BatchDefaults):
    """What is to be drawn, by when, and for how much at most; what is left out is the model's."""

    images: int = Field(ge=1, le=MAX_JOBS_A_BATCH)
    model: Label | None = None
    deadline_hours: Hours
    max_cost_usd: Dollars | None = None


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A plan, and what it goes by."""

    card: ModelCard
    shape: Shape
    plan: Plan
    on_offer: OnOffer
    now: datetime


def plan_images(services: Services, wish: ImageWish) -> ImagePlan:
    """Find the cheapest fleet for some images, with devices that are ready after three minutes.

    Raises:
        InputError: there is no such model, or its settings do not fit together.
        NothingOnOfferError: no device has a price and a rate.
    """
    settings = services.settings
    card = load_served_card(wish.model, settings.model, settings.resolved_models_dir)
    settled = _settle(wish, card)
    shape = Shape.of_image(settled)
    work = Work({shape: wish.images}, settings.chunk_size)
    terms = Terms(start_up_ns=START_UP_SECONDS * NANOSECONDS)
    with services.database.read() as session:
        now = services.database.now(session)
        on_offer = read_offers(session, card.name, work, terms, now)
    deadline_ns = max(1, round(wish.deadline_hours * SECONDS_AN_HOUR)) * NANOSECONDS
    budget = None if wish.max_cost_usd is None else parse_dollars(wish.max_cost_usd)
    plan = make_plan(work, on_offer.offers, deadline_ns, budget)
    return ImagePlan(card, shape, plan, on_offer, now)


def _settle(wish: ImageWish, card: ModelCard) -> Settled:
    defaults = {name: getattr(wish, name) for name in BatchDefaults.model_fields}
    try:
        return Settler(BatchDefaults.model_validate(defaults), card).settle(ANY_PROMPT)
    except ValueError as error:
        raise InputError(first_reason(error)[1]) from None
