"""What an image may be drawn without, for speed, and by which names users ask for that."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MOST_REUSE = 20
NoiseLevel = Annotated[FiniteFloat, Field(ge=0)]


class Quality(StrEnum):
    """How much an image may be drawn without; a floor, for not every device can take it."""

    EXACT = "exact"
    """Nothing: as the model is defined."""
    BALANCED = "balanced"
    FAST = "fast"


class Shortcuts(BaseModel):
    """What an image is drawn without, for speed. The empty one is exact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    guidance_interval: tuple[NoiseLevel, NoiseLevel] | None = None
    """Lowest and highest noise level with guidance, each sqrt((1 - ᾱ) / ᾱ); outside of them only
    the conditional half runs (Kynkäänniemi et al. 2024, arXiv 2404.07724). None: everywhere."""
    feature_reuse: int = Field(default=1, ge=1, le=MOST_REUSE)
    """Deep features of the U-Net are computed in each n-th step and reused in between (Ma et al.
    2023, DeepCache, arXiv 2312.00858). 1: in each step."""
    tiny_decoder: bool = False
    """Decoded by the model's tiny decoder, where it has one."""

    @model_validator(mode="after")
    def _interval_rises(self) -> Shortcuts:
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            if low > high:
                raise ValueError(f"guidance_interval: {low} is above {high}")
        return self

    def is_guided_at(self, noise_level: float) -> bool:
        """Tell whether guidance is applied at a noise level."""
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low <= noise_level <= high


EXACTLY = Shortcuts()

QUALITIES: Mapping[Quality, Shortcuts] = {
    Quality.EXACT: EXACTLY,
    Quality.BALANCED: Shortcuts(guidance_interval=(0.95, 1000.0), feature_reuse=2),
    Quality.FAST: Shortcuts(guidance_interval=(2.14, 80.0), feature_reuse=3),
}
"""What each stands for where a model's card says nothing else. See infra/decisions/0038."""

DENOISER_PERCENT: Mapping[Quality, tuple[int, int]] = {
    Quality.EXACT: (100, 100),
    Quality.BALANCED: (55, 54),
    Quality.FAST: (45, 41),
}
"""Of the denoiser's time, of images without guidance and of those with it, that is left in
DeciDiffusion 2.0's ten steps at 512 x 512 on a processor, where a step without guidance takes 74 %
of one with it, one that reuses 16 %, and both 7 %. Time that was not measured is guessed by it."""
