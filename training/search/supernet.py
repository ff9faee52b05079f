"""One network that holds the weights of all members, and says how good each is untrained by itself.

Weight sharing as in Guo et al. 2020 (arXiv 1904.00420): each step trains one member, drawn evenly,
whose weights are slices of the largest's. A member's loss with its slices stands for its loss after
a training of its own; how well it ranks is measured, not believed (`training.search.ranking`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

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

Quality = Callable[[Member], float]
"""How good a member is thought to be: a loss, lower is better."""


class Supernet(nn.Module):
    """The text encoder, and the weights of a space's largest member."""

    def __init__(self, text_encoder: CLIPTextModel, space: Space) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.largest = UNetNAS(space.largest().configurations(space.trunk))
        self._space = space

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, member: Member) -> Tensor:
        """Predict the velocity of latents (B, C, h, w) at timesteps (B,) from token ids (B, T)."""
        context = self.text_encoder(input_ids=tokens).last_hidden_state
        return self.denoise(noisy, timesteps, context, member)

    def denoise(self, noisy: Tensor, timesteps: Tensor, context: Tensor, member: Member) -> Tensor:
        """Predict from texts (B, T, D) that are encoded already."""
        network, slices = _cut(member, self._space)
        whole = dict(self.largest.named_parameters())
        weights = {name: cut.of(whole[cut.name]) for name, cut in slices.items()}
        prediction: Tensor = functional_call(network, weights, (noisy, timesteps, context))
        return prediction


@lru_cache(maxsize=16)
def _cut(member: Member, space: Space) -> tuple[UNetNAS, dict[str, Slice]]:
    """Return a member without weights, and where it takes them from."""
    with torch.device("meta"):
        network = UNetNAS(member.configurations(space.trunk))
    slices = Slices(member, space.largest(), space.trunk).by_name
    return network, {name: slices[name] for name, _ in network.named_parameters()}


def draw_member(space: Space, seed: int, step: int) -> Member:
    """Return the member that a step trains: any; a tenth of all steps the largest."""
    generator = loop.step_generator(seed, step)
    is_largest = float(torch.rand((), generator=generator)) < _LARGEST_SHARE
    return space.largest() if is_largest else space.draw(generator)
