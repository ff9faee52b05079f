"""OpenAI's list of models."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path

from producer.api.context import NEEDS_READ, ContextOf
from producer.api.openai.documents import ModelObject, ModelPage
from producer.api.problems import OPENAI_ERRORS, ApiError
from shared.errors import ConfigurationError
from shared.models.card import ModelCard
from shared.models.catalog import load_served_card, served_cards

router = APIRouter(
    prefix="/v1/models", tags=["openai"], responses=OPENAI_ERRORS, dependencies=[NEEDS_READ]
)

OWNER = "tenstep"
MAX_SHOWN = 64


@router.get("", summary="List models", response_model=ModelPage)
def list_openai_models(context: ContextOf) -> dict[str, Any]:
    """Return the models that can be asked for, the server's default first."""
    settings = context.settings
    cards = served_cards(settings.model, settings.resolved_models_dir)
    return {"object": "list", "data": [_model_object(card) for card in cards]}


@router.get("/{model:path}", summary="Look at a model", response_model=ModelObject)
def get_openai_model(
    context: ContextOf, model: Annotated[str, Path(examples=["emoji-64"])]
) -> dict[str, Any]:
    """Return a model by its name."""
    settings = context.settings
    try:
        card = load_served_card(model, settings.model, settings.resolved_models_dir)
    except ConfigurationError:
        raise ApiError(
            HTTPStatus.NOT_FOUND, f"there is no model {model[:MAX_SHOWN]}", code="model_not_found"
        ) from None
    return _model_object(card)


def _model_object(card: ModelCard) -> dict[str, Any]:
    owner = card.name.split("/")[0] if "/" in card.name else OWNER
    return {
        "id": card.name,
        "object": "model",
        "created": int(card.folder.stat().st_mtime),
        "owned_by": owner,
    }
