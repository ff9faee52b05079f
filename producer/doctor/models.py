"""The models that the settings name: is all of each there?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from producer.doctor.finding import Finding, fault, fine
from shared.errors import ConfigurationError
from shared.models.card import ModelCard, weight_files
from shared.models.catalog import load_card
from shared.settings import Settings

LIST = "tenstep model list shows which there are; TENSTEP_MODEL and TENSTEP_ALSO_MODELS name them."
MB = 10**6
POINTER = b"version https://git-lfs"


def model_checks(settings: Settings) -> Sequence[str]:
    """Name a check for each model."""
    return [f"model {name}" for name in settings.served_models]


def examine_models(settings: Settings) -> Iterator[Finding]:
    """Read the card of each, and look whether its weights are there; none is loaded or hashed."""
    for check, name in zip(model_checks(settings), settings.served_models, strict=True):
        try:
            card = load_card(name, settings.resolved_models_dir)
        except ConfigurationError as error:
            yield fault(check, _first_part(error.message), error.hint or LIST)
            continue
        yield _check_weights(check, name, card)


def _first_part(message: str) -> str:
    """Leave away which other models there are: the remedy tells how to list them."""
    return message.partition(": neither ")[0]


def _check_weights(check: str, name: str, card: ModelCard) -> Finding:
    if card.weights == "random":
        return fine(check, "a preset with random weights: it draws noise")
    folders = _component_folders(card)
    missing = [folder.name for folder in folders if not _has_weights(folder)]
    if missing:
        return fault(
            check,
            f"no weights in {', '.join(missing)} of {card.folder}",
            f"Fetch it again: tenstep model pull {name}; then tenstep model verify {name}",
        )
    size = sum(path.stat().st_size for path in weight_files(card.folder))
    return fine(check, f"{size / MB:,.0f} MB for {card.backend}; tenstep model verify hashes it")


def _component_folders(card: ModelCard) -> Sequence[Path]:
    if card.backend == "onnxruntime":
        return [card.folder / name for name in ("text_encoder", "denoiser", "vae_decoder")]
    return [card.folder / "text_encoder", card.denoiser_folder, card.folder / "vae"]


def _has_weights(folder: Path) -> bool:
    return any(not _is_pointer(path) for path in weight_files(folder))


def _is_pointer(path: Path) -> bool:
    """Tell whether Git LFS was to put the file there, and did not."""
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER
