"""The measurements of the report: models that a run left behind, evaluated in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.models.card import ModelCard
from training.data.dataset import Dataset, Split
from training.evaluation.contestants import OWN, Contestant, line_up
from training.evaluation.drawing import Manner
from training.evaluation.evaluation import Plan, evaluate
from training.evaluation.questions import ask_about
from training.evaluation.report import Report
from training.evaluation.watch import Watch
from training.report.courses import BASELINE, SEARCHED, specifications
from worker.devices import Device

SEED = 0
REFERENCE_STEPS = 200
BATCH = 16


@dataclass(frozen=True, slots=True)
class Studio:
    """What all measurements have in common."""

    dataset: Dataset
    work: Path
    """Keeps drawings: what was drawn before is not drawn again."""
    downloads: Path
    """With what the scorer learns from."""
    images: int
    """Of each contestant and part of the data."""
    threads: int
    watch: Watch

    def measure(
        self, contestants: Sequence[Contestant], splits: Sequence[Split], reference_steps: int
    ) -> Report:
        """Evaluate contestants; the first is what the others are compared with."""
        plan = Plan(
            contestants=contestants,
            dataset=self.dataset,
            quiz=ask_about(self.dataset, splits, self.images, SEED),
            asked_from=f"captions of {', '.join(splits)}",
            seed=SEED,
            reference_steps=reference_steps,
            batch=BATCH,
            manner=Manner(Device.parse("cpu"), "torch", "float32", self.threads),
            work=self.work,
            downloads=self.downloads,
        )
        report, _ = evaluate(plan, self.watch)
        return report


def measure_steps(studio: Studio, models: Mapping[str, ModelCard]) -> Report:
    """Draw with every family of samplers at every number of steps.

    Args:
        studio: what measurements have in common.
        models: by name; the first one's sixteen plain steps are what is compared with.
    """
    families = specifications(next(iter(models.values()))).values()
    asked = dict.fromkeys([BASELINE, *(one for family in families for one in family)])
    contestants = line_up(list(models.items()), list(asked))
    return studio.measure(contestants, ["train"], REFERENCE_STEPS)


def measure_tuned(
    studio: Studio, models: Mapping[str, ModelCard], samplers: Sequence[str]
) -> Report:
    """Draw with some samplers; the first is what the others are compared with."""
    contestants = line_up(list(models.items()), list(dict.fromkeys(samplers)))
    return studio.measure(contestants, ["train"], REFERENCE_STEPS)


def measure_distilled(studio: Studio, models: Mapping[str, ModelCard]) -> Report:
    """Draw with a model and with its distilled copy, with the copy along its searched grids too."""
    named = list(models.items())
    _, card = named[-1]
    few = line_up(named[-1:], specifications(card)[SEARCHED])
    contestants = [*line_up(named, [OWN]), *few]
    return studio.measure(contestants, ["train", "held-out pair"], 0)


def measure_models(studio: Studio, models: Mapping[str, ModelCard]) -> Report:
    """Draw with every model's own sampler, what training saw and what it did not."""
    return studio.measure(line_up(list(models.items()), [OWN]), ["train", "held-out pair"], 0)
