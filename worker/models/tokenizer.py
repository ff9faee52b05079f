"""Prompts to token ids, and what of a prompt was too long."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from shared.errors import ConfigurationError
from shared.models.card import ModelCard
from shared.models.catalog import load_card


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
            self._tokenizer = CLIPTokenizer.from_pretrained(
                str(folder), local_files_only=True, model_max_length=card.max_prompt_tokens
            )
        except Exception as error:  # noqa: BLE001 - its parsers in Rust raise bare exceptions
            raise ConfigurationError(f"{folder}: {error}") from None
        self.length = card.max_prompt_tokens
        # Each call sets the tokenizer's own padding anew, and chunks are made ready in threads.
        self._lock = threading.Lock()

    def __call__(self, prompts: Sequence[str]) -> Tokens:
        """Tokenize B prompts to the model's length, T."""
        with self._lock:
            encoded = self._tokenizer(
                list(prompts),
                padding="max_length",
                max_length=self.length,
                truncation=True,
                return_tensors="pt",
            )
            # Only what fills all places may have lost something, and most prompts are short.
            is_full = encoded.attention_mask.all(dim=1)
            lost = [
                self._lost(text) if full else ""
                for text, full in zip(prompts, is_full, strict=True)
            ]
        return Tokens(encoded.input_ids.to(torch.int64), lost)

    def _lost(self, prompt: str) -> str:
        whole = self._tokenizer(prompt, return_offsets_mapping=True, verbose=False)
        if len(whole.input_ids) <= self.length:
            return ""
        # The last place is the end-of-text token's.
        first_lost, _ = whole.offset_mapping[self.length - 1]
        return prompt[first_lost:].strip()
