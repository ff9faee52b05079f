"""Our half of the autoencoder against diffusers' whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from shared.errors import ConfigurationError
from shared.models.card import read_json
from worker.models.vae import ENCODER_TENSORS, VAEDecoder, VAEDecoderConfig
from worker.models.weights import WEIGHTS, load_strictly


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_it_decodes_as_diffusers_does(layers: int, tmp_path: Path, *, attention: bool) -> None:
    torch.manual_seed(0)
    whole = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=(8, 16, 24),
        layers_per_block=layers,
        latent_channels=6,
        norm_num_groups=4,
        scaling_factor=0.5,
        shift_factor=0.1,
        mid_block_add_attention=attention,
    ).eval()
    whole.save_pretrained(tmp_path)
    half = VAEDecoder(VAEDecoderConfig.from_json(read_json(tmp_path / "config.json"))).eval()
    load_strictly(half, tmp_path / WEIGHTS, left_aside=ENCODER_TENSORS)
    latents = torch.randn(2, 6, 8, 8)

    with torch.inference_mode():
        expected = whole.decode(latents / 0.5 + 0.1, return_dict=False)[0]
        assert torch.allclose(half(latents), expected, atol=1e-5)
    assert half.config.factor == 4


def test_weights_of_something_else_are_refused_by_name(tmp_path: Path) -> None:
    whole = AutoencoderKL(block_out_channels=(8,), latent_channels=6, norm_num_groups=4)
    whole.save_pretrained(tmp_path)
    config = read_json(tmp_path / "config.json") | {"latent_channels": 4}
    half = VAEDecoder(VAEDecoderConfig.from_json(config))

    with pytest.raises(ConfigurationError, match=r"decoder\.conv_in\.weight has shape"):
        load_strictly(half, tmp_path / WEIGHTS, left_aside=ENCODER_TENSORS)
