"""The flexible blocks of U-Net-NAS: any number of resnets and transformers each.

The layout (one ``modules_list`` a block, a skip after every resnet) is that of the
``flexible_unet/`` folder in the published DeciDiffusion checkpoints, so that their
weights load by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from worker.models.rows import first, spread

TRANSFORMER_NORM_EPS = 1e-6


class TransformerBlock(BasicTransformerBlock):
    """diffusers' block; rows of tokens may be fewer than the text's, each of which has its own."""

    def forward(  # type: ignore[override]  # of what it may be given, this is what models have
        self, hidden_states: Tensor, encoder_hidden_states: Tensor
    ) -> Tensor:
        """Attend to itself, to the text, and feed forward.

        Args:
            hidden_states: (B, N, C).
            encoder_hidden_states: (R, T, D), R a multiple of B.

        Returns:
            (R, N, C).
        """
        hidden = hidden_states + self.attn1(self.norm1(hidden_states))
        hidden = spread(hidden, encoder_hidden_states.shape[0])
        hidden = hidden + self.attn2(self.norm2(hidden), encoder_hidden_states)
        fed: Tensor = hidden + self.ff(self.norm3(hidden))
        return fed


class TextReader(nn.Module):
    """What a block hands its feature map and the text, where others get the timestep."""


class SpatialTransformer(TextReader):
    """Self- and cross-attention over the positions of a feature map, with a residual.

    Rombach et al. 2022 (arXiv 2112.10752), appendix E.2.1; 1x1 convolutions project in
    and out.
    """

    def __init__(self, channels: int, heads: int, context_width: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, eps=TRANSFORMER_NORM_EPS)
        self.proj_in = nn.Conv2d(channels, channels, kernel_size=1)
        block = TransformerBlock(
            channels, heads, channels // heads, cross_attention_dim=context_width
        )
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        """Attend ``hidden`` (B, C, H, W) to ``context`` (R, T, D): (R, C, H, W)."""
        batch, channels, height, width = hidden.shape
        tokens = self.proj_in(self.norm(hidden))
        tokens = tokens.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        for block in self.transformer_blocks:
            tokens = block(tokens, encoder_hidden_states=context)
        tokens = tokens.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        residual: Tensor = self.proj_out(tokens)
        return residual + spread(hidden, residual.shape[0])


def _interleave(
    resnets: list[ResnetBlock2D], transformers: list[SpatialTransformer], *, mix: bool
) -> nn.ModuleList:
    """Resnet k, then transformer k, while there are any; unmixed: all resnets first."""
    modules = [
        module
        for pair in zip_longest(resnets, transformers)
        for module in pair
        if module is not None
    ]
    if not mix:
        modules.sort(key=lambda module: not isinstance(module, ResnetBlock2D))
    return nn.ModuleList(modules)


class BlockParts:
    """The settings that every block of one U-Net shares, and makers of its parts."""

    def __init__(
        self,
        *,
        temb_width: int,
        resnet_eps: float,
        activation: str,
        norm_groups: int,
        heads: int,
        context_width: int,
        mix: bool,
    ) -> None:
        self.temb_width = temb_width
        self.resnet_eps = resnet_eps
        self.activation = activation
        self.norm_groups = norm_groups
        self.heads = heads
        self.context_width = context_width
        self.mix = mix

    def resnet(self, in_channels: int, out_channels: int) -> ResnetBlock2D:
        """Make a time-conditioned residual block."""
        return ResnetBlock2D(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=self.temb_width,
            eps=self.resnet_eps,
            groups=self.norm_groups,
            non_linearity=self.activation,
        )

    def transformers(self, count: int, channels: int) -> list[SpatialTransformer]:
        """Make ``count`` transformers of one width."""
        return [
            SpatialTransformer(channels, self.heads, self.context_width, self.norm_groups)
            for _ in range(count)
        ]

    def interleaved(
        self, resnets: list[ResnetBlock2D], transformers: list[SpatialTransformer]
    ) -> nn.ModuleList:
        """Put a block's modules in the order in which it runs them."""
        return _interleave(resnets, transformers, mix=self.mix)


