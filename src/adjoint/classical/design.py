"""Designs: a matrix or any map from coefficients to predictions, and its target, as NumPy vectors in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.errors import ShapeError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import finite, flat, moved, pull, push
from adjoint.maps.matrices import Dense
from adjoint.maps.scipy import from_scipy
from adjoint.maps.spaces import batch_of, shapes_of


def as_map(name: str, A: Any) -> LinearMap:
    """The design as a map; raises `ShapeError` where an array is no matrix."""
    if isinstance(A, LinearMap):
        return A
    if hasattr(A, "matvec") or hasattr(A, "tocsr"):
        return from_scipy(A)
    if not hasattr(A, "dtype"):
        A = np.asarray(A, float)
    if len(A.shape) != 2:
        raise ShapeError(f"{name}: the design is a matrix (examples, features) or a LinearMap, not {tuple(A.shape)}.")
    return Dense(A if "float" in str(A.dtype) else xp.astype(A, "float64"))


def target(name: str, A: LinearMap, b: Any) -> np.ndarray:
    """The target, one element of the map's output space, flattened; raises `ShapeError` where it is none."""
    b = A.T._taken(b) if isinstance(b, (tuple, dict)) or hasattr(b, "shape") else np.asarray(b, float)
    if batch_of(b, A.out_shape) != ():
        raise ShapeError(f"{name}: the design gives {A.out_shape}, the target is {shapes_of(b)}: one number for each.")
    return finite(flat(b, A.out_shape))


def element(A: LinearMap, x: np.ndarray) -> Any:
    """A vector as an element of the map's input space, in its backend, dtype and structure."""
    return A.T._given(moved(A, x, A.in_shape))


def forth(A: LinearMap, x: np.ndarray) -> np.ndarray:
    """A x of a vector."""
    return push(A, x[None])[0]


def back(A: LinearMap, r: np.ndarray) -> np.ndarray:
    """Aᵀ r of a vector."""
    return pull(A, r[None])[0]
