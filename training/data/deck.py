"""Captions, dealt at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from training import tokenizer
from training.data.captions import captions
from training.data.dataset import Row

#: Share of each kind of caption in training.
CAPTION_SHARES = {"styled": 0.6, "plain": 0.3, "light": 0.1}


class CaptionDeck:
    """All captions, cut into tokens once, and dealt at random by picture."""

    def __init__(self, rows: Sequence[Row], words: CLIPTokenizer, dropout: float) -> None:
        self._dropout = dropout
        self._numbers: dict[str, int] = {"": 0}
        self._by_row = [
            [
                [self._numbers.setdefault(text, len(self._numbers)) for text in texts]
                for texts in captions(row.names, row.style).values()
            ]
            for row in rows
        ]
        self._ends = torch.tensor(list(CAPTION_SHARES.values())).cumsum(0)
        self._tokens = tokenizer.encode(words, list(self._numbers))

    def deal(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return token ids (B, T) of one caption for each picture, some of them empty."""
        drop, kind, place = torch.rand((3, len(chosen)), generator=generator)
        kinds = torch.searchsorted(self._ends, kind).clamp(max=len(CAPTION_SHARES) - 1)
        numbers = [
            0 if dropped else (texts := self._by_row[row][k])[int(at * len(texts))]
            for row, k, at, dropped in zip(
                chosen.tolist(),
                kinds.tolist(),
                place.tolist(),
                (drop < self._dropout).tolist(),
                strict=True,
            )
        ]
        return self._tokens[numbers]
