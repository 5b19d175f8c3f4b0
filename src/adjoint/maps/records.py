"""What spectral questions answer with: numbers that know how certain they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class Count(int):
    """A dimension, an int with attributes: `tolerance` (singular values up to it count as zero; 0.0 when the structure
    alone decides), `method`, and `bound`, the number of singular values too near the tolerance to be told from it.

    >>> import numpy as np, adjoint as aj
    >>> r = aj.Dense(np.diag([1.0, 1e-20])).rank()
    >>> r, r + 1, r.bound
    (1 (tolerance 4.4e-16, svd), 2, 0)
    """

    tolerance: float
    method: str
    bound: int

    def __new__(cls, value: int, tolerance: float, method: str, bound: int = 0) -> Count:
        self = super().__new__(cls, value)
        self.tolerance, self.method, self.bound = tolerance, method, bound
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return int(self), self.tolerance, self.method, self.bound

    def __repr__(self) -> str:
        off = f"±{self.bound}, " if self.bound else ""
        sure = "exact" if not self.bound and not self.tolerance else f"tolerance {self.tolerance:.2g}"
        return f"{int(self)} ({off}{sure}, {self.method})"

    def __str__(self) -> str:
        return str(int(self))


class Number(float):
    """A quantity, a float with attributes: `bound` (|computed - exact| ≤ bound), `method`, and `tolerance`, the
    threshold under which singular values counted as zero, None where there is none.

    >>> import numpy as np, adjoint as aj
    >>> s = aj.Scale(-2.0, (3,)).norm()
    >>> s, s / 2, s.bound
    (2.0 (exact, structure), 1.0, 0.0)
    """

    bound: float
    method: str
    tolerance: float | None

    def __new__(cls, value: float, bound: float, method: str, tolerance: float | None = None) -> Number:
        self = super().__new__(cls, value)
        self.bound, self.method, self.tolerance = bound, method, tolerance
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        return float(self), self.bound, self.method, self.tolerance

    def __repr__(self) -> str:
        sure = f"±{self.bound:.2g}" if self.bound else "exact"
        above = "" if self.tolerance is None else f", tolerance {self.tolerance:.2g}"
        return f"{float(self)} ({sure}{above}, {self.method})"

    def __str__(self) -> str:
        return str(float(self))


class Values(NDArrayOperatorsMixin):
    """Singular values or eigenvalues, largest first: `values` (k,), each known to within `bound` (k,), by `method`;
    `tolerance` is what the default rank counts as zero. Behaves as its NumPy array.

    >>> import numpy as np, adjoint as aj
    >>> s = aj.Diagonal(np.array([1.0, -3.0])).svdvals()
    >>> s, s**2, len(s)
    (Values([3. 1.], exact, structure), array([9., 1.]), 2)
    """

    __slots__ = ("bound", "method", "tolerance", "values")

    def __init__(self, values: np.ndarray, bound: np.ndarray, method: str, tolerance: float) -> None:
        self.values = values
        self.bound = bound
        self.method = method
        self.tolerance = tolerance

    @property
    def shape(self) -> tuple[int, ...]:
        """(k,)."""
        return self.values.shape

    @property
    def dtype(self) -> Any:
        """float64, or complex128 for eigenvalues of a map that is not symmetric."""
        return self.values.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*(x.values if isinstance(x, Values) else x for x in inputs), **options)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> Any:
        return self.values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __repr__(self) -> str:
        off = float(np.max(self.bound, initial=0.0))
        return f"Values({self.values}, {f'±{off:.2g}' if off else 'exact'}, {self.method})"


class SVD(NamedTuple):
    """A = Σ σᵢ uᵢ ⟨vᵢ, ·⟩: `U` holds the left singular vectors (k, *out_shape), `S` the singular values (k,), largest
    first, `Vh` the right ones (k, *in_shape). The leading axis counts vectors.

    >>> import numpy as np, adjoint as aj
    >>> U, S, Vh = aj.Dense(np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]])).svd(1)
    >>> U.shape, S[0], Vh.shape
    ((1, 2), np.float64(3.0), (1, 3))
    """

    U: Any
    S: Values
    Vh: Any

    @property
    def method(self) -> str:
        """How it was computed."""
        return self.S.method

    @property
    def bound(self) -> np.ndarray:
        """How far each singular value may be off."""
        return self.S.bound

    @property
    def tolerance(self) -> float:
        """What the default rank counts as zero."""
        return self.S.tolerance


class Eigen(NamedTuple):
    """A vᵢ = λᵢ vᵢ: `values` (k,), largest in magnitude first, and `vectors` (k, *in_shape), whose leading axis counts;
    real and orthonormal when A is symmetric, otherwise complex and of norm 1.

    >>> import numpy as np, adjoint as aj
    >>> values, vectors = aj.Dense(np.array([[0.0, 2.0], [2.0, 3.0]])).eig()
    >>> values.values, vectors.shape
    (array([ 4., -1.]), (2, 2))
    """

    values: Values
    vectors: Any

    @property
    def method(self) -> str:
        """How it was computed."""
        return self.values.method

    @property
    def bound(self) -> np.ndarray:
        """How far each eigenvalue may be off."""
        return self.values.bound
