"""The published recipe for Cloud AI 100, as command lines of its compiler.

Text encoder and decoder take one sample a run, the denoiser the guidance pair of each image:
the unconditional half and the conditional one. Images without guidance are run two at a time,
in the same program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import InputError
from worker.models.exported import BATCH, DENOISER, GRAPH, HEIGHT, TEXT_ENCODER, VAE_DECODER, WIDTH

PAIR = 2
"""Samples of the denoiser an image: one for each side of the guidance."""
MOST_IMAGES = 64
ALWAYS = ("-aic-hw", "-aic-hw-version=2.0", "-convert-to-fp16", "-compile-only")


@dataclass(frozen=True, slots=True)
class Sku:
    """What is sold: how many AI cores a QID of it has, and how many the two networks take."""

    name: str
    cores: int
    network_cores: int


SKUS = {
    sku.name: sku
    for sku in (
        Sku("ai100-std", cores=14, network_cores=12),
        # The recipe is for 14 cores, and leaves two to the text encoder. So does this; what is
        # fastest on 16 was not measured.
        Sku("ai100-pro", cores=16, network_cores=14),
        Sku("ai100-ultra", cores=16, network_cores=14),
    )
}
EXTRA_FLAGS = {
    TEXT_ENCODER: (),
    DENOISER: ("-mos=2", "-ols=1"),
    VAE_DECODER: ("-multicast-weights", "-aic-enable-depth-first", "-aic-depth-first-mem=18"),
}


@dataclass(frozen=True, slots=True)
class Program:
    """One component at one size: what is compiled into a QPC."""

    component: str
    width: int
    """Of the image, in pixels; 0 for the text encoder, which has no size."""
    height: int
    images: int
    """How many are run at once."""
    batch: int
    """Samples of the network that they take."""
    cores: int
    flags: tuple[str, ...]
    """All but the paths."""

    @property
    def label(self) -> str:
        """What people, and folders, call it."""
        if not self.width:
            return self.component
        return f"{self.component}-{self.width}x{self.height}-{self.images}"

    @property
    def graph(self) -> str:
        """The path of its graph, from the folder that the compiler runs in."""
        return f"{self.component}/{GRAPH}"

    def arguments(self) -> list[str]:
        """Return the compiler's arguments, with paths from the folder that it runs in."""
        return [f"-m={self.graph}", *self.flags, f"-aic-binary-dir=qpc/{self.label}"]


def find_sku(name: str) -> Sku:
    """Find what is sold by its name, with or without "ai100-".

    Raises:
        InputError: there is no such thing.
    """
    found = SKUS.get(f"ai100-{name.lower().removeprefix('ai100-')}")
    if found is None:
        raise InputError(f"no such SKU: {name!r}", hint=f"There are {', '.join(SKUS)}.")
    return found


def programs_of(
    sku: Sku, sizes: Sequence[tuple[int, int]], images: int, factor: int
) -> list[Program]:
    """Return what is to be compiled of a model.

    Args:
        sku: the cards that it is for.
        sizes: (width, height) of images, in pixels.
        images: how many the denoiser takes at once.
        factor: pixels a latent position is wide and high.

    Raises:
        InputError: images or a size cannot be.
    """
    if not 1 <= images <= MOST_IMAGES:
        raise InputError(f"{images} images at once: 1 to {MOST_IMAGES} are possible")
    for width, height in sizes:
        if width <= 0 or height <= 0 or width % factor or height % factor:
            raise InputError(f"size {width}x{height}: sides must be multiples of {factor}")
    programs = [_program(TEXT_ENCODER, 1, 1, (0, 0), 1, factor)]
    for size in dict.fromkeys(sizes):
        programs += [
            _program(DENOISER, images, PAIR * images, size, sku.network_cores, factor),
            _program(VAE_DECODER, 1, 1, size, sku.network_cores, factor),
        ]
    return programs


def _program(
    component: str, images: int, batch: int, size: tuple[int, int], cores: int, factor: int
) -> Program:
    width, height = size
    symbols = {BATCH: batch}
    if width:
        symbols |= {HEIGHT: height // factor, WIDTH: width // factor}
    flags = (
        *ALWAYS,
        *(f"-onnx-define-symbol={name},{value}" for name, value in symbols.items()),
        f"-stats-batchsize={batch}",
        f"-aic-num-cores={cores}",
        "-aic-num-of-instances=1",
        *EXTRA_FLAGS[component],
    )
    return Program(component, width, height, images, batch, cores, flags)
