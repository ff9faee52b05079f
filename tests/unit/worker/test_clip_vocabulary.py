"""Prompts become the tokens that transformers' own tokenizer makes of them."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from shared.errors import ConfigurationError
from shared.models.card import ModelCard
from shared.models.catalog import SHIPPED, load_card
from worker.models.clip_vocabulary import END_OF_TEXT, START_OF_TEXT
from worker.models.tokenizer import PromptTokenizer

LENGTH = 20
SHIPPED_TOKENIZER = SHIPPED / "emoji-64" / "tokenizer"
PAIRS = ("vocab.json", "merges.txt")
PROMPTS = (
    "",
    "a red apple",
    "A  RED\tapple\n",
    "it's 12 o'clock, isn't it?! wow!",
    "über größe naïve café \uff21\uff22 ﬁ",
    "😀 👩‍👩‍👧 日本語のテキスト Ελληνικά",
    f"{START_OF_TEXT} an apple {END_OF_TEXT} and a pear!",
    "!",
    "!!!!!!!!!!!!",
    "word " * 60,
    "\x00\x07 \u200b \ufeff",
    "é e\u0301",
)


def folder_with(folder: Path, files: tuple[str, ...], **settings: object) -> Path:
    for file in files:
        shutil.copy(SHIPPED_TOKENIZER / file, folder / file)
    for name, document in settings.items():
        (folder / f"{name}.json").write_text(json.dumps(document), "utf-8")
    return folder


def ours(folder: Path) -> PromptTokenizer:
    card = load_card("emoji-64").model_copy(
        update={"folder": folder.parent, "max_prompt_tokens": LENGTH}
    )
    assert isinstance(card, ModelCard)
    return PromptTokenizer(card)


def theirs(folder: Path, prompt: str) -> list[int]:
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    encoded = tokenizer(prompt, padding="max_length", max_length=LENGTH, truncation=True)
    ids: list[int] = encoded.input_ids
    return ids


DICT_TOKEN = {
    "__type": "AddedToken",
    "content": "!",
    "lstrip": False,
    "normalized": True,
    "rstrip": False,
    "single_word": False,
}


@pytest.mark.parametrize("files", [PAIRS, ("tokenizer.json",), (*PAIRS, "tokenizer.json")])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tokenizer_config": {"pad_token": "!"}},
        {"special_tokens_map": {"pad_token": "!"}},
        {"tokenizer_config": {"pad_token": END_OF_TEXT}, "special_tokens_map": {"pad_token": "!"}},
        {"tokenizer_config": {"pad_token": "!"}, "special_tokens_map": {"pad_token": END_OF_TEXT}},
        {"tokenizer_config": {"pad_token": DICT_TOKEN}},
    ],
    ids=["defaults", "config", "map", "map-wins", "map-wins-back", "dictionary"],
)
def test_tokens_are_those_of_transformers(
    tmp_path: Path, files: tuple[str, ...], settings: dict[str, object]
) -> None:
    (tmp_path / "tokenizer").mkdir()
    folder = folder_with(tmp_path / "tokenizer", files, **settings)
    assert ours(folder)(PROMPTS).ids.tolist() == [theirs(folder, prompt) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[PromptTokenizer, CLIPTokenizer]:
    folder = tmp_path_factory.mktemp("model") / "tokenizer"
    folder.mkdir()
    folder_with(folder, PAIRS)
    return ours(folder), CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)


@given(prompt=st.text(max_size=200))
def test_whatever_the_text(both: tuple[PromptTokenizer, CLIPTokenizer], prompt: str) -> None:
    mine, reference = both
    expected = reference(prompt, padding="max_length", max_length=LENGTH, truncation=True)
    assert mine([prompt]).ids.tolist() == [expected.input_ids]


@given(
    words=st.lists(st.sampled_from(["apple", "a", "red", "xylophone", "é", "!", "😀"]), max_size=60)
)
def test_what_is_lost_is_the_end_that_has_no_place(
    both: tuple[PromptTokenizer, CLIPTokenizer], words: list[str]
) -> None:
    mine, reference = both
    prompt = " ".join(words)
    whole = reference(prompt, return_offsets_mapping=True, verbose=False)
    fits = len(whole.input_ids) <= LENGTH
    expected = "" if fits else prompt[whole.offset_mapping[LENGTH - 1][0] :].strip()
    assert mine([prompt]).lost == [expected]


def test_threads_get_the_tokens_that_one_gets(
    both: tuple[PromptTokenizer, CLIPTokenizer],
) -> None:
    mine, _ = both
    prompts = [f"apple {number} " * (number % 30) for number in range(200)]
    alone = [mine([prompt]) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: mine([prompt]), prompts))
    assert [one.lost for one in together] == [one.lost for one in alone]
    assert all(bool((a.ids == b.ids).all()) for a, b in zip(together, alone, strict=True))


def test_a_vocabulary_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        ours(tmp_path / "tokenizer")
    folder_with(tmp_path / "tokenizer", PAIRS)
    (tmp_path / "tokenizer" / "vocab.json").write_text('{"a": 0}', "utf-8")
    with pytest.raises(ConfigurationError):
        ours(tmp_path / "tokenizer")
