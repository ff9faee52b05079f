"""From a plan to a report: what is drawn, timed and measured, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from shared.errors import InputError
from shared.models.card import read_card
from training.data.dataset import load_dataset
from training.quality.drawing import draw_all, drawings, time_all
from training.quality.features import load_network
from training.quality.fidelity import core_questions
from training.quality.kept import Kept
from training.quality.page import as_page
from training.quality.report import Report, measure
from training.quality.sheet import sheet
from training.quality.variants import chosen, exported, standard
from training.quality.ways import Ways, noise_levels
from worker.devices import processor_name
from worker.models.weights import weights_identity

_SHEET_ROWS = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be compared."""

    model: Path
    """A model's folder."""
    data: Path
    """The data folder of the run that trained it."""
    exported: Sequence[Path]
    """Folders that the model was exported to, of one precision each."""
    names: Sequence[str]
    """Of the ways; none is all."""
    every: int
    """Only each n-th core concept is asked for."""
    batch: int
    """Pictures drawn at once."""
    threads: int
    rounds: int
    """Batches timed in every way."""
    work: Path
    """Where drawings and times are kept."""


class Comparison:
    """Ways of drawing with one model, compared on the same questions."""

    def __init__(self, plan: Plan) -> None:
        """Read what the plan names.

        Raises:
            ConfigurationError: the model or an exported folder is broken, or a package is
                missing.
            InputError: a folder or a way does not fit, or there is nothing to be drawn or timed.
        """
        if plan.rounds < 1:
            raise InputError("--rounds: one batch is the least that can be timed")
        self._plan = plan
        self._network = load_network()  # before hours of drawing: it may not be installed
        self._card = read_card(plan.model)
        self._dataset = load_dataset(plan.data)
        self._asked = core_questions(self._dataset, plan.every)
        if len(self._asked) < plan.batch:
            raise InputError(f"{len(self._asked)} drawings are no batch of {plan.batch}")
        self._levels = noise_levels(self._card)
        self._variants = chosen(
            [*standard(self._card, self._levels), *exported(self._card, plan.exported)], plan.names
        )
        self._kept = Kept(
            plan.work, self._card, self._asked, batch=plan.batch, threads=plan.threads
        )

    def draw(self) -> None:
        """Draw what was not drawn before."""
        draw_all(
            self._ways,
            self._variants,
            self._asked,
            batch=self._plan.batch,
            kept=self._kept,
            watch=_tell,
        )

    def time(self) -> None:
        """Time the ways until there are enough rounds."""
        time_all(
            self._ways,
            self._variants,
            self._asked,
            batch=self._plan.batch,
            rounds=self._plan.rounds,
            kept=self._kept,
            watch=_tell,
        )

    def write(self, out: Path) -> str:
        """Measure, and write report, page and sheet.

        Args:
            out: the report, JSON; the others' names differ in what they end in.

        Returns:
            The page.
        """
        plan, asked = self._plan, self._asked
        pictures = {
            variant.name: drawings(variant, len(asked), batch=plan.batch, kept=self._kept)
            for variant in self._variants
        }
        rounds = self._kept.rounds(self._variants)
        report = Report(
            model=self._card.name,
            weights_sha256=weights_identity(self._card),
            data_sha256=self._dataset.digest,
            drawings=len(asked),
            batch=plan.batch,
            processor=processor_name(),
            threads=plan.threads,
            noise_levels=self._levels,
            variants=measure(self._variants, pictures, rounds, asked, self._dataset, self._network),
        )
        out.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        page = as_page(report)
        out.with_suffix(".md").write_text(page, encoding="utf-8")
        sheet(pictures, [one.prompt for one in asked], _SHEET_ROWS).save(out.with_suffix(".png"))
        return page

    @cached_property
    def _ways(self) -> Ways:
        # What was drawn and timed before needs no model.
        return Ways(self._card, self._variants, self._plan.threads)


def _tell(progress: str) -> None:
    print(progress, flush=True)
