"""The evolutionary search: its front, its limits, and what it writes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.models.catalog import load_card
from training.search.__main__ import main
from training.search.cost import cost
from training.search.evolution import Plan, evolve
from training.search.exhaustive import Budget, Family
from training.search.exhaustive import search as go_through
from training.search.family import SD_TRUNK, Member, Trunk
from training.search.latency import Conditions, Entry, LatencyTable
from training.search.members import member_of, read_member
from training.search.order import steps_of
from training.search.pareto import report_of, write_files
from training.search.scoring import (
    Judge,
    Limits,
    Quality,
    Scored,
    front,
    share_as_quality,
    size_as_quality,
)
from training.search.space import FULL, SMALL, Space
from worker.models.measure import count
from worker.models.unet import UNetNAS

TRUNK = Trunk(side=8, latent_channels=4, text_tokens=3, text_width=16, temb_width=64, heads=2)
TOY = Space(TRUNK, ((32, 64), (64, 96)), max_resnets=1, max_mid_resnets=0)
RESTRICTED = Space(
    SD_TRUNK, ((320,), (640,), (1280,)), max_resnets=1, max_mid_resnets=1, halves_bottom=(True,)
)
PLAN = Plan(population=20, generations=20, seed=3)


def all_members(space: Space) -> set[Member]:
    return {
        space.member(genes)
        for genes in product(*(range(number) for number in space.choices().values()))
    }


def brute_force(judge: Judge, space: Space) -> set[tuple[float, float]]:
    """Compare each with each."""
    points = {one.objectives for one in map(judge, all_members(space)) if one.is_allowed}
    return {
        (work, loss)
        for work, loss in points
        if not any(
            other_work <= work and other_loss <= loss
            for other_work, other_loss in points - {(work, loss)}
        )
    }


def toy_loss(member: Member) -> float:
    """Fall with the width of the bottom, and with attentions."""
    return 1 / (1 + sum(member.attentions) + member.channels[1] // 32)


def real_cost(configurations: dict[str, Any], trunk: Trunk) -> list[int]:
    with torch.device("meta"):
        work = count(
            UNetNAS({"configurations": configurations}),
            torch.zeros(1, trunk.latent_channels, trunk.side, trunk.side),
            torch.zeros(1, dtype=torch.int64),
            torch.zeros(1, trunk.text_tokens, trunk.text_width),
        )
    return [work.parameters, work.layer_macs]


def table_of(space: Space) -> LatencyTable:
    """Say that a part takes as many microseconds as it has outputs."""
    conditions = Conditions(
        target="a card",
        processor="Card 1",
        threads=None,
        batch=2,
        shares_rows=False,
        trunk=space.trunk,
    )
    entries = [
        Entry(**step.part._asdict(), ms=step.part.out_channels * step.part.side**2 / 1000)
        for step in steps_of(space, shares_rows=False)
    ]
    return LatencyTable.of(conditions, entries)


@pytest.mark.parametrize("has_table", [False, True])
def test_the_front_is_the_one_that_comparing_all_members_finds(*, has_table: bool) -> None:
    table = table_of(TOY) if has_table else None
    limits = Limits(max_parameters=2_000_000)
    judge = Judge(TRUNK, Quality("toy", toy_loss), limits, table)

    assert evolve(TOY, judge, Plan(population=40, generations=25, seed=3))
    found = {one.objectives for one in front(judge.scored)}
    assert len(judge.scored) < len(all_members(TOY))  # it did not go through all
    assert found == brute_force(Judge(TRUNK, Quality("toy", toy_loss), limits, table), TOY)
    assert len(found) > 3


def test_the_same_seed_finds_the_same_members_and_scores_none_twice() -> None:
    asked: list[Member] = []

    def loss(member: Member) -> float:
        asked.append(member)
        return toy_loss(member)

    runs = []
    for _ in range(2):
        judge = Judge(TRUNK, Quality("toy", loss), Limits())
        evolve(TOY, judge, Plan(population=10, generations=4, seed=1))
        runs.append([one.member for one in judge.scored])
    assert runs[0] == runs[1]
    assert asked == runs[0] + runs[1]
    assert len(runs[0]) < 40  # some were drawn again


def test_the_share_of_a_budget_ends_where_the_exhaustive_search_does() -> None:
    limits = Limits(max_parameters=525_500_000, max_gmacs=195.7, attended_levels=2)
    judge = Judge(SD_TRUNK, share_as_quality(SD_TRUNK, 525_500_000, 195.7), limits)
    evolve(RESTRICTED, judge, PLAN)

    best = min(front(judge.scored), key=lambda one: one.loss)
    family = Family(max_resnets=1, max_mid_resnets=1)
    optimum = go_through(family, Budget(525_500_000, 195.7))
    assert optimum is not None
    assert -best.loss == pytest.approx(optimum.share, abs=1e-12)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_parameters=900_000),
        Limits(max_gmacs=0.03),
        Limits(max_latency_ms=30.0),
        Limits(attended_levels=2),
        Limits(),
    ],
    ids=["parameters", "GMACs", "latency", "attended levels", "none"],
)
def test_limits_hold_and_the_text_is_always_read(limits: Limits) -> None:
    judge = Judge(TRUNK, Quality("toy", toy_loss), limits, table_of(TOY))
    evolve(TOY, judge, Plan(population=12, generations=6, seed=0))

    best = front(judge.scored)
    assert best
    for one in best:
        assert one.parameters <= (limits.max_parameters or one.parameters)
        assert one.gmacs <= (limits.max_gmacs or one.gmacs)
        assert one.latency_ms is not None
        assert one.latency_ms <= (limits.max_latency_ms or one.latency_ms)
        attentions = one.member.attentions
        assert all(attentions[len(attentions) - limits.attended_levels :])
        assert any((*attentions, one.member.mid_attentions))
    assert any(not one.is_allowed for one in judge.scored)


def test_what_was_found_is_kept_when_a_search_is_stopped() -> None:
    judge = Judge(TRUNK, size_as_quality(TRUNK), Limits())
    drawn = iter(range(PLAN.trials))

    def interrupt() -> None:
        if next(drawn) == 11:
            raise KeyboardInterrupt

    assert not evolve(TOY, judge, PLAN, interrupt)
    assert 0 < len(judge.scored) <= 12


def test_files_are_what_the_engine_loads_and_cost_what_they_say(tmp_path: Path) -> None:
    judge = Judge(TRUNK, Quality("toy", toy_loss), Limits(), table_of(TOY))
    plan = Plan(population=12, generations=4, seed=0)
    evolve(TOY, judge, plan)
    scored = len(judge.scored)
    marked = Member((32, 64), (1, 1), (0, 1), 0, 1, halves_bottom=False)
    report = report_of("toy", judge, plan, {"old": marked}, is_whole=True)
    (tmp_path / "pareto.json").write_text("broken", "utf-8")
    write_files(report, tmp_path)

    written = json.loads((tmp_path / "pareto.json").read_text("utf-8"))
    assert written["marks"]["old"]["latency_ms"] == judge(marked).latency_ms
    assert len(written["front"]) + len(written["others"]) == scored
    for one in written["front"]:
        document = json.loads((tmp_path / one["file"]).read_text("utf-8"))
        assert document == {"configurations": one["configurations"]}
        parameters, macs = real_cost(document["configurations"], TRUNK)
        assert (one["parameters"], one["gmacs"]) == (parameters, macs / 1e9)
        assert one["quality"] == toy_loss(read_member(tmp_path / one["file"], TRUNK))
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")

    # A smaller front leaves no files of the larger one.
    write_files(report.model_copy(update={"front": report.front[:1]}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config-1.json",
        "pareto.json",
        "pareto.png",
    ]


def test_a_preset_is_read_as_the_member_that_it_is() -> None:
    card = load_card("decidiffusion-2.0")
    document = json.loads((card.denoiser_folder / "config.json").read_text("utf-8"))
    member = member_of(document, SD_TRUNK, "a preset")
    assert member.configurations(SD_TRUNK) == document["configurations"]
    with pytest.raises(InputError, match="is no member of the family: sample_size is 64"):
        member_of(document, TRUNK, "a preset")
    with pytest.raises(InputError, match="has no settings of a U-Net-NAS"):
        member_of({"sample_size": 64}, TRUNK, "a file")


@pytest.mark.parametrize("space", [SMALL, FULL], ids=["small", "full"])
def test_any_genes_are_a_network_that_costs_what_its_parts_do(space: Space) -> None:
    @settings(max_examples=12)
    @given(st.tuples(*(st.integers(0, number - 1) for number in space.choices().values())))
    def holds(genes: tuple[int, ...]) -> None:
        member = space.member(genes)
        settings_of_member = member.configurations(space.trunk)
        assert cost(member, space.trunk).tolist() == real_cost(settings_of_member, space.trunk)
        assert member_of(settings_of_member, space.trunk, "a member") == member

    holds()


def test_the_command_writes_a_front_and_marks_a_preset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = load_card("decidiffusion-2.0").denoiser_folder / "config.json"
    words = ["evolve", "--space", "full", "--population", "8", "--generations", "5"]
    words += ["--mark", f"preset={preset}", "--out", str(tmp_path)]
    main(words)
    table = capsys.readouterr().out
    assert "that is preset" in table
    assert max(map(len, table.splitlines())) <= 80

    main([*words, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["marks"]["preset"]["parameters"] == 516_267_204
    assert report["front"]
    for one in report["front"]:
        assert one["parameters"] <= 525_500_000
        assert one["gmacs"] <= 195.7
        assert all(one["member"]["attentions"][1:])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--space", "small"], "--quality: name a proxy's folder"),
        (["--space", "small", "--quality", "share"], "needs --max-parameters and --max-gmacs"),
        (["--space", "full", "--max-latency", "3"], "--max-latency needs a --table"),
        (["--space", "full", "--max-gmacs", "1", "--population", "4"], "keeps to these limits"),
    ],
)
def test_what_cannot_be_searched_is_said_in_a_sentence(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["evolve", *words, "--generations", "1", "--out", str(tmp_path / "out")])
    assert ending.value.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_front_has_each_pair_of_objectives_once() -> None:
    def scored(gmacs: float, loss: float, excess: float = 0.0) -> Scored:
        member = Member((32,), (1,), (1,), 0, 0, halves_bottom=False)
        return Scored(member, 1, gmacs, None, loss, (excess,))

    good = [scored(1, 9), scored(2, 5), scored(4, 4)]
    beaten = [scored(1, 10), scored(2, 5), scored(3, 5), scored(5, 4), scored(1, 1, excess=0.1)]
    assert front([*beaten[1:], *good, beaten[0]]) == good
