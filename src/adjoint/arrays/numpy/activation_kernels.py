"""Numba kernels of activations in float32, as instructions that run on whole vectors. Loaded when first needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from adjoint.arrays.numpy.compiling import kernel
from adjoint.arrays.numpy.exponential import exponential
from adjoint.arrays.numpy.threads import parts

f32 = np.float32
ZERO, ONE, HALF = f32(0.0), f32(1.0), f32(0.5)
# Φ(-x) = ½ (a₁t + … + a₅t⁵) e^(-x²/2), t = 1/(1 + p x), to 7.5e-8 (Abramowitz & Stegun 1964, 7.1.26)
P = f32(0.3275911 * math.sqrt(0.5))
A1, A2, A3 = f32(0.5 * 0.254829592), f32(0.5 * -0.284496736), f32(0.5 * 1.421413741)
A4, A5 = f32(0.5 * -1.453152027), f32(0.5 * 1.061405429)
DENSITY = f32(1.0 / math.sqrt(2.0 * math.pi))
INNER, CUBIC = f32(2.0 * math.sqrt(2.0 / math.pi)), f32(0.044715)  # 2 √(2/π) (x + 0.044715 x³)
THRICE = f32(3.0 * 0.044715)


@numba.njit(inline="always")
def _normal(x):  # type: ignore[no-untyped-def]
    """Φ(x) and e^(-x²/2)."""
    e = exponential(-HALF * x * x)
    t = ONE / (ONE + P * abs(x))
    tail = ((((A5 * t + A4) * t + A3) * t + A2) * t + A1) * t * e
    return ONE - tail if x > 0 else tail, e


@numba.njit(inline="always")
def _logistic(x):  # type: ignore[no-untyped-def]
    """σ(x) = 1/(1 + e⁻ˣ) and its slope σ(x) σ(-x)."""
    e = exponential(-abs(x))
    s = ONE / (ONE + e)
    return s if x > 0 else e * s, e * s * s


@kernel
def gelu(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        y[i] = x[i] * _normal(x[i])[0]


@kernel
def gelu_slope(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        share, e = _normal(x[i])
        y[i] = share + x[i] * DENSITY * e


@kernel
def gelu_both(x, y, slope):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        share, e = _normal(x[i])
        y[i] = x[i] * share
        slope[i] = share + x[i] * DENSITY * e


@kernel
def gelu_tanh_both(x, y, slope):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        v = x[i]
        s, rise = _logistic(INNER * (v + CUBIC * v * v * v))
        y[i] = v * s
        slope[i] = s + v * rise * INNER * (ONE + THRICE * v * v)


@kernel
def gelu_tanh(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        v = x[i]
        y[i] = v * _logistic(INNER * (v + CUBIC * v * v * v))[0]


@kernel
def gelu_tanh_slope(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        v = x[i]
        s, slope = _logistic(INNER * (v + CUBIC * v * v * v))
        y[i] = s + v * slope * INNER * (ONE + THRICE * v * v)


@kernel
def sigmoid(x, y):  # type: ignore[no-untyped-def]
    for i in range(x.size):
        y[i] = _logistic(x[i])[0]


GRAIN = 1 << 17  # entries that are worth a thread


@kernel
def gated(u, z, y):  # type: ignore[no-untyped-def]
    for i in range(u.size):
        y[i] = u[i] * (ONE if z[i] > ZERO else ZERO)


def gated_by(u: Any, z: Any) -> Any:
    """u where z > 0, else 0, of arrays of one kind and shape."""
    y = np.empty_like(u)
    flat = u.reshape(-1), z.reshape(-1), y.reshape(-1)
    if u.size < GRAIN:
        gated(*flat)
    else:
        parts(lambda start, stop: gated(*[each[start:stop] for each in flat]), u.size, GRAIN)
    return y


def mapped(function: Callable[..., None], x: Any, results: int = 1) -> Any:
    """What a kernel makes of every entry of x: one array, or a tuple of several."""
    found = tuple([np.empty_like(x) for _ in range(results)])
    flat = [each.reshape(-1) for each in (x, *found)]
    parts(lambda start, stop: function(*[each[start:stop] for each in flat]), x.size, GRAIN)
    return found[0] if results == 1 else found
