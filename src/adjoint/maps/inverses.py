"""Maps that only NumPy can apply, such as an inverse by LU decomposition, for arrays of every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.traced import Traced
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import formed, to_numpy
from adjoint.maps.spaces import Space, size


def foreign(map: LinearMap, product: Callable[[np.ndarray], np.ndarray], v: Any) -> Any:
    """The map, between vectors, applied to (…, n) by a product of NumPy's on the rows (k, n), which gives (k, m).

    Arrays of other backends go over NumPy and back, in their own dtype. The derivative at a traced value is the map.
    """
    if type(v) is Traced:
        from adjoint.ops.define import record

        return record(v.tape, foreign(map, product, v.value), (v,), (map,))
    *lead, n = v.shape
    m, count = size(map.out_shape), math.prod(lead)
    rows = product(to_numpy(v).reshape(count, n)) if count else np.zeros((0, m))
    return xp.asarray(v, rows.reshape(*lead, m), v.dtype if "float" in str(v.dtype) else "float64")


class Inverse(LinearMap):
    """x ↦ A⁻¹ x for a square map A between vectors, by the LU decomposition of its matrix in float64.

    `A.inverse()` makes one where structure gives nothing better, and refuses where A is singular to working precision.

    >>> import numpy as np, adjoint as aj
    >>> A = aj.Dense(np.array([[2.0, 1.0], [1.0, 1.0]]))
    >>> np.round(A.inverse() @ np.array([3.0, 2.0]), 12)
    array([1., 1.])
    """

    __slots__ = ("_lu", "map")

    def __init__(self, map: LinearMap) -> None:
        from scipy.linalg import lu_factor

        self.map = map
        self._lu = lu_factor(formed(map)[0])

    @property
    def in_shape(self) -> Space:
        """A's output space."""
        return self.map.out_shape

    @property
    def out_shape(self) -> Space:
        """A's input space."""
        return self.map.in_shape

    @property
    def properties(self) -> frozenset[str]:  # type: ignore[override]
        """Symmetric and positive where A is."""
        return self.map.properties & {"symmetric", "positive"}

    def _solved(self, rows: np.ndarray, trans: int) -> np.ndarray:
        from scipy.linalg import lu_solve

        x: np.ndarray = lu_solve(self._lu, rows.T, trans).T
        return x

    def apply(self, v: Any) -> Any:
        """The x with A x = v."""
        return foreign(self, lambda rows: self._solved(rows, 0), v)

    def adjoint(self, u: Any) -> Any:
        """The x with Aᵀ x = u."""
        return foreign(self.T, lambda rows: self._solved(rows, 1), u)

    def array(self) -> Array | None:
        """One of A's arrays."""
        return self.map.array()

    def inverse(self) -> LinearMap:
        """A."""
        return self.map

    def describe(self) -> str:
        """A's word with ⁻¹."""
        return f"{self.map.describe()}⁻¹" if " " not in self.map.describe() else f"({self.map.describe()})⁻¹"
