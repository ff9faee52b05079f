"""U-Net-NAS: diffusers' conditional U-Net trunk around flexible blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)
from torch import Tensor, nn

from worker.models.blocks import (
    BlockParts,
    FlexibleDownBlock,
    FlexibleMidBlock,
    FlexibleUpBlock,
    size_of_next,
)
from worker.models.rows import spread

TRUNK_NORM_EPS = 1e-5

State = tuple[int, int]
"""Channels of a feature map, and how often it was halved."""


class UNetNASConfig(BaseModel):
    """``flexible_unet/config.json``, plus the trunk's few numbers with SD's defaults.

    Lists run in the order of the data: down blocks from the input, up blocks (and
    ``prev_output_channels``, ``add_upsample``) from the bottom. Channel counts of up
    blocks are those of the down blocks reversed.

    Raises:
        pydantic.ValidationError: lists of unequal length, or feature maps that do not meet
            in width and resolution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_size: PositiveInt
    cross_attention_dim: PositiveInt
    add_upsample_mid_block: bool
    mix_block_in_forward: bool
    down_blocks_in_channels: tuple[PositiveInt, ...]
    down_blocks_out_channels: tuple[PositiveInt, ...]
    down_blocks_num_resnets: tuple[PositiveInt, ...]
    down_blocks_num_attentions: tuple[NonNegativeInt, ...]
    add_downsample: tuple[bool, ...]
    prev_output_channels: tuple[PositiveInt, ...]
    up_blocks_num_resnets: tuple[PositiveInt, ...]
    up_blocks_num_attentions: tuple[NonNegativeInt, ...]
    add_upsample: tuple[bool, ...]
    temb_dim: PositiveInt
    resnet_eps: float
    resnet_act_fn: str
    num_attention_heads: PositiveInt
    mid_num_resnets: NonNegativeInt
    mid_num_attentions: NonNegativeInt
    in_channels: PositiveInt = 4
    out_channels: PositiveInt = 4
    norm_num_groups: PositiveInt = 32

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a config.json, whose settings may lie below the key ``configurations``.

        Keys of diffusers' own (``_class_name``, …) are not settings.
        """
        settings = document.get("configurations", document)
        return cls(**{key: value for key, value in settings.items() if not key.startswith("_")})

    @field_validator("add_upsample_mid_block", mode="before")
    @classmethod
    def _null_is_no(cls, value: object) -> object:
        return False if value is None else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        blocks = len(self.down_blocks_in_channels)
        for name, value in self:
            if isinstance(value, tuple) and len(value) != blocks:
                raise ValueError(f"{name} has {len(value)} entries for {blocks} blocks")
        pushed = 1 + sum(self.down_blocks_num_resnets) + sum(self.add_downsample[:-1])
        popped = sum(self.up_blocks_num_resnets)
        if pushed != popped:
            raise ValueError(f"down blocks emit {pushed} skips, up blocks take {popped}")
        self._check_way_up(*self._checked_way_down())
        return self

    def _checked_way_down(self) -> tuple[list[State], State]:
        """Return width and level of each skip state and of what leaves the mid block."""
        width, level = self.down_blocks_in_channels[0], 0
        skips = [(width, level)]
        for index, before in enumerate(self.down_blocks_in_channels):
            if before != width:
                raise ValueError(f"down block {index} takes {before} channels, but gets {width}")
            width = self.down_blocks_out_channels[index]
            skips += [(width, level)] * self.down_blocks_num_resnets[index]
            if self.add_downsample[index]:
                level += 1
                skips.append((width, level))
        if self.add_downsample[-1]:
            skips.pop()
        return skips, (width, level - self.add_upsample_mid_block)

    def _check_way_up(self, skips: list[State], bottom: State) -> None:
        width, level = bottom
        for index, previous in enumerate(self.prev_output_channels):
            if previous != width:
                raise ValueError(f"up block {index} takes {previous} channels, but gets {width}")
            width = self.down_blocks_out_channels[-1 - index]
            resnets = self.up_blocks_num_resnets[index]
            for taken in [width] * (resnets - 1) + [self.down_blocks_in_channels[-1 - index]]:
                skip_width, skip_level = skips.pop()
                if taken != skip_width:
                    raise ValueError(
                        f"up block {index} takes a skip of {taken} channels, but gets {skip_width}"
                    )
                if level != skip_level:
                    raise ValueError(f"up block {index} gets a skip of another resolution")
            level -= self.add_upsample[index]
        if level:
            raise ValueError("up blocks do not end at the resolution of the input")


class UNetNAS(nn.Module):
    """Predicts noise, sample or velocity of latents, given a timestep and a text."""

    def __init__(self, config: UNetNASConfig | Mapping[str, Any]) -> None:
        super().__init__()
        if not isinstance(config, UNetNASConfig):
            config = UNetNASConfig.from_json(config)
        self.config = config
        base = config.down_blocks_in_channels[0]
        parts = BlockParts(
            temb_width=config.temb_dim,
            resnet_eps=config.resnet_eps,
            activation=config.resnet_act_fn,
            norm_groups=config.norm_num_groups,
            heads=config.num_attention_heads,
            context_width=config.cross_attention_dim,
            mix=config.mix_block_in_forward,
        )
        self.conv_in = nn.Conv2d(config.in_channels, base, kernel_size=3, padding=1)
        self.time_proj = Timesteps(base, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(base, config.temb_dim)
        self.down_blocks = _down_blocks(config, parts)
        self.mid_block = FlexibleMidBlock(
            parts,
            channels=config.down_blocks_out_channels[-1],
            resnets=config.mid_num_resnets,
            attentions=config.mid_num_attentions,
            upsample=config.add_upsample_mid_block,
        )
        self.up_blocks = _up_blocks(config, parts)
        last = config.down_blocks_out_channels[0]
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, last, eps=TRUNK_NORM_EPS)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(last, config.out_channels, kernel_size=3, padding=1)

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Run the network once.

        Args:
            sample: noisy latents, (B, in_channels, H, W).
            timestep: (B,) or a scalar, in training steps (0 to 999).
            encoder_hidden_states: text tokens, (R, T, cross_attention_dim). R is a multiple of
                B: texts beyond the first B meet the same latents again, in the same order. What
                lies before the first text is computed once for all of them.

        Returns:
            The prediction, (R, out_channels, H, W), of the sample's dtype.
        """
        return self.keep(sample, timestep, encoder_hidden_states)[0]

    def keep(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the network once, and keep what `reuse` takes.

        Returns:
            The prediction, and the deep feature: what goes into the outermost up block.
        """
        temb = self._embedded(sample, timestep, encoder_hidden_states.shape[0])
        hidden = self.conv_in(sample)
        skips = [hidden]
        for down in self.down_blocks:
            hidden, emitted = down(hidden, temb, encoder_hidden_states)
            skips.extend(emitted)
        deep = self.mid_block(hidden, temb, encoder_hidden_states, size_of_next(skips))
        for up in self.up_blocks[:-1]:
            deep = up(deep, skips, temb, encoder_hidden_states)
        deep = spread(deep, encoder_hidden_states.shape[0])
        return self._outermost(deep, skips, temb, encoder_hidden_states), deep

    def reuse(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, deep: Tensor
    ) -> Tensor:
        """Run only what is outside of a deep feature of another timestep.

        DeepCache, Ma et al. 2023 (arXiv 2312.00858), section 3.2.

        Args:
            sample: this and the next two as in `forward`.
            timestep: see there.
            encoder_hidden_states: see there.
            deep: what `keep` returned for the same images and texts, (R, C, H, W).

        Returns:
            The prediction, (R, out_channels, H, W), of the sample's dtype.
        """
        temb = self._embedded(sample, timestep, encoder_hidden_states.shape[0])
        hidden = self.conv_in(sample)
        skips = [hidden]
        for down, resnets in zip(
            cast("Iterable[FlexibleDownBlock]", self.down_blocks),
            self.config.down_blocks_num_resnets,
            strict=True,
        ):
            wanted = self.config.up_blocks_num_resnets[-1] - len(skips)
            if wanted <= resnets:
                skips.extend(down.first_skips(hidden, temb, encoder_hidden_states, wanted))
                break
            hidden, emitted = down(hidden, temb, encoder_hidden_states)
            skips.extend(emitted)
        return self._outermost(deep, skips, temb, encoder_hidden_states)

    def _embedded(self, sample: Tensor, timestep: Tensor, rows: int) -> Tensor:
        frequencies = self.time_proj(spread(timestep.expand(sample.shape[0]), rows))
        embedded: Tensor = self.time_embedding(frequencies.to(sample.dtype))
        return embedded

    def _outermost(
        self, deep: Tensor, skips: list[Tensor], temb: Tensor, context: Tensor
    ) -> Tensor:
        last: nn.Module = self.up_blocks[-1]
        hidden = last(deep, skips, temb, context)
        prediction: Tensor = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return prediction

    @property
    def device(self) -> torch.device:
        """The device that the weights are on."""
        return self.conv_in.weight.device


def _down_blocks(config: UNetNASConfig, parts: BlockParts) -> nn.ModuleList:
    last = len(config.down_blocks_in_channels) - 1
    rows = zip(
        config.down_blocks_in_channels,
        config.down_blocks_out_channels,
        config.down_blocks_num_resnets,
        config.down_blocks_num_attentions,
        config.add_downsample,
        strict=True,
    )
    return nn.ModuleList(
        FlexibleDownBlock(
            parts,
            in_channels=in_channels,
            out_channels=out_channels,
            resnets=resnets,
            attentions=attentions,
            downsample=downsample,
            is_last=index == last,
        )
        for index, (in_channels, out_channels, resnets, attentions, downsample) in enumerate(rows)
    )


def _up_blocks(config: UNetNASConfig, parts: BlockParts) -> nn.ModuleList:
    def from_bottom(values: Sequence[int]) -> list[int]:
        return list(reversed(values))

    rows = zip(
        from_bottom(config.down_blocks_in_channels),
        from_bottom(config.down_blocks_out_channels),
        config.prev_output_channels,
        config.up_blocks_num_resnets,
        config.up_blocks_num_attentions,
        config.add_upsample,
        strict=True,
    )
    return nn.ModuleList(
        FlexibleUpBlock(
            parts,
            in_channels=in_channels,
            out_channels=out_channels,
            prev_channels=prev_channels,
            resnets=resnets,
            attentions=attentions,
            upsample=upsample,
        )
        for in_channels, out_channels, prev_channels, resnets, attentions, upsample in rows
    )
