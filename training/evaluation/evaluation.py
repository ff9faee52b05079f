"""From a plan to a report: questions are drawn by every contestant, and drawings are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from shared.files import ensure_writable
from shared.version import VERSION
from training.data.dataset import Dataset, Pictures
from training.evaluation.contestants import Contestant, reference
from training.evaluation.drawing import Manner, Studio
from training.evaluation.judge import find_judge
from training.evaluation.measures import Measured, ceiling, change, interval, know, measure
from training.evaluation.questions import Quiz
from training.evaluation.report import ContestantReport, Measure, Report
from training.evaluation.seen import Eye
from training.evaluation.watch import Watch
from training.quality.features import NETWORK, WEIGHTS_SHA256
from training.quality.sheet import sheet
from worker.devices import processor_name

_SHEET_ROWS = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be evaluated."""

    contestants: Sequence[Contestant]
    """The first is what the others are compared with."""
    dataset: Dataset
    quiz: Quiz
    asked_from: str
    """Where the questions are from, in words."""
    seed: int
    reference_steps: int
    """0 measures no solver's error."""
    batch: int
    manner: Manner
    work: Path
    """Where drawings, features and the scorer are kept."""
    downloads: Path
    """With the archives that the scorer learns from."""


def evaluate(plan: Plan, watch: Watch) -> tuple[Report, Image.Image]:
    """Draw, measure and report; a run that was stopped goes on where it was.

    Returns:
        The report, and a sheet of drawings: a row a prompt, a column a contestant.

    Raises:
        ConfigurationError: a model or a package is missing or broken.
        InputError: the folder cannot be written to, or an archive is missing.
    """
    ensure_writable(plan.work)
    eye = Eye(plan.work / "features")
    # Before hours of drawing: something may be missing.
    judge = find_judge(plan.work / "scorer", plan.downloads, eye, watch)
    studio = Studio(plan.work / "drawings", plan.manner, plan.batch)
    drawn = {one: studio.draw(one, plan.quiz.questions, watch) for one in plan.contestants}
    references = _references(plan, studio, watch)
    real = eye.features("the data's pictures", plan.dataset.images, watch)
    known = know(plan.quiz, real, judge)
    measured = {
        one: measure(known, eye.features(one.name, pictures, watch), pictures, references.get(one))
        for one, pictures in drawn.items()
    }
    found = ceiling(plan.dataset, known.real_embeddings, judge)
    report = Report(
        version=VERSION,
        device=str(plan.manner.device),
        processor=processor_name(),
        torch=torch.__version__,
        data_sha256=plan.dataset.digest,
        pictures=len(plan.dataset.rows),
        questions=plan.asked_from,
        seed=plan.seed,
        drawings=len(plan.quiz.questions),
        captions=len(plan.quiz.captions),
        reference_steps=plan.reference_steps,
        feature_network=NETWORK,
        feature_network_sha256=WEIGHTS_SHA256,
        scorer=judge.record,
        ceiling=found,
        contestants=_reports(measured, studio),
    )
    prompts = [question.prompt for question in plan.quiz.questions]
    page = sheet({one.name: pictures for one, pictures in drawn.items()}, prompts, _SHEET_ROWS)
    return report, page


def _references(plan: Plan, studio: Studio, watch: Watch) -> dict[Contestant, Pictures]:
    if not plan.reference_steps:
        return {}
    return {
        one: studio.draw(reference(one, plan.reference_steps), plan.quiz.questions, watch)
        for one in plan.contestants
    }


def _reports(
    measured: dict[Contestant, dict[str, Measured]], studio: Studio
) -> list[ContestantReport]:
    first = next(iter(measured.values()))
    return [
        ContestantReport(
            name=one.name,
            model=one.model,
            weights_sha256=studio.weights(one.card),
            sampler=one.sampler,
            evaluations=one.sampler.evaluations,
            measures={
                name: Measure(
                    value=interval(found),
                    change=None if measures is first else change(found, first[name]),
                )
                for name, found in measures.items()
            },
        )
        for one, measures in measured.items()
    ]
