"""What the commands of `python -m training.report` do, once the process has its threads."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shared.errors import InputError
from shared.models.card import ModelCard, read_card
from shared.models.catalog import load_card
from shared.settings import load_settings
from training.data.dataset import Dataset, load_dataset
from training.evaluation.progress import progress_bars
from training.evaluation.watch import Watch
from training.report import results
from training.report.courses import BASELINE, SEARCHED, SQUEEZED, STRONGER, specifications
from training.report.measuring import (
    Studio,
    measure_distilled,
    measure_models,
    measure_steps,
    measure_tuned,
)
from training.report.page import page
from training.report.plots import plot_steps
from training.report.shipped import held_out_sheet, prompts_sheet
from training.report.speed import time_steps
from worker.export.export import export_model

SPEED_BATCH, SPEED_ROUNDS = 8, 31


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks for.

    Raises:
        InputError: a model, the data or a measurement is missing.
        ConfigurationError: a model or a package is broken.
    """
    settings = load_settings()
    models = {
        Path(name).name: load_card(name, settings.resolved_models_dir) for name in options.models
    }
    dataset = load_dataset(options.data)
    threads = options.threads or os.cpu_count() or 1
    if options.command == "page":
        _page(models, dataset, threads)
        return
    if len(models) != 2:  # noqa: PLR2004 - two are compared
        raise InputError(f"--models: {options.command} compares two")
    with progress_bars(quiet=False) as watch:
        studio = _studio(options, dataset, threads, watch)
        if options.command == "steps":
            _steps(studio, models)
        elif options.command in (results.CONTROL, results.AGAIN):
            results.write_result(measure_models(studio, models), options.command)
        elif options.command == "distilled":
            results.write_result(measure_distilled(studio, models), results.DISTILLED)
            _time(models, results.DISTILLED_SPEEDS, threads)
        else:
            results.write_result(measure_models(studio, models), results.CONTEST)
            _time(models, results.SPEEDS, threads)


def _studio(options: argparse.Namespace, dataset: Dataset, threads: int, watch: Watch) -> Studio:
    downloads = options.downloads or options.data.resolve().parent.parent / "downloads"
    return Studio(dataset, options.work, downloads, options.images, threads, watch)


def _steps(studio: Studio, models: Mapping[str, ModelCard]) -> None:
    report = measure_steps(studio, models)
    results.write_result(report, results.STEPS)
    plot_steps(report, results.RESULTS / "steps.png")
    name, card = list(models.items())[-1]
    families = specifications(card)
    for yardstick, result in ((BASELINE, results.TUNED), (STRONGER, results.TUNED_STRONGER)):
        asked = [yardstick, *families[SQUEEZED], *families[SEARCHED]]
        results.write_result(measure_tuned(studio, {name: card}, asked), result)


def _time(models: Mapping[str, ModelCard], names: Mapping[str, str], threads: int) -> None:
    cards = {card.name: card for card in models.values()}
    with tempfile.TemporaryDirectory(prefix="tenstep-exported-") as scratch:
        exported = {name: _exported(card, Path(scratch) / name) for name, card in cards.items()}
        for engine, backend, contestants in (
            ("torch", "torch", cards),
            ("ONNX Runtime", "onnxruntime", exported),
        ):
            speed = time_steps(
                contestants,
                backend=backend,
                batch=SPEED_BATCH,
                threads=threads,
                rounds=SPEED_ROUNDS,
            )
            results.write_result(speed, names[engine])


def _exported(card: ModelCard, folder: Path) -> ModelCard:
    export_model(card, folder)
    return read_card(folder)


def _page(models: Mapping[str, ModelCard], dataset: Dataset, threads: int) -> None:
    (card,) = models.values()
    prompts_sheet(card, threads, results.RESULTS / "prompts.png")
    pairs = held_out_sheet(card, dataset, threads, results.RESULTS / "held-out.png")
    results.PAGE.write_text(page(pairs), encoding="utf-8")
    print(results.PAGE)
