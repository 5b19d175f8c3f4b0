"""Numba kernels for NumPy arrays: one pass over memory where NumPy takes several. Loaded when first needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def kernel(f: Callable[..., None]) -> Callable[..., None]:
    """Compile for the processor, without the divide-by-zero check that would block vectorization; kept on disk."""
    options = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
    try:
        return numba.njit(cache=True, **options)(f)  # type: ignore[no-any-return]
    except RuntimeError:  # the cache's folder cannot be written
        return numba.njit(**options)(f)  # type: ignore[no-any-return]


@kernel
def _adam(p, g, m, v, b1, a1, b2, a2, rate, scale, eps, keep, decay):  # type: ignore[no-untyped-def]
    for i in range(p.size):
        d = g[i] + decay * p[i]
        m[i] = b1 * m[i] + a1 * d
        v[i] = b2 * v[i] + a2 * d * d
        p[i] = keep * p[i] - rate * m[i] / (math.sqrt(v[i]) * scale + eps)


@kernel
def _sgd(p, g, v, rate, momentum, fresh, nesterov, decay):  # type: ignore[no-untyped-def]
    for i in range(p.size):
        d = g[i] + decay * p[i]
        v[i] = momentum * v[i] + fresh * d
        p[i] -= rate * (d + momentum * v[i] if nesterov else v[i])


@kernel
def _descend(p, g, rate, decay):  # type: ignore[no-untyped-def]
    for i in range(p.size):
        p[i] -= rate * (g[i] + decay * p[i])


def flat(x: np.ndarray) -> np.ndarray:
    """x in one axis, in its own memory where it is contiguous."""
    return x.reshape(-1)


def adam(
    p: Any, g: Any, m: Any, v: Any, *, t: Any, lr: Any, betas: Any, eps: float, weight_decay: float, decoupled: bool
) -> None:
    """`adam_update` of one contiguous parameter in place."""
    kind, (b1, b2) = p.dtype.type, betas
    t = int(t)
    keep, decay = (1.0 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    rate, scale = lr / (1.0 - b1**t), 1.0 / math.sqrt(1.0 - b2**t)
    numbers = [kind(c) for c in (b1, 1.0 - b1, b2, 1.0 - b2, rate, scale, eps, keep, decay)]
    _adam(flat(p), flat(g), flat(m), flat(v), *numbers)


def sgd(
    p: Any, g: Any, v: Any, *, lr: Any, momentum: float, dampening: Any, nesterov: bool, weight_decay: float
) -> None:
    """`sgd_update` of one contiguous parameter in place; v is its velocity or None."""
    kind = p.dtype.type
    if v is None:
        _descend(flat(p), flat(g), kind(lr), kind(weight_decay))
    else:
        numbers = (kind(lr), kind(momentum), kind(1.0 - float(dampening)))
        _sgd(flat(p), flat(g), flat(v), *numbers, nesterov, kind(weight_decay))
