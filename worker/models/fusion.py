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

from worker.kernels.products import PANEL
from worker.kernels.vectors import BYTES_A_NUMBER
from worker.kernels.winograd import PLACES
from worker.models.blocks import SpatialTransformer
from worker.models.fused import (
    FusedResnet,
    FusedUpsample,
    RememberedProjection,
    RememberedTimes,
    fits_resnet,
    fits_upsample,
)
from worker.models.fused_transformer import fits_transformer, fused_transformer
from worker.models.networks import Networks
from worker.models.unet import UNetNAS


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part could be taken over."""

    parent: nn.Module
    name: str
    part: ResnetBlock2D | Upsample2D
    more_bytes: int
    """What the fused part takes beside the plain one."""

    def fuse(self) -> None:
        """Put the fused part there."""
        part = self.part
        fused = FusedResnet(part) if isinstance(part, ResnetBlock2D) else FusedUpsample(part)
        setattr(self.parent, self.name, fused)


def fuse_networks(networks: Networks, most_bytes: int) -> None:
    """Have a model's denoiser and decoder run fused, in float32 on the processor.

    Args:
        networks: are changed.
        most_bytes: that they may take more than they have.
    """
    fuse([networks.denoiser, networks.decoder], most_bytes)
    fuse_transformers(networks.denoiser)
    remember(networks.denoiser)


def fuse(networks: Sequence[nn.Module], most_bytes: int) -> int:
    """Have networks' residual blocks and upsamplers run fused.

    Transformed filters take memory. Those of few channels are the smallest and, since they lie
    where feature maps are large, save the most: they come first.

    Args:
        networks: of one model; are changed.
        most_bytes: that may be taken for filters.

    Returns:
        How many bytes are.
    """
    taken = 0
    places = [place for network in networks for place in _convolving(network)]
    for place in sorted(places, key=lambda place: place.more_bytes):
        if taken + place.more_bytes > most_bytes:
            break
        place.fuse()
        taken += place.more_bytes
    return taken


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
    for parent in network.modules():
        for name, part in parent.named_children():
            if (isinstance(part, ResnetBlock2D) and fits_resnet(part)) or (
                isinstance(part, Upsample2D) and fits_upsample(part)
            ):
                yield Place(parent, name, part, sum(map(_filter_bytes, part.modules())))


def _filter_bytes(module: nn.Module) -> int:
    """Return what a 3 x 3 convolution's transformed filters take; 0 of anything else."""
    if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
        outputs = -(-module.out_channels // PANEL) * PANEL
        return PLACES * module.in_channels * outputs * BYTES_A_NUMBER
    return 0
