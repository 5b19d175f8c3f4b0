"""The seam's attention: a softmax of scores that weighs values, in blocks of rows where the scores would fill memory.

Masks are additive or boolean (True attends). A band says which keys j a query i sees: i - left ≤ j ≤ i + right, where
None is no limit; right = 0 is causal. A row that sees nothing gives zeros, as PyTorch's function does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays import reductions
from adjoint.arrays.dispatch import Array, Shape, composition
from adjoint.arrays.layout import asarray, concatenate, getitem, put, squeeze, swapaxes
from adjoint.arrays.products import matmul

LARGE = 1 << 22  # scores of one head that are kept at once


@composition
def attend(
    query: Array, key: Array, value: Array, mask: Array | None = None, /, scale: float = 1.0, left: int | None = None,
    right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Array:  # fmt: skip
    """softmax(scale · Q Kᵀ + mask) V: query (…, L, E), key (…, S, E), value (…, S, D), result (…, L, D).

    The leading axes are the same in all three, the mask is broadcast to (…, L, S). Scores s become
    softcap · tanh(s / softcap) where that is given, before the mask. `block_size` rows are worked on at a time.
    """
    return attend_residual(query, key, value, mask, scale, left, right, softcap, block_size)[0]


@composition
def attend_residual(
    query: Array, key: Array, value: Array, mask: Array | None = None, /, scale: float = 1.0, left: int | None = None,
    right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Any:  # fmt: skip
    """(`attend`, log Σ exp(scores)), the latter (…, L) and 0 in a row that sees nothing: all that the maps need."""
    outs, sums = [], []
    for rows, cols in blocks(query, key, left, right, block_size):
        s, _ = scores(query, key, mask, scale, left, right, softcap, rows, cols)
        top = reductions.max(s, -1, True)
        seen = None if mask is None and left is None and (right or 0) >= 0 else pw.not_equal(top, -math.inf)
        top = top if seen is None else el.where(seen, top, 0.0)
        e = el.exp(s - top)
        total = reductions.sum(e, -1, True)
        total = total if seen is None else el.where(seen, total, 1.0)
        lse = top + el.log(total)
        outs.append(matmul(e, cut(value, cols)) / total)
        sums.append(squeeze(lse if seen is None else el.where(seen, lse, 0.0), -1))
    return (outs[0], sums[0]) if len(outs) == 1 else (concatenate(outs, -2), concatenate(sums, -1))


@composition
def attend_cotangents(
    u: Array, query: Array, key: Array, value: Array, mask: Array | None, out: Array, lse: Array, /,
    scale: float = 1.0, left: int | None = None, right: int | None = None, softcap: float | None = None,
    block_size: int | None = None,
) -> Any:  # fmt: skip
    """The cotangents of query, key and value for u of `attend`, its weights computed again (Dao et al. 2022).

    With P the weights: dV = Pᵀu, dS = P (u Vᵀ - Σ u·out), dQ = scale · dS K, dK = scale · dSᵀ Q.
    """
    along = reductions.sum(u * out, -1, True)
    in_query, in_key, in_value = [], [], []
    for rows, cols in blocks(query, key, left, right, block_size):
        p, slope = weights(query, key, mask, lse, scale, left, right, softcap, rows, cols)
        here = cut(u, rows)
        ds = p * (matmul(here, swapaxes(cut(value, cols), -1, -2)) - cut(along, rows))
        ds = (ds if slope is None else ds * slope) * scale
        in_query.append(matmul(ds, cut(key, cols)))
        in_key.append(whole(matmul(swapaxes(ds, -1, -2), cut(query, rows)), cols, key))
        in_value.append(whole(matmul(swapaxes(p, -1, -2), here), cols, value))
    dq = in_query[0] if len(in_query) == 1 else concatenate(in_query, -2)
    return dq, total(in_key), total(in_value)


def weights(
    query: Array, key: Array, mask: Array | None, lse: Array, scale: float, left: int | None, right: int | None,
    softcap: float | None, rows: range, cols: range,
) -> tuple[Array, Array | None]:  # fmt: skip
    """The softmax in some rows and columns, from its log-sums, and the slope of the soft cap there."""
    s, slope = scores(query, key, mask, scale, left, right, softcap, rows, cols)
    lse = getitem(lse, (Ellipsis, slice(rows.start, rows.stop), None))
    return el.exp(s - lse), slope


def scores(
    query: Array, key: Array, mask: Array | None, scale: float, left: int | None, right: int | None,
    softcap: float | None, rows: range, cols: range,
) -> tuple[Array, Array | None]:  # fmt: skip
    """The masked scores in some rows and columns, -∞ where nothing is attended, and the slope of the soft cap there."""
    s = matmul(cut(query, rows), swapaxes(cut(key, cols), -1, -2)) * scale
    slope = None
    if softcap is not None:
        t = el.tanh(s * (1.0 / softcap))
        s, slope = t * softcap, 1.0 - t * t
    if mask is not None:
        mask = cut(cut(mask, rows, -2), cols, -1)
        s = el.where(mask, s, -math.inf) if "bool" in str(mask.dtype) else s + mask
    seen = banded(s, rows, cols, left, right)
    return (s if seen is None else el.where(seen, s, -math.inf)), slope


def banded(like: Array, rows: range, cols: range, left: int | None, right: int | None) -> Array | None:
    """Where i - left ≤ j ≤ i + right for rows i and columns j; None where that holds throughout."""
    i, j = (asarray(like, np.arange(r.start, r.stop)) for r in (rows, cols))
    i = getitem(i, (slice(None), None))
    above = None if left is None or rows.stop - 1 - left <= cols.start else pw.greater_equal(j, i - left)
    below = None if right is None or rows.start + right >= cols.stop - 1 else pw.less_equal(j, i + right)
    if above is None or below is None:
        return below if above is None else above
    return pw.logical_and(above, below)


def blocks(
    query: Array, key: Array, left: int | None, right: int | None, block_size: int | None
) -> Iterator[tuple[range, range]]:
    """Rows that are worked on at a time, and the columns that any of them may see (never none)."""
    n, m = query.shape[-2], key.shape[-2]
    step = block_size or rows_at_once(n, m, left, right)
    for start in range(0, max(n, 1), step):
        stop = min(start + step, n)
        first = 0 if left is None else min(max(start - left, 0), m - 1)
        last = m if right is None else max(min(stop + right, m), first + 1)
        yield range(start, stop), range(first, last)


def rows_at_once(n: int, m: int, left: int | None, right: int | None) -> int:
    """As many rows as a narrow band is wide; else all, or as many as keep their scores few."""
    if left is not None and right is not None and 4 * (width := max(left + right + 1, 64)) < m:
        return width
    return max(n if n * m <= LARGE else LARGE // m, 1)


def cut(x: Array, part: range, axis: int = -2) -> Array:
    """Some rows (or columns, axis -1) of x; x itself where it has just these, or one that is repeated."""
    if x.shape[axis] == 1 or len(part) == x.shape[axis]:
        return x
    return getitem(x, (Ellipsis, slice(part.start, part.stop), *(slice(None),) * (-1 - axis)))


def whole(x: Array, part: range, like: Array) -> Array:
    """The rows x in their place among zeros, as many rows as `like` has."""
    n = like.shape[-2]
    if len(part) == n:
        return x
    shape: Shape = (*x.shape[:-2], n, x.shape[-1])
    return put(x, (Ellipsis, slice(part.start, part.stop), slice(None)), shape)


def total(parts: list[Array]) -> Array:
    """The sum of arrays of one shape."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result
