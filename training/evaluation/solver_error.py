"""How far a sampler ends from where a solver of many steps ends that begins with the same noise."""

from __future__ import annotations

import numpy as np

from training.data.dataset import Pictures
from training.quality.intervals import Values


def solver_error(drawn: Pictures, reference: Pictures) -> Values:
    """Return the root mean square of each drawing's errors, (N,), in 8-bit shades.

    Args:
        drawn: (N, H, W, 3), uint8.
        reference: of the same prompts, seeds, guidance and model, in the same order.
    """
    errors = drawn.astype(np.float64) - reference.astype(np.float64)
    values: Values = np.sqrt(np.square(errors).mean(axis=(1, 2, 3)))
    return values
