"""SiLU and GELU in arithmetic that a compiler turns into vector instructions."""

from __future__ import annotations

import numpy as np

from worker.kernels.compiling import part

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_LARGEST = np.float32(88.0)
_ONE = np.float32(1)
_HALF = np.float32(0.5)
_EXPONENT_BIAS = np.int32(127)
_EXPONENT_SHIFT = np.int32(23)
# Cephes' expf: exp(r) - 1 - r over r squared, for r up to half of ln 2 either way.
_P0 = np.float32(1.9875691500e-4)
_P1 = np.float32(1.3981999507e-3)
_P2 = np.float32(8.3334519073e-3)
_P3 = np.float32(4.1665795894e-2)
_P4 = np.float32(1.6666665459e-1)
_P5 = np.float32(5.0000001201e-1)
_ROOT_HALF = np.float32(0.7071067811865476)
_QUICK = np.float32(-1.702)
_E0 = np.float32(0.3275911)
_E1 = np.float32(0.254829592)
_E2 = np.float32(-0.284496736)
_E3 = np.float32(1.421413741)
_E4 = np.float32(-1.453152027)
_E5 = np.float32(1.061405429)


@part
def exponential(x: np.float32) -> np.float32:
    """Return e to the power of x, to 2 units in the last place; x is clipped to -88 .. 88."""
    x = min(max(x, -_LARGEST), _LARGEST)
    power = np.floor(x * _LOG2_E + _HALF)
    r = x - power * _LN2_HIGH - power * _LN2_LOW
    series = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    bits = (np.int32(power) + _EXPONENT_BIAS) << _EXPONENT_SHIFT
    scale: np.float32 = np.int32(bits).view(np.float32)
    power_of_rest: np.float32 = series * r * r + r + _ONE
    return power_of_rest * scale


@part
def silu(x: np.float32) -> np.float32:
    """Return x times its logistic sigmoid (Elfwing et al. 2017, arXiv 1702.03118)."""
    return x / (_ONE + exponential(-x))


@part
def quick_gelu(x: np.float32) -> np.float32:
    """Return x times the logistic sigmoid of 1.702 x (Hendrycks 2016, section 2)."""
    return x / (_ONE + exponential(_QUICK * x))


@part
def gelu(x: np.float32) -> np.float32:
    """Return x times the normal distribution's share below it (Hendrycks 2016, arXiv 1606.08415).

    By the error function of Abramowitz and Stegun, 7.1.26, to 1.5e-7.
    """
    z = abs(x) * _ROOT_HALF
    t = _ONE / (_ONE + _E0 * z)
    series = ((((_E5 * t + _E4) * t + _E3) * t + _E2) * t + _E1) * t
    beyond: np.float32 = _HALF * x * series * exponential(-z * z)
    return x - beyond if x > 0 else beyond
