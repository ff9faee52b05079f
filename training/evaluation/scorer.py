"""A scorer of how well a caption fits a picture: two small heads on frozen networks.

As in CLIP (Radford et al. 2021, arXiv 2103.00020), a picture's and its caption's embeddings are
drawn together and others pushed apart. It knows emoji alone: no figure of it is a CLIP score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.evaluation.sentences import WIDTH as TEXT_WIDTH
from training.evaluation.watch import Unwatched, Watch
from training.quality.features import WIDTH as IMAGE_WIDTH

_HIDDEN, _WIDTH = 512, 256
_COLDEST = 100.0
"""As in CLIP: how much likenesses are scaled by at most."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the heads are trained."""

    steps: int = 2000
    concepts: int = 512
    """Of one step: each with one picture and one caption."""
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    image_dropout: float = 0.4
    text_dropout: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Features of what is learnt from."""

    images: Tensor
    """(V, N, `IMAGE_WIDTH`): of V variations of each picture."""
    image_concepts: Sequence[int]
    """N numbers from 0."""
    texts: Tensor
    """(T, `TEXT_WIDTH`)."""
    text_concepts: Sequence[int]
    """T numbers."""


class Scorer(nn.Module):
    """Brings features of pictures and of texts into one space."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, recipe: Recipe) -> None:
        """Make untrained heads; random numbers are torch's own."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(IMAGE_WIDTH))
        self.register_buffer("deviation", torch.ones(IMAGE_WIDTH))
        self.image_head = _head(IMAGE_WIDTH, recipe.image_dropout)
        self.text_head = _head(TEXT_WIDTH, recipe.text_dropout)
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def images(self, features: Tensor) -> Tensor:
        """Return embeddings (N, D) of length 1 of pictures' features (N, `IMAGE_WIDTH`)."""
        standard = (features - self.mean) / self.deviation
        return functional.normalize(self.image_head(standard), dim=1)

    def texts(self, features: Tensor) -> Tensor:
        """Return embeddings (N, D) of length 1 of texts' features (N, `TEXT_WIDTH`)."""
        return functional.normalize(self.text_head(features), dim=1)

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return CLIP's loss of pairs of features."""
        likeness = self.images(images) @ self.texts(texts).T * self.scale.exp().clamp(max=_COLDEST)
        right = torch.arange(len(likeness))
        by_image = functional.cross_entropy(likeness, right)
        return (by_image + functional.cross_entropy(likeness.T, right)) / 2


def train(examples: Examples, recipe: Recipe, watch: Watch | None = None) -> Scorer:
    """Train both heads; in a step no concept is there twice, so no right pair counts as wrong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        scorer = Scorer(recipe)
        scorer.mean.copy_(examples.images.mean(dim=(0, 1)))
        scorer.deviation.copy_(examples.images.flatten(0, 1).std(dim=0) + 1e-6)
        _fit(scorer, examples, recipe, watch or Unwatched())
    return scorer.eval().requires_grad_(requires_grad=False)


def _fit(scorer: Scorer, examples: Examples, recipe: Recipe, watch: Watch) -> None:
    optimiser = torch.optim.AdamW(
        scorer.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    images, texts = _Piles(examples.image_concepts), _Piles(examples.text_concepts)
    shown = torch.tensor(sorted(set(examples.image_concepts) & set(examples.text_concepts)))
    watch.begin("training the scorer", recipe.steps)
    for _ in range(recipe.steps):
        concepts = shown[torch.randperm(len(shown))[: recipe.concepts]]
        variations = torch.randint(len(examples.images), (len(concepts),))
        loss = scorer(
            examples.images[variations, images.deal(concepts)],
            examples.texts[texts.deal(concepts)],
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        watch.advance(1)


class _Piles:
    """Places of things by their concept, one of which is dealt at random."""

    def __init__(self, concepts: Sequence[int]) -> None:
        numbers = torch.tensor(concepts)
        self._places = numbers.argsort(stable=True)
        self._counts = numbers.bincount()
        self._starts = self._counts.cumsum(0) - self._counts

    def deal(self, concepts: Tensor) -> Tensor:
        chance = torch.rand(len(concepts))
        return self._places[self._starts[concepts] + (chance * self._counts[concepts]).long()]


def _head(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(width, _HIDDEN),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(_HIDDEN, _WIDTH),
    )
