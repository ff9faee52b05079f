"""What all contestants are asked to draw, with the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from shared.domain.prompts import MAX_SEED, PromptRequest
from shared.errors import InputError
from training.data.captions import captions, with_article
from training.data.dataset import Dataset, Row, Split


@dataclass(frozen=True, slots=True)
class Question:
    """One drawing that is asked for."""

    prompt: str
    seed: int
    answer: int
    """The place of its caption among all."""
    part: str
    """Which part of the questions it belongs to: a split of the data, or a file's name."""


@dataclass(frozen=True, slots=True)
class Quiz:
    """Questions, and the captions among which theirs are to be found."""

    questions: Sequence[Question]
    captions: Sequence[str]
    """All different."""


def concept_captions(dataset: Dataset) -> dict[str, str]:
    """Return a caption without style of each concept of the data, by its code."""
    labels = {row.concept: row.label for row in dataset.rows}
    return {concept: with_article(label) for concept, label in labels.items()}


def ask_about(dataset: Dataset, splits: Sequence[Split], count: int, seed: int) -> Quiz:
    """Ask for pictures of the data by captions that name their style.

    The first questions are the same however many follow. Rows are drawn without replacement, over
    and over. The captions among which a drawing's is to be found are those of all concepts,
    without style: a drawing of a fox is right in any style.

    Args:
        dataset: the data.
        splits: parts of it.
        count: of each split.
        seed: decides rows and captions; the first drawing's seed.

    Raises:
        InputError: the data have no picture of a split.
    """
    texts = concept_captions(dataset)
    places = {concept: place for place, concept in enumerate(texts)}
    questions = []
    for split in splits:
        rows = [row for row in dataset.rows if row.split == split]
        if not rows:
            raise InputError(f"--split: the data have no {split}")
        order = np.random.default_rng(seed).permutation(len(rows))
        for number in range(count):
            row = rows[order[number % len(rows)]]
            drawn_with = (seed + number) % (MAX_SEED + 1)
            answer = places[row.concept]
            questions.append(Question(_caption(row, seed, number), drawn_with, answer, split))
    return Quiz(questions, list(texts.values()))


def _caption(row: Row, seed: int, number: int) -> str:
    texts = captions(row.names, row.style)["styled"]
    return texts[np.random.default_rng([seed, number]).integers(len(texts))]


def ask_file(path: Path, count: int, seed: int) -> Quiz:
    """Ask for the prompts of a file, one a line, over and over.

    A line is a prompt, or, in a `.jsonl` file, an object with a `prompt` as batches have them. A
    drawing's own prompt is to be found among all of the file's.

    Raises:
        InputError: it cannot be read, or has no prompt.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        if path.suffix == ".jsonl":
            lines = [PromptRequest.model_validate_json(line).prompt for line in lines if line]
    except OSError as error:
        raise InputError(f"--prompts: {path}: {error.strerror or error}") from None
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"--prompts: {path}: {str(error).splitlines()[0]}") from None
    texts = list(dict.fromkeys(line for line in lines if line))
    if not texts:
        raise InputError(f"--prompts: {path}: has no prompt")
    questions = [
        Question(
            texts[number % len(texts)],
            (seed + number) % (MAX_SEED + 1),
            number % len(texts),
            path.name,
        )
        for number in range(count)
    ]
    return Quiz(questions, texts)
