"""Prompts to token ids, and what of a prompt was too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import Encoding
from torch import Tensor

from shared.errors import ConfigurationError
from shared.models.card import ModelCard
from shared.models.catalog import load_card
from worker.models.clip_vocabulary import read_vocabulary


class Tokens(NamedTuple):
    """Token ids (B, T), int64, and the end of each prompt that did not fit, or ''."""

    ids: Tensor
    lost: list[str]


class PromptTokenizer:
    """A model's CLIP tokenizer; every prompt takes the model's full length."""

    def __init__(self, card: ModelCard) -> None:
        """Read the vocabulary.

        Raises:
            ConfigurationError: it is missing or broken.
        """
        owner = load_card(card.vocabulary_of) if card.vocabulary_of else card
        folder = owner.folder / "tokenizer"
        try:
            vocabulary = read_vocabulary(folder)
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - its parsers in Rust raise bare exceptions
            raise ConfigurationError(f"{folder}: {error}") from None
        self._tokenizer = vocabulary.tokenizer
        self._tokenizer.enable_padding(
            length=card.max_prompt_tokens,
            pad_id=vocabulary.pad_id,
            pad_token=vocabulary.pad_token,
        )
        self._tokenizer.enable_truncation(card.max_prompt_tokens)

    def __call__(self, prompts: Sequence[str]) -> Tokens:
        """Tokenize B prompts to the model's length, T; several threads may do so at once."""
        encoded = [self._tokenizer.encode(prompt) for prompt in prompts]
        ids = torch.tensor([one.ids for one in encoded], dtype=torch.int64)
        lost = [_lost(prompt, one) for prompt, one in zip(prompts, encoded, strict=True)]
        return Tokens(ids, lost)


def _lost(prompt: str, encoded: Encoding) -> str:
    if not encoded.overflowing:
        return ""
    # What did not fit has a start-of-text token of its own before it.
    first_lost, _ = encoded.overflowing[0].offsets[1]
    return prompt[first_lost:].strip()
