"""Pooling and resampling: one FLOP an entry compared or added up, two an entry with a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjoint.arrays.pooling_windows import flat_entries
from adjoint.arrays.resampling import check_floating, in_order
from adjoint.arrays.shapes.array import ShapeArray, bare, made, operand
from adjoint.errors import ShapeError


def max_pool(x: Any, windows: Sequence[Any]) -> Any:
    """One FLOP an entry of every window; entries and positions are written."""
    shape = (*x.shape[: -len(windows)], *[w.count for w in windows])
    entries = flat_entries(tuple(windows))
    indices = ShapeArray(shape, entries.dtype)
    return made("max_pool", shape, x.dtype, math.prod(shape) * entries.shape[1], (x, indices)), indices


def pick(x: Any, indices: Any, ndim: int) -> Any:
    """A copy of what is picked."""
    at = operand(indices)
    _fit("pick", x.shape[:-ndim], at.shape[:-ndim])
    shape = (*x.shape[:-ndim], *at.shape[-ndim:])
    return made("pick", shape, x.dtype, 0, (bare(shape, x.dtype), at))


def place(u: Any, indices: Any, shape: Any) -> Any:
    """One FLOP an entry added."""
    u, at, ndim = operand(u), operand(indices), len(shape)
    _fit("place", u.shape, (*at.shape[:-ndim], *u.shape[-ndim:]))
    return made("place", (*u.shape[:-ndim], *shape), u.dtype, u.size, (u, at))


def _fit(name: str, shape: Any, own: Any) -> None:
    if own and shape[-len(own) :] != own:
        raise ShapeError(f"{name}: leading axes {shape} do not end in those of the indices, {own}.")


def resample(x: Any, taps: Sequence[Any]) -> Any:
    """Two FLOPs a tap, axis by axis; none where entries are only selected."""
    check_floating("resample", x, taps)
    shape, flops = list(x.shape), 0
    for axis in in_order(taps):
        shape[axis] = taps[axis].count
        flops += 0 if taps[axis].selects else 2 * taps[axis].width * math.prod(shape)
    return x if all(t.keeps for t in taps) else made("resample", tuple(shape), x.dtype, flops, (x,))
