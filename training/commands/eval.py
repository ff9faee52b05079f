"""``tenstep eval``: how well models draw."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import InputError

if TYPE_CHECKING:
    from shared.settings import Settings
    from training.data.dataset import Dataset, Split
    from training.evaluation.contestants import Contestant
    from training.evaluation.drawing import Manner
    from training.evaluation.questions import Quiz

EPILOG = (
    "Example: tenstep eval emoji-64 --data runs/emoji-64/data --images 64 "
    "--sampler own --sampler ddim:25"
)
HELP = (
    "Measure how well models draw, and compare them drawing by drawing.\n\n"
    "Measured are FID, KID and a CMMD-style distance, caption retrieval, precision and recall, "
    "and the solver's error, each with its 95 % interval. "
    "Every model draws the same prompts and seeds with every sampler. The first model with the "
    "first sampler is what the others are compared with, drawing by drawing. Feature networks "
    "are those of packages: figures compare with one another, not with published ones. Beside "
    "the report lies a sheet of drawings, .png.\n\n"
    "Captions are found by a scorer, which is trained the first time, on drawing styles that no "
    "model here learns from: OpenMoji and Fluent Emoji's flat drawings. A run that was stopped "
    "goes on where it was."
)

# A group of its own would want a second word: a command by itself is a Typer with one command.
app = typer.Typer()


class SplitName(StrEnum):
    """Parts of the data that are asked for."""

    TRAIN = "train"
    HELD_OUT_PAIR = "held-out-pair"
    HELD_OUT_CONCEPT = "held-out-concept"

    @property
    def in_data(self) -> Split:
        """What the data call it."""
        if self is SplitName.TRAIN:
            return "train"
        return "held-out pair" if self is SplitName.HELD_OUT_PAIR else "held-out concept"


@app.command("eval", epilog=EPILOG, help=HELP)
def evaluate(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Names or folders of models.")
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="A data folder that python -m training.data made.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Prompts, one a line, or .jsonl; default the data's captions."
        ),
    ] = None,
    split: Annotated[
        list[SplitName] | None,
        typer.Option(help="Parts of the data to ask for, may be repeated; default train."),
    ] = None,
    images: Annotated[
        int, typer.Option(min=8, max=1_000_000, help="Drawings of each part, by each sampler.")
    ] = 512,
    sampler: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="own, or SCHEDULER[:STEPS[:N,I]] such as dpmsolver++:16:10,6; may be repeated; "
            "default own and dpmsolver++:16.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the questions and the first drawing.")
    ] = 0,
    reference_steps: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Steps that a solver's error is measured by; 0 measures none."
        ),
    ] = 200,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Images drawn at once.")] = 8,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The report.")] = Path("eval.json"),
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keeps drawings, features and the scorer; default beside the report, .work.",
        ),
    ] = None,
    downloads: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Archives that the scorer learns from; default downloads/ beside the data's run.",
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Draw with every model and sampler, measure, and write the report."""
    from training.evaluation.extra import require_train_extra

    require_train_extra()
    from shared.settings import load_settings
    from worker.quick_imports import import_diffusers_without_compiler

    settings = load_settings()
    # As a worker does, before anything imports diffusers.
    import_diffusers_without_compiler()
    from training.evaluation.evaluation import Plan
    from training.evaluation.evaluation import evaluate as run
    from training.evaluation.progress import progress_bars

    dataset = _dataset(data)
    splits = list(dict.fromkeys(split or [SplitName.TRAIN]))
    plan = Plan(
        contestants=_contestants(models, sampler, settings),
        dataset=dataset,
        quiz=_quiz(dataset, prompts, splits, images, seed),
        asked_from=f"prompts of {prompts.name}" if prompts else f"captions of {', '.join(splits)}",
        seed=seed,
        reference_steps=reference_steps,
        batch=batch,
        manner=_manner(settings),
        work=work or out.with_suffix(".work"),
        downloads=downloads or data.resolve().parent.parent / "downloads",
    )
    with progress_bars(quiet=as_json) as watch:
        report, page = run(plan, watch)
    out.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    page.save(out.with_suffix(".png"))
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
        return
    from rich.console import Console

    from training.evaluation.table import show

    console = Console(highlight=False, markup=False, emoji=False)
    show(report, console)
    console.print(f"{out}, and the drawings: {out.with_suffix('.png')}", soft_wrap=True)


def _contestants(
    models: list[str], samplers: list[str] | None, settings: Settings
) -> list[Contestant]:
    from shared.models.catalog import load_card
    from training.evaluation.contestants import DEFAULT_SAMPLERS, line_up

    cards = [(name, load_card(name, settings.resolved_models_dir)) for name in models]
    return line_up(cards, samplers or DEFAULT_SAMPLERS)


def _manner(settings: Settings) -> Manner:
    from training.evaluation.drawing import Manner
    from worker.devices import Device

    device = Device.parse(settings.device)
    if device.kind == "simulated":
        raise InputError(f"TENSTEP_DEVICE: {device} runs no model, so it draws nothing to measure")
    return Manner(device, settings.backend, settings.precision, settings.cpu_threads)


def _dataset(folder: Path) -> Dataset:
    from training.data.dataset import load_dataset

    try:
        return load_dataset(folder)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"--data: {folder}: no data to compare with: {error}",
            hint="python -m training.data CONFIG makes such a folder.",
        ) from None


def _quiz(
    dataset: Dataset, prompts: Path | None, splits: list[SplitName], images: int, seed: int
) -> Quiz:
    from training.evaluation.questions import ask_about, ask_file

    if prompts is not None:
        return ask_file(prompts, images, seed)
    return ask_about(dataset, [name.in_data for name in splits], images, seed)
