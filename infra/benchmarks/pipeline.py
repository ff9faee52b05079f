"""What the pipeline adds to the networks: scheduler, guidance and noise, as a share of a step.

Runs Stable Diffusion 1.5's U-Net (a preset with random weights, 3.4 GB) at 512 x 512 for
the guidance pair, and the same loop around a denoiser that costs nothing, in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from shared.domain.sampling import SchedulerName
from shared.models.catalog import load_card
from worker.diffusion.noise import initial_noise
from worker.diffusion.sampler import denoise
from worker.diffusion.solvers import plot_course
from worker.models.networks import load_networks

MODEL = "sd-1.5"
LATENTS = (4, 64, 64)
LOOPS = 20
STEPS = 10


def loop_seconds(text_width: int) -> list[float]:
    """Return seconds a step of the whole loop, noise included, around a free denoiser."""
    prediction = torch.randn(2, *LATENTS)
    context = torch.zeros(2, 77, text_width)

    def free(_sample: Tensor, _timestep: Tensor, _context: Tensor) -> Tensor:
        return prediction

    taken = []
    for seed in range(LOOPS):
        begin = time.perf_counter()
        solver = plot_course({}, SchedulerName.DPM_SOLVER, 16, f"{STEPS},6").solver()
        denoise(
            free,
            solver,
            initial_noise(seed, LATENTS)[None],
            context,
            guidance_scale=torch.tensor([7.5]),
            guidance_rescale=torch.tensor([0.8]),
        )
        taken.append((time.perf_counter() - begin) / STEPS)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3, help="steps of the real U-Net")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    networks = load_networks(load_card(MODEL))
    text_width = networks.text_encoder.config.hidden_size
    context = torch.randn(2, 77, text_width)
    real, around = [], []
    with torch.inference_mode():
        for _ in range(arguments.steps):
            begin = time.perf_counter()
            networks.denoiser(torch.randn(2, *LATENTS), torch.tensor([500, 500]), context)
            real.append(time.perf_counter() - begin)
            around += loop_seconds(text_width)
    step, added = statistics.median(real), statistics.median(around)
    if arguments.json:
        print(json.dumps({"step_seconds": step, "added_seconds": added, "share": added / step}))
        return
    table = Table("what", "median", "least", "most", title=f"{MODEL}, 512 x 512, guidance pair")
    table.add_row("one step of the U-Net", *_seconds(step, real))
    table.add_row("scheduler, guidance, noise", *_seconds(added, around))
    console = Console()
    console.print(table)
    console.print(f"the pipeline adds {added / step:.3%} to a step")


def _seconds(median: float, taken: list[float]) -> tuple[str, str, str]:
    median_text, least, most = (f"{value:.4f} s" for value in (median, min(taken), max(taken)))
    return median_text, least, most


if __name__ == "__main__":
    main()
