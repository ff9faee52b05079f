"""SqueezedDPM++: a shorter grid of timesteps for the same solver."""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.sampling import Squeeze


def squeeze_timesteps(timesteps: Sequence[int], squeeze: Squeeze) -> list[int]:
    """Keep the first i timesteps and replace the rest by n - i evenly spaced ones.

    The published scheduler of DeciDiffusion 2.0: with k = t[i-1] // (n - i + 1), the
    tail is the multiples k·(n-i), …, 2k, k.

    Args:
        timesteps: a falling grid in training steps, at least ``squeeze.kept`` long.
        squeeze: n and i.

    Raises:
        ValueError: the grid is shorter than i, or ends too low to hold the tail.
    """
    steps, kept = squeeze
    if len(timesteps) < kept:
        raise ValueError(f"squeeze {squeeze} keeps {kept} of only {len(timesteps)} timesteps")
    tail = steps - kept
    spacing = timesteps[kept - 1] // (tail + 1)
    if spacing < 1:
        raise ValueError(
            f"squeeze {squeeze}: no room for {tail} timesteps below {timesteps[kept - 1]}"
        )
    return [*timesteps[:kept], *(spacing * multiple for multiple in range(tail, 0, -1))]
