"""How much of a model's networks the processor runs fused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from worker.models.fused import FusedResnet, FusedUpsample, fits_resnet, fits_upsample
from worker.models.networks import Networks

FUSED = (FusedResnet, FusedUpsample)


@dataclass(frozen=True, slots=True)
class FusedParts:
    """Of a denoiser and a decoder."""

    fused: int
    """With Winograd's filters."""
    could_be: int
    """With them or without."""
    filter_bytes: int
    """That they take beside the plain parts."""


def fused_parts(networks: Networks) -> FusedParts:
    """Count what `fuse_networks` did, and what memory was too small for."""
    both = (networks.denoiser, networks.decoder)
    fused = [part for network in both for part in network.modules() if isinstance(part, FUSED)]
    plain = [part for network in both for part in _left_plain(network)]
    with_filters = [part for part in fused if part.filter_bytes]
    return FusedParts(
        len(with_filters), len(fused) + len(plain), sum(part.filter_bytes for part in fused)
    )


def _left_plain(network: nn.Module) -> Iterator[nn.Module]:
    for parent in network.modules():
        if isinstance(parent, FUSED):
            continue
        for part in parent.children():
            if (isinstance(part, ResnetBlock2D) and fits_resnet(part)) or (
                isinstance(part, Upsample2D) and fits_upsample(part)
            ):
                yield part
