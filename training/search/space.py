"""The members that a search may choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from training.search.family import SD_TRUNK, Member, Trunk


@dataclass(frozen=True, slots=True)
class Space:
    """Choices for each level, from the finest to the deepest, and for the mid block."""

    trunk: Trunk
    widths: tuple[tuple[int, ...], ...]
    """Of each level, ascending."""
    max_resnets: int
    """Of a down block; a block has no more attentions than resnets."""
    max_mid_resnets: int
    halves_bottom: tuple[bool, ...] = (False, True)
    """Choices, the last of which is the larger network."""

    def choices(self) -> dict[str, int]:
        """Return how many values each gene has; a member is one value of each."""
        levels = range(len(self.widths))
        return {
            **{f"width {level}": len(self.widths[level]) for level in levels},
            **{f"resnets {level}": self.max_resnets for level in levels},
            **{f"attentions {level}": 2 * self.max_resnets + 2 for level in levels},
            "mid resnets": self.max_mid_resnets + 1,
            "mid attentions": self.max_mid_resnets + 2,
            "halves bottom": len(self.halves_bottom),
        }

    def member(self, genes: Sequence[int]) -> Member:
        """Return the member of genes, in the order of `choices`.

        Attentions beyond what the resnets allow are cut: several genes may mean one member.
        """
        levels = len(self.widths)
        widths, resnets, attentions = (
            genes[start : start + levels] for start in range(0, 3 * levels, levels)
        )
        mid_resnets, mid_attentions, halves = genes[3 * levels :]
        return Member(
            channels=tuple(self.widths[level][gene] for level, gene in enumerate(widths)),
            resnets=tuple(gene + 1 for gene in resnets),
            attentions=tuple(
                min(asked, 2 * (gene + 1) + 1)
                for asked, gene in zip(attentions, resnets, strict=True)
            ),
            mid_resnets=mid_resnets,
            mid_attentions=min(mid_attentions, mid_resnets + 1),
            halves_bottom=self.halves_bottom[halves],
        )

    def draw(self, generator: torch.Generator) -> Member:
        """Return a member by genes drawn evenly."""
        return self.member(
            [
                int(torch.randint(count, (), generator=generator))
                for count in self.choices().values()
            ]
        )

    def largest(self) -> Member:
        """Return the member that has all modules, at their widest."""
        return self.member([count - 1 for count in self.choices().values()])

    def __len__(self) -> int:
        """Count the members."""
        level = sum(2 * resnets + 2 for resnets in range(1, self.max_resnets + 1))
        middle = sum(resnets + 2 for resnets in range(self.max_mid_resnets + 1))
        return (
            prod(len(widths) * level for widths in self.widths) * middle * len(self.halves_bottom)
        )


SMALL = Space(
    trunk=Trunk(
        side=8, latent_channels=12, text_tokens=32, text_width=192, temb_width=384, heads=4
    ),
    widths=((64, 96, 128, 160), (96, 128, 192, 256)),
    max_resnets=2,
    max_mid_resnets=1,
)
"""U-Nets in the place of emoji-64's: latents of 8 x 8."""

FULL = Space(
    trunk=SD_TRUNK,
    widths=((256, 320, 384), (512, 640, 768), (1024, 1280, 1536)),
    max_resnets=3,
    max_mid_resnets=2,
)
"""U-Nets in the place of Stable Diffusion 1.5's, around its widths: latents of 64 x 64."""

SPACES = {"small": SMALL, "full": FULL}
