"""Every question drawn in every way, and every way timed.

Drawings follow from seeds: the machine may have other work meanwhile. Times need it to be quiet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.data.dataset import Pictures
from training.quality.fidelity import Asked
from training.quality.kept import Kept
from training.quality.variants import Variant
from training.quality.ways import Ways

Watch = Callable[[str], None]
"""Told of the progress, in words."""


def draw_all(
    ways: Ways,
    variants: Sequence[Variant],
    asked: Sequence[Asked],
    *,
    batch: int,
    kept: Kept,
    watch: Watch,
) -> None:
    """Draw each question once in each way; what was kept is not drawn again.

    Args:
        ways: draw.
        variants: of different names.
        asked: prompts and their seeds.
        batch: how many are drawn at once.
        kept: takes the drawings, batch by batch.
        watch: told of the progress.
    """
    for start in range(0, len(asked), batch):
        questions = asked[start : start + batch]
        for variant in variants:
            if not kept.has(variant, start):
                pictures, _ = ways.draw(variant, questions)
                kept.keep(variant, start, pictures)
        watch(f"{start + len(questions)} of {len(asked)} prompts drawn")


def drawings(variant: Variant, count: int, *, batch: int, kept: Kept) -> Pictures:
    """Return what a way drew of so many questions: (N, H, W, 3), uint8, in their order."""
    return np.concatenate([kept.pictures(variant, start) for start in range(0, count, batch)])


def time_all(
    ways: Ways,
    variants: Sequence[Variant],
    asked: Sequence[Asked],
    *,
    batch: int,
    rounds: int,
    kept: Kept,
    watch: Watch,
) -> None:
    """Time ways until there are so many rounds: in each, one batch is drawn in all ways in turn.

    What slows the machine down for a while slows all of them. Each round begins with another way.

    Args:
        ways: draw.
        variants: of different names.
        asked: prompts and their seeds, a batch at least.
        batch: how many are drawn at once.
        rounds: how many are wanted, with those that were kept.
        kept: has the rounds of before, and takes the new ones.
        watch: told of the progress.
    """
    done = len(kept.rounds(variants))
    if done >= rounds:
        return
    for variant in variants:  # what the first batch has to set up is nobody's cost
        ways.draw(variant, asked[:batch])
    for number in range(done, rounds):
        start = number * batch % (len(asked) - batch + 1)
        questions = asked[start : start + batch]
        first = number % len(variants)
        order = [*variants[first:], *variants[:first]]
        kept.keep_round({variant: ways.draw(variant, questions)[1] for variant in order})
        watch(f"{number + 1} of {rounds} batches timed")
