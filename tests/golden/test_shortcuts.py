"""The denoising loop with shortcuts, against loops that are written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.domain.quality import EXACTLY, Shortcuts
from shared.domain.sampling import SchedulerName, Squeeze
from tests.support.tiny_model import CONTEXT_WIDTH, DENOISER
from worker.diffusion.guidance import guide
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.schedule import build_scheduler, noise_level, with_timesteps
from worker.diffusion.solvers import plot_course
from worker.models.unet import UNetNAS

TEN = Squeeze(10, 6)
SCALE, RESCALE = 4.0, 0.7
TOLERANCE = 1e-4
DEEPER = {
    **DENOISER,
    "down_blocks_in_channels": [32, 32, 64],
    "down_blocks_out_channels": [32, 64, 64],
    "down_blocks_num_resnets": [1, 2, 1],
    "down_blocks_num_attentions": [1, 1, 0],
    "add_downsample": [True, True, True],
    "add_upsample_mid_block": True,
    "prev_output_channels": [64, 64, 64],
    "up_blocks_num_resnets": [2, 3, 2],
    "up_blocks_num_attentions": [1, 1, 0],
    "add_upsample": [True, True, False],
    "mid_num_resnets": 1,
}
"""Laid out as DeciDiffusion 2.0's."""


@pytest.fixture(scope="module", params=[DENOISER, DEEPER], ids=["tiny", "deeper"])
def network(request: pytest.FixtureRequest) -> UNetNAS:
    torch.manual_seed(0)
    return UNetNAS(request.param).eval().double().requires_grad_(requires_grad=False)


def noise_of(*seeds: int) -> Tensor:
    return torch.stack([initial_noise(seed, (4, 8, 8)) for seed in seeds]).double()


def texts(rows: int) -> Tensor:
    return torch.randn(rows, 5, CONTEXT_WIDTH, generator=torch.Generator().manual_seed(3)).double()


def drawn(
    network: UNetNAS, noise: Tensor, contexts: Tensor, shortcuts: Shortcuts, **other: Any
) -> Tensor:
    rows = len(noise)
    return denoise(
        network,
        plot_course({}, SchedulerName.DPM_SOLVER, 16, "10,6").solver(),
        noise,
        contexts,
        guidance_scale=torch.full((rows,), SCALE),
        guidance_rescale=torch.full((rows,), RESCALE),
        shortcuts=shortcuts,
        **{"deep": network, **other},
    )


def by_hand(
    network: UNetNAS, noise: Tensor, contexts: Tensor, guided: Sequence[bool], full: Sequence[bool]
) -> Tensor:
    """Run all of the network in every step, and put the remembered feature in by a hook."""
    scheduler = plot_course({}, SchedulerName.DPM_SOLVER, 16, "10,6").solver()
    images, latents = len(noise), noise
    remembered = torch.empty(0)
    ones = torch.ones(images, 1, 1, 1, dtype=noise.dtype)
    for timestep, is_guided, is_full in zip(scheduler.timesteps, guided, full, strict=True):

        def swap(module: Any, inputs: Any, is_full: bool = is_full) -> Any:  # noqa: FBT001
            nonlocal remembered
            if is_full:
                remembered = inputs[0]
            elif len(inputs[0]) < len(remembered):
                remembered = remembered[images:]
            return (remembered, *inputs[1:])

        hook = network.up_blocks[-1].register_forward_pre_hook(swap)
        rows, context = (2, contexts) if is_guided else (1, contexts[images:])
        prediction = network(torch.cat([latents] * rows), timestep, context)
        hook.remove()
        if is_guided:
            without, with_text = prediction.chunk(2)
            prediction = guide(without, with_text, SCALE * ones, RESCALE * ones)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("every", [2, 3])
