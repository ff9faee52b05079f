"""Model cards: what is known of a model without loading it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from shared.domain.prompts import Side
from shared.domain.quality import EXACTLY, QUALITIES, Quality, Shortcuts
from shared.domain.sampling import SamplerSettings
from shared.errors import ConfigurationError
from shared.models.grids import Grids, read_grids

CARD = "tenstep.json"
INDEX = "model_index.json"
FLEXIBLE_UNET = "flexible_unet"
"""Where DeciDiffusion's repositories keep the denoiser that is used in place of ``unet/``."""
SAFETY_CHECKER = "safety_checker"
TINY_VAE = "tiny_vae"
"""Where a model's tiny decoder is, which draws faster and not the same."""
UNKNOWN_LICENCE = "unknown"

PUBLISHED_SQUEEZED = SamplerSettings(
    steps=16, squeeze="10,6", guidance_scale=7.5, guidance_rescale=0.8
)
"""The settings of DeciDiffusion 2.0's published pipeline on Cloud AI 100."""
PLAIN = SamplerSettings(steps=16, squeeze=None, guidance_scale=7.5, guidance_rescale=0.0)
"""DPM-Solver++ at 16 steps, to which the brief compares; guidance as in SD's own pipeline."""

_FRONT_MATTER_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license: *['\"]?([\w.+-]+)")


class ModelCard(BaseModel):
    """``tenstep.json`` in a model's folder. Sizes are in pixels."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """What batches, queues and manifests call it."""
    title: str
    licence: str
    width: Side
    height: Side
    sampler: SamplerSettings
    max_prompt_tokens: int
    quality: Mapping[Quality, Shortcuts] = {}
    """What its images may be drawn without, where that is not what is right for most models."""
    weights: Literal["stored", "random"] = "stored"
    """Random weights are a preset's: they draw noise, at the speed of the real ones."""
    note: str | None = None
    """What must be said wherever the model is shown, such as that it is a reconstruction."""
    vocabulary_of: str | None = None
    """The shipped model whose tokenizer this one borrows, having none of its own."""
    revision: str | None = None
    """Commit of the repository that it was pulled from."""
    weights_sha256: str | None = None
    folder: Path = Path()

    def __hash__(self) -> int:
        """Hash what tells cards apart: not all of their fields can be hashed."""
        return hash((self.name, self.folder))

    @field_validator("quality")
    @classmethod
    def _exact_is_exact(cls, value: Mapping[Quality, Shortcuts]) -> Mapping[Quality, Shortcuts]:
        if value.get(Quality.EXACT, EXACTLY) != EXACTLY:
            raise ValueError("exact has no shortcuts")
        return value

    @property
    def qualities(self) -> Mapping[Quality, Shortcuts]:
        """What an image of each quality may be drawn without."""
        return {**QUALITIES, **self.quality}

    @property
    def has_safety_checker(self) -> bool:
        """Whether its images are looked at before they are published."""
        return (self.folder / SAFETY_CHECKER / "config.json").is_file()

    @property
    def has_tiny_decoder(self) -> bool:
        """Whether images may be decoded faster, and not quite as its own decoder does."""
        return (self.folder / TINY_VAE / "config.json").is_file()

    @property
    def searched_grids(self) -> Grids:
        """The timesteps that the scheduler ``searched`` takes, by their number.

        Raises:
            ConfigurationError: they are broken.
        """
        path = self.folder / "scheduler" / "scheduler_config.json"
        return read_grids(read_json(path)) if path.is_file() else {}

    @property
    def backend(self) -> Literal["torch", "onnxruntime"]:
        """What its networks are made for."""
        is_exported = (self.folder / "denoiser" / "model.onnx").is_file()
        return "onnxruntime" if is_exported else "torch"

    @property
    def denoiser_folder(self) -> Path:
        """``flexible_unet/`` where there is one, else ``unet/``."""
        flexible = self.folder / FLEXIBLE_UNET
        return flexible if flexible.is_dir() else self.folder / "unet"


def read_card(folder: Path) -> ModelCard:
    """Read a folder's ``tenstep.json``, or make a card from a diffusers folder's own files.

    Raises:
        ConfigurationError: it is neither, or a file is broken; names file and field.
    """
    path = folder / CARD
    document = read_json(path) if path.is_file() else _derived(folder)
    try:
        return ModelCard.model_validate({**document, "folder": folder})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {where}: {first['msg']}") from None


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        ConfigurationError: there is no such file, or it is no JSON object.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: not a JSON object")
    return document


def _derived(folder: Path) -> dict[str, Any]:
    is_flexible = (folder / FLEXIBLE_UNET).is_dir()
    denoiser_path = folder / (FLEXIBLE_UNET if is_flexible else "unet") / "config.json"
    denoiser = read_json(denoiser_path)
    denoiser = denoiser.get("configurations", denoiser)
    vae = read_json(folder / "vae" / "config.json")
    text = read_json(folder / "text_encoder" / "config.json")
    try:
        side = int(denoiser["sample_size"]) * 2 ** (len(vae["block_out_channels"]) - 1)
        tokens = int(text["max_position_embeddings"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{denoiser_path.parent.parent}: {error!r}") from None
    name = folder.resolve().name
    return {
        "name": name,
        "title": name,
        "licence": licence_in(folder / "README.md") or UNKNOWN_LICENCE,
        "width": side,
        "height": side,
        "sampler": PUBLISHED_SQUEEZED if is_flexible else PLAIN,
        "max_prompt_tokens": tokens,
    }


def licence_in(readme: Path) -> str | None:
    """Find the licence in the YAML head of a Hugging Face model card."""
    try:
        found = _FRONT_MATTER_LICENCE.match(readme.read_text("utf-8"))
    except OSError:
        return None
    return found[1] if found else None


def weight_files(folder: Path) -> list[Path]:
    """Return the files below a folder that hold numbers rather than settings, by path."""
    suffixes = {".safetensors", ".bin", ".onnx", ".data"}
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())


def card_facts(card: ModelCard) -> dict[str, Any]:
    """Return what is known of a model without looking at a weight, as plain values."""
    return {
        "name": card.name,
        "title": card.title,
        "licence": card.licence,
        "width": card.width,
        "height": card.height,
        "max_prompt_tokens": card.max_prompt_tokens,
        "sampler": card.sampler.model_dump(mode="json"),
        "searched_timesteps": card.searched_grids,
        "weights": card.weights,
        "note": card.note,
        "revision": card.revision,
        "safety_checker": card.has_safety_checker,
        "backend": card.backend,
        "disk_bytes": sum(path.stat().st_size for path in weight_files(card.folder)),
        "folder": str(card.folder),
    }
