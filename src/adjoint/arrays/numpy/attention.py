"""Attention in NumPy: tiles of scores in compiled loops where there are many, the plain form where there are few."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import attention
from adjoint.arrays.numpy.threads import shared

LARGE = 1 << 14  # scores from which the Numba kernels repay their loading


def serves(query: Any, key: Any, value: Any, mask: Any) -> bool:
    """Whether the kernels do: enough scores, in floats or doubles of one kind."""
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    kinds = {getattr(x, "dtype", None) for x in (query, key, value)}
    fits = mask is None or getattr(mask, "dtype", None) in (np.bool_, query.dtype)
    return scores >= LARGE and len(kinds) == 1 and query.dtype.char in "fd" and fits


def five(x: Any) -> Any:
    """x with five axes: ones in front, or the first ones joined."""
    n = len(x.shape)
    return x[(None,) * (5 - n)] if n <= 5 else x.reshape(-1, *x.shape[-4:])


def flat(x: Any) -> tuple[Any, tuple[int, ...]]:
    """The memory of x as one axis, and how far its batches, heads, groups and rows are apart there; features adjoin."""
    x = five(x)
    if x.strides[-1] != x.itemsize or min(x.strides) < 0:
        x = np.ascontiguousarray(x)
    steps = [n // x.itemsize for n in x.strides]
    extent = 1 + sum((n - 1) * step for n, step in zip(x.shape, steps, strict=True))
    return np.lib.stride_tricks.as_strided(x, (extent,), (x.itemsize,)), tuple(steps[:4])


def masked(mask: Any, query: Any, key: Any) -> tuple[int, Any, Any]:
    """The kind of mask, and it as truth values and as numbers, (batch, heads, group, L, S); what it is not is empty."""
    from adjoint.arrays.numpy.attention_kernels import NONE, NUMBERS, TRUTH

    truth, numbers = np.zeros((1,) * 5, bool), np.zeros((1,) * 5, query.dtype)
    if mask is None:
        return NONE, truth, numbers
    whole = five(np.broadcast_to(mask, (*query.shape[:-1], key.shape[-2])))
    return (TRUTH, whole, numbers) if mask.dtype == np.bool_ else (NUMBERS, truth, whole)


def like(x: Any, features: int) -> Any:
    """A new array of x's shape but for its features, its axes in memory ordered as x's."""
    alike = len(x.shape) <= 5 and x.shape[-1] == features and x.strides[-1] == x.itemsize <= min(x.strides)
    return np.empty_like(x) if alike else np.empty((*x.shape[:-1], features), x.dtype)


def run(
    kernel: Any, operands: Any, mask: Any, results: Any, scale: float, left: int | None, right: int | None,
    softcap: float | None, query: Any, key: Any, value: Any,
) -> None:  # fmt: skip
    """The kernel on parts of the heads at the same time; log-sums among the results are one axis already."""
    dtype, (_, h, g, n, e) = query.dtype, five(query).shape
    sizes = (h, g, n, key.shape[-2], e, value.shape[-1])
    how = tuple(dtype.type(x) for x in (scale, softcap or 0.0, 0.0, 1.0, -math.inf))
    memory = [(x, None) if len(x.shape) == 1 else flat(x) for x in (*operands, *results)]
    arrays = [x for x, _ in memory]
    steps = np.array([step for _, step in memory if step])
    kind, reach = masked(mask, query, key), [1 << 40 if limit is None else limit for limit in (left, right)]
    given = (*arrays[: len(operands)], *kind, *arrays[len(operands) :], how, sizes, steps, *reach)
    shared(lambda first, last: kernel(*given, first, last), math.prod(five(query).shape[:3]))


def attend_residual(
    query: Any, key: Any, value: Any, mask: Any = None, scale: float = 1.0, left: int | None = None,
    right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Any:  # fmt: skip
    if not serves(query, key, value, mask):
        plain = attention.attend_residual.table.composed  # type: ignore[attr-defined]
        return plain(query, key, value, mask, scale, left, right, softcap, block_size)
    from adjoint.arrays.numpy.attention_kernels import compiled, forward

    operands = (query, key, value)
    out, lse = like(query, value.shape[-1]), np.empty(query.shape[:-1], query.dtype)
    kernel = compiled(forward, query.dtype)
    run(kernel, operands, mask, (out, lse.reshape(-1)), scale, left, right, softcap, *operands)
    return out, lse


def attend_cotangents(
    u: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, lse: Any, scale: float = 1.0,
    left: int | None = None, right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Any:  # fmt: skip
    if u.shape != out.shape or u.dtype != query.dtype or not serves(query, key, value, mask):
        plain = attention.attend_cotangents.table.composed  # type: ignore[attr-defined]
        return plain(u, query, key, value, mask, out, lse, scale, left, right, softcap, block_size)
    from adjoint.arrays.numpy.attention_kernels import backward, compiled

    operands = (query, key, value)
    grads = tuple([like(x, x.shape[-1]) for x in operands])
    results = (out, lse.reshape(-1), *grads)
    kernel = compiled(backward, query.dtype)
    run(kernel, (u, *operands), mask, results, scale, left, right, softcap, *operands)
    return grads
