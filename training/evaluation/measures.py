"""What is measured of a contestant's drawings, each with all that its interval needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from training.data.dataset import Dataset, Pictures
from training.evaluation.frechet import frechet_distance
from training.evaluation.judge import Judge
from training.evaluation.kernel import gaussian_distance
from training.evaluation.precision import coverage
from training.evaluation.questions import Question, Quiz, concept_captions
from training.evaluation.retrieval import RANKS, retrieved
from training.evaluation.solver_error import solver_error
from training.quality.distance import kernel_distance
from training.quality.intervals import Interval, Statistic, Values, mean_interval

FRECHET, KERNEL, GAUSSIAN = "FID (lite0)", "KID (lite0)", "CMMD-style (scorer)"
PRECISION, RECALL, SOLVER = "precision (lite0)", "recall (lite0)", "solver RMSE"
Measured = Values | Statistic
"""A mean of values, one a drawing, or a figure of all drawings."""


@dataclass(frozen=True, slots=True)
class Known:
    """What drawings are measured by."""

    real: Tensor
    """(M, 1280): features of the data's pictures."""
    real_embeddings: Tensor
    """(M, D), by the scorer."""
    captions: Tensor
    """(C, D): embeddings of all captions, by the scorer."""
    questions: Sequence[Question]
    judge: Judge


def interval(measured: Measured) -> Interval:
    """Return what was measured, and how sure it is."""
    return measured.interval if isinstance(measured, Statistic) else mean_interval(measured)


def change(measured: Measured, first: Measured) -> Interval:
    """Return how much more it is than the first contestant's, question by question."""
    if isinstance(measured, Statistic) and isinstance(first, Statistic):
        return (measured - first).interval
    if isinstance(measured, np.ndarray) and isinstance(first, np.ndarray):
        return mean_interval(measured - first)
    raise TypeError("a mean and a figure of all drawings have no difference")


def measure(
    known: Known, seen: Tensor, drawn: Pictures, reference: Pictures | None
) -> dict[str, Measured]:
    """Measure drawings of all questions.

    Args:
        known: what they are measured by.
        seen: features of the drawings, (N, 1280).
        drawn: the drawings, (N, H, W, 3), uint8.
        reference: of a solver of many steps; None leaves the solver's error out.

    Returns:
        Measures by name.
    """
    embeddings = known.judge.images(seen)
    covered = coverage(seen, known.real)
    found: dict[str, Measured] = {
        FRECHET: frechet_distance(seen, known.real),
        KERNEL: kernel_distance(seen, known.real),
        GAUSSIAN: gaussian_distance(embeddings, known.real_embeddings),
        PRECISION: covered.precision,
        RECALL: covered.recall,
        **_retrieval(known, embeddings),
    }
    if reference is not None:
        found[SOLVER] = solver_error(drawn, reference)
    return found


def _retrieval(known: Known, embeddings: Tensor) -> dict[str, Values]:
    answers = [question.answer for question in known.questions]
    parts = np.array([question.part for question in known.questions])
    found = {}
    for among in RANKS:
        hits = retrieved(embeddings, known.captions, answers, among)
        found[f"R@{among}"] = hits
        if len(set(parts)) > 1:
            found |= {f"R@{among}, {part}": hits[parts == part] for part in dict.fromkeys(parts)}
    return found


def ceiling(
    dataset: Dataset, real_embeddings: Tensor, judge: Judge
) -> Mapping[str, Mapping[str, Interval]]:
    """Return how often the scorer finds the caption of a picture of the data, by its style.

    No drawing of a model that learnt from them is to be expected to be clearer than they are.
    """
    texts = concept_captions(dataset)
    captions = judge.captions(list(texts.values()))
    places = {concept: place for place, concept in enumerate(texts)}
    answers = [places[row.concept] for row in dataset.rows]
    styles = np.array([row.style for row in dataset.rows])
    hits = {among: retrieved(real_embeddings, captions, answers, among) for among in RANKS}
    return {
        style: {f"R@{among}": mean_interval(hits[among][styles == style]) for among in RANKS}
        for style in dict.fromkeys(styles.tolist())
    }


def know(quiz: Quiz, real: Tensor, judge: Judge) -> Known:
    """Prepare what all contestants are measured by."""
    return Known(real, judge.images(real), judge.captions(quiz.captions), quiz.questions, judge)
