"""Examples of the maps of normalizations, over rows and over channels."""

from __future__ import annotations

import math

import numpy as np

import adjoint as aj
from tests.maps.examples.example import Example, Shape, columns, normal


def positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.uniform(0.5, 2.0, shape)


def normalization(x: np.ndarray, mu: np.ndarray | None, scale: np.ndarray, axes: Shape, w: np.ndarray) -> np.ndarray:
    """w (I - 1 1ᵀ/n - x̂ x̂ᵀ/n)/σ, entry by entry: those that share no statistics do not see each other."""
    alike = (
        np.ones([1 if a - x.ndim in axes else n for a, n in enumerate(x.shape)])
        .cumsum()
        .reshape([1 if a - x.ndim in axes else n for a, n in enumerate(x.shape)])
    )
    group = np.broadcast_to(alike, x.shape).ravel()
    together = group[:, None] == group
    n = math.prod(x.shape[a] for a in axes)
    hat = ((x - (0.0 if mu is None else mu)) * scale).ravel()
    inner = np.eye(x.size) - together * ((mu is not None) + np.outer(hat, hat)) / n
    return np.broadcast_to(w * scale, x.shape).reshape(-1, 1) * inner


def gain(x: np.ndarray, mu: np.ndarray, scale: np.ndarray, shape: Shape) -> np.ndarray:
    return columns(lambda w: w.reshape(shape) * (x - mu) * scale, (math.prod(shape),))


EXAMPLES = [
    Example(
        aj.Normalization,
        lambda x, mu, s: aj.Normalization(x, mu, s, (-1,)),
        ((3, 5), (3, 1), (3, 1)),
        lambda x, mu, s: normalization(x, mu, s, (-1,), np.ones(())),
        (normal, normal, positive),
    ),
    Example(
        aj.Normalization,
        lambda x, s, w: aj.Normalization(x, None, s, (-2, -1), w),
        ((2, 2, 3), (2, 1, 1), (2, 3)),
        lambda x, s, w: normalization(x, None, s, (-2, -1), w),
        (normal, positive),
    ),
    Example(
        aj.Normalization,
        lambda x, mu, s, w: aj.Normalization(x, mu, s, (-3, -1), w),
        ((3, 2, 2), (2, 1), (2, 1), (2, 1)),
        lambda x, mu, s, w: normalization(x, mu, s, (-3, -1), w),
        (normal, normal, positive),
    ),
    Example(
        aj.Normalization,
        lambda x, s: aj.Normalization(x, None, s, -1),
        ((3, 1), (3, 1)),
        lambda x, s: normalization(x, None, s, (-1,), np.ones(())),
        (normal, positive),
    ),
    Example(
        aj.Normalization,
        lambda x, mu, s: aj.Normalization(x, mu, s, -1),
        ((3, 2), (3, 1), (3, 1)),
        lambda x, mu, s: normalization(x, mu, s, (-1,), np.ones(())),
        (normal, normal, positive),
    ),
    Example(
        aj.Gain,
        lambda x, mu, s: aj.Gain(x, mu, s, (-3,), (2, 3)),
        ((4, 2, 3), (4, 1, 1), (4, 1, 1)),
        lambda x, mu, s: gain(x, mu, s, (1, 2, 3)),
        (normal, normal, positive),
    ),
    Example(
        aj.Gain,
        lambda x, mu, s: aj.Gain(x, mu, s, (0, -1), (3,)),
        ((4, 3, 2), (3, 1), (3, 1)),
        lambda x, mu, s: gain(x, mu, s, (1, 3, 1)),
        (normal, normal, positive),
    ),
]