def test_deep_features_are_those_of_the_last_full_step(network: UNetNAS, every: int) -> None:
    noise, contexts = noise_of(1, 2), texts(4)

    reused = drawn(network, noise, contexts, Shortcuts(feature_reuse=every))

    full = [step % every == 0 for step in range(10)]
    expected = by_hand(network, noise, contexts, [True] * 10, full)
    torch.testing.assert_close(reused, expected, rtol=0, atol=TOLERANCE)
    exact = drawn(network, noise, contexts, EXACTLY)
    assert not torch.allclose(reused, exact, atol=1e-2)


def test_guidance_is_only_where_the_noise_is_of_the_interval(network: UNetNAS) -> None:
    scheduler = with_timesteps(build_scheduler(), 16, TEN)
    levels = [noise_level(scheduler, float(timestep)) for timestep in scheduler.timesteps]
    ratios = scheduler.alphas_cumprod[scheduler.timesteps.long()]
    assert levels == pytest.approx(((1 - ratios) / ratios).sqrt().tolist(), rel=1e-4)
    interval = (levels[7], levels[3])
    noise, contexts = noise_of(1, 2), texts(4)

    in_interval = drawn(network, noise, contexts, Shortcuts(guidance_interval=interval))

    guided = [3 <= step <= 7 for step in range(10)]
    expected = by_hand(network, noise, contexts, guided, [True] * 10)
    torch.testing.assert_close(in_interval, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("guided", "every", "full"),
    [
        ({3, 4, 5}, 3, {0, 3, 6, 9}),
        ({4, 5, 6}, 5, {0, 4, 9}),  # in steps 7 and 8 the prompts' rows of step 4 are reused
        ({1, 2, 3, 4}, 3, {0, 1, 4, 7}),
    ],
)
def test_a_step_where_guidance_begins_is_full(
    network: UNetNAS, guided: set[int], every: int, full: set[int]
) -> None:
    scheduler = with_timesteps(build_scheduler(), 16, TEN)
    levels = [noise_level(scheduler, float(timestep)) for timestep in scheduler.timesteps]
    interval = (levels[max(guided)], levels[min(guided)])
    noise, contexts = noise_of(1, 2), texts(4)

    shortcuts = Shortcuts(guidance_interval=interval, feature_reuse=every)
    shortened = drawn(network, noise, contexts, shortcuts)

    steps = range(10)
    expected = by_hand(
        network,
        noise,
        contexts,
        [step in guided for step in steps],
        [step in full for step in steps],
    )
    torch.testing.assert_close(shortened, expected, rtol=0, atol=TOLERANCE)


def test_an_image_does_not_depend_on_its_neighbours(network: UNetNAS) -> None:
    shortcuts = Shortcuts(guidance_interval=(0.5, 5.0), feature_reuse=2)
    noise, contexts = noise_of(1, 2), texts(4)

    together = drawn(network, noise, contexts, shortcuts)

    for image in range(2):
        rows = slice(image, None, 2)
        alone = drawn(network, noise[image : image + 1], contexts[rows], shortcuts)
        torch.testing.assert_close(together[image : image + 1], alone, rtol=0, atol=TOLERANCE)


def test_a_denoiser_that_cannot_reuse_draws_all_of_each_step(network: UNetNAS) -> None:
    noise, contexts = noise_of(1), texts(2)

    exact = drawn(network, noise, contexts, EXACTLY)

    assert torch.equal(exact, drawn(network, noise, contexts, Shortcuts(feature_reuse=1)))
    assert torch.equal(
        exact, drawn(network, noise, contexts, Shortcuts(feature_reuse=2), deep=None)
    )


def test_a_reused_step_runs_nothing_deep(network: UNetNAS) -> None:
    runs = {"mid": 0, "last": 0}
    hooks = [
        network.mid_block.register_forward_hook(lambda *_: runs.update(mid=runs["mid"] + 1)),
        network.up_blocks[-1].register_forward_hook(lambda *_: runs.update(last=runs["last"] + 1)),
    ]

    drawn(network, noise_of(1), texts(2), Shortcuts(feature_reuse=2))
    for hook in hooks:
        hook.remove()

    assert runs == {"mid": 5, "last": 10}
