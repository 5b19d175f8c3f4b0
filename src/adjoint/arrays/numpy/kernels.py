"""Numba kernels for NumPy arrays: one pass over memory where NumPy takes several. Loaded when first needed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from adjoint.arrays.numpy.threads import each

GRAIN = 1 << 20  # parameters from which another thread repays its waking


def kernel(f: Callable[..., Any], fastmath: Sequence[str] = ("contract",)) -> Callable[..., Any]:
    """Compile for the processor, without the divide-by-zero check that would block vectorization; kept on disk."""
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": set(fastmath), "nogil": True}
    try:
        return numba.njit(cache=True, **options)(f)
    except RuntimeError:  # the cache's folder cannot be written
        return numba.njit(**options)(f)


def summing(f: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for sums, which may be taken in any order, so that they run on whole vectors."""
    return kernel(f, ("contract", "nsz", "reassoc"))


@kernel
def _adam(p, g, m, v, numbers):  # type: ignore[no-untyped-def]
    b1, a1, b2, a2, rate, scale, eps, keep, decay, zero, tiny = numbers
    for i in range(p.size):
        d = g[i] + decay * p[i]
        first = b1 * m[i] + a1 * d
        second = b2 * v[i] + a2 * d * d
        # moments of dead units decay into subnormal numbers, on which processors are many times slower
        if abs(first) < tiny:
            first = zero
        if second < tiny:
            second = zero
        m[i] = first
        v[i] = second
        p[i] = keep * p[i] - rate * first / (math.sqrt(second) * scale + eps)


@kernel
def _sgd(p, g, v, numbers, nesterov):  # type: ignore[no-untyped-def]
    rate, momentum, fresh, decay, _ = numbers
    for i in range(p.size):
        d = g[i] + decay * p[i]
        v[i] = momentum * v[i] + fresh * d
        p[i] -= rate * (d + momentum * v[i] if nesterov else v[i])


@kernel
def _descend(p, g, numbers):  # type: ignore[no-untyped-def]
    rate, decay, _ = numbers
    for i in range(p.size):
        p[i] -= rate * (g[i] + decay * p[i])


Arrays = Sequence[Any]


def flat(x: Any) -> Any:
    """x in one axis, in its own memory where it is contiguous."""
    return x if x.ndim == 1 else x.reshape(-1)


def in_dtype(numbers: Sequence[float]) -> Callable[[Any], Any]:
    """The numbers, and the least normal one, as a tuple in the dtype that a kernel computes in, made once a dtype."""
    return functools.cache(lambda dtype: (*[dtype.type(c) for c in numbers], np.finfo(dtype).tiny))


def adam(
    params: Arrays, grads: Arrays, first: Arrays, second: Arrays, *, t: Any, lr: Any, betas: tuple[float, float],
    eps: float, weight_decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """`adam_update` of contiguous parameters in place."""
    (b1, b2), t, lr = betas, int(t), float(lr)
    keep, decay = (1.0 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    rate, scale = lr / (1.0 - b1**t), 1.0 / math.sqrt(1.0 - b2**t)
    numbers = in_dtype((b1, 1.0 - b1, b2, 1.0 - b2, rate, scale, eps, keep, decay, 0.0))

    def update(k: int) -> None:
        _adam(flat(params[k]), flat(grads[k]), flat(first[k]), flat(second[k]), numbers(params[k].dtype))

    each(update, [p.size for p in params], GRAIN)


def sgd(
    params: Arrays, grads: Arrays, velocities: Arrays | None, *, lr: Any, momentum: float, dampening: Any,
    nesterov: bool, weight_decay: float,
) -> None:  # fmt: skip
    """`sgd_update` of contiguous parameters in place."""
    if velocities is None:
        numbers = in_dtype((float(lr), weight_decay))
        for p, g in zip(params, grads, strict=True):
            _descend(flat(p), flat(g), numbers(p.dtype))
    else:
        numbers = in_dtype((float(lr), momentum, 1.0 - float(dampening), weight_decay))
        for p, g, v in zip(params, grads, velocities, strict=True):
            _sgd(flat(p), flat(g), flat(v), numbers(p.dtype), nesterov)
