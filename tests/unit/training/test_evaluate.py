"""Recall of what was asked for."""

import numpy as np

from training import evaluate
from training.autoencoder import as_tensor


def test_nearest_picture_is_the_picture_itself_even_if_it_is_noisy() -> None:
    source = np.random.default_rng(0)
    blocks = source.integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    known = as_tensor(blocks.repeat(8, axis=1).repeat(8, axis=2))
    drawn = known[[3, 1]] + 0.1
    assert evaluate.nearest(drawn, known, 2)[:, 0].tolist() == [3, 1]
