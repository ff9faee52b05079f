"""Parts of networks as the processor runs them quickest: the same sums, in another order.

Each stands in the place of one of diffusers' parts, whose parameters it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from worker.kernels.convolution import GRAIN, convolve, winograd_filters
from worker.kernels.normalization import group_norm_of
from worker.kernels.projection import NO_LAYER, layer_of
from worker.kernels.residual import Residual, add_residual

LEAST_CHANNELS = 16
"""Below, what is saved in products is lost in transforms."""
LEAST_PRODUCTS = 4_000_000
"""Of a convolution as it is defined: fewer are done before threads have been woken thrice."""
REMEMBERED_TIMES = 256
"""Distinct rows of timesteps whose embeddings are kept."""


class FusedResnet(nn.Module):
    """A residual block: normalization and activation are read into Winograd's transform.

    Time embedding and residual are added where the outputs are written.
    """

    def __init__(self, block: ResnetBlock2D) -> None:
        """Take over a block that `fits_resnet`."""
        super().__init__()
        self.plain = block
        kept = block.conv_shortcut
        self.weights = Residual(
            norm1=group_norm_of(block.norm1),
            filters1=winograd_filters(block.conv1.weight),
            norm2=group_norm_of(block.norm2),
            filters2=winograd_filters(block.conv2.weight),
            shortcut=NO_LAYER if kept is None else layer_of(kept.weight.flatten(1), kept.bias),
        )
        self._shifts = WeakIdKeyDictionary()

    def forward(self, hidden: Tensor, temb: Tensor | None) -> Tensor:
        """Map (B, C, H, W) and the embedded timestep, (B, D) or None, to (B, K, H, W)."""
        block = self.plain
        if not _pays(hidden, block.conv2):
            plain: Tensor = block(hidden, temb)
            return plain
        rows = len(hidden)
        return add_residual(hidden, self.weights, self._shift(temb, rows), _bias(block.conv2, rows))

    @property
    def filter_bytes(self) -> int:
        """What its filters take beside the plain ones."""
        return self.weights.filters1.panels.nbytes + self.weights.filters2.panels.nbytes

    def _shift(self, temb: Tensor | None, rows: int) -> Tensor:
        block = self.plain
        if temb is None:
            return _bias(block.conv1, rows)
        if temb not in self._shifts:
            project: Any = block.time_emb_proj
            projected = project(block.nonlinearity(temb))
            self._shifts[temb] = projected + _bias(block.conv1, rows)
        shift: Tensor = self._shifts[temb]
        return shift


class FusedUpsample(nn.Module):
    """Nearest upsampling that is read into the transform of the convolution after it."""

    def __init__(self, upsample: Upsample2D) -> None:
        """Take over a part that `fits_upsample`."""
        super().__init__()
        self.plain = upsample
        self.filters = winograd_filters(self._convolution.weight)

    def forward(self, hidden: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C, 2 H, 2 W), or to another size."""
        height, width = hidden.shape[2:]
        is_double = size is None or tuple(size) == (2 * height, 2 * width)
        if not (is_double and _pays(hidden, self._convolution)):
            plain: Tensor = self.plain(hidden, size)
            return plain
        bias = _bias(self._convolution, len(hidden))
        return convolve(hidden, self.filters, bias, doubles=True)

    @property
    def filter_bytes(self) -> int:
        """What its filters take beside the plain ones."""
        return self.filters.panels.nbytes

    @property
    def _convolution(self) -> nn.Conv2d:
        convolution: Any = self.plain.conv
        return cast("nn.Conv2d", convolution)


class RememberedProjection(nn.Module):
    """A layer whose input stays the same over the steps of a job, and so its output.

    Keys and values of cross-attention are projections of the text.
    """

    def __init__(self, layer: nn.Module) -> None:
        """Take over a layer."""
        super().__init__()
        self.plain = layer
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens, which nobody changes in place; the same tensor is projected once."""
        if self._last is None or self._last[0] is not tokens:
            self._last = tokens, self.plain(tokens)
        return self._last[1]


class RememberedTimes(nn.Module):
    """What is made of timesteps, each once: all jobs of a schedule take the same steps."""

    def __init__(self, embedding: nn.Module) -> None:
        """Take over diffusers' frequencies of timesteps, or the embedding of these."""
        super().__init__()
        self.plain = embedding
        self._known: dict[tuple[torch.dtype, bytes], Tensor] = {}

    def forward(self, times: Tensor, condition: Tensor | None = None) -> Tensor:
        """Embed timesteps, (B,), or their frequencies, (B, C), as (B, D)."""
        if condition is not None:
            conditioned: Tensor = self.plain(times, condition)
            return conditioned
        key = times.dtype, times.numpy().tobytes()
        if key not in self._known:
            if len(self._known) == REMEMBERED_TIMES:
                self._known.clear()
            self._known[key] = self.plain(times)
        return self._known[key]


def fits_resnet(block: ResnetBlock2D) -> bool:
    """Tell whether `FusedResnet` does what a block does."""
    return (
        block.upsample is None
        and block.downsample is None
        and block.time_embedding_norm == "default"
        and not block.skip_time_act
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
        and _is_wide(block.conv1)
        and _is_wide(block.conv2)
    )


def fits_upsample(upsample: Upsample2D) -> bool:
    """Tell whether `FusedUpsample` does what a part does."""
    part: Any = upsample  # whose types rule out what it may be
    is_convolution = part.use_conv and not part.use_conv_transpose
    return bool(is_convolution and part.norm is None and part.interpolate and _is_wide(part.conv))


def _pays(hidden: Tensor, convolution: nn.Conv2d) -> bool:
    """Tell whether Winograd's convolution is quicker on (B, C, H, W)."""
    count, _, height, width = hidden.shape
    return count * height * width * convolution.weight.numel() >= LEAST_PRODUCTS


def _is_wide(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (3, 3)
        and convolution.padding == (1, 1)
        and convolution.stride == (1, 1)
        and min(convolution.in_channels, convolution.out_channels) >= LEAST_CHANNELS
        and convolution.in_channels % GRAIN == convolution.out_channels % GRAIN == 0
    )


def _bias(convolution: nn.Conv2d, rows: int) -> Tensor:
    if convolution.bias is None:
        return torch.zeros(rows, convolution.out_channels)
    return convolution.bias.expand(rows, -1).contiguous()
