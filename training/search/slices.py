"""Which weights of a family's largest member a smaller one takes.

A narrower layer takes the first channels of a wider one (Yu et al. 2019, arXiv 1812.08928); of
every attention head its first; of joined channels the first of both; a shorter block takes the
first modules, but of a way up always the last resnet, which alone meets the skip state from above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from training.search.family import Member, Trunk

Place = Tensor | None
"""Positions along one dimension of a weight, int64; None takes all."""


class Slice(NamedTuple):
    """Where a weight of the smaller network lies in the larger one."""

    name: str
    places: tuple[Place, ...]
    """Of the first dimensions; of all further ones everything is taken."""

    def of(self, weight: Tensor) -> Tensor:
        """Cut the slice out of the larger network's weight; gradients find their way back."""
        for dimension, place in enumerate(self.places):
            if place is not None:
                weight = weight.index_select(dimension, place)
        return weight


@dataclass(frozen=True)
class Slices:
    """The slices of one member, of both networks' names and shapes."""

    member: Member
    largest: Member
    trunk: Trunk

    @cached_property
    def by_name(self) -> dict[str, Slice]:
        """Return the slice of each weight that the member may have.

        A resnet's shortcut is among them even where the member's widths need none.
        """
        return {name: Slice(source, places) for name, source, places in self._weights()}

    def _weights(self) -> Iterator[tuple[str, str, tuple[Place, ...]]]:
        yield from self._ends()
        deepest = len(self.member.channels) - 1
        for level in range(deepest + 1):
            yield from self._down(level)
            yield from self._up(level)
        middle = _first(self.member.channels[-1])
        mine = _order(1 + self.member.mid_resnets, self.member.mid_attentions)
        theirs = _order(1 + self.largest.mid_resnets, self.largest.mid_attentions)
        for kind, place in mine:
            pair = ("mid_block.modules_list", mine[kind, place], theirs[kind, place])
            yield from self._module(kind, pair, middle, deepest)
        yield from _convolution("mid_block.upsamplers.0.conv", middle)

    def _ends(self) -> Iterator[tuple[str, str, tuple[Place, ...]]]:
        base, widest = self.member.channels[0], self.largest.channels[0]
        channels = _first(base)
        for name, places in (
            ("conv_in.weight", (channels,)),
            ("conv_in.bias", (channels,)),
            ("conv_norm_out.weight", (channels,)),
            ("conv_norm_out.bias", (channels,)),
            ("conv_out.weight", (None, channels)),
            ("conv_out.bias", ()),
            ("time_embedding.linear_1.weight", (None, _frequencies(base, widest))),
            ("time_embedding.linear_1.bias", ()),
            ("time_embedding.linear_2.weight", ()),
            ("time_embedding.linear_2.bias", ()),
        ):
            yield name, name, places

    def _down(self, level: int) -> Iterator[tuple[str, str, tuple[Place, ...]]]:
        member, largest = self.member, self.largest
        out = _first(member.channels[level])
        before = _first(member.channels[max(0, level - 1)])
        mine = _order(member.resnets[level], member.down_attentions[level])
        theirs = _order(largest.resnets[level], largest.down_attentions[level])
        for kind, place in mine:
            pair = (f"down_blocks.{level}.modules_list", mine[kind, place], theirs[kind, place])
            yield from self._module(kind, pair, before if place == 0 else out, level)
        yield from _convolution(f"down_blocks.{level}.downsamplers.0.conv", out)

    def _up(self, level: int) -> Iterator[tuple[str, str, tuple[Place, ...]]]:
        member, largest = self.member, self.largest
        deepest = len(member.channels) - 1
        below, above = min(level + 1, deepest), max(0, level - 1)
        out = _first(member.channels[level])
        count, count_theirs = member.resnets[level] + 1, largest.resnets[level] + 1
        mine = _order(count, member.attentions[level] - member.down_attentions[level])
        theirs = _order(count_theirs, largest.attentions[level] - largest.down_attentions[level])
        block = f"up_blocks.{deepest - level}"
        for kind, place in mine:
            is_last_resnet = kind == "resnet" and place == count - 1
            source = theirs[kind, count_theirs - 1 if is_last_resnet else place]
            hidden, skip = below if place == 0 else level, above if is_last_resnet else level
            joined = torch.cat(
                [
                    _first(member.channels[hidden]),
                    _first(member.channels[skip]) + largest.channels[hidden],
                ]
            )
            pair = (f"{block}.modules_list", mine[kind, place], source)
            yield from self._module(kind, pair, joined, level)
        yield from _convolution(f"{block}.upsamplers.0.conv", out)

    def _module(
        self, kind: str, pair: tuple[str, int, int], before: Tensor, level: int
    ) -> Iterator[tuple[str, str, tuple[Place, ...]]]:
        where, mine, theirs = pair
        out = _first(self.member.channels[level])
        if kind == "resnet":
            weights = _resnet(before, out)
        else:
            weights = self._transformer(out, self.largest.channels[level])
        for name, places in weights.items():
            yield f"{where}.{mine}.{name}", f"{where}.{theirs}.{name}", places

    def _transformer(self, channels: Tensor, widest: int) -> Mapping[str, tuple[Place, ...]]:
        width = len(channels)
        heads = self.trunk.heads
        by_head = torch.cat(
            [_first(width // heads) + head * (widest // heads) for head in range(heads)]
        )
        hidden = _first(4 * width)
        gated = torch.cat([hidden, hidden + 4 * widest])
        block = "transformer_blocks.0"
        attentions: dict[str, tuple[Place, ...]] = {}
        for name, source in (("attn1", channels), ("attn2", None)):
            attentions |= {
                f"{block}.{name}.to_q.weight": (by_head, channels),
                f"{block}.{name}.to_k.weight": (by_head, source),
                f"{block}.{name}.to_v.weight": (by_head, source),
                f"{block}.{name}.to_out.0.weight": (channels, by_head),
                f"{block}.{name}.to_out.0.bias": (channels,),
            }
        return {
            **_both("norm", channels),
            **_both("proj_in", channels, channels),
            **_both("proj_out", channels, channels),
            **_both(f"{block}.norm1", channels),
            **_both(f"{block}.norm2", channels),
            **_both(f"{block}.norm3", channels),
            **attentions,
            **_both(f"{block}.ff.net.0.proj", gated, channels),
            **_both(f"{block}.ff.net.2", channels, hidden),
        }


def _resnet(before: Tensor, out: Tensor) -> Mapping[str, tuple[Place, ...]]:
    return {
        **_both("norm1", before),
        **_both("conv1", out, before),
        **_both("time_emb_proj", out),
        **_both("norm2", out),
        **_both("conv2", out, out),
        **_both("conv_shortcut", out, before),
    }


def _both(name: str, *places: Place) -> dict[str, tuple[Place, ...]]:
    return {f"{name}.weight": places, f"{name}.bias": places[:1]}


def _convolution(name: str, channels: Tensor) -> Iterator[tuple[str, str, tuple[Place, ...]]]:
    for weight, places in _both(name, channels, channels).items():
        yield weight, weight, places


def _order(resnets: int, transformers: int) -> dict[tuple[str, int], int]:
    """Return where a block's list has its n-th resnet and transformer."""
    modules = [
        (kind, place)
        for place in range(max(resnets, transformers))
        for kind, count in (("resnet", resnets), ("transformer", transformers))
        if place < count
    ]
    return {module: index for index, module in enumerate(modules)}


def _first(width: int) -> Tensor:
    return torch.arange(width)


def _frequencies(width: int, widest: int) -> Tensor:
    """Return which of the widest embedding's frequencies are nearest to a narrower one's."""
    half = torch.arange(width // 2).mul(widest / width).round().long()
    return torch.cat([half, half + widest // 2])
