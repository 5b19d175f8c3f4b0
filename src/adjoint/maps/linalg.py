"""Maps that the derivatives of linear algebra are made of: division by a matrix, triangles, Fréchet derivatives."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import LinearMap
from adjoint.maps.layout import summed_to
from adjoint.maps.matrices import aligned, broadcast
from adjoint.maps.spaces import Space, lead_of


class Solve(LinearMap):
    """V ↦ A⁻¹ V with A (…, n, n), V (…, n, k): A⁻¹ is never formed.

    >>> import numpy as np, adjoint as aj
    >>> aj.Solve(np.array([[2.0, 0.0], [0.0, 4.0]]), (2, 1)) @ np.ones((2, 1))
    array([[0.5 ],
           [0.25]])
    """

    __slots__ = ("a", "in_shape")

    def __init__(self, a: Array, shape: Shape) -> None:
        self.a = a
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """V's shape, its batch axes broadcast with A's."""
        return (*broadcast(tuple(self.a.shape[:-2]), self.in_shape[:-2]), *self.in_shape[-2:])

    def apply(self, v: Any) -> Any:
        """A⁻¹ V."""
        return xp.solve(self.a, aligned(v, self.in_shape, len(self.a.shape)))

    def adjoint(self, u: Any) -> Any:
        """A⁻ᵀ U, summed over the axes along which V was repeated."""
        return summed_to(xp.solve(self.a.mT, u), self.out_shape, self.in_shape)

    def array(self) -> Array | None:
        """A."""
        return self.a


class TriangularSolve(LinearMap):
    """V ↦ A⁻¹ V, or V A⁻¹ for left=False, with a triangular A (…, n, n), as `aj.solve_triangular` reads it.

    >>> import numpy as np, adjoint as aj
    >>> L = np.array([[2.0, 0.0], [2.0, 1.0]])
    >>> aj.TriangularSolve(L, (2, 1), upper=False) @ np.ones((2, 1))
    array([[0.5],
           [0. ]])
    """

    __slots__ = ("a", "how", "in_shape", "upper")

    def __init__(self, a: Array, shape: Shape, upper: bool, left: bool = True, unitriangular: bool = False) -> None:
        self.a = a
        self.in_shape = shape
        self.upper, self.how = upper, (left, unitriangular)

    @property
    def out_shape(self) -> Space:
        """V's shape, its batch axes broadcast with A's."""
        return (*broadcast(tuple(self.a.shape[:-2]), self.in_shape[:-2]), *self.in_shape[-2:])

    def apply(self, v: Any) -> Any:
        """A⁻¹ V."""
        return xp.solve_triangular(self.a, aligned(v, self.in_shape, len(self.a.shape)), self.upper, *self.how)

    def adjoint(self, u: Any) -> Any:
        """A⁻ᵀ U, summed over the axes along which V was repeated."""
        found = xp.solve_triangular(self.a.mT, u, not self.upper, *self.how)
        return summed_to(found, self.out_shape, self.in_shape)

    def array(self) -> Array | None:
        """A."""
        return self.a


class SymmetricPart(LinearMap):
    """X ↦ (X + Xᵀ)/2 of matrices (…, n, n): the projection onto symmetric ones.

    >>> import adjoint as aj
    >>> aj.SymmetricPart((3, 3)).rank()
    6 (tolerance 2e-15, svd)
    """

    __slots__ = ("in_shape",)
    properties = frozenset({"symmetric", "projection", "positive"})

    def __init__(self, shape: Shape) -> None:
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """(V + Vᵀ)/2."""
        return xp.symmetric_part(v)

    adjoint = apply

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self


class UpperFold(LinearMap):
    """X ↦ the upper triangle of X with the strictly lower one folded onto it, of matrices (…, n, n).

    X minus the skew matrix that has its lower triangle: in dA = dQ R + Q dR it takes Qᵀ dA R⁻¹ to dR R⁻¹.

    >>> import numpy as np, adjoint as aj
    >>> aj.UpperFold((2, 2)) @ np.array([[1.0, 2.0], [3.0, 4.0]])
    array([[1., 5.],
           [0., 4.]])
    """

    __slots__ = ("in_shape",)

    def __init__(self, shape: Shape) -> None:
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """triu V + (tril₋₁ V)ᵀ."""
        return xp.triu(v) + xp.swapaxes(xp.tril(v, -1), -1, -2)

    def adjoint(self, u: Any) -> Any:
        """triu U + tril₋₁ (Uᵀ)."""
        return xp.triu(u) + xp.tril(xp.swapaxes(u, -1, -2), -1)


class Exponential(LinearMap):
    """The Fréchet derivative of exp at A (…, n, n): V ↦ ∫₀¹ exp((1-t)A) V exp(tA) dt.

    It is the upper right block of exp [[A, V], [0, A]] (Mathias 1996).

    >>> import numpy as np, adjoint as aj
    >>> aj.Exponential(np.zeros((2, 2))) @ np.array([[1.0, 2.0], [3.0, 4.0]])
    array([[1., 2.],
           [3., 4.]])
    """

    __slots__ = ("a",)

    def __init__(self, a: Array) -> None:
        self.a = a

    @property
    def in_shape(self) -> Space:
        """A's shape."""
        return tuple(self.a.shape)

    @property
    def out_shape(self) -> Space:
        """A's shape."""
        return tuple(self.a.shape)

    def apply(self, v: Any) -> Any:
        """The derivative along V."""
        return _frechet(self.a, v)

    def adjoint(self, u: Any) -> Any:
        """The derivative at Aᵀ along U."""
        return _frechet(self.a.mT, u)

    @property
    def T(self) -> LinearMap:
        """That at Aᵀ."""
        return Exponential(self.a.mT)

    def array(self) -> Array | None:
        """A."""
        return self.a


