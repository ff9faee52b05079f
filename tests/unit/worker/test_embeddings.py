"""Text embeddings are encoded once, as long as there is room to remember them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from worker.embeddings import EmbeddingCache

EMPTY = 0
TOKENS, WIDTH = 4, 3
BYTES = TOKENS * WIDTH * 4
"""Of one embedding, in float32."""


class Encoder:
    """Encodes token ids, and remembers which."""

    def __init__(self) -> None:
        self.encoded: list[int] = []

    def __call__(self, token_ids: Tensor) -> Tensor:
        assert token_ids.shape == (1, TOKENS), "an embedding depends on its own prompt alone"
        self.encoded.append(int(token_ids[0, 0]))
        torch.manual_seed(int(token_ids[0, 0]))
        return torch.randn(1, TOKENS, WIDTH)


def ids(prompts: Sequence[int]) -> Tensor:
    """Return token ids (B, T) of prompts that are numbers."""
    return torch.tensor(prompts).unsqueeze(1).repeat(1, TOKENS)


def test_the_empty_prompt_is_encoded_once_for_all_batches() -> None:
    encoder = Encoder()
    cache = EmbeddingCache(encoder)

    for batch in ([1, 2], [3, 4]):
        cache(ids([EMPTY] * 2 + batch))

    assert encoder.encoded == [EMPTY, 1, 2, 3, 4]


def test_what_is_remembered_is_what_was_encoded() -> None:
    cache = EmbeddingCache(Encoder())
    fresh = Encoder()
    prompts = [EMPTY, 5, 7, EMPTY, 5]
    apart = torch.cat([fresh(one.unsqueeze(0)) for one in ids(prompts)])

    assert torch.equal(cache(ids(prompts)), apart)
    assert torch.equal(cache(ids(prompts)), apart)


def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    encoder = Encoder()
    cache = EmbeddingCache(encoder, most_bytes=2 * BYTES)

    cache(ids([EMPTY, 1]))
    cache(ids([EMPTY, 2]))
    cache(ids([EMPTY]))
    assert encoder.encoded == [EMPTY, 1, 2]
    cache(ids([1]))
    assert encoder.encoded == [EMPTY, 1, 2, 1]


def test_an_embedding_that_does_not_fit_is_given_and_not_kept() -> None:
    encoder = Encoder()
    cache = EmbeddingCache(encoder, most_bytes=BYTES - 1)

    assert torch.equal(cache(ids([3])), cache(ids([3])))
    assert encoder.encoded == [3, 3]


def test_threads_that_ask_at_once_do_not_lose_count_of_the_room() -> None:
    encoder = Encoder()
    cache = EmbeddingCache(encoder, most_bytes=8 * BYTES)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(cache, [ids([EMPTY, 1, 2])] * 64))
    begun = len(encoder.encoded)
    cache(ids([EMPTY, 1, 2, 3, 4, 5, 6, 7]))

    assert encoder.encoded[begun:] == [3, 4, 5, 6, 7], "all eight fit"
    cache(ids(range(8)))
    assert len(encoder.encoded) == begun + 5
