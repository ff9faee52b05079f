"""A U-Net-NAS with something of everything, small enough to run in milliseconds."""

from __future__ import annotations

from typing import Any

TWO_BLOCKS: dict[str, Any] = {
    "sample_size": 8,
    "cross_attention_dim": 16,
    "add_upsample_mid_block": True,
    "mix_block_in_forward": True,
    "down_blocks_in_channels": [32, 32],
    "down_blocks_out_channels": [32, 64],
    "down_blocks_num_resnets": [1, 2],
    "down_blocks_num_attentions": [2, 1],
    "add_downsample": [True, True],
    "prev_output_channels": [64, 64],
    "up_blocks_num_resnets": [3, 2],
    "up_blocks_num_attentions": [1, 2],
    "add_upsample": [True, False],
    "temb_dim": 64,
    "resnet_eps": 1e-5,
    "resnet_act_fn": "silu",
    "num_attention_heads": 2,
    "mid_num_resnets": 1,
    "mid_num_attentions": 1,
}
