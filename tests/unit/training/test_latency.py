"""Tables of latencies: sums of parts, what is missing, what is measured."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shared.errors import InputError
from training.search.agreement import Agreement, check
from training.search.engines import open_engine
from training.search.family import Kind, Member, Part, Trunk
from training.search.latency import Conditions, Entry, LatencyTable, main
from training.search.measuring import measure
from training.search.order import Step, in_order, steps, steps_of
from training.search.space import FULL, SMALL, Space
from worker.models.unet import UNetNAS

TRUNK = Trunk(side=4, latent_channels=4, text_tokens=3, text_width=16, temb_width=32, heads=2)
TOY = Space(trunk=TRUNK, widths=((32,),), max_resnets=1, max_mid_resnets=0, halves_bottom=(False,))
PLAIN = Member((32,), (1,), (0,), 0, 0, halves_bottom=False)
ATTENDED = Member((32,), (1,), (2,), 0, 0, halves_bottom=False)

R32, R64 = Part(Kind.RESNET, 32, 32, 4), Part(Kind.RESNET, 64, 32, 4)
T32, TRUNK32 = Part(Kind.TRANSFORMER, 32, 32, 4), Part(Kind.TRUNK, 32, 32, 4)


def table(times: dict[tuple[Part, int], float], *, shares_rows: bool) -> LatencyTable:
    conditions = Conditions(
        target="a card",
        processor="Card 1",
        threads=None,
        batch=4,
        shares_rows=shares_rows,
        trunk=TRUNK,
    )
    entries = [Entry(**part._asdict(), rows=rows, ms=ms) for (part, rows), ms in times.items()]
    return LatencyTable.of(conditions, entries)


def rows_seen(network: UNetNAS) -> Counter[tuple[str, int, int]]:
    """Count kinds of modules, channels and rows that go in, at a guided step of one image."""
    kinds = {"ResnetBlock2D": Kind.RESNET, "SpatialTransformer": Kind.TRANSFORMER}
    seen: Counter[tuple[str, int, int]] = Counter()

    def note(module: nn.Module, given: tuple[torch.Tensor, ...], _: object) -> None:
        kind = kinds[type(module).__name__]
        seen[kind.value, given[0].shape[1], len(given[0])] += 1

    for module in network.modules():
        if type(module).__name__ in kinds:
            module.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 4, 4, 4), torch.zeros(1), torch.zeros(2, 3, 16))
    return seen


def genes_of(space: Space) -> st.SearchStrategy[list[int]]:
    return st.tuples(*(st.integers(0, count - 1) for count in space.choices().values())).map(list)


def test_a_members_latency_is_the_sum_of_its_parts() -> None:
    times = {(TRUNK32, 2): 1.0, (R32, 2): 10.0, (R64, 2): 100.0, (T32, 2): 1000.0}
    known = table(times, shares_rows=False)

    # One resnet down, the middle one twice; two up, which read a skip each.
    assert known.latency(PLAIN) == pytest.approx(1 + 3 * 10 + 2 * 100)
    attended = Member((32,), (1,), (2,), 0, 1, halves_bottom=False)
    assert known.latency(attended) == pytest.approx(1 + 3 * 10 + 2 * 100 + 3 * 1000)


def test_what_lies_before_the_first_transformer_has_one_row_an_image() -> None:
    times = {(TRUNK32, 2): 1.0, (R32, 1): 3.0, (R32, 2): 10.0, (T32, 1): 500.0, (T32, 2): 1000.0}
    known = table({**times, (R64, 2): 100.0}, shares_rows=True)

    # The outermost up block joins what knows the text, whether its own transformers do or not.
    assert known.latency(PLAIN) == pytest.approx(1 + 3 * 3 + 2 * 100)
    # Down: a resnet of one row, then the transformer; from there on two.
    assert known.latency(ATTENDED) == pytest.approx(1 + 3 + 500 + 2 * 10 + 2 * 100 + 1000)


@pytest.mark.parametrize("space", [SMALL, FULL, TOY], ids=["small", "full", "toy"])
def test_all_that_may_run_in_a_space_is_asked_for(space: Space) -> None:
    asked = {shares: set(steps_of(space, shares_rows=shares)) for shares in (True, False)}

    @given(genes_of(space))
    def holds(genes: list[int]) -> None:
        member, side = space.member(genes), space.trunk.side
        for shares, all_steps in asked.items():
            found = steps(member, side, shares_rows=shares)
            assert found.keys() <= all_steps
            by_part: Counter[Part] = Counter()
            for step, times in found.items():
                by_part[step.part] += times
            assert by_part == member.parts(side)
        assert Counter(part for part, _ in in_order(member, side)) == member.parts(side)

    holds()


def test_rows_are_those_that_the_network_gives_its_parts() -> None:
    space = Space(TRUNK, ((32, 64), (64,)), max_resnets=2, max_mid_resnets=1)
    generator = torch.Generator().manual_seed(0)
    for member in (space.draw(generator) for _ in range(8)):
        seen = rows_seen(UNetNAS(member.configurations(TRUNK)).eval())
        told: Counter[tuple[str, int, int]] = Counter()
        for (part, rows), times in steps(member, TRUNK.side, shares_rows=True).items():
            if part.kind in {Kind.RESNET, Kind.TRANSFORMER}:
                told[part.kind.value, part.in_channels, rows] += times
        assert told == seen, member


def test_a_part_that_was_not_measured_is_named() -> None:
    known = table({(TRUNK32, 2): 1.0, (R32, 2): 10.0}, shares_rows=False)
    with pytest.raises(
        InputError,
        match="no time on a card of a resnet from 64 to 32 channels at 4 x 4 positions, 2 rows an",
    ):
        known.latency(PLAIN)
    assert not known.knows(PLAIN)


def test_a_table_is_the_same_after_a_file(tmp_path: Path) -> None:
    known = table({(TRUNK32, 2): 1.25, (R32, 1): 10.0}, shares_rows=True)
    known.write(tmp_path / "new" / "table.json")
    assert LatencyTable.read(tmp_path / "new" / "table.json") == known


def test_a_table_may_be_written_by_hand(tmp_path: Path) -> None:
    def row(kind: str, in_channels: int, ms: float) -> dict[str, object]:
        return {"kind": kind, "in_channels": in_channels, "out_channels": 32, "side": 4, "ms": ms}

    path = tmp_path / "card.json"
    document = {
        "target": "qaic-std-float16",
        "processor": "Cloud AI 100 Standard",
        "threads": None,
        "batch": 1,
        "shares_rows": False,
        "trunk": {
            "side": 4,
            "latent_channels": 4,
            "text_tokens": 3,
            "text_width": 16,
            "temb_width": 32,
            "heads": 2,
        },
        "entries": [row("trunk", 32, 1), row("resnet", 32, 2), row("resnet", 64, 3)],
    }
    path.write_text(json.dumps(document), "utf-8")
    assert LatencyTable.read(path).latency(PLAIN) == pytest.approx(1 + 3 * 2 + 2 * 3)


@pytest.mark.parametrize(
    ("text", "told"), [("{}", "target: Field required"), ("{", "Invalid JSON"), (None, "No such")]
)
def test_what_is_no_table_is_said_to_be_none(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "table.json"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=told):
        LatencyTable.read(path)


def test_of_two_tables_the_entry_of_more_rounds_is_kept() -> None:
    one = table({(TRUNK32, 2): 1.0, (R32, 2): 10.0}, shares_rows=False)
    better = [Entry(**R32._asdict(), ms=11.0, rounds=5), Entry(**R64._asdict(), ms=12.0)]
    other = LatencyTable.of(one.conditions, better)

    for both in (one.merged(other), other.merged(one)):
        assert {step.part: entry.ms for step, entry in both.known.items()} == {
            TRUNK32: 1.0,
            R32: 11.0,
            R64: 12.0,
        }
    assert one.lacking([Step(R32, 2), Step(R64, 2)], rounds=1) == [Step(R64, 2)]
    assert other.lacking([Step(R32, 2), Step(R64, 2)], rounds=2) == [Step(R64, 2)]


def test_tables_of_other_conditions_do_not_go_together() -> None:
    one = table({(R32, 2): 10.0}, shares_rows=False)
    other = LatencyTable.of(one.conditions.model_copy(update={"batch": 8}), one.entries)
    with pytest.raises(InputError, match="batch is 4, and 8"):
        one.merged(other)


@pytest.mark.parametrize("target", ["torch", "onnxruntime"])
def test_a_space_is_measured_and_its_members_add_up(target: str) -> None:
    engine = open_engine(target, TRUNK, batch=1, threads=1)
    asked = steps_of(TOY, shares_rows=engine.conditions.shares_rows)
    kept: list[LatencyTable] = []
    empty = LatencyTable.of(engine.conditions, ())
    generator = random.Random(0)

    measured = measure(engine, asked[:2], empty, rounds=2, generator=generator, keep=kept.append)
    assert kept[-1] == measured
    assert measured.known.keys() == set(asked[:2])
    whole = measure(engine, asked, measured, rounds=2, generator=generator)
    assert whole.known.keys() == set(asked)
    assert all(whole.known[step] == measured.known[step] for step in asked[:2])
    assert all(entry.ms > 0 and entry.rounds == 2 for entry in whole.entries)

    found = check(engine, [ATTENDED], whole, rounds=1, generator=generator)
    assert found.predicted == (whole.latency(ATTENDED),)
    assert found.measured[0] > 0


@pytest.mark.parametrize("kind", [Kind.RESNET, Kind.TRANSFORMER, Kind.DOWNSAMPLER, Kind.UPSAMPLER])
def test_both_engines_run_a_part_on_as_many_rows_at_the_same_size(kind: Kind) -> None:
    step = Step(Part(kind, 32, 32, 4), 2)
    side = {Kind.DOWNSAMPLER: 2, Kind.UPSAMPLER: 8}.get(kind, 4)
    with torch.inference_mode():
        fused = open_engine("torch", TRUNK, batch=1, threads=1).part(step)()
        (exported,) = open_engine("onnxruntime", TRUNK, batch=1, threads=1).part(step)()  # type: ignore[misc]
    assert tuple(fused.shape) == exported.shape == (2, 32, side, side)  # type: ignore[attr-defined]


def test_an_agreement_tells_order_line_and_error() -> None:
    found = Agreement(
        target="t",
        members=(PLAIN,) * 4,
        predicted=(1.0, 2.0, 3.0, 4.0),
        measured=(3.0, 5.0, 7.0, 9.0),
    )
    assert found.fit == pytest.approx((2.0, 1.0))
    assert (found.pearson, found.spearman) == pytest.approx((1.0, 1.0))
    assert found.median_error(*found.fit) == pytest.approx(0.0, abs=1e-9)
    assert found.median_error() == pytest.approx(0.5857, abs=1e-3)
    crossed = Agreement(
        target="t", members=(PLAIN,) * 3, predicted=(1.0, 2.0, 3.0), measured=(1.0, 9.0, 2.0)
    )
    assert crossed.spearman == pytest.approx(0.5)


def test_a_broken_table_ends_the_command_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the command does to the environment of its process is undone.
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
    path = tmp_path / "table.json"
    path.write_text("{}", "utf-8")
    with pytest.raises(SystemExit) as ending:
        main(["--space", "small", "--threads", "1", "--out", str(path)])
    assert ending.value.code == 2
    assert "no table of latencies: target: Field required" in capsys.readouterr().err
