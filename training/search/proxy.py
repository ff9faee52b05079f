"""How good a member is thought to be, without training it: what the supernet's slices score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.errors import InputError
from training.search.exam import Exam, Marks
from training.search.family import Member
from training.search.space import Space
from training.search.supernet import Supernet

_FILE = "proxy.safetensors"
_EXAM, _WEIGHTS = "exam.", "weights."


@dataclass(frozen=True)
class Proxy:
    """A supernet and its exam, whose texts are encoded already."""

    supernet: Supernet
    exam: Exam

    def marks(self, member: Member) -> Marks:
        """Return the errors that a member makes with the supernet's weights."""

        def predict(noisy: Tensor, timesteps: Tensor, contexts: Tensor) -> Tensor:
            prediction: Tensor = self.supernet(noisy, timesteps, contexts, member)
            return prediction

        return self.exam.marks(predict)

    def __call__(self, member: Member) -> float:
        """Return the error on pictures that training sees: what such a small model is to draw."""
        return self.marks(member).trained


def save_proxy(proxy: Proxy, folder: Path) -> None:
    """Write weights and questions, for `load_proxy`."""
    weights = proxy.supernet.largest.state_dict()
    save_file(
        {
            **{_WEIGHTS + name: weight.contiguous() for name, weight in weights.items()},
            **{_EXAM + name: asked.contiguous() for name, asked in vars(proxy.exam).items()},
        },
        folder / _FILE,
    )


def load_proxy(folder: Path, space: Space) -> Proxy:
    """Read what `save_proxy` wrote.

    Raises:
        InputError: there is no proxy in the folder, or it is of another space.
    """
    path = folder / _FILE
    if not path.exists():
        raise InputError(
            f"{folder} has no {_FILE}", hint="python -m training.search supernet makes one"
        )
    tensors = load_file(path)
    parts = {
        prefix: {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        for prefix in (_EXAM, _WEIGHTS)
    }
    supernet = Supernet(space)
    try:
        supernet.largest.load_state_dict(parts[_WEIGHTS])
    except RuntimeError as error:
        raise InputError(f"{path} is of another space") from error
    for weight in supernet.largest.parameters():
        if weight.dim() == 4:  # noqa: PLR2004 - a convolution's
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return Proxy(supernet.requires_grad_(False), Exam(**parts[_EXAM]))
