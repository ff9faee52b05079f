"""The scorer learns what it is shown, and is trained once."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared.errors import InputError
from training.data.emoji import NAMES_PACKAGE, archive_name
from training.evaluation import scorer_data
from training.evaluation.judge import VARIATIONS, find_judge
from training.evaluation.retrieval import retrieved
from training.evaluation.scorer import Examples, Recipe, train
from training.evaluation.scorer_data import PACKAGES, SIDE, VECTOR_SETS, read_lessons, varied
from training.evaluation.seen import Eye
from training.evaluation.sentences import WIDTH as TEXT_WIDTH
from training.evaluation.watch import Unwatched
from training.quality.features import WIDTH as IMAGE_WIDTH

SHORT = Recipe(steps=40, concepts=8)
THINGS = {"1F34E": ("red apple", "red"), "1F340": ("four leaf clover", "green")}


@pytest.fixture(autouse=True)
def selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take other names from a selection of one concept."""
    path = tmp_path / "concepts.toml"
    path.write_text('[core]\n"red apple" = ["apple"]\n')
    monkeypatch.setattr(scorer_data, "_SELECTION", path)


def toy_examples(seed: int) -> Examples:
    """Return five concepts, each a direction of its own among pictures and among texts."""
    generator = torch.Generator().manual_seed(99)
    images = torch.randn((5, IMAGE_WIDTH), generator=generator)
    texts = torch.randn((5, TEXT_WIDTH), generator=generator)
    noise = torch.Generator().manual_seed(seed)
    shown = [0, 1, 2, 3, 4] * 2
    return Examples(
        images=images[shown] + 0.5 * torch.randn((2, 10, IMAGE_WIDTH), generator=noise),
        image_concepts=shown,
        texts=texts,
        text_concepts=[0, 1, 2, 3, 4],
    )


def test_a_scorer_learns_a_toy_set_and_finds_captions_of_pictures_it_has_not_seen() -> None:
    learnt, others = toy_examples(1), toy_examples(2)
    scorer = train(learnt, SHORT)
    images, texts = scorer.images(others.images[0]), scorer.texts(others.texts)
    assert torch.allclose(images.norm(dim=1), torch.ones(10))
    assert retrieved(images, texts, others.image_concepts, among=1).mean() == 1


def test_training_is_the_same_every_time_and_leaves_random_numbers_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = (train(toy_examples(1), SHORT).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_lessons_are_every_concept_in_every_style_without_words_of_style(tmp_path: Path) -> None:
    pack(tmp_path)
    lessons = read_lessons(tmp_path)
    assert lessons.pictures.shape == (4, SIDE, SIDE, 3)
    assert sorted(lessons.concepts) == [0, 0, 1, 1]
    assert any("a four leaf clover" in captions for captions in lessons.captions)
    assert not any("style" in text for captions in lessons.captions for text in captions)
    apple = lessons.pictures[0].astype(int)
    assert apple[0, 0].tolist() == [255, 255, 255]
    assert apple[SIDE // 2, SIDE // 2].tolist() == [255, 0, 0]


def test_variations_differ_from_one_another_and_stay_on_white(tmp_path: Path) -> None:
    pack(tmp_path)
    pictures = read_lessons(tmp_path).pictures
    first, again, second = varied(pictures, 1), varied(pictures, 1), varied(pictures, 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert (first[:, 0, 0] == 255).all()
    assert np.abs(first.astype(int) - pictures).mean() < 60


def test_a_missing_archive_is_named_with_the_way_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="openmoji") as caught:
        find_judge(tmp_path / "scorer", tmp_path, Eye(tmp_path), Unwatched())
    assert f"npm pack {' '.join(PACKAGES)}" in str(caught.value.hint)


def test_a_scorer_is_trained_once_and_again_by_another_recipe(tmp_path: Path) -> None:
    downloads, folder = tmp_path / "downloads", tmp_path / "scorer"
    downloads.mkdir()
    pack(downloads)
    eye = Eye(tmp_path / "features")
    judge = find_judge(folder, downloads, eye, Unwatched(), SHORT)
    assert set(judge.record.archives) == set(PACKAGES)
    assert judge.record.pictures == 4
    written = (folder / "scorer.safetensors").stat().st_mtime_ns
    find_judge(folder, tmp_path / "nowhere", eye, Unwatched(), SHORT)
    assert (folder / "scorer.safetensors").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="not here"):
        find_judge(folder, tmp_path / "nowhere", eye, Unwatched(), Recipe(steps=41))

    kept = sorted((tmp_path / "features").iterdir())
    assert len(kept) == 1 + VARIATIONS
    seen: Tensor = eye.features("pictures", read_lessons(downloads).pictures, Unwatched())
    assert sorted((tmp_path / "features").iterdir()) == kept
    assert any(torch.equal(seen, load_file(path)["features"]) for path in kept)
    texts = judge.captions(["a red apple", "a four leaf clover"])
    answers = [0 if label == "red apple" else 1 for label in drawn_labels()]
    assert retrieved(judge.images(seen), texts, answers, among=1).mean() == 1


def drawn_labels() -> list[str]:
    return [label for _ in VECTOR_SETS for label, _ in THINGS.values()]


def pack(folder: Path) -> None:
    """Write archives of two concepts as packages have them."""
    entries = [{"label": label, "hexcode": code, "group": 3} for code, (label, _) in THINGS.items()]
    names = {
        "package/en/messages.json": json.dumps({"groups": [{"order": 3, "key": "animals-nature"}]}),
        "package/en/data.json": json.dumps(entries),
    }
    write_archive(folder / archive_name(NAMES_PACKAGE), names)
    for vectors in VECTOR_SETS:
        files = {
            f"{vectors.folder}{code}.svg": '<svg xmlns="http://www.w3.org/2000/svg" viewBox='
            f'"0 0 36 36"><circle cx="18" cy="18" r="12" fill="{colour}"/></svg>'
            for code, (_, colour) in THINGS.items()
        }
        write_archive(folder / archive_name(vectors.package), files)


def write_archive(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
