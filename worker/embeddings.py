"""Text embeddings that are encoded once: of the empty prompt, and of prompts that come again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

MOST_BYTES = 64 * 2**20
"""Some 300 prompts of Stable Diffusion's text encoder in float32."""


class EmbeddingCache:
    """A text encoder that remembers; what was not asked for longest is forgotten first.

    Prompts are encoded one by one: in a batch the last bit of an embedding would depend on
    its neighbours, and an image must depend on its own job alone.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], most_bytes: int = MOST_BYTES) -> None:
        """Begin with nothing.

        Args:
            encode: token ids (1, T), int64, on the CPU, to text tokens (1, T, D).
            most_bytes: of all embeddings that are kept.
        """
        self._encode = encode
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Tensor] = OrderedDict()
        self._bytes = 0

    def __call__(self, token_ids: Tensor) -> Tensor:
        """Encode token ids (B, T), int64, on the CPU, to text tokens (B, T, D)."""
        return torch.cat([self._embedding(ids) for ids in token_ids.unsqueeze(1)])

    def _embedding(self, token_ids: Tensor) -> Tensor:
        key = token_ids.numpy().tobytes()
        with self._lock:
            if (found := self._known.get(key)) is not None:
                self._known.move_to_end(key)
                return found
        made = self._encode(token_ids)
        with self._lock:
            if key not in self._known:
                self._known[key] = made
                self._bytes += made.nbytes
            while self._bytes > self._most_bytes:
                _, forgotten = self._known.popitem(last=False)
                self._bytes -= forgotten.nbytes
        return made
