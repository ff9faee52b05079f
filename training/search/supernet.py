"""One network that holds the weights of all members, and says how good each is untrained by itself.

Weight sharing as in Guo et al. 2020 (arXiv 1904.00420): each step trains one member, drawn evenly,
whose weights are slices of the largest's. A member's loss with its slices stands for its loss after
a training of its own; how well it ranks is measured, not believed (`training.search.ranking`).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import CLIPTextModel

from training import loop
from training.search.family import Member
from training.search.slices import Slice, Slices
from training.search.space import Space
from worker.models.unet import UNetNAS

_LARGEST_SHARE = 0.1


class Supernet(nn.Module):
    """The weights of a space's largest member, which are those of all others too.

    Raises:
        ValueError: two neighbouring levels are equally wide at their widest; the largest member
            has no shortcut there that others could take.
    """

    def __init__(self, space: Space) -> None:
        super().__init__()
        widest = space.largest().channels
        if any(width == below for width, below in pairwise(widest)):
            raise ValueError(f"neighbouring levels are equally wide at their widest: {widest}")
        self.space = space
        self.largest = UNetNAS(space.largest().configurations(space.trunk))

    def forward(self, noisy: Tensor, timesteps: Tensor, context: Tensor, member: Member) -> Tensor:
        """Predict the velocity of latents (B, C, h, w) at timesteps (B,) from texts (B, T, D)."""
        network, slices = _cut(member, self.space)
        whole = dict(self.largest.named_parameters())
        weights = {name: cut.of(whole[cut.name]) for name, cut in slices.items()}
        prediction: Tensor = functional_call(network, weights, (noisy, timesteps, context))
        return prediction


class TextToMember(nn.Module):
    """Text encoder and supernet as one trainable module; each step trains another member."""

    def __init__(self, text_encoder: CLIPTextModel, supernet: Supernet) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.supernet = supernet
        self.member = supernet.space.largest()

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict with `member` from token ids (B, T)."""
        context = self.text_encoder(input_ids=tokens).last_hidden_state
        prediction: Tensor = self.supernet(noisy, timesteps, context, self.member)
        return prediction


@lru_cache(maxsize=16)
def _cut(member: Member, space: Space) -> tuple[UNetNAS, dict[str, Slice]]:
    """Return a member without weights, and where it takes them from."""
    # Both are kept, and what inference mode makes could not be trained with later.
    with torch.inference_mode(mode=False):
        with torch.device("meta"):
            network = UNetNAS(member.configurations(space.trunk))
        slices = Slices(member, space.largest(), space.trunk).by_name
    return network, {name: slices[name] for name, _ in network.named_parameters()}


def draw_member(space: Space, seed: int, step: int) -> Member:
    """Return the member that a step trains: any; a tenth of all steps the largest."""
    generator = loop.step_generator(seed, step)
    is_largest = float(torch.rand((), generator=generator)) < _LARGEST_SHARE
    return space.largest() if is_largest else space.draw(generator)
