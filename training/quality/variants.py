"""The ways of drawing that are compared: the exact one and its shortcuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

from shared.domain.quality import Quality, Shortcuts
from shared.errors import InputError
from shared.models.card import ModelCard, read_card
from worker.models.exported import ExportPrecision, precision_of
from worker.models.weights import exported_from, weights_identity

EXACT = "exact"
TINY = "tiny decoder"


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of drawing."""

    name: str
    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    folder: Path | None = None
    """Of the same model as it was exported; None is the model itself."""

    @property
    def reference(self) -> str:
        """The way without a loss on the same backend, by its name."""
        return EXACT if self.folder is None else exported_name(ExportPrecision.FLOAT32)


def exported_name(precision: ExportPrecision) -> str:
    """Return what the way of an exported model is called."""
    return f"exported {precision}"


def guided_between(sigmas: Sequence[float], first: int, last: int) -> Shortcuts:
    """Leave guidance out of the first and the last so many steps.

    Args:
        sigmas: noise level of each step, falling.
        first: steps without guidance at the start, where noise is highest.
        last: steps without it at the end.

    Raises:
        InputError: no step would be left.
    """
    guided = sigmas[first : len(sigmas) - last]
    if not guided:
        raise InputError(f"of {len(sigmas)} steps none would be guided")
    # Between two levels, so that a grid of other steps is guided in the same part of the way.
    high = sqrt(sigmas[first - 1] * guided[0]) if first else 2 * guided[0]
    low = sqrt(guided[-1] * sigmas[len(sigmas) - last]) if last else 0.0
    return Shortcuts(guidance_interval=(round(low, 2), round(high, 2)))


def standard(card: ModelCard, sigmas: Sequence[float]) -> list[Variant]:
    """Return the exact way, a model's qualities, each shortcut by itself, and combinations.

    Args:
        card: of a model for torch.
        sigmas: noise level of each of its sampler's steps, falling.
    """
    has_tiny = card.has_tiny_decoder
    ways = (*_named(card), *_single(sigmas, has_tiny=has_tiny))
    return [Variant(EXACT), *ways, *_combined(sigmas, has_tiny=has_tiny)]


def exported(card: ModelCard, folders: Sequence[Path]) -> list[Variant]:
    """Return a way for each folder that a model was exported to, named by its precision.

    Raises:
        InputError: a folder was made of other weights, or two have one precision.
        ConfigurationError: a folder is no model's, or is broken.
    """
    identity = weights_identity(card)
    ways: dict[str, Variant] = {}
    for folder in folders:
        if exported_from(read_card(folder)) != identity:
            raise InputError(f"{folder}: was not exported from {card.name} as it is now")
        name = exported_name(precision_of(folder))
        if name in ways:
            raise InputError(f"{folder}: there is another folder of {name}")
        ways[name] = Variant(name, folder=folder)
    return list(ways.values())


def chosen(known: Sequence[Variant], names: Sequence[str]) -> list[Variant]:
    """Return the variants of these names, the exact one first; no names is all.

    Raises:
        InputError: there is no variant of a name.
    """
    by_name = {variant.name: variant for variant in known}
    if missing := [name for name in names if name not in by_name]:
        raise InputError(
            f"no variant is called {missing[0]!r}", hint=f"Known: {', '.join(by_name)}"
        )
    if not names:
        return list(known)
    return [by_name[name] for name in dict.fromkeys([EXACT, *names])]


def _named(card: ModelCard) -> Iterator[Variant]:
    for quality in (Quality.BALANCED, Quality.FAST):
        shortcuts = card.qualities[quality]
        yield Variant(quality.value, shortcuts)
        if card.has_tiny_decoder and not shortcuts.tiny_decoder:
            tiny = shortcuts.model_copy(update={"tiny_decoder": True})
            yield Variant(f"{quality}, {TINY}", tiny)


def _single(sigmas: Sequence[float], *, has_tiny: bool) -> Iterator[Variant]:
    if has_tiny:
        yield Variant(TINY, Shortcuts(tiny_decoder=True))
    for first in (1, 2, 3):
        yield Variant(f"guidance -{first} first", guided_between(sigmas, first, 0))
    for last in (1, 2, 3, 4, 5):
        yield Variant(f"guidance -{last} last", guided_between(sigmas, 0, last))
    for steps in (2, 3):
        yield Variant(f"reuse {steps}", Shortcuts(feature_reuse=steps))


def _combined(sigmas: Sequence[float], *, has_tiny: bool) -> Iterator[Variant]:
    for first, last in ((1, 2), (1, 3), (1, 4), (2, 3)):
        shortcuts = guided_between(sigmas, first, last)
        name = f"guidance -{first} first -{last} last"
        yield Variant(name, shortcuts)
        both = shortcuts.model_copy(update={"feature_reuse": 2})
        yield Variant(f"{name}, reuse 2", both)
        if has_tiny:
            tiny = both.model_copy(update={"tiny_decoder": True})
            yield Variant(f"{name}, reuse 2, {TINY}", tiny)
