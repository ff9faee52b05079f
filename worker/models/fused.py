"""Parts of networks as the processor runs them quickest: the same sums, in another order.

Each stands in the place of one of diffusers' parts, whose weights it packs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakIdKeyDictionary

from worker.kernels.convolution import GRAIN, Filters, convolve, filters_of, whole_vectors
from worker.kernels.normalization import NO_GROUP_NORM, group_norm_of
from worker.kernels.projection import NO_LAYER, layer_of
from worker.kernels.residual import Residual, add_residual

LEAST_CHANNELS = 16
"""Below, what is saved in products is lost in transforms."""
REMEMBERED_TIMES = 256
"""Distinct rows of timesteps whose embeddings are kept."""
KERNEL, PADDING = (3, 3), (1, 1)


class FusedResnet(nn.Module):
    """A residual block: normalization and activation are read into Winograd's transform.

    Time embedding and residual are added where the outputs are written.
    """

    def __init__(self, block: ResnetBlock2D, *, by_tiles: bool, keeps_plain: bool) -> None:
        """Take over a block that `fits_resnet`.

        Args:
            block: diffusers'.
            by_tiles: whether Winograd's filters are made.
            keeps_plain: whether the block stays as it is beside this, as `plain`.
        """
        super().__init__()
        self.plain = block if keeps_plain else None
        kept = block.conv_shortcut
        self.weights = Residual(
            norm1=group_norm_of(block.norm1),
            filters1=filters_of(block.conv1.weight, by_tiles=by_tiles),
            norm2=group_norm_of(block.norm2),
            filters2=filters_of(block.conv2.weight, by_tiles=by_tiles),
            shortcut=NO_LAYER if kept is None else layer_of(kept.weight.flatten(1), kept.bias),
        )
        self.time_emb_proj, self.nonlinearity = block.time_emb_proj, block.nonlinearity
        self._bias1, self._bias2 = Bias(block.conv1), Bias(block.conv2)
        self._shifts = WeakIdKeyDictionary()

    def forward(self, hidden: Tensor, temb: Tensor | None) -> Tensor:
        """Map (B, C, H, W) and the embedded timestep, (B, D) or None, to (B, K, H, W)."""
        rows = len(hidden)
        return add_residual(hidden, self.weights, self._shift(temb, rows), self._bias2(rows))

    @property
    def filter_bytes(self) -> int:
        """What its filters take beside the plain ones."""
        return _more_bytes(self, self.weights.filters1, self.weights.filters2)

    def _shift(self, temb: Tensor | None, rows: int) -> Tensor:
        if temb is None:
            return self._bias1(rows)
        if temb not in self._shifts:
            project: Any = self.time_emb_proj
            projected = project(self.nonlinearity(temb))
            self._shifts[temb] = projected + self._bias1(rows)
        shift: Tensor = self._shifts[temb]
        return shift


class FusedUpsample(nn.Module):
    """Nearest upsampling that is read into the transform of the convolution after it."""

    def __init__(self, upsample: Upsample2D, *, by_tiles: bool, keeps_plain: bool) -> None:
        """Take over a part that `fits_upsample`; see `FusedResnet`."""
        super().__init__()
        self.plain = upsample if keeps_plain else None
        convolution: Any = upsample.conv
        self.filters = filters_of(convolution.weight, by_tiles=by_tiles)
        self._bias = Bias(convolution)

    def forward(self, hidden: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C, 2 H, 2 W), or to another size."""
        height, width = hidden.shape[2:]
        bias = self._bias(len(hidden))
        if size is None or tuple(size) == (2 * height, 2 * width):
            return convolve(hidden, self.filters, bias, doubles=True)
        enlarged = functional.interpolate(hidden, size=list(size), mode="nearest")
        return convolve(enlarged, self.filters, bias)

    @property
    def filter_bytes(self) -> int:
        """What its filters take beside the plain ones."""
        return _more_bytes(self, self.filters)


class FusedConvolution(nn.Module):
    """A convolution that normalizes and activates what it reads, where that is before it."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.GroupNorm | None = None) -> None:
        """Take over a convolution that `fits_convolution`, and what stands before it."""
        super().__init__()
        self._filters = filters_of(convolution.weight, by_tiles=False)
        self._stride = convolution.stride[0]
        self._bias = Bias(convolution)
        self._norm = NO_GROUP_NORM if norm is None else group_norm_of(norm)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, K, H, W), or to shorter sides."""
        bias = self._bias(len(hidden))
        return convolve(hidden, self._filters, bias, norm=self._norm, stride=self._stride)


class Bias:
    """A convolution's bias, as kernels take it: a row an image."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        """Take over the bias, or zeros where there is none."""
        outputs = convolution.out_channels
        bias = torch.zeros(outputs) if convolution.bias is None else convolution.bias
        self._bias = functional.pad(bias, (0, whole_vectors(outputs) - outputs))
        self._rows: dict[int, Tensor] = {}

    def __call__(self, rows: int) -> Tensor:
        """Return it so many times, (rows, K), K made up to whole vectors."""
        if rows not in self._rows:
            self._rows[rows] = self._bias.expand(rows, -1).contiguous()
        return self._rows[rows]


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


def fits_convolution(convolution: nn.Conv2d) -> bool:
    """Tell whether `FusedConvolution` does what a convolution does."""
    part: Any = convolution
    return bool(
        part.kernel_size == KERNEL
        and part.padding == PADDING
        and part.stride in {(1, 1), (2, 2)}
        and part.dilation == (1, 1)
        and part.groups == 1
    )


def _more_bytes(part: FusedResnet | FusedUpsample, *filters: Filters) -> int:
    winograd = sum(one.winograd.nbytes for one in filters)
    return winograd + (sum(one.direct.nbytes for one in filters) if part.plain else 0)


def _is_wide(convolution: nn.Conv2d) -> bool:
    return (
        fits_convolution(convolution)
        and convolution.stride == (1, 1)
        and min(convolution.in_channels, convolution.out_channels) >= LEAST_CHANNELS
        and convolution.in_channels % GRAIN == convolution.out_channels % GRAIN == 0
    )
