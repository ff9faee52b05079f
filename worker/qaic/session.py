"""The thin boundary to the SDK's module: a program on a card, from tensors to a tensor.

The SDK documents an older Python than this one, so nothing of it is imported elsewhere, and
what its versions do differently is smoothed here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from shared.errors import ConfigurationError, DeviceFaultError, TenstepError
from worker.qaic.cards import find_cards
from worker.qaic.tools import import_qaic
from worker.retry import DeviceLostError, is_out_of_memory

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]

ONE_AT_ONCE = {"num_activations": 1, "set_size": 1}


class CardSession:
    """One program, loaded on one card."""

    def __init__(self, path: Path, qid: int) -> None:
        """Load a program.

        Args:
            path: a ``programqpc.bin``.
            qid: the card.

        Raises:
            ConfigurationError: the SDK's module is missing, or the card does not take the program.
            DeviceFaultError: the card is gone or not ready.
            MemoryError: the card has no room for it.
        """
        qaic = import_qaic()
        self._where = f"qaic:{qid}"
        self._lock = threading.Lock()
        try:
            self._session = qaic.Session(model_path=str(path), dev_id=qid, **ONE_AT_ONCE)
            self._session.setup()
        except Exception as error:  # of errors the SDK documents no classes
            if is_out_of_memory(error):
                raise MemoryError(f"{self._where}: {error}") from error
            raise _refusal(path, qid, error) from error
        self._inputs = _shapes(self._session.model_input_shape_dict)
        outputs = _shapes(self._session.model_output_shape_dict)
        if len(outputs) != 1:
            raise ConfigurationError(f"{path}: has the outputs {', '.join(outputs)}, not one")
        ((self._output, (self._output_shape, self._output_type)),) = outputs.items()

    @property
    def batch(self) -> int:
        """Samples that a run takes."""
        return next(iter(self._inputs.values()))[0][0]

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Run the program once, on tensors of the processor of exactly its shapes.

        Returns:
            Its output, in float32.

        Raises:
            DeviceLostError: the card or its driver failed.
            MemoryError: the card had no room.
        """
        arrays = {name: self._array(name, tensor) for name, tensor in inputs.items()}
        try:
            # A session is documented for one thread at a time.
            with self._lock:
                output = self._session.run(arrays)[self._output]
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError(f"{self._where}: {error}") from error
            raise DeviceLostError(f"{self._where}: {_first_line(error)}") from error
        # Some versions give flat bytes.
        flat = np.frombuffer(output, dtype=self._output_type)
        array = flat.reshape(self._output_shape).astype(np.float32)
        return torch.from_numpy(array)

    def close(self) -> None:
        """Take the program off the card.

        Raises:
            DeviceLostError: the card or its driver failed.
        """
        try:
            with self._lock:
                self._session.reset()
        except Exception as error:
            raise DeviceLostError(f"{self._where}: {_first_line(error)}") from error

    def _array(self, name: str, tensor: Tensor) -> Array:
        shape, dtype = self._inputs[name]
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, and the program takes {shape}"
            )
        return np.ascontiguousarray(tensor.numpy().astype(dtype, copy=False))


def _refusal(path: Path, qid: int, error: Exception) -> TenstepError:
    """Find out whether a card does not take a program, or takes nothing any more."""
    card = next((card for card in find_cards() if card.qid == qid), None)
    if card is None or not card.is_ready:
        said = card.status if card else "gone"
        return DeviceFaultError(f"qaic:{qid}: {said}: {_first_line(error)}")
    return ConfigurationError(f"qaic:{qid}: does not take {path}: {_first_line(error)}")


def _shapes(told: Any) -> Shapes:
    """Read names to (shape, type); it is a mapping in one version, a method in another."""
    mapping = told() if callable(told) else told
    return {
        str(name): (tuple(int(size) for size in shape), np.dtype(dtype))
        for name, (shape, dtype) in mapping.items()
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]
