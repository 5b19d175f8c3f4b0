"""Pooling: what max pooling has found is a selection of entries; the other modes are made of operations."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.traced import Traced
from adjoint.maps.base import LinearMap
from adjoint.maps.pooling import Selection
from adjoint.ops.define import operation, plain, record
from adjoint.ops.layout import shape_of


def selection(indices: Any, shape: Any, ndim: int) -> Selection:
    """The selection among the axes that the indices have; those before are a batch."""
    return Selection(plain(indices), shape[-len(indices.shape) :], ndim)


def pick_rule(z: Any, x: Any, indices: Any, ndim: int) -> LinearMap:
    """Gather."""
    return selection(indices, shape_of(x), ndim).bind(shape_of(x))


def place_rule(z: Any, u: Any, indices: Any, shape: Any) -> LinearMap:
    """The adjoint of a gather."""
    return selection(indices, shape_of(z), len(shape)).T.bind(shape_of(u))


pick = operation(xp.pick, pick_rule)
place = operation(xp.place, place_rule)


def max_pool_traced(x: Traced, windows: Any) -> Any:
    """The entries have a derivative, their positions none."""
    y, indices = xp.max_pool(x.value, windows)
    return record(x.tape, y, (x,), (Selection(indices, shape_of(x), len(windows)),)), indices


xp.max_pool.table[Traced] = max_pool_traced  # type: ignore[attr-defined]
