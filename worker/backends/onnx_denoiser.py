"""A denoiser in three sessions: what follows from time and text is computed once a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import ConfigurationError
from worker.backends.onnx_graphs import OF_TEXT, OF_TIME, cut, fuse_attention

MOST_TIMES = 32
"""Steps of which what follows from the timestep is kept: more than any schedule here takes."""

Arrays = dict[str, NDArray[Any]]


class CutDenoiser:
    """Runs an exported denoiser; results are those of its plain graph."""

    def __init__(self, path: Path, open_part: Callable[[bytes], Any]) -> None:
        """Cut a graph and open its parts.

        Args:
            path: of the plain graph.
            open_part: makes a session of a graph.

        Raises:
            ConfigurationError: the graph is missing or broken, or no denoiser's.
        """
        try:
            model = onnx.load(path, load_external_data=False)
            fuse_attention(model)
            parts = cut(model)
        except Exception as error:  # noqa: BLE001 - of a broken file it raises anything
            raise ConfigurationError(f"{path}: {str(error).splitlines()[0]}") from None
        self._time = open_part(parts.time.SerializeToString())
        self._text = open_part(parts.text.SerializeToString())
        self._rest = open_part(parts.rest.SerializeToString())
        self._times: dict[tuple[int, ...], Arrays] = {}
        self._last_text: tuple[Tensor, Arrays] | None = None

    def __call__(self, sample: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        """Run it once: (B, C, H, W), (B,) int64, (B, T, D) to (B, C, H, W)."""
        inputs = {
            "sample": sample.contiguous().numpy(),
            **self._of_time(timestep),
            **self._of_text(text),
        }
        return torch.from_numpy(self._rest.run(None, inputs)[0])

    def _of_time(self, timestep: Tensor) -> Arrays:
        key = tuple(timestep.tolist())
        if key not in self._times:
            if len(self._times) == MOST_TIMES:
                self._times.pop(next(iter(self._times)))
            self._times[key] = _outputs(self._time, OF_TIME, timestep)
        return self._times[key]

    def _of_text(self, text: Tensor) -> Arrays:
        # By value: a tensor may be filled anew, and to compare takes far less than a step.
        if self._last_text is None or not torch.equal(self._last_text[0], text):
            self._last_text = text.clone(), _outputs(self._text, OF_TEXT, text)
        return self._last_text[1]


def _outputs(session: Any, name: str, tensor: Tensor) -> Arrays:
    names = [value.name for value in session.get_outputs()]
    found = session.run(None, {name: tensor.contiguous().numpy()})
    return dict(zip(names, found, strict=True))
