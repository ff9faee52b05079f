"""Counting parameters and multiply-accumulates without weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.models.catalog import load_card
from support.families import FAMILIES, Family, write_family
from worker.models.measure import ComponentWork, count, measure
from worker.models.networks import load_networks


@cache
def by_name(name: str, side: int | None = None) -> dict[str, ComponentWork]:
    return {part.component: part for part in measure(load_card(name), width=side, height=side)}


def test_a_linear_layer_and_a_convolution_count_one_mac_a_weight_and_place() -> None:
    with torch.device("meta"):
        linear = count(nn.Linear(8, 16), torch.zeros(1, 5, 8))
        convolution = count(nn.Conv2d(3, 4, 3, padding=1), torch.zeros(1, 3, 6, 7))
    assert (linear.parameters, linear.layer_macs) == (8 * 16 + 16, 5 * 8 * 16)
    assert (convolution.parameters, convolution.layer_macs) == (3 * 4 * 9 + 4, 42 * 3 * 4 * 9)
    assert linear.attention_macs == convolution.attention_macs == 0


def test_stable_diffusion_denoiser_takes_the_published_number_of_macs() -> None:
    """338.6 is without the products inside attention, which are 63.0 more."""
    denoiser = by_name("sd-1.5")["denoiser"]
    assert denoiser.gmacs == pytest.approx(338.6, abs=0.05)
    # Two products over 5, 5, 5 and 1 self- and cross-attentions at 64, 32, 16 and 8 positions.
    levels = [(4096, 320, 5), (1024, 640, 5), (256, 1280, 5), (64, 1280, 1)]
    products = sum(2 * n * (n + 77) * width * number for n, width, number in levels)
    assert denoiser.attention_gmacs == pytest.approx(products / 1e9)


def test_a_quarter_of_the_area_takes_about_a_quarter_of_the_layers() -> None:
    full, quarter = by_name("sd-1.5"), by_name("sd-1.5", side=256)
    assert quarter["denoiser"].gmacs == pytest.approx(full["denoiser"].gmacs / 4, rel=0.02)
    assert quarter["denoiser"].attention_gmacs < full["denoiser"].attention_gmacs / 8
    assert quarter["text_encoder"] == full["text_encoder"]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_counts_the_parameters_that_are_loaded(family: Family, tmp_path: Path) -> None:
    name = str(write_family(family, tmp_path / "model"))
    networks = load_networks(load_card(name))
    parts: dict[str, nn.Module] = {
        "text_encoder": networks.text_encoder,
        "denoiser": networks.denoiser,
        "vae_decoder": networks.decoder,
    }
    assert {part.component: part.parameters for part in by_name(name).values()} == {
        component: sum(parameter.numel() for parameter in network.parameters())
        for component, network in parts.items()
    }
