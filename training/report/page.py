"""The page: what was asked, what was measured, and whether a claim holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from training.evaluation.report import ContestantReport, Report
from training.quality.intervals import RESAMPLES
from training.report import results
from training.report.courses import PLAIN, SEARCHED, SQUEEZED, STEPS
from training.report.duel import Duel, duel_tables
from training.report.search_section import (
    agreement_table,
    front_table,
    ranking_tables,
)
from training.report.speed import Speed
from training.report.steps import claims, find, tables
from training.report.summary import summary
from training.search.agreement import Agreement
from training.search.pareto import Report as Front
from training.search.ranking import Ranking


def page(held_out_pairs: int) -> str:
    """Return the page in Markdown, of all results.

    Args:
        held_out_pairs: how many are on their sheet.

    Raises:
        InputError: a measurement was not made yet.
    """
    steps = results.read_result(Report, results.STEPS)
    tuned = [results.read_result(Report, name) for name in (results.TUNED, results.TUNED_STRONGER)]
    ranking = results.read_result(Ranking, results.RANKING)
    control = results.read_result(Report, results.CONTROL)
    again = results.read_result(Report, results.AGAIN)
    contest = _duel(results.CONTEST, results.SPEEDS)
    distilled = _duel(results.DISTILLED, results.DISTILLED_SPEEDS)
    return "\n".join(
        [
            _INTRODUCTION.format(
                drawings=steps.drawings,
                processor=steps.processor,
                network=steps.feature_network,
                network_sha=steps.feature_network_sha256,
                resamples=RESAMPLES,
                ceiling=_ceiling(steps),
            ),
            _SUMMARY,
            summary(
                steps=steps,
                tuned=tuned,
                control=control,
                distilled=distilled,
                again=again,
                ranking=ranking,
                contest=contest,
            ),
            _steps(steps, tuned, control),
            _DISTILLED.format(drawings=distilled.report.drawings),
            duel_tables(distilled),
            _FEWER_STEPS,
            claims(distilled.report, _in_fewer_steps(distilled.report)),
            _search(ranking, contest),
            _SHIPPED.format(pairs=held_out_pairs),
            _against_first(),
            _AGAIN.format(drawings=again.drawings),
            claims(again, [("made again", again.contestants[-1])]),
        ]
    )


def _ceiling(report: Report) -> str:
    return ", ".join(
        f"{style} {found['R@1'].mean:.2f} and {found['R@5'].mean:.2f}"
        for style, found in report.ceiling.items()
    )


def _steps(report: Report, tuned: Sequence[Report], control: Report) -> str:
    before, after = dict.fromkeys(one.model for one in report.contestants)
    asked = [
        ("ten squeezed, before", find(report, before, SQUEEZED, 10)),
        ("ten squeezed, after", find(report, after, SQUEEZED, 10)),
        ("eight searched, before", find(report, before, SEARCHED, 8)),
        ("eight searched, after", find(report, after, SEARCHED, 8)),
        ("eight squeezed, after", find(report, after, SQUEEZED, 8)),
        ("eight plain, after", find(report, after, PLAIN, 8)),
    ]
    parts = [
        _QUESTION.format(steps=", ".join(map(str, STEPS))),
        claims(report, [(name, one) for name, one in asked if one is not None]),
        *(_on_itself(one) for one in tuned),
        _CONTROL.format(drawings=control.drawings),
        claims(control, [("fine-tuned", control.contestants[-1])]),
        tables(report),
    ]
    return "\n".join(parts)


def _on_itself(tuned: Report) -> str:
    plain = tuned.contestants[0]
    asked = [
        (f"{steps} {family}, after", found)
        for steps in (10, 8)
        for family in (SQUEEZED, SEARCHED)
        if (found := find(tuned, plain.model, family, steps)) is not None
    ]
    title = f"\nThe fine-tuned model against itself, at {plain.evaluations} plain steps:\n\n"
    return title + claims(tuned, asked)


def _in_fewer_steps(report: Report) -> list[tuple[str, ContestantReport]]:
    distilled = report.contestants[1].model
    found = [find(report, distilled, SEARCHED, steps) for steps in STEPS]
    return [(f"{one.evaluations} searched, distilled", one) for one in found if one is not None]


def _duel(quality: str, speeds: Mapping[str, str]) -> Duel:
    timed = {engine: results.read_result(Speed, name) for engine, name in speeds.items()}
    return Duel(results.read_result(Report, quality), timed)


def _search(ranking: Ranking, contest: Duel) -> str:
    small = results.read_result(Front, f"{results.SMALL}/pareto")
    full = results.read_result(Front, f"{results.FULL}/pareto")
    checks = [
        results.read_result(Agreement, f"{name}-check")
        for name in (results.TABLE_TORCH, results.TABLE_ONNX)
    ]
    return "\n".join(
        [
            _RANKING.format(samples=ranking.samples, supernet=ranking.supernet_samples),
            ranking_tables(ranking),
            _TABLES,
            agreement_table(checks),
            _FRONT,
            front_table(small),
            _FULL,
            front_table(full),
            _CONTEST.format(drawings=contest.report.drawings),
            duel_tables(contest),
        ]
    )


def _against_first() -> str:
    report = results.read_result(Report, results.AGAINST_FIRST)
    ours = report.contestants[-1]
    return _AGAINST_FIRST.format(drawings=report.drawings) + claims(report, [(ours.model, ours)])


_INTRODUCTION = """\
# Made to need ten steps