class FlexibleDownBlock(nn.Module):
    """Resnets and transformers in one list, then maybe a strided convolution."""

    def __init__(
        self,
        parts: BlockParts,
        *,
        in_channels: int,
        out_channels: int,
        resnets: int,
        attentions: int,
        downsample: bool,
        is_last: bool,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * (resnets - 1)
        self.modules_list = parts.interleaved(
            [parts.resnet(width, out_channels) for width in widths],
            parts.transformers(attentions, out_channels),
        )
        sampler = Downsample2D(
            out_channels, use_conv=True, out_channels=out_channels, padding=1, name="op"
        )
        self.downsamplers = nn.ModuleList([sampler] if downsample else [])
        self.is_last = is_last

    def forward(self, hidden: Tensor, temb: Tensor, context: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the block's output and the skip states that it emits, in order.

        Both have the rows of ``hidden`` (B, C, H, W), which may be fewer than those of the text
        (R, T, D) and the embedded timestep (R, D), until a transformer has met the text.
        """
        skips = []
        for module in self.modules_list:
            if isinstance(module, TextReader):
                hidden = module(hidden, context)
            else:
                hidden = module(hidden, first(temb, hidden.shape[0]))
                skips.append(hidden)
        for downsampler in self.downsamplers:
            hidden = downsampler(hidden)
            if not self.is_last:
                skips.append(hidden)
        return hidden, skips

    def first_skips(
        self, hidden: Tensor, temb: Tensor, context: Tensor, count: int
    ) -> list[Tensor]:
        """Return the first skip states, at most one a resnet; no module behind them runs."""
        skips: list[Tensor] = []
        for module in self.modules_list:
            if len(skips) == count:
                break
            if isinstance(module, TextReader):
                hidden = module(hidden, context)
            else:
                hidden = module(hidden, first(temb, hidden.shape[0]))
                skips.append(hidden)
        return skips


class FlexibleMidBlock(nn.Module):
    """The bottom of the U. Its first resnet is applied twice, as the checkpoints expect."""

    def __init__(
        self, parts: BlockParts, *, channels: int, resnets: int, attentions: int, upsample: bool
    ) -> None:
        super().__init__()
        # One resnet more than is asked for, in front: so transformer k goes before extra k.
        self.modules_list = parts.interleaved(
            [parts.resnet(channels, channels) for _ in range(1 + resnets)],
            parts.transformers(attentions, channels),
        )
        last = Upsample2D(channels, use_conv=True, out_channels=channels)
        self.upsamplers = nn.ModuleList([last] if upsample else [])

    def forward(
        self, hidden: Tensor, temb: Tensor, context: Tensor, size: Sequence[int] | None = None
    ) -> Tensor:
        """Map (B, C, H, W) to (R, C, H, W), or with an upsampler to (R, C, *size).

        Args:
            hidden: (B, C, H, W).
            temb: the embedded timestep, (R, temb_dim).
            context: text tokens, (R, T, D); B rows stay where no transformer meets them.
            size: height and width of the next skip state; None doubles.
        """
        hidden = self.modules_list[0](hidden, first(temb, hidden.shape[0]))
        for module in self.modules_list:
            is_transformer = isinstance(module, TextReader)
            hidden = module(hidden, context if is_transformer else first(temb, hidden.shape[0]))
        for upsampler in self.upsamplers:
            hidden = upsampler(hidden, size)
        return hidden


class FlexibleUpBlock(nn.Module):
    """Each resnet takes one skip state; transformers between; then maybe an upsampler."""

    def __init__(
        self,
        parts: BlockParts,
        *,
        in_channels: int,
        out_channels: int,
        prev_channels: int,
        resnets: int,
        attentions: int,
        upsample: bool,
    ) -> None:
        super().__init__()
        self.skip_channels = [out_channels] * (resnets - 1) + [in_channels]
        widths = [prev_channels] + [out_channels] * (resnets - 1)
        self.modules_list = parts.interleaved(
            [
                parts.resnet(width + skip, out_channels)
                for width, skip in zip(widths, self.skip_channels, strict=True)
            ],
            parts.transformers(attentions, out_channels),
        )
        sampler = Upsample2D(out_channels, use_conv=True, out_channels=out_channels)
        self.upsamplers = nn.ModuleList([sampler] if upsample else [])

    def forward(self, hidden: Tensor, skips: list[Tensor], temb: Tensor, context: Tensor) -> Tensor:
        """Consume this block's skip states from the end of ``skips``.

        These, and ``hidden``, may have fewer rows than the text, as in the way down.
        An upsampler makes the size of the skip state that is next: a side that was odd
        before it was halved is not half of twice its half.
        """
        for module in self.modules_list:
            if isinstance(module, TextReader):
                hidden = module(hidden, context)
            else:
                skip = skips.pop()
                rows = max(hidden.shape[0], skip.shape[0])
                joined = torch.cat([spread(hidden, rows), spread(skip, rows)], dim=1)
                hidden = module(joined, first(temb, rows))
        for upsampler in self.upsamplers:
            hidden = upsampler(hidden, size_of_next(skips))
        return hidden


def size_of_next(skips: Sequence[Tensor]) -> Sequence[int] | None:
    """Return height and width of the skip state that is consumed next, if there is one."""
    return skips[-1].shape[-2:] if skips else None
