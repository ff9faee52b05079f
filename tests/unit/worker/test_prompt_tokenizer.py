"""Prompts are tokenized in threads: the pass that comes next, and that of the chunk behind."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from shared.models.catalog import load_card
from worker.models.tokenizer import PromptTokenizer, Tokens

TOO_LONG = "a very long prompt about many apples and pears " * 40


def test_threads_get_the_same_tokens_as_one_alone() -> None:
    tokenizer = PromptTokenizer(load_card("emoji-64"))
    batches: list[Sequence[str]] = [
        ["", f"a red apple {number}", f"{TOO_LONG}{number}"] for number in range(64)
    ]
    alone = [tokenizer(batch) for batch in batches]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(tokenizer, batches))

    assert all(same(*pair) for pair in zip(alone, together, strict=True))
    assert all(lost[2].endswith(str(number)) for number, (_, lost) in enumerate(together))


def same(one: Tokens, other: Tokens) -> bool:
    return torch.equal(one.ids, other.ids) and one.lost == other.lost
