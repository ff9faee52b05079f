"""How convolutions read images: normalized, activated, enlarged, with zeros beyond their edges."""

from __future__ import annotations

from worker.kernels.activation import silu
from worker.kernels.compiling import part
from worker.kernels.normalization import Array, Factors

# No views: each would be counted, by all threads at once.


@part
def read_row(  # noqa: PLR0917 - what is read and where to
    images: Array,
    factor: int,
    factors: Factors,
    n: int,
    y: int,
    rows: Array,
    of: int,
    i: int,
) -> None:
    """Fill a row with one of an image, and what lies beside it.

    Args:
        images: (N, H, W, C).
        factor: how often each position counts in height and in width (nearest upsampling).
        factors: SiLU of the input so normalized is read; of no channels: the input itself.
        n: which image.
        y: which of its rows, enlarged; may lie beyond.
        rows: (·, ·, at least factor * W + 2, C), of which the row [of, i] is filled.
        of: see there.
        i: see there.
    """
    _, height, width, channels = images.shape
    if y < 0 or y >= height * factor:
        _clear(rows, of, i, 0, rows.shape[2])
        return
    _clear(rows, of, i, 0, 1)
    for x in range(width * factor):
        if factors.scale.shape[1]:
            for c in range(channels):
                value = images[n, y // factor, x // factor, c] * factors.scale[n, c]
                rows[of, i, x + 1, c] = silu(value + factors.offset[n, c])
        else:
            for c in range(channels):
                rows[of, i, x + 1, c] = images[n, y // factor, x // factor, c]
    _clear(rows, of, i, width * factor + 1, rows.shape[2])


@part
def _clear(rows: Array, of: int, i: int, begin: int, end: int) -> None:
    for x in range(begin, end):
        for c in range(rows.shape[3]):
            rows[of, i, x, c] = 0
