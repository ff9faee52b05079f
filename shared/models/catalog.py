"""Model cards: ``tenstep.json`` in a model's folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.domain.prompts import Side
from shared.domain.sampling import SamplerSettings
from shared.errors import ConfigurationError

SHIPPED = Path(__file__).parent
CARD = "tenstep.json"


class ModelCard(BaseModel):
    """What is known of a model without loading it. Sizes are in pixels."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    title: str
    licence: str
    width: Side
    height: Side
    sampler: SamplerSettings
    max_prompt_tokens: int
    folder: Path = Path()


def load_card(name: str) -> ModelCard:
    """Find a model that ships with tenstep by name, or any by its folder.

    Raises:
        ConfigurationError: there is none, or its card is broken.
    """
    shipped = SHIPPED / name
    folder = shipped if (shipped / CARD).is_file() else Path(name)
    card = folder / CARD
    try:
        text = card.read_text("utf-8")
    except OSError:
        names = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}")))
        raise ConfigurationError(
            f"no model {name!r}: neither one that ships with tenstep ({names}) "
            f"nor a folder with a {CARD}"
        ) from None
    try:
        return ModelCard.model_validate_json(text, extra="ignore").model_copy(
            update={"folder": folder}
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{card}: {where}: {first['msg']}") from None
