"""The measurements in a folder, and the page that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from shared.errors import InputError
from shared.files import atomic_file

RESULTS = Path(__file__).parent.parent / "results"
"""What was measured on the project's own hardware."""
PAGE = Path(__file__).parent.parent / "report.md"
STEPS, CONTEST, RANKING = "steps", "contest", "ranking"
TUNED, TUNED_STRONGER = "steps-tuned", "steps-tuned-stronger"
"""Of the fine-tuned model against its own plain steps: sixteen, and the stronger twelve."""
CONTROL, DISTILLED, AGAIN = "control", "distilled", "again"
AGAINST_FIRST = "against-first"
"""What ``tenstep eval`` wrote of the first weights that shipped and of today's."""
SPEEDS = {"torch": "speed-torch", "ONNX Runtime": "speed-onnxruntime"}
DISTILLED_SPEEDS = {"torch": "speed-distilled-torch", "ONNX Runtime": "speed-distilled-onnxruntime"}
"""By engine."""
TABLE_TORCH, TABLE_ONNX = "table-torch", "table-onnxruntime"
SMALL, FULL = "small", "full"
"""Folders of the searches."""

Document = TypeVar("Document", bound=BaseModel)


def read_result(kind: type[Document], name: str) -> Document:
    """Read one measurement.

    Raises:
        InputError: it was not made yet, or is not what it has to be.
    """
    path = RESULTS / f"{name}.json"
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError:
        raise InputError(
            f"{path.name}: was not measured yet", hint="python -m training.report --help"
        ) from None
    except ValueError as error:
        raise InputError(f"{path.name}: {error}") from None


def write_result(document: BaseModel, name: str) -> Path:
    """Write one measurement, whole or not at all."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(document.model_dump_json(indent=1).encode() + b"\n")
    return path
