"""The squeezed grid of any number of steps, in the proportions of the published one."""

from __future__ import annotations

from shared.domain.sampling import Squeeze

PUBLISHED_BASE_STEPS = 16
PUBLISHED = Squeeze(steps=10, kept=6)


def squeeze_of(steps: int) -> tuple[int, Squeeze]:
    """Return the steps of the base grid, and the squeeze that leaves so many of them.

    Both are rounded to the proportions of 10,6 on 16 steps.

    Raises:
        ValueError: fewer than two steps, of which nothing can be both kept and replaced.
    """
    base_steps = round(steps * PUBLISHED_BASE_STEPS / PUBLISHED.steps)
    kept = round(steps * PUBLISHED.kept / PUBLISHED.steps)
    return base_steps, Squeeze.parse(f"{steps},{kept}")
