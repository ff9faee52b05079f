"""``qaic.Session``: a program on a card, with static shapes."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from qaic import environment, program
from qaic.cards import all_cards, obey, require_ready
from qaic.errors import QaicError

MEGABYTE = 10**6

Array = npt.NDArray[Any]

_loaded_bytes: dict[int, int] = defaultdict(int)
"""Of programs on a card, by QID; of this process alone."""


class ShapeDict(dict[str, tuple[list[int], np.dtype[Any]]]):
    """Shapes and types by name; the SDK's samples read it, its guide calls it."""

    def __call__(self) -> ShapeDict:
        """Return itself."""
        return self


class Session:
    """A program that is loaded on one card."""

    def __init__(
        self,
        model_path: str | Path,
        options_path: str | None = None,
        *,
        dev_id: int | None = None,
        num_activations: int = 1,
        set_size: int = 10,
        **_options: Any,
    ) -> None:
        """Choose program and card.

        Args:
            model_path: a ``programqpc.bin``.
            options_path: not looked at.
            dev_id: the QID; None takes the first card.
            num_activations: not looked at.
            set_size: not looked at.
            _options: the SDK has more, for metrics and profiles.

        Raises:
            QaicError: the card is not ready, or the program is none of this SDK version.
        """
        qids = [card.qid for card in all_cards()]
        self._qid = dev_id if dev_id is not None else (qids or [0])[0]
        card = require_ready(self._qid)
        self._path = Path(model_path)
        manifest = program.read_manifest(self._path)
        if manifest.cores > card.cores:
            raise QaicError(
                f"'{self._path}' needs {manifest.cores} cores, device {self._qid} has {card.cores}"
            )
        self.model_input_shape_dict = _shapes(manifest.inputs)
        self.model_output_shape_dict = _shapes(manifest.outputs)
        self._bytes = self._path.stat().st_size
        self._session: Any = None

    def setup(self) -> None:
        """Load the program.

        Raises:
            QaicError: the card is not ready, or has no memory left.
        """
        if self._session is not None:
            return
        card = require_ready(self._qid)
        if _loaded_bytes[self._qid] + self._bytes > card.dram_mb * MEGABYTE:
            raise QaicError(f"device {self._qid}: failed to allocate memory for '{self._path}'")
        # A command that lists cards does without.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = environment.threads()
        options.log_severity_level = 3
        with TemporaryDirectory(prefix="qaic-emulator-") as folder:
            self._session = onnxruntime.InferenceSession(
                str(program.unpack(self._path, Path(folder))),
                options,
                providers=["CPUExecutionProvider"],
            )
        _loaded_bytes[self._qid] += self._bytes
        self._free = weakref.finalize(self, _take_off, self._qid, self._bytes)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the program once.

        Raises:
            QaicError: the card is lost, or was told to fail.
            TypeError: an input has another type than the program's.
            ValueError: an input is missing, unknown or has another shape.
        """
        self.setup()
        obey(self._qid)
        self._check(inputs)
        names = list(self.model_output_shape_dict)
        outputs = self._session.run(names, dict(inputs))
        # A card that is lost during a run has no result to give.
        require_ready(self._qid)
        return dict(zip(names, outputs, strict=True))

    def reset(self) -> None:
        """Take the program off the card."""
        if self._session is not None:
            self._session = None
            self._free()

    def _check(self, inputs: Mapping[str, Array]) -> None:
        for name in inputs.keys() | self.model_input_shape_dict.keys():
            if name not in inputs:
                raise ValueError(f"input '{name}' is missing")
            if name not in self.model_input_shape_dict:
                raise ValueError(f"the program has no input '{name}'")
            shape, dtype = self.model_input_shape_dict[name]
            array = inputs[name]
            if array.dtype != dtype:
                raise TypeError(f"input '{name}' is {array.dtype}, the program takes {dtype}")
            if list(array.shape) != shape:
                raise ValueError(
                    f"input '{name}' has shape {list(array.shape)}, the program takes {shape}"
                )


def _take_off(qid: int, size: int) -> None:
    _loaded_bytes[qid] -= size


def _shapes(tensors: program.Tensors) -> ShapeDict:
    return ShapeDict({name: (shape, np.dtype(kind)) for name, (shape, kind) in tensors.items()})
