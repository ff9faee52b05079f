"""What a shortcut costs: figures of made-up drawings that are known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.domain.quality import QUALITIES, Quality, Shortcuts
from shared.errors import InputError
from shared.models.card import CARD, ModelCard
from shared.models.catalog import load_card
from training.data.captions import STYLES
from training.data.dataset import Dataset, Pictures, Row, save_dataset
from training.quality import features, report
from training.quality.comparison import Comparison, Plan
from training.quality.distance import kernel_distance
from training.quality.fidelity import Asked, core_questions, hits
from training.quality.intervals import Interval, mean_interval
from training.quality.kept import Kept
from training.quality.page import as_page, as_table
from training.quality.sheet import sheet
from training.quality.variants import (
    EXACT,
    Variant,
    chosen,
    exported,
    guided_between,
    standard,
)
from worker.models.exported import EXPORT_RECORD
from worker.models.weights import weights_identity

LEVELS = [641.7, 10.2, 5.0, 3.3, 2.4, 1.9, 1.2, 0.8, 0.5, 0.2]
CONCEPTS = ("apple", "fox", "star", "tree", "rocket", "ghost")


@pytest.fixture
def dataset() -> Dataset:
    """Six concepts in three styles, each picture of large blocks of colour."""
    source = np.random.default_rng(0)
    blocks = source.integers(0, 255, (len(CONCEPTS) * len(STYLES), 4, 4, 3), dtype=np.uint8)
    images = blocks.repeat(8, axis=1).repeat(8, axis=2)
    pairs = [(label, style) for label in sorted(CONCEPTS) for style in STYLES]
    rows = [
        Row(index, label, label, style, "things", core=True, names=[label], split="train")
        for index, (label, style) in enumerate(pairs)
    ]
    return Dataset(images, rows, "digest")


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    interval = mean_interval(values)
    error = values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    source = np.random.default_rng(2)
    covered = [
        interval.low <= 0.5 <= interval.high
        for interval in (mean_interval(source.uniform(0, 1, 60)) for _ in range(200))
    ]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_no_drawing_is_no_interval() -> None:
    with pytest.raises(ValueError, match="no drawing"):
        mean_interval(np.array([]))


def test_a_picture_of_the_data_is_recalled_and_another_is_not(dataset: Dataset) -> None:
    asked = core_questions(dataset, every=1)
    right = hits(dataset.images, asked, dataset)
    assert right.concept.mean() == right.concept_among_five.mean() == right.style.mean() == 1
    other_style = hits(
        np.roll(dataset.images.reshape(6, 3, 32, 32, 3), 1, 1).reshape(dataset.images.shape),
        asked,
        dataset,
    )
    assert other_style.concept.mean() == 1
    assert other_style.style.mean() == 0
    other_concept = hits(np.roll(dataset.images, 3, axis=0), asked, dataset)
    assert other_concept.concept.mean() == other_concept.style.mean() == 0


def test_each_second_concept_is_asked_for_in_every_style(dataset: Dataset) -> None:
    asked = core_questions(dataset, every=2)
    assert {one.label for one in asked} == {"apple", "ghost", "star"}
    assert [one.seed for one in asked] == list(range(9))
    assert asked[2] == Asked("apple", "fluent", 2)
    assert asked[2].prompt == "an apple, glossy 3d style"


def test_the_kernel_distance_is_zero_between_halves_and_grows_with_a_shift() -> None:
    source = torch.Generator().manual_seed(3)
    real, same = (torch.randn(600, 16, generator=source) for _ in range(2))
    near = kernel_distance(same, real)
    assert abs(near.value) < 0.02
    shifted, further = (kernel_distance(same + by, real).value for by in (0.5, 1.0))
    assert 0.1 < shifted < further


def test_the_kernel_distance_is_unbiased_and_its_influences_tell_its_spread() -> None:
    source = torch.Generator().manual_seed(4)
    real = torch.randn(400, 8, generator=source)
    distances = [
        kernel_distance(0.3 + torch.randn(60, 8, generator=source), real) for _ in range(60)
    ]
    spread = np.std([distance.value for distance in distances])
    told = np.mean([distance.influences.std() / np.sqrt(60) for distance in distances])
    assert told == pytest.approx(spread, rel=0.35)


def test_guidance_is_left_out_of_the_first_and_last_steps() -> None:
    low, high = guided_between(LEVELS, 1, 3).guidance_interval or (0.0, 0.0)
    assert [low <= level <= high for level in LEVELS] == [False, *[True] * 6, *[False] * 3]
    low, high = guided_between(LEVELS, 0, 2).guidance_interval or (0.0, 0.0)
    assert [low <= level <= high for level in LEVELS] == [*[True] * 8, *[False] * 2]
    with pytest.raises(InputError, match="none would be guided"):
        guided_between(LEVELS, 5, 5)


def test_variants_are_chosen_by_name_and_the_exact_one_is_always_among_them() -> None:
    known = standard(load_card("emoji-64"), LEVELS)
    assert [variant.name for variant in chosen(known, ["reuse 2"])] == [EXACT, "reuse 2"]
    assert chosen(known, []) == known
    with pytest.raises(InputError, match="'reuse 9'"):
        chosen(known, ["reuse 9"])


def test_a_models_own_qualities_and_tiny_decoder_are_among_the_ways(tmp_path: Path) -> None:
    shipped = load_card("emoji-64")
    ways = {variant.name: variant for variant in standard(shipped, LEVELS)}
    for quality in (Quality.BALANCED, Quality.FAST):
        assert ways[quality].shortcuts == QUALITIES[quality]
    assert ways["tiny decoder"].shortcuts == Shortcuts(tiny_decoder=True)
    own = Shortcuts(feature_reuse=5)
    other = shipped.model_copy(update={"folder": tmp_path, "quality": {Quality.FAST: own}})
    ways = {variant.name: variant for variant in standard(other, LEVELS)}
    assert ways[Quality.FAST].shortcuts == own
    assert not any(variant.shortcuts.tiny_decoder for variant in ways.values())


def test_exported_folders_are_ways_by_their_precision_and_have_the_models_weights(
    tmp_path: Path,
) -> None:
    card = load_card("emoji-64")
    folders = [
        _exported(tmp_path / name, card, precision)
        for name, precision in (("a", "float32"), ("b", "int8"), ("c", "int8"))
    ]
    plain, small = exported(card, folders[:2])
    assert (plain.name, small.name) == ("exported float32", "exported int8")
    assert plain.reference == small.reference == plain.name
    with pytest.raises(InputError, match="another folder of exported int8"):
        exported(card, folders)
    with pytest.raises(InputError, match="not exported from emoji-64"):
        exported(card, [_exported(tmp_path / "d", card, "int8", weights_sha256="another's")])


def test_a_report_tells_loss_from_none(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "features", _mean_colours)
    asked = core_questions(dataset, every=1)
    drawn = {
        EXACT: dataset.images,
        "same": dataset.images,
        "wrong": np.roll(dataset.images, 3, axis=0),
    }
    ways = [Variant(EXACT), Variant("same"), Variant("wrong", Shortcuts(feature_reuse=3))]
    rounds = [dict.fromkeys(drawn, 1.0)]
    _, same, wrong = measures = report.measure(ways, drawn, rounds, asked, dataset, None)
    assert same.psnr.mean == 99
    assert same.ssim.mean == pytest.approx(1)
    assert same.off == Interval(0, 0, 0)
    assert same.is_free
    assert wrong.recall_change["concept"] == Interval(-1, -1, -1)
    assert wrong.psnr.mean < 15
    assert wrong.off.mean > 0.9
    assert not wrong.is_free
    whole = _report(measures, len(asked))
    assert report.Report.model_validate_json(whole.model_dump_json()) == whole
    table = as_table(whole).splitlines()
    assert {line.count("|") for line in table} == {12}
    assert "-1.000 (-1.000 to -1.000)" in table[-1]
    assert [line.split(" | ")[-1] for line in table[-2:]] == ["none seen |", "yes |"]
    assert "18 drawings" in as_page(whole)


def test_a_gain_is_the_median_of_the_rounds_ratios_with_quartiles() -> None:
    rounds = [
        {EXACT: 2.0, "way": 1.0},
        {EXACT: 4.0, "way": 1.0},  # a slow moment that met the exact way alone
        {EXACT: 3.0, "way": 2.0},
        {EXACT: 6.0, "way": 3.0},
        {EXACT: 5.0, "way": 2.0},
    ]
    found = report.gain(rounds, "way", EXACT)
    assert found == report.Gain(over=EXACT, median=2.0, quartiles=(2.0, 2.5))
    assert report.gain(rounds[:1], "way", EXACT).quartiles == (2.0, 2.0)


def test_what_was_exported_gains_over_the_exact_way_and_over_its_own_backend(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "features", _mean_colours)
    asked = core_questions(dataset, every=1)
    ways = [
        Variant(EXACT),
        Variant("reuse 2", Shortcuts(feature_reuse=2)),
        Variant("exported float32", folder=Path("float32")),
        Variant("exported int8", folder=Path("int8")),
    ]
    drawn = {way.name: dataset.images for way in ways}
    rounds = [{EXACT: 6.0, "reuse 2": 4.0, "exported float32": 3.0, "exported int8": 2.0}] * 3
    measures = report.measure(ways, drawn, rounds, asked, dataset, None)
    assert [one.gain.median for one in measures] == [1, 1.5, 2, 3]
    small = measures[-1].backend_gain
    assert small == report.Gain(over="exported float32", median=1.5, quartiles=(1.5, 1.5))
    assert measures[-1].batch_seconds == [2.0, 2.0, 2.0]
    rows = [line.split(" | ")[1:3] for line in as_table(_report(measures, 18)).splitlines()[3:]]
    assert rows == [
        ["1.50 (1.50 to 1.50)", ""],
        ["2.00 (2.00 to 2.00)", "1.00 (1.00 to 1.00)"],
        ["3.00 (3.00 to 3.00)", "1.50 (1.50 to 1.50)"],
    ]
    alone = [way for way in ways if way.name != "exported float32"]
    drawn = {way.name: dataset.images for way in alone}
    rounds = [{EXACT: 6.0, "reuse 2": 4.0, "exported int8": 2.0}]
    assert report.measure(alone, drawn, rounds, asked, dataset, None)[-1].backend_gain is None


def test_a_round_counts_if_all_ways_were_timed_in_it(tmp_path: Path, dataset: Dataset) -> None:
    asked = core_questions(dataset, every=1)
    kept = Kept(tmp_path, load_card("emoji-64"), asked, batch=6, threads=2)
    exact, reuse = Variant(EXACT), Variant("reuse 2", Shortcuts(feature_reuse=2))
    kept.keep_round({exact: 2.0})
    kept.keep_round({reuse: 1.0, exact: 3.0})
    assert kept.rounds([exact, reuse]) == [{EXACT: 3.0, "reuse 2": 1.0}]
    assert [taken[EXACT] for taken in kept.rounds([exact])] == [2.0, 3.0]
    other = Kept(tmp_path, load_card("emoji-64"), asked[1:], batch=6, threads=2)
    assert other.rounds([exact]) == []


def test_a_run_ends_with_a_report_and_goes_on_with_what_it_kept(
    tmp_path: Path, dataset: Dataset
) -> None:
    save_dataset(
        tmp_path / "data", dataset.images.repeat(2, axis=1).repeat(2, axis=2), dataset.rows
    )
    plan = Plan(
        model=load_card("emoji-64").folder,
        data=tmp_path / "data",
        exported=[],
        names=["balanced"],
        every=3,
        batch=3,
        threads=torch.get_num_threads(),
        rounds=1,
        work=tmp_path / "work",
    )
    first = Comparison(plan)
    first.draw()
    first.time()
    drawn = sorted((tmp_path / "work").rglob("*.npy"))
    assert len(drawn) == 4
    written = [path.stat().st_mtime_ns for path in drawn]
    second = Comparison(replace(plan, rounds=2))
    second.draw()
    second.time()
    page = second.write(tmp_path / "quality.json")
    assert [path.stat().st_mtime_ns for path in drawn] == written
    found = report.Report.model_validate_json((tmp_path / "quality.json").read_text())
    assert [way.name for way in found.variants] == [EXACT, "balanced"]
    assert [len(way.batch_seconds) for way in found.variants] == [2, 2]
    assert found.drawings == 6
    assert found.variants[0].psnr.mean == 99 > found.variants[1].psnr.mean
    assert page == as_page(found) == (tmp_path / "quality.md").read_text()
    assert (tmp_path / "quality.png").is_file()


def test_features_are_those_of_the_weights_that_are_named() -> None:
    network = features.load_network()
    pictures = np.random.default_rng(5).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    assert features.features(network, pictures).shape == (2, features.WIDTH)


def test_a_sheet_has_a_row_a_prompt_and_a_column_a_way(dataset: Dataset) -> None:
    asked = core_questions(dataset, every=1)
    prompts = [one.prompt for one in asked]
    page = sheet({EXACT: dataset.images, "same": dataset.images}, prompts, 4)
    assert page.size == (150 + 2 * 128, 36 + 4 * 128)
    assert page.getpixel((150 + 5, 36 + 5)) == tuple(dataset.images[0, 2, 2])


def _mean_colours(network: Any, pictures: Pictures) -> torch.Tensor:
    return torch.from_numpy(pictures).float().mean(dim=(1, 2)) / 255


def _exported(folder: Path, card: ModelCard, precision: str, **changed: str) -> Path:
    """Make as much of an exported folder as tells what it is."""
    (folder / "denoiser").mkdir(parents=True)
    (folder / "denoiser" / "model.onnx").touch()
    document = {"weights_sha256": weights_identity(card), **changed}
    exported_card = card.model_copy(update=document)
    (folder / CARD).write_text(exported_card.model_dump_json(exclude={"folder"}))
    (folder / EXPORT_RECORD).write_text(f'{{"precision": "{precision}"}}')
    return folder


def _report(measures: list[report.Measures], drawings: int) -> report.Report:
    return report.Report(
        model="made-up",
        weights_sha256=None,
        data_sha256="",
        drawings=drawings,
        batch=6,
        processor="a processor",
        threads=2,
        noise_levels=LEVELS,
        variants=measures,
    )
