"""A second reading of the published U-Net-NAS: functions over a state dict, no modules.

It shares no code with the product. Each of `BREAKS` gets one thing wrong on purpose, so
that a test can show that the thing matters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

NORM_GROUPS = 32
LAYER_NORM_EPS = 1e-5
TRUNK_NORM_EPS = 1e-5
TRANSFORMER_NORM_EPS = 1e-6

BREAKS: Mapping[str, int] = {
    "sine before cosine": 1,
    "frequencies one step off": 1,
    "no norm before the last convolution": 1,
    "another eps before the last convolution": 1,
    "resnets and transformers in two lists": 2,
    "transformer before resnet": 3,
    "never re-ordered": 3,
    "always re-ordered": 3,
    "mid block never re-ordered": 3,
    "transformers reversed by the re-ordering": 3,
    "skips after attentions": 4,
    "skips after attentions instead": 4,
    "no skip after a downsampler": 4,
    "a skip after the last downsampler": 4,
    "skips consumed first in, first out": 5,
    "skip in front": 5,
    "up blocks from the top": 5,
    "first mid resnet once": 6,
    "first mid resnet three times": 6,
    "extra mid resnet before its attention": 6,
    "no mid upsampler": 6,
    "another eps in transformers": 7,
    "no residual around a transformer": 7,
    "heads as head width": 7,
    "gate and value swapped": 7,
}
"""What can be got wrong, and in which of the seven points of the published layout."""


class ReferenceUNet:
    """Runs a ``flexible_unet`` state dict by the names of its tensors."""

    def __init__(
        self, state: Mapping[str, Tensor], config: Mapping[str, Any], breaks: Iterable[str] = ()
    ) -> None:
        self.state = state
        self.config = config
        self.breaks = frozenset(breaks)
        self.used: set[str] = set()
        unknown = self.breaks - BREAKS.keys()
        if unknown:
            raise KeyError(*unknown)

    def __call__(self, sample: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """Predict (B, C, H, W) from latents (B, C, H, W), timesteps (B,), text (B, T, D)."""
        temb = self.embed_time(timestep).to(sample.dtype)
        temb = self.linear("time_embedding.linear_1", temb)
        temb = self.linear("time_embedding.linear_2", F.silu(temb))
        hidden = self.conv("conv_in", sample, padding=1)
        skips = [hidden]
        last = len(self.config["down_blocks_in_channels"]) - 1
        for index in range(last + 1):
            hidden = self.down(index, hidden, temb, context, skips, is_last=index == last)
        hidden = self.mid(hidden, temb, context, skips)
        for index in range(last + 1):
            hidden = self.up(index, hidden, temb, context, skips)
        if "no norm before the last convolution" not in self.breaks:
            wrong = "another eps before the last convolution" in self.breaks
            hidden = self.norm("conv_norm_out", hidden, 1e-3 if wrong else TRUNK_NORM_EPS)
        return self.conv("conv_out", F.silu(hidden), padding=1)

    # Point 1: the trunk.

    def embed_time(self, timestep: Tensor) -> Tensor:
        """Embed timesteps (B,) in sinusoids (B, base width), cosines first."""
        half = self.config["down_blocks_in_channels"][0] // 2
        steps = half - 1 if "frequencies one step off" in self.breaks else half
        exponents = -math.log(10000) * torch.arange(half, dtype=torch.float32) / steps
        angles = timestep[:, None].float() * exponents.exp()[None]
        waves = [angles.cos(), angles.sin()]
        if "sine before cosine" in self.breaks:
            waves.reverse()
        return torch.cat(waves, dim=1)

    # Points 2 and 3: one list a block, in one order.

    def modules(self, block: str, resnets: int, attentions: int) -> list[tuple[str, str]]:
        """Return kind and name of a block's modules, in order."""
        kinds = []
        is_mid = block == "mid_block"
        for k in range(max(resnets, attentions)):
            pair = ["resnet"] * (k < resnets) + ["transformer"] * (k < attentions)
            swapped = "transformer before resnet" in self.breaks and not is_mid
            early = "extra mid resnet before its attention" in self.breaks and is_mid
            kinds += pair[::-1] if swapped else pair
            if early and kinds[-2:] == ["transformer", "resnet"]:
                kinds[-2:] = ["resnet", "transformer"]
        mixed = bool(self.config["mix_block_in_forward"])
        reordered = not mixed or "always re-ordered" in self.breaks
        if "never re-ordered" in self.breaks or (
            is_mid and "mid block never re-ordered" in self.breaks
        ):
            reordered = False
        order = list(range(len(kinds)))
        if reordered:
            order.sort(key=lambda position: kinds[position] == "transformer")
        names = [f"{block}.modules_list.{position}" for position in range(len(kinds))]
        if "resnets and transformers in two lists" in self.breaks:
            lists = {"resnet": "resnets", "transformer": "attentions"}
            names = [
                f"{block}.{lists[kinds[p]]}.{kinds[:p].count(kinds[p])}" for p in range(len(kinds))
            ]
        walk = [(kinds[original], name) for original, name in zip(order, names, strict=True)]
        if reordered and "transformers reversed by the re-ordering" in self.breaks:
            walk = walk[:resnets] + walk[resnets:][::-1]
        return walk

    # Point 4: which states are skipped to the way up.

    def down(
        self,
        index: int,
        hidden: Tensor,
        temb: Tensor,
        context: Tensor,
        skips: list[Tensor],
        *,
        is_last: bool,
    ) -> Tensor:
        """Run a down block and append the skip states that it emits."""
        block = f"down_blocks.{index}"
        instead = "skips after attentions instead" in self.breaks
        for kind, name in self.modules(
            block,
            self.config["down_blocks_num_resnets"][index],
            self.config["down_blocks_num_attentions"][index],
        ):
            if kind == "resnet":
                hidden = self.resnet(name, hidden, temb)
                skips.append(hidden)
            else:
                hidden = self.transformer(name, hidden, context)
                if instead:
                    skips[-1] = hidden
                elif "skips after attentions" in self.breaks:
                    skips.append(hidden)
        if self.config["add_downsample"][index]:
            hidden = self.conv(f"{block}.downsamplers.0.conv", hidden, padding=1, stride=2)
            wanted = not is_last or "a skip after the last downsampler" in self.breaks
            if wanted and "no skip after a downsampler" not in self.breaks:
                skips.append(hidden)
        return hidden

    # Point 6: the mid block.

    def mid(self, hidden: Tensor, temb: Tensor, context: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Run the mid block: its first resnet once, and then its whole list."""
        walk = self.modules(
            "mid_block",
            1 + self.config["mid_num_resnets"],
            self.config["mid_num_attentions"],
        )
        before = 1
        if "first mid resnet once" in self.breaks:
            before = 0
        if "first mid resnet three times" in self.breaks:
            before = 2
        for _ in range(before):
            hidden = self.resnet(walk[0][1], hidden, temb)
        for kind, name in walk:
            if kind == "resnet":
                hidden = self.resnet(name, hidden, temb)
            else:
                hidden = self.transformer(name, hidden, context)
        if self.config["add_upsample_mid_block"] and "no mid upsampler" not in self.breaks:
            hidden = self.upsample("mid_block.upsamplers.0.conv", hidden, skips)
        return hidden

    # Point 5: the way up.

    def up(
        self, index: int, hidden: Tensor, temb: Tensor, context: Tensor, skips: list[Tensor]
    ) -> Tensor:
        """Run an up block; each of its resnets consumes one skip state."""
        count = len(self.config["down_blocks_in_channels"])
        at = count - 1 - index if "up blocks from the top" in self.breaks else index
        block = f"up_blocks.{at}"
        for kind, name in self.modules(
            block,
            self.config["up_blocks_num_resnets"][at],
            self.config["up_blocks_num_attentions"][at],
        ):
            if kind == "resnet":
                first = "skips consumed first in, first out" in self.breaks
                pair = [hidden, skips.pop(0 if first else -1)]
                if "skip in front" in self.breaks:
                    pair.reverse()
                hidden = self.resnet(name, torch.cat(pair, dim=1), temb)
            else:
                hidden = self.transformer(name, hidden, context)
        if self.config["add_upsample"][at]:
            hidden = self.upsample(f"{block}.upsamplers.0.conv", hidden, skips)
        return hidden

    # Point 7 and the other parts.

    def transformer(self, name: str, hidden: Tensor, context: Tensor) -> Tensor:
        """Attend over positions and to the text, with a residual around it all."""
        batch, channels, height, width = hidden.shape
        wrong = "another eps in transformers" in self.breaks
        normed = self.norm(f"{name}.norm", hidden, 1e-5 if wrong else TRANSFORMER_NORM_EPS)
        tokens = self.conv(f"{name}.proj_in", normed).flatten(2).transpose(1, 2)
        block = f"{name}.transformer_blocks.0"
        normed = self.layer_norm(f"{block}.norm1", tokens)
        tokens = tokens + self.attention(f"{block}.attn1", normed, normed)
        normed = self.layer_norm(f"{block}.norm2", tokens)
        tokens = tokens + self.attention(f"{block}.attn2", normed, context)
        normed = self.layer_norm(f"{block}.norm3", tokens)
        value, gate = self.linear(f"{block}.ff.net.0.proj", normed).chunk(2, dim=-1)
        if "gate and value swapped" in self.breaks:
            value, gate = gate, value
        tokens = tokens + self.linear(f"{block}.ff.net.2", value * F.gelu(gate))
        image = tokens.transpose(1, 2).reshape(batch, channels, height, width)
        image = self.conv(f"{name}.proj_out", image)
        return image if "no residual around a transformer" in self.breaks else image + hidden

    def attention(self, name: str, tokens: Tensor, context: Tensor) -> Tensor:
        """Attend tokens (B, N, C) to a context (B, T, D), in heads of equal width."""
        batch, positions, channels = tokens.shape
        heads = self.config["num_attention_heads"]
        if "heads as head width" in self.breaks:
            heads = channels // heads

        def split(projected: Tensor) -> Tensor:
            return projected.reshape(batch, -1, heads, channels // heads).transpose(1, 2)

        query = split(self.linear(f"{name}.to_q", tokens, biased=False))
        key = split(self.linear(f"{name}.to_k", context, biased=False))
        value = split(self.linear(f"{name}.to_v", context, biased=False))
        scores = query @ key.transpose(2, 3) / math.sqrt(channels // heads)
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2)
        return self.linear(f"{name}.to_out.0", mixed.reshape(batch, positions, channels))

    def resnet(self, name: str, hidden: Tensor, temb: Tensor) -> Tensor:
        """Two convolutions with the time in between, and a shortcut."""
        eps = self.config["resnet_eps"]
        inner = F.silu(self.norm(f"{name}.norm1", hidden, eps))
        inner = self.conv(f"{name}.conv1", inner, padding=1)
        inner = inner + self.linear(f"{name}.time_emb_proj", F.silu(temb))[:, :, None, None]
        inner = F.silu(self.norm(f"{name}.norm2", inner, eps))
        inner = self.conv(f"{name}.conv2", inner, padding=1)
        if inner.shape[1] != hidden.shape[1]:
            hidden = self.conv(f"{name}.conv_shortcut", hidden)
        return hidden + inner

    def upsample(self, name: str, hidden: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Repeat positions to the size of the next skip state, and convolve."""
        height, width = skips[-1].shape[2:]
        rows = torch.arange(height) * hidden.shape[2] // height
        columns = torch.arange(width) * hidden.shape[3] // width
        return self.conv(name, hidden[:, :, rows][:, :, :, columns], padding=1)

    def tensor(self, name: str) -> Tensor:
        """Return a tensor of the state dict, and note that it was used."""
        self.used.add(name)
        return self.state[name]

    def conv(self, name: str, hidden: Tensor, *, padding: int = 0, stride: int = 1) -> Tensor:
        """Convolve (B, C, H, W)."""
        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return F.conv2d(hidden, weight, bias, stride=stride, padding=padding)

    def linear(self, name: str, hidden: Tensor, *, biased: bool = True) -> Tensor:
        """Map the last dimension."""
        weight = self.tensor(f"{name}.weight")
        return F.linear(hidden, weight, self.tensor(f"{name}.bias") if biased else None)

    def norm(self, name: str, hidden: Tensor, eps: float) -> Tensor:
        """Normalise groups of channels."""
        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return F.group_norm(hidden, NORM_GROUPS, weight, bias, eps)

    def layer_norm(self, name: str, tokens: Tensor) -> Tensor:
        """Normalise the last dimension."""
        weight, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return F.layer_norm(tokens, weight.shape, weight, bias, LAYER_NORM_EPS)
