"""``tenstep eval`` from its words to its report."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from shared.domain.sampling import SchedulerName
from shared.errors import ConfigurationError, InputError
from shared.models.catalog import load_card
from training.commands.eval import evaluate
from training.data.captions import STYLES
from training.data.dataset import Dataset, Row, load_dataset, save_dataset
from training.evaluation import extra, judge
from training.evaluation.contestants import line_up, parse_sampler, reference, sampler_name
from training.evaluation.drawing import Manner, Studio
from training.evaluation.questions import Question, ask_about, ask_file
from training.evaluation.report import Report
from training.evaluation.scorer import Recipe, Scorer
from training.evaluation.watch import Unwatched
from worker.devices import Device

CONCEPTS = ("red apple", "fox", "star", "tree")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of four concepts in three styles, each picture of large blocks of colour."""
    source = np.random.default_rng(0)
    pairs = [(label, style) for label in CONCEPTS for style in STYLES]
    blocks = source.integers(0, 255, (len(pairs), 4, 4, 3), dtype=np.uint8)
    rows = [
        Row(
            index,
            label,
            label,
            style,
            "things",
            core=True,
            names=[label],
            split="held-out concept" if label == "tree" else "train",
        )
        for index, (label, style) in enumerate(pairs)
    ]
    save_dataset(tmp_path / "data", blocks.repeat(16, axis=1).repeat(16, axis=2), rows)
    return tmp_path / "data"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a scorer that learnt nothing, so that none has to be trained."""
    folder = tmp_path / "work" / "scorer"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(Scorer(Recipe()).state_dict(), folder / "scorer.safetensors")
    record = judge.ScorerRecord(
        edition=judge.EDITION,
        networks=judge._networks(),
        recipe=vars_of(Recipe()),
        variations=judge.VARIATIONS,
        archives={},
        pictures=0,
        concepts=0,
        version="test",
    )
    (folder / "scorer.json").write_text(record.model_dump_json())
    return tmp_path / "work"


def vars_of(recipe: Recipe) -> dict[str, float]:
    return {name: getattr(recipe, name) for name in Recipe.__slots__}


def test_a_sampler_is_read_as_it_is_written() -> None:
    own = load_card("emoji-64").sampler
    assert parse_sampler("own", own) == own
    for text in ("dpmsolver++:16:10,6", "ddim:25", "euler:3", sampler_name(own)):
        assert sampler_name(parse_sampler(text, own)) == text
    assert parse_sampler("ddim", own).steps == own.steps
    assert parse_sampler("ddim:25", own).guidance_scale == own.guidance_scale
    assert parse_sampler("dpmsolver++:16", own).squeeze is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("best:3", "no scheduler 'best'; there are own, dpmsolver"),
        ("ddim:many", "ddim:many"),
        ("ddim:0", "greater than or equal to 1"),
        ("ddim:16:10,6", "a squeeze is for"),
        ("dpmsolver++:16:6,10", "squeeze n,i needs"),
    ],
)
def test_a_sampler_that_is_none_is_refused_in_words(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=f"--sampler: .*{complaint}"):
        parse_sampler(text, load_card("emoji-64").sampler)


def test_models_of_one_name_are_told_apart_and_equal_samplers_are_one_contestant() -> None:
    card = load_card("emoji-64")
    same = sampler_name(card.sampler)
    before, after = line_up([("before", card), ("after", card)], ["own", same])
    assert [before.name, after.name] == [f"before {same}", f"after {same}"]
    with pytest.raises(InputError, match="named twice"):
        line_up([("emoji-64", card), ("emoji-64", card)], ["own"])
    (alone,) = line_up([("./emoji-64", card)], ["own"])
    assert alone.model == "emoji-64"
    plain = reference(alone, 200).sampler
    assert (plain.scheduler, plain.steps, plain.squeeze) == (SchedulerName.DPM_SOLVER, 200, None)
    assert plain.guidance_rescale == card.sampler.guidance_rescale


def test_more_questions_begin_with_the_same_ones_and_each_part_has_its_rows(data: Path) -> None:
    dataset: Dataset = load_dataset(data)
    few = ask_about(dataset, ["train"], 8, seed=3)
    many = ask_about(dataset, ["train", "held-out concept"], 20, seed=3)
    assert many.questions[:8] == few.questions
    assert [question.seed for question in few.questions] == list(range(3, 11))
    for question in many.questions:
        caption = many.captions[question.answer]
        assert caption.split(" ", 1)[1] in question.prompt
        assert (caption == "a tree") == (question.part == "held-out concept")
    assert len(set(many.captions)) == len(CONCEPTS)
    assert ask_about(dataset, ["train"], 8, seed=4).questions != few.questions
    with pytest.raises(InputError, match="no held-out pair"):
        ask_about(dataset, ["held-out pair"], 8, seed=0)


def test_prompts_of_a_file_are_asked_for_over_and_over(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a red apple\n\na fox\na red apple\n")
    quiz = ask_file(path, 3, seed=7)
    assert quiz.captions == ["a red apple", "a fox"]
    assert quiz.questions[2] == Question("a red apple", 9, 0, "prompts.txt")
    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompt": "a fox", "seed": 1}\n')
    assert ask_file(lines, 1, seed=0).questions[0].prompt == "a fox"
    lines.write_text('{"seed": 1}\n')
    for broken in (lines, tmp_path / "none.txt"):
        with pytest.raises(InputError, match="--prompts"):
            ask_file(broken, 1, seed=0)
    path.write_text("\n")
    with pytest.raises(InputError, match="no prompt"):
        ask_file(path, 1, seed=0)


def test_a_drawing_is_made_once_and_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    (one,) = line_up([("emoji-64", load_card("emoji-64"))], ["dpmsolver++:2"])
    manner = Manner(Device.parse("cpu"), "auto", "auto", torch.get_num_threads())
    questions = [Question("a fox", seed, 0, "train") for seed in range(3)]

    class Stopped(Unwatched):
        def advance(self, parts: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Studio(tmp_path, manner, batch=2).draw(one, questions, Stopped())
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(kept) == 2
    drawn = Studio(tmp_path, manner, batch=2).draw(one, questions, Unwatched())
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert drawn.shape == (3, 64, 64, 3)
    again = Studio(tmp_path, manner, batch=3).draw(one, questions[::-1], Unwatched())
    assert np.array_equal(drawn, again[::-1])
    assert len(list(tmp_path.rglob("*.npz"))) == 3


def test_the_command_writes_a_report_and_a_sheet(
    tmp_path: Path, data: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*, as_json: bool) -> str:
        evaluate(
            models=["emoji-64"],
            data=data,
            images=8,
            sampler=["dpmsolver++:2", "ddim:2"],
            split=None,
            reference_steps=4,
            out=tmp_path / "eval.json",
            work=work,
            as_json=as_json,
        )
        return capsys.readouterr().out

    printed = run(as_json=True)
    report = Report.model_validate_json((tmp_path / "eval.json").read_text())
    assert Report.model_validate(json.loads(printed)) == report
    assert [one.name for one in report.contestants] == [
        "emoji-64 dpmsolver++:2",
        "emoji-64 ddim:2",
    ]
    assert report.drawings == 8
    assert report.captions == 4
    first, second = report.contestants
    assert set(first.measures) == {
        *("FID (lite0)", "KID (lite0)", "CMMD-style (scorer)", "precision (lite0)"),
        *("recall (lite0)", "R@1", "R@5", "solver RMSE"),
    }
    assert all(measure.change is None for measure in first.measures.values())
    for name, measure in second.measures.items():
        assert measure.value.low <= measure.value.mean <= measure.value.high
        assert measure.change is not None
        assert measure.change.mean == pytest.approx(
            measure.value.mean - first.measures[name].value.mean
        )
    assert second.measures["solver RMSE"].value.mean > 0
    assert set(report.ceiling) == set(STYLES)
    with Image.open(tmp_path / "eval.png") as page:
        assert page.size == (150 + 2 * 128, 36 + 8 * 128)

    table = run(as_json=False)
    assert max(map(len, table.splitlines()[:-1])) <= 80
    assert "solver RMSE" in table
    assert json.loads((tmp_path / "eval.json").read_text()) == json.loads(printed)


def test_data_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data to compare with") as caught:
        evaluate(models=["emoji-64"], data=tmp_path)
    assert caught.value.exit_code == 2


def test_without_the_extra_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "find_spec", all_but("resvg_py"))
    with pytest.raises(ConfigurationError, match=r"resvg_py; pip install 'tenstep\[train\]'"):
        evaluate(models=["emoji-64"], data=tmp_path)


def all_but(missing: str) -> Callable[[str], object]:
    return lambda name: None if name == missing else find_spec(name)
