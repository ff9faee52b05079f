"""The decoder half of the KL autoencoder, from diffusers' parts.

diffusers' own class imports every autoencoder that it has, which doubles the time that a
worker takes to start, and holds an encoder that a worker never runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

NORM_EPS = 1e-6
ENCODER_TENSORS = ("encoder.", "quant_conv.")
"""What a whole autoencoder's weights hold beside the decoder's."""
OLD_ATTENTION_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
"""Stable Diffusion's autoencoder was published under diffusers' names of 2022."""


def modern_attention_name(name: str) -> str:
    """Return what diffusers calls a decoder's tensor today."""
    for old, new in OLD_ATTENTION_NAMES.items():
        name = name.replace(old, new)
    return name


class VAEDecoderConfig(BaseModel):
    """What of ``vae/config.json`` the decoder needs."""

    model_config = ConfigDict(frozen=True)

    block_out_channels: tuple[int, ...]
    latent_channels: int
    layers_per_block: int = 1
    norm_num_groups: int = 32
    out_channels: int = 3
    act_fn: str = "silu"
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    mid_block_add_attention: bool = True
    use_post_quant_conv: bool = True

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a config.json; what only the encoder needs is left aside."""
        return cls(**document)

    @property
    def factor(self) -> int:
        """Pixels a latent position is wide and high."""
        return int(2 ** (len(self.block_out_channels) - 1))


class VAEDecoder(nn.Module):
    """Maps latents to pixels; parameters are named as in diffusers' ``AutoencoderKL``."""

    def __init__(self, config: VAEDecoderConfig) -> None:
        super().__init__()
        self.config = config
        latent = config.latent_channels
        self.post_quant_conv = (
            nn.Conv2d(latent, latent, kernel_size=1)
            if config.use_post_quant_conv
            else nn.Identity()
        )
        self.decoder = _Decoder(config)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode unit-variance latents (B, C, h, w) to pixels (B, 3, H, W), about -1 to 1."""
        pixels: Tensor = self.decoder(self.unscale(latents))
        return pixels

    def unscale(self, latents: Tensor) -> Tensor:
        """Turn unit-variance latents into what the decoder proper reads; same shape."""
        unscaled = latents / self.config.scaling_factor + (self.config.shift_factor or 0)
        unquantised: Tensor = self.post_quant_conv(unscaled)
        return unquantised


class _Decoder(nn.Module):
    def __init__(self, config: VAEDecoderConfig) -> None:
        super().__init__()
        widths = list(reversed(config.block_out_channels))
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], kernel_size=3, padding=1)
        self.mid_block = _MidBlock(config, widths[0])
        self.up_blocks = nn.ModuleList(
            _UpBlock(config, before, width, upsample=width_index < len(widths) - 1)
            for width_index, (before, width) in enumerate(
                zip([widths[0], *widths[:-1]], widths, strict=True)
            )
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], eps=NORM_EPS)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(widths[-1], config.out_channels, kernel_size=3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.mid_block(self.conv_in(latents))
        for block in self.up_blocks:
            hidden = block(hidden)
        pixels: Tensor = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return pixels


class _MidBlock(nn.Module):
    def __init__(self, config: VAEDecoderConfig, channels: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_resnet(config, channels, channels) for _ in range(2))
        attention = Attention(
            channels,
            heads=1,
            dim_head=channels,
            eps=NORM_EPS,
            norm_num_groups=config.norm_num_groups,
            residual_connection=True,
            bias=True,
            upcast_softmax=True,
            _from_deprecated_attn_block=True,
        )
        self.attentions = nn.ModuleList([attention] if config.mid_block_add_attention else [])

    def forward(self, hidden: Tensor) -> Tensor:
        first, second = self.resnets
        hidden = first(hidden, None)
        for attention in self.attentions:
            hidden = attention(hidden)
        mixed: Tensor = second(hidden, None)
        return mixed


class _UpBlock(nn.Module):
    def __init__(
        self, config: VAEDecoderConfig, in_channels: int, out_channels: int, *, upsample: bool
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * config.layers_per_block
        self.resnets = nn.ModuleList(_resnet(config, width, out_channels) for width in widths)
        sampler = Upsample2D(out_channels, use_conv=True, out_channels=out_channels)
        self.upsamplers = nn.ModuleList([sampler] if upsample else [])

    def forward(self, hidden: Tensor) -> Tensor:
        for resnet in self.resnets:
            hidden = resnet(hidden, None)
        for upsampler in self.upsamplers:
            hidden = upsampler(hidden)
        return hidden


def _resnet(config: VAEDecoderConfig, in_channels: int, out_channels: int) -> ResnetBlock2D:
    return ResnetBlock2D(
        in_channels=in_channels,
        out_channels=out_channels,
        temb_channels=None,  # type: ignore[arg-type]  # None is what its own VAE gives it
        eps=NORM_EPS,
        groups=config.norm_num_groups,
        non_linearity=config.act_fn,
    )
