"""Examples of maps along a sequence, whose matrices are written down step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

import adjoint as aj
from adjoint.maps.recurrent import MEMORY, UNITS
from tests.maps.examples.example import Example, columns


def steps(n: int, reverse: bool) -> range:
    return range(n)[::-1] if reverse else range(n)


def units(k: Any, z: Any, w: Any, reverse: bool = False) -> np.ndarray:
    """dsₜ = Σⱼ kⱼ (e + W dsₜ₋₁)ⱼ + z dsₜ₋₁."""
    (T, n, E), (G, S) = k.shape, w.shape

    def solved(e: np.ndarray) -> np.ndarray:
        s, found = e[0, :, :S], np.zeros((T, n, S))
        for t in steps(T, reverse):
            inner = e[t + 1].copy()
            inner[:, :G] += s @ w.T
            s = (k[t] * inner).reshape(n, E // S, S).sum(1) + z[t] * s
            found[t] = s
        return found

    return columns(solved, (T + 1, n, E))


def memory(k: Any, f: Any, d: Any, keep: Any, w: Any, r: Any) -> np.ndarray:
    """dc = f dc + k (e + W dh) summed over i, f, g; dh = R (d dc + k (e + W dh) of o) + e, or kept."""
    T, n, H = f.shape
    P = r.shape[0]

    def solved(e: np.ndarray) -> np.ndarray:
        h, c, found = e[0, :, :P], e[0, :, P : P + H], np.zeros((T, n, P + H))
        for t in range(T):
            i_, f_, g_, o_ = np.split(k[t] * (e[t + 1][:, : 4 * H] + h @ w.T), 4, 1)
            c = f[t] * c + i_ + f_ + g_
            h = (o_ + d[t] * c) @ r.T + (1.0 - keep[t]) * e[t + 1][:, 4 * H :] + keep[t] * h
            found[t] = np.concatenate([h, c], 1)
        return found

    return columns(solved, (T + 1, n, 4 * H + P))


def switches(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 2, shape).astype(float)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


EXAMPLES: list[Example] = [
    Example(
        aj.Recurrence,
        lambda k, z, w: aj.Recurrence(UNITS, (k, z), (w,), (4, 2, 2), (3, 2, 2)),
        ((3, 2, 2), (3, 2, 2), (2, 2)),
        units,
    ),
    Example(
        aj.Recurrence,
        lambda k, z, w: aj.Recurrence(UNITS, lambda: (k, z), (w,), (4, 1, 8), (3, 1, 2), reverse=True),
        ((3, 1, 8), (3, 1, 2), (6, 2)),
        lambda k, z, w: units(k, z, w, reverse=True),
    ),
    Example(
        aj.Recurrence,
        lambda k, w: aj.Recurrence(UNITS, (k, None), (w,), (3, 2, 1), (2, 2, 1)),
        ((2, 2, 1), (1, 1)),
        lambda k, w: units(k, np.zeros((2, 2, 1)), w),
    ),
    Example(
        aj.Recurrence,
        lambda k, f, d, keep, w, r: aj.Recurrence(MEMORY, (k, f, d, keep), (w, r), (3, 2, 9), (2, 2, 3)),
        ((2, 2, 8), (2, 2, 2), (2, 2, 2), (2, 2, 1), (8, 1), (1, 2)),
        memory,
        (normal, normal, normal, switches),
    ),
    Example(
        aj.Recurrence,
        lambda k, f, d, w: aj.Recurrence(MEMORY, (k, f, d, None), (w, None), (3, 1, 8), (2, 1, 4)),
        ((2, 1, 8), (2, 1, 2), (2, 1, 2), (8, 2)),
        lambda k, f, d, w: memory(k, f, d, np.zeros((2, 1, 1)), w, np.eye(2)).reshape(8, 3, 10)[..., :8].reshape(8, 24),
    ),
]
