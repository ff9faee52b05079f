"""Whether a scorer finds what was asked for among all that might have been asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.quality.intervals import Values

RANKS = (1, 5)
"""R@1: the right caption is the likeliest of all; R@5: it is among the first five."""


def retrieved(images: Tensor, texts: Tensor, answers: Sequence[int], among: int) -> Values:
    """Return 1 for each picture whose own caption is among the likeliest, 0 for another, (N,).

    Args:
        images: embeddings (N, D), of length 1.
        texts: of all captions, (M, D), of length 1.
        answers: the place of each picture's own caption.
        among: how many of the likeliest are looked at.
    """
    likeness = images @ texts.T
    own = likeness.gather(1, torch.tensor(answers)[:, None])
    # What is as likely as the right one goes before it: a scorer that knows nothing gets nothing.
    ranks = (likeness >= own).sum(dim=1)
    return (ranks <= among).numpy().astype(np.float64)