def _frechet(a: Array, v: Array) -> Array:
    n = a.shape[-1]
    a = xp.broadcast_to(a, (*lead_of(v, tuple(a.shape)), *a.shape))
    top, bottom = xp.concatenate([a, v], -1), xp.concatenate([0.0 * v, a], -1)
    return xp.getitem(xp.matrix_exp(xp.concatenate([top, bottom], -2)), (..., slice(0, n), slice(n, None)))


class CofactorChange(LinearMap):
    """The derivative of the matrix of cofactors at A = U diag(s) Vh, in the frame of U and Vh.

    W ↦ C with cᵢᵢ = Σⱼ pᵢⱼ wⱼⱼ and cᵢⱼ = -pᵢⱼ wⱼᵢ, where pᵢⱼ is the product of all singular values but sᵢ and sⱼ, and
    pᵢᵢ = 0.

    >>> import numpy as np, adjoint as aj
    >>> aj.CofactorChange(np.array([[0.0, 1.0], [1.0, 0.0]])) @ np.array([[1.0, 2.0], [3.0, 4.0]])
    array([[ 4., -3.],
           [-2.,  1.]])
    """

    __slots__ = ("p",)

    def __init__(self, p: Array) -> None:
        self.p = p

    @property
    def in_shape(self) -> Space:
        """p's shape (…, n, n)."""
        return tuple(self.p.shape)

    @property
    def out_shape(self) -> Space:
        """p's shape."""
        return tuple(self.p.shape)

    def apply(self, v: Any) -> Any:
        """C for W = V."""
        return _exchanged(self.p, v)

    def adjoint(self, u: Any) -> Any:
        """The same with pᵀ."""
        return _exchanged(self.p.mT, u)

    @property
    def T(self) -> LinearMap:
        """That of pᵀ."""
        return CofactorChange(self.p.mT)

    def array(self) -> Array | None:
        """p."""
        return self.p


def _exchanged(p: Array, w: Array) -> Array:
    across = xp.matmul(p, xp.expand_dims(xp.diagonal(w), -1))
    return xp.diagonal_matrix(xp.squeeze(across, -1)) - p * xp.swapaxes(w, -1, -2)
