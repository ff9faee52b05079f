"""The trained scorer in a folder: trained once, with a record of all that decides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file, save
from torch import Tensor

from shared.files import atomic_file, ensure_writable
from shared.version import VERSION
from training.evaluation.scorer import Examples, Recipe, Scorer, train
from training.evaluation.scorer_data import Lessons, archives, read_lessons, varied
from training.evaluation.seen import Eye
from training.evaluation.sentences import NETWORK, WEIGHTS_SHA256, Sentences
from training.evaluation.watch import Watch
from training.quality import features

EDITION = 1
"""To be raised with every change of what a scorer learns from, or how."""
VARIATIONS = 2
"""Of each picture, beside itself."""
_WEIGHTS, _RECORD = "scorer.safetensors", "scorer.json"


class ScorerRecord(BaseModel):
    """What a trained scorer was made of."""

    model_config = ConfigDict(frozen=True)

    edition: int
    networks: Mapping[str, str]
    """SHA-256 of the frozen networks' weights by name."""
    recipe: Mapping[str, float]
    variations: int
    archives: Mapping[str, str]
    """SHA-256 of the packages that it learnt from, by name."""
    pictures: int
    concepts: int
    version: str
    """Of tenstep."""


class Judge:
    """Embeds pictures' features and captions in one space."""

    def __init__(self, scorer: Scorer, record: ScorerRecord) -> None:
        """Take a trained scorer."""
        self.record = record
        self._scorer = scorer

    def images(self, seen: Tensor) -> Tensor:
        """Return embeddings (N, D) of length 1 of pictures' features (N, 1280)."""
        return self._scorer.images(seen)

    def captions(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings (N, D) of length 1."""
        return self._scorer.texts(self._sentences.features(texts))

    @cached_property
    def _sentences(self) -> Sentences:
        return Sentences()


def find_judge(
    folder: Path, downloads: Path, eye: Eye, watch: Watch, recipe: Recipe | None = None
) -> Judge:
    """Return the scorer in a folder; one that is not there, or is out of date, is trained first.

    Args:
        folder: of nothing else.
        downloads: with the archives that `scorer_data.PACKAGES` names; not looked at where the
            scorer was trained before.
        eye: looks at pictures.
        watch: told of the progress.
        recipe: how it is trained.

    Raises:
        InputError: an archive is missing.
        ConfigurationError: a package is missing.
    """
    recipe = recipe or Recipe()
    record = _read_record(folder)
    if record is None or not _is_current(record, recipe):
        record = _train(folder, downloads, eye, watch, recipe)
    scorer = Scorer(recipe)
    scorer.load_state_dict(load_file(folder / _WEIGHTS))
    return Judge(scorer.eval().requires_grad_(requires_grad=False), record)


def _networks() -> dict[str, str]:
    return {features.NETWORK: features.WEIGHTS_SHA256, NETWORK: WEIGHTS_SHA256}


def _read_record(folder: Path) -> ScorerRecord | None:
    path = folder / _RECORD
    if not path.is_file() or not (folder / _WEIGHTS).is_file():
        return None
    try:
        return ScorerRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        return None


def _is_current(record: ScorerRecord, recipe: Recipe) -> bool:
    made_by = (record.edition, record.networks, record.recipe, record.variations)
    return made_by == (EDITION, _networks(), asdict(recipe), VARIATIONS)


def _train(folder: Path, downloads: Path, eye: Eye, watch: Watch, recipe: Recipe) -> ScorerRecord:
    ensure_writable(folder)
    found = archives(downloads)
    watch.begin("drawing what the scorer learns from", 1)
    lessons = read_lessons(downloads)
    watch.advance(1)
    scorer = train(_examples(lessons, eye, watch), recipe, watch)
    record = ScorerRecord(
        edition=EDITION,
        networks=_networks(),
        recipe=asdict(recipe),
        variations=VARIATIONS,
        archives=found,
        pictures=len(lessons.pictures),
        concepts=len(lessons.captions),
        version=VERSION,
    )
    with atomic_file(folder / _WEIGHTS) as file:
        file.write(save(scorer.state_dict()))
    with atomic_file(folder / _RECORD) as file:
        file.write(record.model_dump_json(indent=2).encode())
    return record


def _examples(lessons: Lessons, eye: Eye, watch: Watch) -> Examples:
    seen = [eye.features("the scorer's pictures", lessons.pictures, watch)]
    for seed in range(1, VARIATIONS + 1):
        what = f"the scorer's pictures, variation {seed} of {VARIATIONS}"
        seen.append(eye.features(what, varied(lessons.pictures, seed), watch))
    texts = [text for captions in lessons.captions for text in captions]
    watch.begin("features of the scorer's captions", 1)
    read = Sentences().features(texts)
    watch.advance(1)
    return Examples(
        images=torch.stack(seen),
        image_concepts=lessons.concepts,
        texts=read,
        text_concepts=[place for place, those in enumerate(lessons.captions) for _ in those],
    )
