"""Programs for the emulated Cloud AI 100, and what its cards are told to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shared.models.card import ModelCard, read_card
from support.tiny_model import write_tiny_model
from worker.export.export import export_model
from worker.qaic.compile import CompileReport, compile_order, make_order
from worker.qaic.store import QpcStore

STATE = "QAIC_EMULATOR_STATE"
SIZES = ((64, 64), (88, 72))


def tell(state: Path, qid: int, behaviour: str) -> None:
    """Tell an emulated card what to do from now on: see infra/qaic-emulator/README.md."""
    state.mkdir(parents=True, exist_ok=True)
    (state / str(qid)).write_text(behaviour, "utf-8")


def exported_tiny(folder: Path) -> ModelCard:
    """Write the tiny model and export it."""
    export_model(read_card(write_tiny_model(folder / "tiny")), folder / "onnx")
    return read_card(folder / "onnx")


def compiled(
    card: ModelCard,
    models_dir: Path,
    *,
    sizes: Sequence[tuple[int, int]] = SIZES,
    images: int = 1,
    sku: str = "ai100-std",
) -> CompileReport:
    """Compile a model with the emulator."""
    return compile_order(make_order(card, sizes, images, sku), QpcStore(models_dir))
