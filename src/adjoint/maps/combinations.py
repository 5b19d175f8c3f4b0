"""Maps made of maps: composition, sum, Kronecker product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape, is_floating
from adjoint.errors import ShapeError
from adjoint.maps.base import NONE, ORTHOGONAL, POSITIVE, LinearMap, kept, lasting
from adjoint.maps.elementary import Diagonal, Identity
from adjoint.maps.layout import Permute, Reshape, Roll
from adjoint.maps.matrices import Dense
from adjoint.maps.spaces import Space, is_product, lead_of, ravel, unravel
from adjoint.maps.spaces import add as add_elements


class Composition(LinearMap):
    """x ↦ A₁(A₂(… x)), the matrix product A₁A₂…; the adjoint goes through the adjoints in reverse order.

    >>> import numpy as np, adjoint as aj
    >>> aj.Dense(np.ones((2, 4))) @ aj.Diagonal(np.ones(4))
    Dense @ Diagonal: (4,) → (2,)
    """

    __slots__ = ("maps",)

    def __init__(self, maps: Sequence[LinearMap]) -> None:
        self.maps = tuple(maps)

    @property
    def in_shape(self) -> Space:
        """The input space of the last map."""
        return self.maps[-1].in_shape

    @property
    def out_shape(self) -> Space:
        """The output space of the first map."""
        return self.maps[0].out_shape

    @property
    def in_tree(self) -> Any:
        """The input structure of the last map."""
        return self.maps[-1].in_tree

    @property
    def out_tree(self) -> Any:
        """The output structure of the first map."""
        return self.maps[0].out_tree

    @property
    def properties(self) -> frozenset[str]:  # type: ignore[override]
        """Orthogonal when all are; symmetric and positive for AᵀA, and for Aᵀ H A when H is."""
        if all("orthogonal" in m.properties for m in self.maps):
            return ORTHOGONAL
        half, odd = divmod(len(self.maps), 2)
        if all(is_adjoint(a, b) for a, b in zip(self.maps[:half], self.maps[: -half - 1 : -1], strict=True)):
            return (self.maps[half].properties if odd else POSITIVE) & POSITIVE
        return NONE

    def apply(self, v: Any) -> Any:
        """Through the maps from the last to the first."""
        for m in self.maps[::-1]:
            v = m.apply(v)
        return v

    def adjoint(self, u: Any) -> Any:
        """Through the adjoints from the first to the last."""
        for m in self.maps:
            u = m.adjoint(u)
        return u

    def bind(self, in_shape: Space) -> LinearMap:
        """Every map on the space that the one before it reaches."""
        bound: list[LinearMap] = []
        for m in self.maps[::-1]:
            bound.append(m.bind(in_shape))
            in_shape = bound[-1].out_shape
        return Composition(bound[::-1])

    @property
    def T(self) -> LinearMap:
        """The adjoints in reverse order."""
        return kept(Composition([m.T for m in self.maps[::-1]]), self)

    def array(self) -> Array | None:
        """An array of one of the maps."""
        return first_array(self.maps)

    def matrix(self) -> Array:
        """The product of the matrices: built from the smaller end by pushing it through the maps."""
        maps = self.maps
        if all(isinstance(m, Dense) for m in maps):
            return chain([m.matrix() for m in maps])
        m, n = self.shape
        if n <= m:
            images, rest = unravel(self.eye(n), self.in_shape), maps
            if maps[-1].array() is not None:
                images, rest = unravel(xp.astype(maps[-1].matrix().mT, self.dtype), maps[-1].out_shape), maps[:-1]
            return lasting(ravel(Composition(rest).apply(images), self.out_shape).mT, self)
        images, rest = unravel(self.eye(m), self.out_shape), maps
        if maps[0].array() is not None:
            images, rest = unravel(xp.astype(maps[0].matrix(), self.dtype), maps[0].in_shape), maps[1:]
        return lasting(ravel(Composition(rest).adjoint(images), self.in_shape), self)

    def describe(self) -> str:
        """The maps joined by @."""
        return listed(self.maps, " @ ")


class Sum(LinearMap):
    """x ↦ A₁x + A₂x + …; with the identity among them, the Jacobian of a residual connection.

    >>> import numpy as np, adjoint as aj
    >>> aj.Identity((2,)) + aj.Dense(np.ones((2, 2)))
    [I + Dense]: (2,) → (2,)
    """

    __slots__ = ("maps",)

    def __init__(self, maps: Sequence[LinearMap]) -> None:
        self.maps = tuple(maps)

    @property
    def in_shape(self) -> Space:
        """The common input space."""
        return self.maps[0].in_shape

    @property
    def out_shape(self) -> Space:
        """The common output space."""
        return self.maps[0].out_shape

    @property
    def in_tree(self) -> Any:
        """The common input structure."""
        return self.maps[0].in_tree

    @property
    def out_tree(self) -> Any:
        """The common output structure."""
        return self.maps[0].out_tree

    @property
    def properties(self) -> frozenset[str]:  # type: ignore[override]
        """Symmetric, positive when all are."""
        return frozenset.intersection(*(m.properties for m in self.maps)) & {"symmetric", "positive"}

    def apply(self, v: Any) -> Any:
        """Σ Aᵢ v."""
        total = self.maps[0].apply(v)
        for m in self.maps[1:]:
            total = add_elements(total, m.apply(v))
        return total

    def adjoint(self, u: Any) -> Any:
        """Σ Aᵢᵀ u."""
        total = self.maps[0].adjoint(u)
        for m in self.maps[1:]:
            total = add_elements(total, m.adjoint(u))
        return total

    @property
    def T(self) -> LinearMap:
        """The sum of the adjoints."""
        return kept(Sum([m.T for m in self.maps]), self)

    def array(self) -> Array | None:
        """An array of one of the maps."""
        return first_array(self.maps)

    def describe(self) -> str:
        """The maps joined by +."""
        return "[" + listed(self.maps, " + ") + "]"


class Kronecker(LinearMap):
    """A ⊗ B on arrays of shape A.in_shape + B.in_shape: A along the leading axes, B along the trailing ones.

    In row-major order vec(A X Bᵀ) = (A ⊗ B) vec(X); I ⊗ B is B applied to a batch, as a map of the whole batch.

    >>> import numpy as np, adjoint as aj
    >>> aj.kron(aj.Identity((5,)), aj.Dense(np.ones((2, 3))))
    I ⊗ Dense: (5, 3) → (5, 2)
    """

    __slots__ = ("left", "right")

    def __init__(self, left: LinearMap, right: LinearMap) -> None:
        if any(is_product(space) for m in (left, right) for space in (m.in_shape, m.out_shape)):
            raise ShapeError("kron: both maps must act between plain spaces, not products of spaces.")
        self.left = left
        self.right = right

    @property
    def in_shape(self) -> Space:
        """Both input shapes, one after the other."""
        return (*self.left.in_shape, *self.right.in_shape)

    @property
    def out_shape(self) -> Space:
        """Both output shapes, one after the other."""
        return (*self.left.out_shape, *self.right.out_shape)

    @property
    def properties(self) -> frozenset[str]:  # type: ignore[override]
        """What both have."""
        return self.left.properties & self.right.properties

    def apply(self, v: Any) -> Any:
        """B along the trailing axes, then A along the leading ones."""
        return _along(self.left.apply, self.left, self.right.apply(v), self.left.in_shape, self.right.out_shape)

    def adjoint(self, u: Any) -> Any:
        """Bᵀ along the trailing axes, then Aᵀ along the leading ones."""
        return _along(self.left.adjoint, self.left, self.right.adjoint(u), self.left.out_shape, self.right.in_shape)

    @property
    def T(self) -> LinearMap:
        """Aᵀ ⊗ Bᵀ."""
        return kept(Kronecker(self.left.T, self.right.T), self)

    def array(self) -> Array | None:
        """An array of one of the maps."""
        return first_array((self.left, self.right))

    def describe(self) -> str:
        """A ⊗ B."""
        return f"{bracketed(self.left)} ⊗ {bracketed(self.right)}"


def _along(direction: Any, map: LinearMap, v: Array, ours: Shape, theirs: Shape) -> Array:
    if isinstance(map, Identity):
        return v
    lead, a, b = len(lead_of(v, (*ours, *theirs))), len(ours), len(theirs)
    swapped = xp.permute(v, (*range(lead), *range(lead + a, lead + a + b), *range(lead, lead + a)))
    moved = direction(swapped)
    total = len(moved.shape)
    return xp.permute(moved, (*range(lead), *range(lead + b, total), *range(lead, lead + b)))


# What they are asked


def is_adjoint(a: LinearMap, b: LinearMap) -> bool:
    """Whether a is certainly bᵀ: the same numbers in memory, seen from the other side."""
    if a is b:
        return "symmetric" in a.properties
    t = b.T
    if t is a:
        return True
    if type(a) is not type(t):
        return False
    if isinstance(a, Dense) and isinstance(t, Dense):
        return same_memory(a.weight, t.weight)
    if isinstance(a, Diagonal) and isinstance(t, Diagonal):
        return a.d is t.d
    if isinstance(a, (Permute, Reshape, Roll)):
        return all(getattr(a, name) == getattr(t, name) for name in a.__slots__)
    return a.T is b


def same_memory(x: Array, y: Array) -> bool:
    """Whether two arrays are the same view of the same memory (certain only for NumPy; otherwise identity)."""
    if isinstance(x, np.ndarray) and isinstance(y, np.ndarray):
        return (x.ctypes.data, x.shape, x.strides, x.dtype) == (y.ctypes.data, y.shape, y.strides, y.dtype)
    return x is y


MANY = 20  # maps that a description names


def bracketed(m: LinearMap) -> str:
    """The map's word, in parentheses when it has several."""
    return f"({m.describe()})" if isinstance(m, (Composition, Kronecker)) else m.describe()


def listed(maps: Sequence[LinearMap], sign: str) -> str:
    """The maps' words with a sign between them; of very many the first and the last."""
    if len(maps) <= MANY:
        return sign.join([m.describe() for m in maps])
    first, last = maps[: MANY // 2], maps[-MANY // 2 :]
    return sign.join([*[m.describe() for m in first], f"… {len(maps) - MANY} more …", *[m.describe() for m in last]])


def first_array(maps: Sequence[LinearMap]) -> Array | None:
    """The first floating array that one of the maps is made of, or any array, or None."""
    found = [x for x in (m.array() for m in maps) if x is not None]
    floating = [x for x in found if is_floating(x.dtype)]
    return (floating or found or [None])[0]


def chain(matrices: Sequence[Array]) -> Array:
    """The product of matrices in the order that costs fewest multiplications (dynamic programming, CLRS 15.2)."""
    n = len(matrices)
    sizes = [m.shape[0] for m in matrices] + [matrices[-1].shape[1]]
    best = {(i, i): (0, i) for i in range(n)}
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def product(i: int, j: int) -> Array:
        return matrices[i] if i == j else product(i, best[i, j][1]) @ product(best[i, j][1] + 1, j)

    return product(0, n - 1)
