"""One search after the other, each of which is kept before the next begins."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from shared.files import ensure_writable
from shared.models.card import ModelCard, read_json
from shared.models.catalog import load_card
from shared.version import VERSION
from training.grids.errors import Question, SolverErrors
from training.grids.report import document, table
from training.grids.saved import CONFIG, save_grid
from training.grids.search import GridSearch, Outcome, in_turn
from training.sample import PROMPTS, STYLES
from worker.devices import Device
from worker.loading import load_pipeline
from worker.models.weights import exported_from
from worker.pipeline import Pipeline

SEARCH_SEED, CHECK_SEED = 1_000, 1_000_000
"""Of the first image; the others take the next ones."""
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be searched, and with what."""

    model: str
    """A name or a folder."""
    device: Device
    threads: int
    steps: Sequence[int]
    prompts: Path | None
    """One a line; None takes those that training draws."""
    images: int
    check_images: int
    reference_steps: int
    evaluations: int
    batch: int
    out: Path | None
    """None is the model's own folder."""
    as_json: bool


def search_all(plan: Plan) -> int:
    """Search each number of steps; write what was found, and print what it came to.

    Returns:
        130 if it was interrupted, and 0 if not.

    Raises:
        ConfigurationError: the model is not there or broken.
        InputError: the folder cannot be written to.
        ValueError: there are too few prompts, or so many steps have no grid.
    """
    card = load_card(plan.model)
    folder = _folder(plan, card)
    config = read_json(folder / CONFIG)
    pipeline = load_pipeline(card, plan.device, threads=plan.threads)
    sides = _questions(plan)
    outcomes: dict[int, Outcome] = {}
    try:
        search = GridSearch(
            config, *(_errors(plan, card, config, pipeline, side) for side in sides)
        )
        numbers = list(dict.fromkeys(plan.steps))
        for steps in numbers:  # all of them, before the first takes its time
            search.known(steps)
        common = _record(plan, card, pipeline, sides)
        for steps in numbers:
            with _progress(f"{steps} steps", plan.evaluations) as on_try:
                outcome = search.search(steps, plan.evaluations, on_try)
            outcomes[steps] = outcome
            save_grid(folder, outcome.found.grid, {**common, **document(outcome)})
            if outcome.found.is_interrupted:
                break
    except KeyboardInterrupt:
        _report(plan, outcomes)
        return INTERRUPTED
    _report(plan, outcomes)
    return INTERRUPTED if any(each.found.is_interrupted for each in outcomes.values()) else 0


def _folder(plan: Plan, card: ModelCard) -> Path:
    own = card.folder / "scheduler"
    folder = plan.out or own
    ensure_writable(folder)
    if not (folder / CONFIG).is_file():
        shutil.copyfile(own / CONFIG, folder / CONFIG)
    return folder


def _questions(plan: Plan) -> tuple[Sequence[Question], Sequence[Question]]:
    """Return what grids are searched with, and what they are checked with."""
    prompts = _emoji()
    if plan.prompts is not None:
        lines = plan.prompts.read_text("utf-8").splitlines()
        prompts = [line.strip() for line in lines if line.strip()]
    searched_with, held_out = in_turn(prompts)
    return (
        _asked(searched_with, plan.images, SEARCH_SEED),
        _asked(held_out, plan.check_images, CHECK_SEED),
    )


def _emoji() -> list[str]:
    """Return all prompts in all styles; few of them are of several prompts and styles."""
    return [
        prompt + STYLES[(index // 2 + turn) % len(STYLES)]
        for turn in range(len(STYLES))
        for index, prompt in enumerate(PROMPTS)
    ]


def _asked(prompts: Sequence[str], images: int, first_seed: int) -> Sequence[Question]:
    again = itertools.islice(itertools.cycle(prompts), images)
    return [Question(prompt, first_seed + index) for index, prompt in enumerate(again)]


def _errors(
    plan: Plan,
    card: ModelCard,
    config: Mapping[str, Any],
    pipeline: Pipeline,
    questions: Sequence[Question],
) -> SolverErrors:
    return SolverErrors(
        pipeline,
        card,
        config,
        questions,
        reference_steps=plan.reference_steps,
        batch=plan.batch,
    )


def _record(
    plan: Plan, card: ModelCard, pipeline: Pipeline, sides: Sequence[Sequence[Question]]
) -> Mapping[str, Any]:
    drawn_by = pipeline.describe()
    return {
        "model": card.name,
        "weights_sha256": exported_from(card),
        "guidance_scale": card.sampler.guidance_scale,
        "guidance_rescale": card.sampler.guidance_rescale,
        "width": card.width,
        "height": card.height,
        "reference": f"dpmsolver++, {plan.reference_steps} steps",
        "error": "root mean square over an image's latents, on average over images",
        "backend": f"{drawn_by.backend} {drawn_by.backend_version}, {drawn_by.precision}",
        "tenstep": VERSION,
        "searched_with": [question._asdict() for question in sides[0]],
        "held_out": [question._asdict() for question in sides[1]],
    }


@contextmanager
def _progress(what: str, evaluations: int) -> Iterator[Callable[[float], None]]:
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=evaluations)
        least = math.inf

        def on_try(error: float) -> None:
            nonlocal least
            least = min(least, error)
            progress.update(task, advance=1, description=f"{what}: {least:.4f}")

        yield on_try


def _report(plan: Plan, outcomes: Mapping[int, Outcome]) -> None:
    if plan.as_json:
        json.dump({steps: document(outcome) for steps, outcome in outcomes.items()}, sys.stdout)
        sys.stdout.write("\n")
    elif outcomes:
        Console().print(table(outcomes))
