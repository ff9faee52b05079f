"""Which fleet draws some images by a deadline, and what that costs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from producer.api.context import ContextOf, Reader
from producer.dashboard.pages import page
from producer.dashboard.plan_picture import picture_of
from producer.image_plans import ImageWish, plan_images
from producer.plan_json import finish_at
from producer.plan_offers import NothingOnOfferError, by_reason
from producer.plan_words import fleet_name, offer_name
from producer.rejects import first_reason
from shared.errors import ConfigurationError, InputError
from shared.models.catalog import served_cards

router = APIRouter(prefix="/plan")

Typed = Annotated[str, Field(max_length=128)]


class PlanForm(BaseModel):
    """What was typed, be it right or wrong; it is shown again as it was."""

    model_config = ConfigDict(extra="forbid")

    images: Typed = ""
    model: Typed = ""
    width: Typed = ""
    height: Typed = ""
    steps: Typed = ""
    squeeze: Typed = ""
    deadline_hours: Typed = ""
    max_cost_usd: Typed = ""

    @property
    def filled(self) -> dict[str, str]:
        """The fields that were not left empty."""
        typed: dict[str, str] = self.model_dump()
        return {name: text.strip() for name, text in typed.items() if text.strip()}


@router.get("")
def show_plan(
    request: Request, context: ContextOf, who: Reader, form: Annotated[PlanForm, Query()]
) -> Response:
    """Show a form and, when it is filled in, the plan for it."""
    del who
    settings = context.settings
    cards = served_cards(settings.model, settings.resolved_models_dir)
    shown: dict[str, Any] = {"form": form, "cards": cards, "wrong": None, "found": None}
    if not form.filled:
        return page(request, "plan.html", **shown)
    try:
        found = plan_images(context.services, _wish(form))
    except NothingOnOfferError as error:
        return page(request, "plan.html", **shown | {"wrong": error})
    except (ConfigurationError, InputError) as error:
        code = HTTPStatus.UNPROCESSABLE_ENTITY
        return page(request, "plan.html", code=code, **shown | {"wrong": error})
    plan = found.plan
    fleet = plan.fleet or plan.soonest
    return page(
        request,
        "plan.html",
        **shown
        | {
            "found": found,
            "fleet": fleet,
            "finish_at": finish_at(found.now, fleet),
            "picture": picture_of(plan),
            "left_out": by_reason(found.on_offer.left_out),
            "fleet_name": fleet_name,
            "offer_name": offer_name,
        },
    )


def _wish(form: PlanForm) -> ImageWish:
    filled = form.filled
    for field, what in (("images", "how many images"), ("deadline_hours", "by when")):
        if field not in filled:
            raise InputError(f"{field.replace('_', ' ')}: say {what}")
    try:
        return ImageWish.model_validate(filled)
    except ValidationError as error:
        name, reason = first_reason(error)
        raise InputError(f"{str(name).replace('_', ' ')}: {reason}") from None
