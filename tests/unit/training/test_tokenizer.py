"""The byte-pair encoding."""

from itertools import permutations
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from training import tokenizer
from training.config import TokenizerConfig

TEXTS = ["a red apple", "a red apple emoji", "an emoji of a green pear", "a green apple"] * 4


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.train(TEXTS, TokenizerConfig(vocabulary=600, max_tokens=8), folder)
    assert {"vocab.json", "merges.txt", "tokenizer_config.json"} <= {
        path.name for path in folder.iterdir()
    }
    return tokenizer.load(folder)


def test_known_words_are_one_token(words: CLIPTokenizer) -> None:
    assert words.tokenize("a red apple") == ["a</w>", "red</w>", "apple</w>"]


@pytest.mark.parametrize("text", ["a red apple", "zyzzyva", "piñata 42 !"])
def test_round_trip(words: CLIPTokenizer, text: str) -> None:
    ids = words(text, add_special_tokens=False)["input_ids"]
    assert words.eos_token_id not in ids
    assert words.decode(ids).strip().replace(" ", "") == text.replace(" ", "")


def test_case_does_not_matter(words: CLIPTokenizer) -> None:
    assert words.tokenize("A Red APPLE") == words.tokenize("a red apple")


def test_encode_pads_and_cuts(words: CLIPTokenizer) -> None:
    ids = tokenizer.encode(words, ["", "a red apple", "a red apple " * 9])
    assert ids.shape == (3, 8)
    assert ids[0].tolist() == [words.bos_token_id] + [words.eos_token_id] * 7
    assert ids[2, -1] == words.eos_token_id
    assert words.bos_token_id not in ids[:, 1:]


def test_the_same_texts_make_the_same_tokenizer(tmp_path: Path) -> None:
    """Nearly all pairs of these words are equally frequent."""
    config = TokenizerConfig(vocabulary=560, max_tokens=8)
    texts = ["".join(letters) for letters in permutations("abcdef", 4)]
    made = []
    for number in range(4):
        folder = tmp_path / str(number)
        tokenizer.train(texts, config, folder)
        made.append([(folder / name).read_bytes() for name in ("vocab.json", "merges.txt")])
    assert made == made[:1] * len(made)
    assert len(tokenizer.load(tmp_path / "0")) == config.vocabulary
