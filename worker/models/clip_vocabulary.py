"""CLIP's tokenizer, from a model's ``tokenizer/`` folder.

It is what transformers makes of that folder, as a test compares, without the second that it takes
to import transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from shared.errors import ConfigurationError
from shared.models.card import read_json

END_OF_WORD = "</w>"
START_OF_TEXT = "<|startoftext|>"
END_OF_TEXT = "<|endoftext|>"
SPECIAL = {
    "bos_token": START_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "unk_token": END_OF_TEXT,
    "pad_token": END_OF_TEXT,
}
WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
"""What CLIP splits a prompt into before it looks for pairs (openai/CLIP, simple_tokenizer.py)."""


class Vocabulary(NamedTuple):
    """A tokenizer, and what fills the places behind a prompt's end."""

    tokenizer: Tokenizer
    pad_token: str
    pad_id: int


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read ``vocab.json`` and ``merges.txt``, or ``tokenizer.json``, and the special tokens' names.

    Raises:
        ConfigurationError: a file is missing or broken.
    """
    special = _special_tokens(folder)
    tokenizer = Tokenizer(_pairs(folder, special["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    # In a prompt these are themselves, whatever the pairs would make of them.
    names = dict.fromkeys(special.values())
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    begin, end = (
        (special[name], _id(tokenizer, special[name])) for name in ("bos_token", "eos_token")
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        end, begin, trim_offsets=False, add_prefix_space=False
    )
    return Vocabulary(tokenizer, special["pad_token"], _id(tokenizer, special["pad_token"]))


def _pairs(folder: Path, unknown: str) -> BPE:
    options: Mapping[str, Any] = {
        "continuing_subword_prefix": "",
        "end_of_word_suffix": END_OF_WORD,
        "fuse_unk": False,
        "unk_token": unknown,
    }
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"), **options)
    model = read_json(folder / "tokenizer.json").get("model", {})
    if "vocab" not in model or "merges" not in model:
        raise ConfigurationError(f"{folder / 'tokenizer.json'}: has no vocabulary with merges")
    merges = [tuple(one.split(" ") if isinstance(one, str) else one) for one in model["merges"]]
    return BPE(vocab=model["vocab"], merges=merges, **options)


def _special_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens; ``special_tokens_map.json`` has the last word, as elsewhere."""
    found = dict(SPECIAL)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        told = read_json(folder / file) if (folder / file).is_file() else {}
        for name in SPECIAL:
            token = told.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found[name] = token
    return found


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ConfigurationError(f"the vocabulary has no token {token!r}")
    return int(found)
