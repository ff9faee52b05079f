"""Puts fused parts into networks that the processor runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from worker.kernels.direct import FILTER
from worker.kernels.products import PANEL
from worker.kernels.vectors import BYTES_A_NUMBER
from worker.kernels.winograd import PLACES
from worker.models.blocks import SpatialTransformer
from worker.models.fused import (
    FusedConvolution,
    FusedResnet,
    FusedUpsample,
    RememberedProjection,
    RememberedTimes,
    fits_convolution,
    fits_resnet,
    fits_upsample,
)
from worker.models.fused_text import FusedTextLayers, fits_text_encoder
from worker.models.fused_transformer import fits_transformer, fused_transformer
from worker.models.networks import Networks
from worker.models.unet import UNetNAS
from worker.models.vae import VAEDecoder


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part could be taken over."""

    parent: nn.Module
    name: str
    part: ResnetBlock2D | Upsample2D
    keeps_plain: bool
    """Whether the plain part stays beside the fused one."""

    @property
    def more_bytes(self) -> int:
        """What filters take beside those that there are."""
        convolutions = [one for one in self.part.modules() if _has_filters(one)]
        more = sum(_padded(one) * PLACES for one in convolutions)
        if self.keeps_plain:
            more += sum(_padded(one) * FILTER for one in convolutions)
        return more * BYTES_A_NUMBER

    def fuse(self, *, by_tiles: bool) -> None:
        """Put the fused part there, with Winograd's filters or without."""
        kind: Any = FusedResnet if isinstance(self.part, ResnetBlock2D) else FusedUpsample
        setattr(
            self.parent, self.name, kind(self.part, by_tiles=by_tiles, keeps_plain=self.keeps_plain)
        )


def fuse_networks(networks: Networks, most_bytes: int) -> None:
    """Have a model's networks run fused, in float32 on the processor.

    Args:
        networks: are changed.
        most_bytes: that they may take more than they have.
    """
    fuse([networks.denoiser, networks.decoder], most_bytes)
    fuse_convolutions(networks.denoiser)
    fuse_transformers(networks.denoiser)
    remember(networks.denoiser)
    if fits_text_encoder(networks.text_encoder):
        text_encoder = _untyped(networks.text_encoder)
        text_encoder.encoder = FusedTextLayers(networks.text_encoder)


def fuse(networks: Sequence[nn.Module], most_bytes: int) -> int:
    """Have networks' residual blocks and upsamplers run fused.

    Winograd's filters take memory. Those of few channels are the smallest and, since they lie
    where feature maps are large, save the most: they come first. Where there is none left, parts
    that need no plain one beside them are fused without.

    Args:
        networks: of one model; are changed.
        most_bytes: that may be taken for filters.

    Returns:
        How many bytes are.
    """
    taken = 0
    places = [place for network in networks for place in _convolving(network)]
    for place in sorted(places, key=lambda place: place.more_bytes):
        by_tiles = taken + place.more_bytes <= most_bytes
        if by_tiles:
            taken += place.more_bytes
        if by_tiles or not place.keeps_plain:
            place.fuse(by_tiles=by_tiles)
    return taken


def fuse_convolutions(denoiser: nn.Module) -> None:
    """Have a denoiser's other 3 x 3 convolutions run by our kernels; they take no more memory.

    The last one reads what stands before it, too.
    """
    last = _untyped(denoiser)
    norm, activation = last.conv_norm_out, last.conv_act
    if _has_filters(last.conv_out) and isinstance(norm, nn.GroupNorm) and _is_silu(activation):
        last.conv_out = FusedConvolution(last.conv_out, norm)
        last.conv_norm_out, last.conv_act = nn.Identity(), nn.Identity()
    for parent in list(denoiser.modules()):
        for name, part in list(parent.named_children()):
            if _has_filters(part):
                setattr(parent, name, FusedConvolution(_untyped(part)))


def fuse_transformers(denoiser: nn.Module) -> None:
    """Have a denoiser's transformers run fused; their weights are packed, and take no more."""
    kind = _transformers_of(denoiser)
    for parent in list(denoiser.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, kind) and fits_transformer(part):
                setattr(parent, name, fused_transformer(part))


def _transformers_of(denoiser: nn.Module) -> Any:
    if isinstance(denoiser, UNetNAS):
        return SpatialTransformer
    # It imports much.
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    return Transformer2DModel


def remember(denoiser: nn.Module) -> None:
    """Have a denoiser project its text once a job, and embed each timestep once."""
    for module in list(denoiser.modules()):
        if isinstance(module, Attention) and module.is_cross_attention:
            for name in ("to_k", "to_v"):
                setattr(module, name, RememberedProjection(getattr(module, name)))
        for name, part in list(module.named_children()):
            if isinstance(part, Timesteps | TimestepEmbedding):
                setattr(module, name, RememberedTimes(part))


def _convolving(network: nn.Module) -> Iterator[Place]:
    # Where memory is scarce, images are decoded strip by strip, by the plain parts.
    keeps_plain = isinstance(network, VAEDecoder)
    for parent in network.modules():
        for name, part in parent.named_children():
            if (isinstance(part, ResnetBlock2D) and fits_resnet(part)) or (
                isinstance(part, Upsample2D) and fits_upsample(part)
            ):
                yield Place(parent, name, part, keeps_plain)


def _has_filters(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and fits_convolution(module)


def _padded(convolution: Any) -> int:
    """Return how many numbers one position of filters takes, packed."""
    outputs: int = -(-convolution.out_channels // PANEL) * PANEL
    return outputs * int(convolution.in_channels)


def _is_silu(module: Any) -> bool:
    return isinstance(module, nn.SiLU)


def _untyped(part: Any) -> Any:
    """Return it: types do not say what networks are made of."""
    return part
