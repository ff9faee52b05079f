"""The report: which samplers are asked, what a difference means, and a page of all results."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from shared.domain.sampling import SamplerSettings
from shared.errors import InputError
from shared.models.catalog import load_card
from training.evaluation.contestants import parse_sampler, sampler_name
from training.evaluation.judge import ScorerRecord
from training.evaluation.measures import KERNEL, SOLVER
from training.evaluation.report import ContestantReport, Measure, Report
from training.quality.intervals import Interval
from training.report import results
from training.report.courses import (
    BASELINE,
    DDIM,
    PLAIN,
    SEARCHED,
    SQUEEZED,
    STEPS,
    STRONGER,
    family_of,
    specifications,
)
from training.report.page import page
from training.report.plots import plot_steps
from training.report.speed import ModelSpeed, Speed, time_steps
from training.report.steps import SHOWN, find, tables, verdict
from training.search.agreement import Agreement
from training.search.evolution import Plan
from training.search.exam import Marks
from training.search.family import Member
from training.search.pareto import Report as Front
from training.search.pareto import report_of
from training.search.ranking import RankedMember, Ranking
from training.search.scoring import Judge, Limits, size_as_quality
from training.search.space import FULL, SMALL
from worker.models.unet import UNetNAS


def sampler(text: str) -> SamplerSettings:
    return parse_sampler(text, load_card("emoji-64").sampler)


def contestant(model: str, text: str, value: float) -> ContestantReport:
    settings = sampler(text)
    interval = Interval(value, value - 0.1, value + 0.1)
    return ContestantReport(
        name=f"{model} {sampler_name(settings)}",
        model=model,
        weights_sha256="0" * 64,
        sampler=settings,
        evaluations=settings.evaluations,
        measures={name: Measure(value=interval, change=interval) for name in SHOWN},
    )


def report(models: tuple[str, ...], samplers: list[str]) -> Report:
    values = itertools.count(1)
    return Report(
        version="0",
        device="cpu",
        processor="a processor",
        torch="2",
        data_sha256="1" * 64,
        pictures=5,
        questions="captions of train",
        seed=0,
        drawings=8,
        captions=3,
        reference_steps=200,
        feature_network="lite0",
        feature_network_sha256="2" * 64,
        scorer=ScorerRecord(
            edition=1,
            networks={},
            recipe={},
            variations=1,
            archives={},
            pictures=1,
            concepts=1,
            version="0",
        ),
        ceiling={"noto": {"R@1": Interval(0.5, 0.4, 0.6), "R@5": Interval(0.7, 0.6, 0.8)}},
        contestants=[
            contestant(model, text, float(next(values))) for model in models for text in samplers
        ],
    )


def all_samplers() -> list[str]:
    families = specifications(load_card("emoji-64")).values()
    found = dict.fromkeys([BASELINE, *(text for family in families for text in family)])
    return list(found)


def test_each_family_runs_the_denoiser_as_often_as_it_says() -> None:
    families = specifications(load_card("emoji-64"))
    for family in (DDIM, PLAIN, SQUEEZED):
        settings = [sampler(text) for text in families[family]]
        assert [one.evaluations for one in settings] == list(STEPS)
        assert {family_of(one) for one in settings} == {family}
    assert "dpmsolver++:16:10,6" in families[SQUEEZED]
    assert sampler(BASELINE).evaluations == 16


def test_only_grids_that_the_model_has_are_asked_for() -> None:
    card = load_card("emoji-64")
    steps = [int(text.split(":")[1]) for text in specifications(card)[SEARCHED]]
    assert steps == [steps for steps in STEPS if steps in card.searched_grids]


@pytest.mark.parametrize(
    ("change", "measure", "expected"),
    [
        (Interval(-1, -2, 0.5), KERNEL, "no difference shown"),
        (Interval(-1, -2, -0.5), KERNEL, "better"),
        (Interval(1, 0.5, 2), SOLVER, "worse"),
        (Interval(1, 0.5, 2), "R@1", "better"),
        (Interval(-1, -2, -0.5), "R@1", "worse"),
    ],
)
def test_verdict_knows_which_way_is_better(change: Interval, measure: str, expected: str) -> None:
    assert verdict(change, measure) == expected


def test_a_cell_is_of_its_model_family_and_steps() -> None:
    found = report(("before", "after"), ["dpmsolver++:16", "dpmsolver++:16:10,6", "ddim:8"])
    one = find(found, "after", SQUEEZED, 10)
    assert one is not None
    assert one.name == "after dpmsolver++:16:10,6"
    assert find(found, "after", SQUEEZED, 12) is None
    text = tables(found)
    assert text.count(f"**{KERNEL}**") == 2
    # Of the model after: ten squeezed steps are its second contestant, the fifth of all.
    assert "| 10 |  |  | 5 (4.9 to 5.1) |  |" in text


def front(space_name: str) -> Front:
    space = SMALL if space_name == "small" else FULL
    judge = Judge(space.trunk, size_as_quality(space.trunk), Limits())
    judge(space.largest())
    return report_of(space_name, judge, Plan(2, 1, 0), {"largest": space.largest()}, is_whole=True)


def ranked(place: int) -> RankedMember:
    marks = Marks(0.1 * place, 0.2 * place)
    member = Member((64, 96), (1, 1), (place % 4, 0), 0, 0, halves_bottom=False)
    return RankedMember(
        member=member, parameters=10 - place, macs=10 - place, proxy=marks, trained=marks
    )


def speed(yardstick: str, other: str) -> Speed:
    one = ModelSpeed(parameters=10, gmacs=1.0, seconds=(1.0, 2.0, 3.0))
    half = ModelSpeed(parameters=5, gmacs=0.5, seconds=(0.5, 1.0, 1.5))
    return Speed(processor="a processor", threads=1, batch=2, models={yardstick: one, other: half})


def everything() -> None:
    both = report(("before", "after"), all_samplers())
    results.write_result(both, results.STEPS)
    results.write_result(report(("after",), all_samplers()), results.TUNED)
    few = report(("after",), [STRONGER, "dpmsolver++:16:10,6", "searched:8"])
    results.write_result(few, results.TUNED_STRONGER)
    results.write_result(report(("layout", "found"), ["dpmsolver++:16"]), results.CONTEST)
    control = report(("control", "emoji-64"), ["dpmsolver++:16:10,6"])
    for one in control.contestants:
        one.measures["R@1, train"] = one.measures["R@1"]
    results.write_result(control, results.CONTROL)
    first = report(("first weights", "emoji-64"), ["dpmsolver++:16:10,6"])
    results.write_result(first, results.AGAINST_FIRST)
    again = report(("emoji-64", "model"), ["dpmsolver++:16:10,6"])
    results.write_result(again, results.AGAIN)
    ranking = Ranking(
        samples=10, supernet_samples=20, members=tuple(ranked(place) for place in range(1, 9))
    )
    results.write_result(ranking, results.RANKING)
    for name in (results.SMALL, results.FULL):
        results.write_result(front(name), f"{name}/pareto")
    agreement = Agreement(
        target="a-target", members=(), predicted=(1.0, 2.0, 4.0), measured=(3.0, 5.0, 9.0)
    )
    for name in (results.TABLE_TORCH, results.TABLE_ONNX):
        results.write_result(agreement, f"{name}-check")
    distilled = report(("emoji-64", "emoji-64-distilled"), ["dpmsolver++:16:10,6"])
    distilled.contestants.append(contestant("emoji-64-distilled", "searched:4", 7.0))
    results.write_result(distilled, results.DISTILLED)
    for name in results.SPEEDS.values():
        results.write_result(speed("layout", "found"), name)
    for name in results.DISTILLED_SPEEDS.values():
        results.write_result(speed("emoji-64", "emoji-64-distilled"), name)


def test_page_says_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    everything()
    text = page(held_out_pairs=66)
    assert "| proxy, pictures of training | 1.00 (1.00 to 1.00) |" in text
    assert "| torch | found | 0.00 M | 0.500 | 500.00 | 2.00 (2.00 to 2.00) |" in text
    assert "noto 0.50 and 0.70" in text
    assert "| a-target | 0 | 1.000 | 1.000 | 2.00 x + 1.0 | 0.0% |" in text
    assert "66 pairs" in text
    assert "| emoji-64 | R@1 | +2 (+1.9 to +2.1) | better |" in text
    assert "10 steps, SqueezedDPM++, against 16 plain ones, before fine-tuning: worse" in text
    assert "8 steps, searched grid, against 12 plain ones, the shipped model: worse" in text
    assert "The fine-tuned model against itself, at 12 plain steps:" in text
    assert "| 8 searched grid, after | R@1 | +3 (+2.9 to +3.1) | better |" in text
    assert "FID (lite0); better in precision (lite0), recall (lite0), R@1, R@5." in text
    assert "| fine-tuned | R@1 | +2 (+1.9 to +2.1) | better |" in text
    assert "trained equally long: worse in KID (lite0)" in text
    assert "R@1 (train)" in text
    assert "| made again | R@1 | +2 (+1.9 to +2.1) | better |" in text
    assert "against the shipped model: worse in KID (lite0)" in text
    assert "as fast 2.00 times with torch, 2.00 times with ONNX Runtime" in text
    assert "(the goal: 1.73 at equal quality); in quality worse in" in text
    assert "| ten squeezed, before | R@1 |" in text
    assert "needs no guidance, against the shipped model with it: as fast 2.00 times" in text
    assert "| 4 searched, distilled | R@1 | +7 (+6.9 to +7.1) | better |" in text
    assert "| torch | emoji-64-distilled | 0.00 M | 0.500 | 500.00 | 2.00 (2.00 to" in text


def test_page_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    everything()
    (tmp_path / "ranking.json").unlink()
    with pytest.raises(InputError, match=r"ranking\.json: was not measured yet"):
        page(held_out_pairs=66)


def test_plot_is_a_picture(tmp_path: Path) -> None:
    plot_steps(report(("before", "after"), all_samplers()), tmp_path / "steps.png")
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")


def test_steps_are_timed_on_the_worker_itself_with_guidance_if_the_model_has_it() -> None:
    card = load_card("emoji-64")
    sampler = card.sampler.model_copy(update={"guidance_scale": 1.0})
    cards = {"guided": card, "unguided": card.model_copy(update={"sampler": sampler})}
    rows = set()

    def collect(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, UNetNAS) and not inputs[0].is_meta:
            rows.add(len(inputs[2]))

    hook = register_module_forward_pre_hook(collect)
    try:
        found = time_steps(cards, backend="torch", batch=1, threads=1, rounds=3, repeats=1)
    finally:
        hook.remove()
    assert len(found.models["guided"].seconds) == 3
    assert found.ratio("guided", "guided") == (1.0, 1.0, 1.0)
    assert rows == {1, 2}
