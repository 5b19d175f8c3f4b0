"""Numba kernels of optimizer updates: one pass over memory where NumPy takes several."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba.np.numpy_support import carray
from numpy import ndarray

from adjoint.arrays.numpy.atoms import doubles_at, floats_at, numbers_of, words_at
from adjoint.arrays.numpy.compiling import job, kernel
from adjoint.arrays.numpy.crew import crew, perform
from adjoint.arrays.numpy.gemm import faster
from adjoint.arrays.numpy.threads import at_hand, rest

PIECE = 4096  # parameters of an array that one thread updates alone
LINE = 16  # parameters that are not parted
GRAIN = 1 << 20  # parameters from which waking another thread is repaid


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


@numba.njit(inline="always")
def _some_of_adam(args, part, parts, at, itemsize):  # type: ignore[no-untyped-def]
    """A part of every array; args: the id of the numbers, how many arrays, and for each its size and four ids."""
    words = carray(words_at(args), 2)
    n, count = carray(at(numbers_of(words[0])), 11), words[1]
    numbers = (n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10])
    given = carray(words_at(args + 16), (count, 5))
    for k in range(count):
        size = given[k, 0]
        start, stop = size // LINE * part // parts * LINE, size // LINE * (part + 1) // parts * LINE
        if part == parts - 1:
            stop = size
        if size < PIECE:
            start, stop = (0, size) if part == 0 else (0, 0)
        off, some = start * itemsize, stop - start
        _adam(
            carray(at(numbers_of(given[k, 1]) + off), some), carray(at(numbers_of(given[k, 2]) + off), some),
            carray(at(numbers_of(given[k, 3]) + off), some), carray(at(numbers_of(given[k, 4]) + off), some), numbers,
        )  # fmt: skip


@job
def adam_of_floats(args, part, parts):  # type: ignore[no-untyped-def]
    """`_adam` on a part of every array of float32."""
    _some_of_adam(args, part, parts, floats_at, 4)


@job
def adam_of_doubles(args, part, parts):  # type: ignore[no-untyped-def]
    """`_adam` on a part of every array of float64."""
    _some_of_adam(args, part, parts, doubles_at, 8)


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


ADAM = [
    (np.dtype(kind), part.address, float(np.finfo(kind).tiny))
    for kind, part in ((np.float32, adam_of_floats), (np.float64, adam_of_doubles))
]
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
) -> bool:  # fmt: skip
    """`adam_update` in place; False, and nothing done, where shapes differ or an array is in pieces or no float."""
    words: dict[Any, list[int]] = {kind: [0, 0] for kind, _, _ in ADAM}
    grads = list(grads)
    for k, (p, g, m, v) in enumerate(zip(params, grads, first, second, strict=True)):
        kind, shape = p.dtype, p.shape
        if not (type(p) is type(m) is type(v) is ndarray and kind in words and m.dtype is kind and v.dtype is kind):
            return False
        if not (p.flags.carray and m.flags.carray and v.flags.carray and shape == m.shape == v.shape == g.shape):
            return False
        if not (type(g) is ndarray and g.dtype is kind and (held := g.flags).c_contiguous and held.aligned):
            grads[k] = g = np.array(g, kind, order="C")
        words[kind] += (p.size, id(p), id(g), id(m), id(v))
    (b1, b2), t, lr = betas, int(t), float(lr)
    keep, decay = (1.0 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    rate, scale = lr / (1.0 - b1**t), 1.0 / math.sqrt(1.0 - b2**t)
    for kind, function, tiny in ADAM:
        own = words[kind]
        if len(own) > 2:
            given = np.array((b1, 1.0 - b1, b2, 1.0 - b2, rate, scale, eps, keep, decay, 0.0, tiny), kind)
            own[:2] = id(given), len(own) // 5
            jointly(function, own, sum(own[2::5]))
    return True


def jointly(function: int, words: list[int], size: int) -> None:
    """A job on so many numbers, by a crew where products keep it awake, or where waking it is repaid."""
    crew(at_hand() if faster or size >= GRAIN else 1).do(perform, function, np.array(words))
    if not faster:
        rest()  # the threads of NumPy's BLAS need the cores


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
