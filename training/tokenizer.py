"""A small byte-pair encoding in the format of CLIP's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

from shared.errors import InputError
from training.config import TokenizerConfig

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
#: CLIP's own way of cutting text into words, numbers and punctuation.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train(texts: Iterable[str], config: TokenizerConfig, folder: Path) -> None:
    """Learn the merges and write `vocab.json`, `merges.txt` and `tokenizer_config.json`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = [*alphabet, *(letter + WORD_END for letter in alphabet)]
    merges = _learn_merges(texts, letters, config.vocabulary)
    # Two pairs may spell the same entry; it keeps its first number.
    entries = list(dict.fromkeys([*letters, *map("".join, merges), START, END]))
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    CLIPTokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        model_max_length=config.max_tokens,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
    ).save_pretrained(folder)


def _learn_merges(
    texts: Iterable[str], letters: Sequence[str], vocabulary: int
) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        # Of pairs that are equally frequent the lower numbers go first. Letters that are not given
        # here would be numbered in the order of a hash table, another one in every run.
        special_tokens=[START, END, *letters],
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def adopt(config: TokenizerConfig, folder: Path) -> None:
    """Write the tokenizer that a configuration names, for texts of its length.

    Raises:
        InputError: its folder has none.
    """
    names = {path.name for path in Path(config.folder).glob("*.*")}
    if not names >= {"vocab.json", "merges.txt"} and "tokenizer.json" not in names:
        raise InputError(
            f"{config.folder}: is no folder of a CLIP tokenizer",
            hint="it has vocab.json and merges.txt, or tokenizer.json",
        )
    words: CLIPTokenizer = CLIPTokenizer.from_pretrained(
        config.folder, local_files_only=True, model_max_length=config.max_tokens
    )
    words.save_pretrained(folder)


def load(folder: Path) -> CLIPTokenizer:
    """Read a tokenizer's folder, from disk alone."""
    words: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return words


def encode(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Return token ids (N, max_tokens) int64, padded with the end token, cut where too long."""
    tokens = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = tokens["input_ids"].to(torch.int64)
    return ids
