"""The samplers as their papers write them, in float64, for a denoiser known in closed form.

The data are a Gaussian N(mean, deviation²) a pixel. Latents at a noise level are
x = alpha · data + sigma · noise with alpha² + sigma² = 1; lambda = log(alpha / sigma).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]
FEW_STEPS = 15
"""Below this many steps the last ones are taken at a lower order."""


@dataclass(frozen=True)
class Levels:
    """Noise levels of a grid: one a step, and the one where the last step ends."""

    alpha: Array
    sigma: Array

    @classmethod
    def of_ratios(cls, ratios: Array) -> Levels:
        """From sigma / alpha."""
        alpha = 1 / np.sqrt(1 + ratios**2)
        return cls(alpha, alpha * ratios)

    @property
    def ratio(self) -> Array:
        return self.sigma / self.alpha

    @property
    def half_log_snr(self) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.alpha) - np.log(self.sigma))

    def __len__(self) -> int:
        return len(self.alpha) - 1


@dataclass(frozen=True)
class Gaussian:
    mean: float
    deviation: float

    def clean(self, x: Array, alpha: float, sigma: float) -> Array:
        """Return the posterior mean of the data: what a perfect network knows."""
        variance = self.deviation**2
        gain = alpha * variance / (alpha**2 * variance + sigma**2)
        return self.mean + gain * (x - alpha * self.mean)


def betas(config: Mapping[str, Any]) -> Array:
    """Ho et al. 2020 (linear), Rombach et al. 2022 (scaled_linear), Nichol and Dhariwal 2021."""
    count = config["num_train_timesteps"]
    low, high = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    match config.get("beta_schedule", "linear"):
        case "linear":
            return np.linspace(low, high, count)
        case "scaled_linear":
            return np.linspace(low**0.5, high**0.5, count) ** 2
        case _:
            bar = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2
            return np.minimum(1 - bar[1:] / bar[:-1], 0.999)


def dpm_solver_pp(
    data: Gaussian,
    noise: Array,
    levels: Levels,
    *,
    order: int = 2,
    solver_type: str = "midpoint",
    lower_order_final: bool = True,
) -> Array:
    """Lu et al. 2022 (arXiv 2211.01095), algorithm 2 (2M); DDIM at first order.

    Heun's weights integrate the slope exactly; a step to sigma = 0 is of first order.
    """
    x, lambdas, before = noise, levels.half_log_snr, noise
    for i in range(len(levels)):
        now = data.clean(x, levels.alpha[i], levels.sigma[i])
        h = lambdas[i + 1] - lambdas[i]
        decay = np.expm1(-h)
        shrunk = levels.sigma[i + 1] / levels.sigma[i] * x
        is_last = i == len(levels) - 1
        is_lowered = is_last and (lower_order_final and len(levels) < FEW_STEPS)
        if order == 1 or i == 0 or is_lowered or levels.sigma[i + 1] == 0:
            x = shrunk - levels.alpha[i + 1] * decay * now
        else:
            r = (lambdas[i] - lambdas[i - 1]) / h
            if solver_type == "midpoint":
                estimate = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before
                x = shrunk - levels.alpha[i + 1] * decay * estimate
            else:
                slope = (now - before) / r
                x = shrunk - levels.alpha[i + 1] * (decay * now - (decay / h + 1) * slope)
        before = now
    return x


def ddim(data: Gaussian, noise: Array, levels: Levels) -> Array:
    """Song et al. 2021 (arXiv 2010.02502), eq. 12 with eta = 0."""
    x = noise
    for i in range(len(levels)):
        clean = data.clean(x, levels.alpha[i], levels.sigma[i])
        epsilon = (x - levels.alpha[i] * clean) / levels.sigma[i]
        x = levels.alpha[i + 1] * clean + levels.sigma[i + 1] * epsilon
    return x


def euler(data: Gaussian, noise: Array, levels: Levels, *, start: float) -> Array:
    """Karras et al. 2022 (arXiv 2206.00364), algorithm 2 without churn, in y = x / alpha."""
    y, ratio = start * noise, levels.ratio
    for i in range(len(levels)):
        clean = data.clean(levels.alpha[i] * y, levels.alpha[i], levels.sigma[i])
        y = y + (ratio[i + 1] - ratio[i]) * (y - clean) / ratio[i]
    return y


def uni_pc(data: Gaussian, noise: Array, levels: Levels) -> Array:
    """Zhao et al. 2023 (arXiv 2302.04867), UniPC-2 on data predictions, B2(h) = e^h - 1.

    Every latent is corrected once the denoiser has seen it; the last never is.
    """
    x, start, order = noise, noise, 1
    outputs: list[Array] = []
    for i in range(len(levels)):
        now = data.clean(x, levels.alpha[i], levels.sigma[i])
        if i > 0:
            x = _uni_c(start, [*outputs, now], levels, i, order)
        outputs.append(now)
        start, order = x, min(2, i + 1, len(levels) - i)
        x = _uni_p(x, outputs, levels, i, order)
    return x


def _uni_p(x: Array, outputs: list[Array], levels: Levels, i: int, order: int) -> Array:
    h, first = _first_order(x, outputs[-1], levels, i)
    if order == 1:
        return first
    lambdas = levels.half_log_snr
    r = (lambdas[i - 1] - lambdas[i]) / h
    slope = (outputs[-2] - outputs[-1]) / r
    return first - levels.alpha[i + 1] * np.expm1(-h) * slope / 2


def _uni_c(start: Array, outputs: list[Array], levels: Levels, i: int, order: int) -> Array:
    """Correct the latent at level i, which was predicted from ``start`` at level i - 1."""
    *_, before, now = outputs
    h, first = _first_order(start, before, levels, i - 1)
    weight = levels.alpha[i] * np.expm1(-h)
    if order == 1:
        return first - weight * (now - before) / 2
    lambdas = levels.half_log_snr
    r = (lambdas[i - 2] - lambdas[i - 1]) / h
    z = -h
    phi_2 = (np.expm1(z) / z - 1) / z
    phi_3 = (phi_2 - 1 / 2) / z
    b = z * np.array([phi_2, 2 * phi_3]) / np.expm1(z)
    rho = np.linalg.solve(np.array([[1.0, 1.0], [r, 1.0]]), b)
    return first - weight * (rho[0] * (outputs[-3] - before) / r + rho[1] * (now - before))


def _first_order(x: Array, clean: Array, levels: Levels, i: int) -> tuple[float, Array]:
    lambdas = levels.half_log_snr
    h = float(lambdas[i + 1] - lambdas[i])
    shrunk = levels.sigma[i + 1] / levels.sigma[i] * x
    return h, shrunk - levels.alpha[i + 1] * np.expm1(-h) * clean
