"""The blocks of U-Net-NAS, at widths small enough to run in milliseconds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from support.small_unet import TWO_BLOCKS
from worker.models.blocks import SpatialTransformer
from worker.models.unet import UNetNAS, UNetNASConfig


def make(**changes: Any) -> UNetNAS:
    torch.manual_seed(0)
    return UNetNAS({"configurations": TWO_BLOCKS | changes}).eval()


def run(network: UNetNAS) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        return network(
            torch.randn(2, 4, 16, 16, generator=generator),
            torch.tensor([3, 900]),
            torch.randn(2, 5, 16, generator=generator),
        )


def kinds(modules: nn.Module) -> list[str]:
    return ["t" if isinstance(m, SpatialTransformer) else "r" for m in modules.children()]


def test_it_keeps_the_shape_of_the_latents() -> None:
    assert run(make()).shape == (2, 4, 16, 16)


@pytest.mark.parametrize("attentions", [(0, 0), (0, 1), (1, 1)])
def test_latents_that_serve_two_texts_are_as_if_they_were_repeated(
    attentions: tuple[int, int],
) -> None:
    network = make(
        down_blocks_num_attentions=attentions,
        up_blocks_num_attentions=(0, 0) if attentions == (0, 0) else (1, 0),
        mid_num_attentions=attentions[1],
    )
    sample, texts = torch.randn(3, 4, 16, 16), torch.randn(6, 5, 16)
    timesteps = torch.tensor([3, 500, 900])

    with torch.inference_mode():
        once, deep = network.keep(sample, timesteps, texts)
        again = network.reuse(sample, timesteps, texts, deep)
        expected = network(sample.repeat(2, 1, 1, 1), timesteps.repeat(2), texts)

    torch.testing.assert_close(once, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)


def test_resnets_and_transformers_alternate_while_there_are_any() -> None:
    network = make()
    assert kinds(network.down_blocks[0].modules_list) == ["r", "t", "t"]
    assert kinds(network.down_blocks[1].modules_list) == ["r", "t", "r"]
    assert kinds(network.up_blocks[0].modules_list) == ["r", "t", "r", "r"]
    assert kinds(network.mid_block.modules_list) == ["r", "t", "r"]


def test_unmixed_all_resnets_go_first() -> None:
    network = make(mix_block_in_forward=False)
    assert kinds(network.down_blocks[1].modules_list) == ["r", "r", "t"]
    assert kinds(network.up_blocks[0].modules_list) == ["r", "r", "r", "t"]
    assert kinds(network.mid_block.modules_list) == ["r", "r", "t"]


def test_parameters_are_named_as_published() -> None:
    names = set(make().state_dict())
    assert {
        "conv_in.weight",
        "time_embedding.linear_1.weight",
        "down_blocks.0.modules_list.0.conv1.weight",
        "down_blocks.0.modules_list.1.transformer_blocks.0.attn2.to_k.weight",
        "down_blocks.0.downsamplers.0.conv.weight",
        "mid_block.modules_list.0.norm1.weight",
        "mid_block.upsamplers.0.conv.weight",
        "up_blocks.0.modules_list.0.conv_shortcut.weight",
        "up_blocks.0.upsamplers.0.conv.weight",
        "conv_norm_out.weight",
        "conv_out.bias",
    } <= names


def test_the_first_mid_resnet_runs_twice() -> None:
    network = make()
    runs: list[None] = []
    network.mid_block.modules_list[0].register_forward_hook(lambda *_: runs.append(None))
    run(network)
    assert len(runs) == 2


def test_skips_pair_with_up_resnets_last_in_first_out() -> None:
    """Each up resnet takes what it got plus the width of the skip that it pairs with."""
    network = make()
    widths = [
        module.in_channels
        for block in network.up_blocks
        for module in block.modules_list
        if not isinstance(module, SpatialTransformer)
    ]
    assert widths == [64 + 64, 64 + 64, 64 + 32, 64 + 32, 32 + 32]


def test_every_weight_takes_part() -> None:
    network = make().requires_grad_(True)
    network(torch.randn(1, 4, 16, 16), torch.tensor([5]), torch.randn(1, 5, 16)).sum().backward()
    idle = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not idle


def test_time_and_text_matter() -> None:
    network = make()
    sample, text = torch.randn(1, 4, 16, 16), torch.randn(1, 5, 16)
    with torch.inference_mode():
        base = network(sample, torch.tensor([5]), text)
        assert not torch.allclose(base, network(sample, torch.tensor([500]), text))
        assert not torch.allclose(base, network(sample, torch.tensor([5]), text + 1))


def test_weights_round_trip_by_name() -> None:
    first, second = make(), make()
    for parameter in second.parameters():
        nn.init.zeros_(parameter)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(run(first), run(second))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"up_blocks_num_resnets": [2, 2]}, "down blocks emit 5 skips, up blocks take 4"),
        ({"add_upsample": [True]}, "add_upsample has 1 entries for 2 blocks"),
        ({"down_blocks_in_channels": [32, 64]}, "down block 1 takes 64 channels, but gets 32"),
        ({"prev_output_channels": [64, 32]}, "up block 1 takes 32 channels, but gets 64"),
        ({"up_blocks_num_resnets": [2, 3]}, "up block 0 takes a skip of 32 channels, but gets 64"),
        ({"add_upsample_mid_block": False}, "up block 0 gets a skip of another resolution"),
        ({"add_upsample": [True, True]}, "do not end at the resolution of the input"),
        ({"down_blocks_num_resnets": [0, 3]}, "down_blocks_num_resnets.0"),
    ],
)
def test_what_cannot_run_is_refused_by_name(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        UNetNASConfig.from_json(TWO_BLOCKS | changes)


def test_null_for_the_mid_upsampler_means_none() -> None:
    network = make(add_upsample_mid_block=None, add_downsample=[True, False])
    assert not len(network.mid_block.upsamplers)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="surprise"):
        UNetNASConfig.from_json(TWO_BLOCKS | {"surprise": 1})
