"""Rotations without values: a look at the shapes, then their composition."""

from __future__ import annotations

from typing import Any

from adjoint.arrays import positions
from adjoint.arrays.shapes.array import shape_of
from adjoint.errors import ShapeError


def rotate(x: Any, angles: Any, interleaved: bool = False) -> Any:
    """The FLOPs of its composition."""
    shape, turned = tuple(x.shape), shape_of(angles)
    if not shape or shape[-1] % 2:
        raise ShapeError(f"rotate: pairs of coordinates are turned, so the last axis of x {shape} must be even.")
    if not turned or turned[-1] not in (1, shape[-1] // 2):
        raise ShapeError(f"rotate: x {shape} has {shape[-1] // 2} pairs on its last axis, the angles are {turned}.")
    return positions.rotate.table.composed(x, angles, interleaved)  # type: ignore[attr-defined]
