"""What all steps of an image take, from a few of each kind."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from worker.diffusion.reuse import DeepDenoiser
from worker.diffusion.sampler import Denoiser

Kind = tuple[str, int]
"""What is run, and on how many rows of text."""
T = TypeVar("T", Tensor, tuple[Tensor, Tensor])


@dataclass(slots=True)
class _Ran:
    times: int
    last_ns: int
    result: Any


class Sparing:
    """A denoiser that takes a few steps of each kind, and only counts those that follow.

    The sampler takes it for the denoiser: which steps are guided and which reuse deep features
    is decided in one place. In place of what it does not compute it returns what it did last.
    """

    def __init__(self, denoiser: Denoiser, deep: DeepDenoiser | None, most: int) -> None:
        """Serve one image's steps.

        Args:
            denoiser: what runs.
            deep: the same, where it can reuse features.
            most: steps of a kind that are taken; at least one.
        """
        self.spared_ns = 0
        """What the steps would have taken that were not: each as the last one of its kind."""
        self._denoiser = denoiser
        self._deep = deep
        self._most = most
        self._ran: dict[Kind, _Ran] = {}

    @property
    def deep(self) -> DeepDenoiser | None:
        """Itself, where it can reuse features."""
        return self if self._deep is not None else None

    def __call__(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Map latents (B, C, H, W), timesteps (B,), text (R, T, D) to (R, C, H, W)."""
        return self._taken(
            ("whole", len(encoder_hidden_states)),
            lambda: self._denoiser(sample, timestep, encoder_hidden_states),
        )

    def keep(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run all of it; returns the prediction and the deep feature, a row each."""
        deep = self._able()
        return self._taken(
            ("keep", len(encoder_hidden_states)),
            lambda: deep.keep(sample, timestep, encoder_hidden_states),
        )

    def reuse(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, deep: Tensor
    ) -> Tensor:
        """Run what is outside of the deep feature of an earlier step."""
        able = self._able()
        return self._taken(
            ("reuse", len(encoder_hidden_states)),
            lambda: able.reuse(sample, timestep, encoder_hidden_states, deep),
        )

    def _able(self) -> DeepDenoiser:
        if self._deep is None:
            raise TypeError("this denoiser cannot reuse features")
        return self._deep

    def _taken(self, kind: Kind, step: Callable[[], T]) -> T:
        ran = self._ran.setdefault(kind, _Ran(0, 0, None))
        if ran.times == self._most:
            self.spared_ns += ran.last_ns
        else:
            begin = time.perf_counter_ns()
            ran.result = step()
            ran.last_ns = time.perf_counter_ns() - begin
            ran.times += 1
        result: T = ran.result
        return result
