"""The ways of drawing that are compared: the exact one and its shortcuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

from shared.domain.quality import Shortcuts
from shared.errors import InputError

EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of drawing."""

    name: str
    shortcuts: Shortcuts = field(default_factory=Shortcuts)
    folder: Path | None = None
    """Of another model with the same weights, such as an exported one; None is the model."""


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


def standard(sigmas: Sequence[float], *, has_tiny_decoder: bool) -> list[Variant]:
    """Return the exact way, each shortcut by itself, and combinations."""
    return [Variant(EXACT), *_single(sigmas), *_combined(sigmas, has_tiny=has_tiny_decoder)]


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


def _single(sigmas: Sequence[float]) -> Iterator[Variant]:
    for first in (1, 2, 3):
        yield Variant(f"guidance -{first} first", guided_between(sigmas, first, 0))
    for last in (1, 2, 3, 4, 5):
        yield Variant(f"guidance -{last} last", guided_between(sigmas, 0, last))
    for steps in (2, 3):
        yield Variant(f"reuse {steps}", Shortcuts(feature_reuse=steps))


def _combined(sigmas: Sequence[float], *, has_tiny: bool) -> Iterator[Variant]:
    if has_tiny:
        yield Variant("tiny decoder", Shortcuts(tiny_decoder=True))
    for first, last in ((1, 2), (1, 3), (1, 4), (2, 3)):
        shortcuts = guided_between(sigmas, first, last)
        name = f"guidance -{first} first -{last} last"
        yield Variant(name, shortcuts)
        both = shortcuts.model_copy(update={"feature_reuse": 2})
        yield Variant(f"{name}, reuse 2", both)
        if has_tiny:
            tiny = both.model_copy(update={"tiny_decoder": True})
            yield Variant(f"{name}, reuse 2, tiny decoder", tiny)
