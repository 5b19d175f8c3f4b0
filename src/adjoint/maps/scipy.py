"""To SciPy's operators and sparse matrices, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array, is_array, is_complex
from adjoint.errors import ShapeError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import dtype_name, pull, push
from adjoint.maps.inverses import foreign
from adjoint.maps.matrices import Dense
from adjoint.maps.spaces import Space


def to_scipy(map: LinearMap) -> Any:
    """The map as `scipy.sparse.linalg.LinearOperator` of shape (m, n) on flat NumPy vectors; matrices go as batches."""
    from scipy.sparse.linalg import LinearOperator

    name = dtype_name(map)
    dtype = np.dtype(name if name in ("float32", "float64") else "float32")

    def forth(X: np.ndarray) -> np.ndarray:
        return push(map, X.T).T.astype(dtype)

    def back(Y: np.ndarray) -> np.ndarray:
        return pull(map, Y.T).T.astype(dtype)

    return LinearOperator(
        map.shape,
        matvec=lambda x: forth(x.reshape(-1, 1))[:, 0],
        rmatvec=lambda y: back(y.reshape(-1, 1))[:, 0],
        matmat=forth,
        rmatmat=back,
        dtype=dtype,
    )


def from_scipy(operator: Any) -> LinearMap:
    """The map of a matrix (m, n), a SciPy sparse matrix or array, or a `LinearOperator` with an adjoint (PyLops' too).

    >>> import numpy as np, scipy.sparse, adjoint as aj
    >>> A = aj.from_scipy(scipy.sparse.eye_array(3, 4))
    >>> A, A.rank()
    (Operator: (4,) → (3,), 3 (tolerance 8.9e-16, svd))
    """
    if is_array(operator):
        if len(operator.shape) != 2:
            raise ShapeError(f"from_scipy: a matrix has two axes, this array has the shape {tuple(operator.shape)}.")
        if is_complex(operator.dtype):
            raise TypeError("from_scipy: maps are real here, this matrix is complex.")
        return Dense(operator)
    return Operator(operator)


class Operator(LinearMap):
    """x ↦ M x for a SciPy sparse matrix or `LinearOperator` M of shape (m, n).

    >>> import numpy as np, scipy.sparse, adjoint as aj
    >>> aj.from_scipy(scipy.sparse.csr_array([[0.0, 2.0], [0.0, 0.0]])).T @ np.array([1.0, 1.0])
    array([0., 2.])
    """

    __slots__ = ("operator", "transposed")

    def __init__(self, operator: Any) -> None:
        from scipy.sparse import issparse
        from scipy.sparse.linalg import aslinearoperator

        if not issparse(operator):
            if not (hasattr(operator, "shape") and hasattr(operator, "matvec")):
                raise TypeError(
                    "from_scipy takes a matrix, a scipy.sparse matrix or a scipy.sparse.linalg.LinearOperator, not "
                    f"{type(operator).__module__}.{type(operator).__qualname__}."
                )
            operator = aslinearoperator(operator)
        if operator.dtype is not None and np.dtype(operator.dtype).kind == "c":
            raise TypeError("from_scipy: maps are real here, this operator is complex.")
        self.operator = operator
        self.transposed = operator.T.tocsr() if issparse(operator) else operator.H

    @property
    def in_shape(self) -> Space:
        """(n,)."""
        return (int(self.operator.shape[1]),)

    @property
    def out_shape(self) -> Space:
        """(m,)."""
        return (int(self.operator.shape[0]),)

    def apply(self, v: Any) -> Any:
        """M v."""
        return foreign(self, lambda rows: np.asarray(self.operator @ rows.T).T, v)

    def adjoint(self, u: Any) -> Any:
        """Mᵀ u."""
        return foreign(self.T, self._back, u)

    def _back(self, rows: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(self.transposed @ rows.T).T
        except (TypeError, NotImplementedError) as error:
            raise TypeError(f"from_scipy: this operator has no adjoint ({error}): give it rmatvec.") from error

    def array(self) -> Array | None:
        """Zeros of M's dtype."""
        kind = np.dtype(self.operator.dtype)
        return np.zeros(0, kind if kind.kind == "f" else np.float64)