Written by `python -m training.report page` from `training/results/`; the commands that measured are
those of `python -m training.report --help`. Processor: {processor}.

- Figures are of {drawings} drawings where nothing else is said, the same prompts and seeds for all
  that are compared. In parentheses, 95 % intervals by {resamples} bootstrap samples of the
  drawings; differences are taken drawing by drawing.
- FID and KID are on features of {network}, SHA-256
  {network_sha}:
  they compare within this page only, not with published ones. The CMMD-style distance is on the
  scorer's embeddings.
- Precision: the share of drawings within the pictures' manifold; recall: that of pictures within
  the drawings' (Kynkäänniemi et al. 2019), both on the same features.
- R@1 and R@5: how often a drawing's caption is first, or among the first five, of those of all
  concepts, by a scorer that never saw the model's styles. On real pictures it finds, at 1 and at
  5: {ceiling}.
- Solver RMSE: shades of 255 from the drawing of 200 steps that begins with the same noise.
"""

_SUMMARY = """\
## What came out

Figures, and what stands behind each line, follow. A difference counts where its 95 % interval is on
one side of nothing; so many are looked at that one in twenty will seem to differ by chance. More
drawings would tell smaller differences apart.
"""

_QUESTION = """\
## Quality against steps

Steps: {steps}. "Before" is the model before it was fine-tuned at the solver's own noise levels,
"after" the shipped one. Squeezed grids keep 0.6 n timesteps of 1.6 n and end after n, as 10,6 of
16 does.

![Quality against steps](results/steps.png)

The brief's claim is that ten squeezed steps are at least as good as sixteen plain ones; the goal
here is the same with eight.

Sixteen plain steps are a weak yardstick: with these checkpoints' settings DPM-Solver++ ends in a
step of first order where there are fewer than 15 (diffusers' `lower_order_final`), and a last step
of second order costs more than the added steps gain. Twelve plain steps are nearer to 200 than
sixteen, so the shipped model is compared with its own twelve too.
"""

_CONTROL = """
What the solver's levels did is told from what more training did by a control: as many steps more
at all noise levels alike, from the same weights and with the same rates. {drawings} drawings of
each, both by their own ten squeezed steps:
"""

_DISTILLED = """
## Without guidance

Guidance asks the denoiser twice a step, for the caption and for none. A copy of the shipped model
was taught to answer once what guidance makes of both answers: distilled, it draws with a guidance
scale of 1 ([page 44](../infra/decisions/0044-distilled-guidance.md)). {drawings} drawings of each,
both by their own ten squeezed steps:
"""

_FEWER_STEPS = """
Distilled and along its own searched grids, against ten guided steps; a guided step asks twice:
"""

_RANKING = """
## The search

### Does the proxy rank?

One network with the weights of all members was trained on {supernet} pictures; then each of these
members by itself on {samples}, to the end of a schedule, the same for all. Columns of error are
mean squared errors of the velocity, at the solver's noise levels.
"""

_TABLES = """
### Do the tables tell the time?

A table has what each kind of part takes, measured by itself; a member's time is the sum of its
parts'. Here whole members, drawn by chance, were measured beside what the table says: their order
is what the search goes by.
"""

_FRONT = """
### What lies on the front

![Loss of the proxy against time](results/small/pareto.png)
"""

_FULL = """
### At full size

Nothing of that size is trained here: size stands in for quality, within DeciDiffusion 2.0's limits
of parameters and GMACs.

![Parameters against GMACs](results/full/pareto.png)
"""

_CONTEST = """
### What was found, beside Stable Diffusion's layout

Both were trained alike: the same pictures, phases, steps and seeds. {drawings} drawings of each.
How it was chosen: [page 42](../infra/decisions/0042-searched-architecture.md).
"""

_SHIPPED = """
## The shipped model

Forty fixed prompts, one drawing each, not chosen:

![Forty prompts](results/prompts.png)

{pairs} pairs of a concept and a style that training did not see, each picture of the data with the
model's drawing beside it:

![Held-out pairs](results/held-out.png)
"""

_AGAINST_FIRST = """
Against the first weights that shipped, whose denoiser was drawn up by hand, {drawings} drawings of
each, both by their own ten squeezed steps:

"""

_AGAIN = """
Made again from nothing by `python -m training.run training/configs/emoji-64.toml`, against the
weights that ship ([page 6](../infra/decisions/0006-the-small-model.md)), {drawings} drawings of
each, both by their own ten squeezed steps:

"""
