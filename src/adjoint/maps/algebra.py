"""Maps made of maps: composition, sum, block, Kronecker product; and what simplifies for certain when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape, is_floating
from adjoint.errors import ShapeError
from adjoint.maps.base import NONE, ORTHOGONAL, POSITIVE, LinearMap, kept
from adjoint.maps.elementary import Diagonal, Identity, Negate, Scale, Zero
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
            return ravel(Composition(rest).apply(images), self.out_shape).mT
        images, rest = unravel(self.eye(m), self.out_shape), maps
        if maps[0].array() is not None:
            images, rest = unravel(xp.astype(maps[0].matrix(), self.dtype), maps[0].in_shape), maps[1:]
        return ravel(Composition(rest).adjoint(images), self.in_shape)

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


class Block(LinearMap):
    """A table of maps between product spaces: row i gives output i, the sum over j of A_ij x_j; None is zero.

    With one row the output is a plain space, with one column the input is.

    >>> import numpy as np, adjoint as aj
    >>> A, B = aj.Dense(np.ones((2, 3))), aj.Dense(np.ones((2, 4)))
    >>> aj.block([[A, B]])
    [Dense, Dense]: ((3,), (4,)) → (2,)
    """

    __slots__ = ("product_in", "product_out", "rows")

    def __init__(
        self,
        rows: Sequence[Sequence[LinearMap | None]],
        product_in: bool | None = None,
        product_out: bool | None = None,
    ) -> None:
        self.rows = complete(rows)
        self.product_in = len(self.rows[0]) > 1 if product_in is None else product_in
        self.product_out = len(self.rows) > 1 if product_out is None else product_out

    @property
    def in_shape(self) -> Space:
        """The input spaces of the columns."""
        spaces = tuple(m.in_shape for m in self.rows[0])
        return spaces if self.product_in else spaces[0]

    @property
    def out_shape(self) -> Space:
        """The output spaces of the rows."""
        spaces = tuple(row[0].out_shape for row in self.rows)
        return spaces if self.product_out else spaces[0]

    def apply(self, v: Any) -> Any:
        """Every row's sum."""
        parts = v if self.product_in else (v,)
        out = tuple(_dot([m.apply for m in row], row, parts) for row in self.rows)
        return out if self.product_out else out[0]

    def adjoint(self, u: Any) -> Any:
        """Every column's sum."""
        parts = u if self.product_out else (u,)
        columns = list(zip(*self.rows, strict=True))
        out = tuple(_dot([m.adjoint for m in column], column, parts) for column in columns)
        return out if self.product_in else out[0]

    @property
    def T(self) -> LinearMap:
        """The transposed table of adjoints."""
        turned = [[m.T for m in column] for column in zip(*self.rows, strict=True)]
        return kept(Block(turned, self.product_out, self.product_in), self)

    def array(self) -> Array | None:
        """An array of one of the maps."""
        return first_array([m for row in self.rows for m in row])

    def describe(self) -> str:
        """The table, rows separated by semicolons."""
        return "[" + "; ".join(", ".join(m.describe() for m in row) for row in self.rows) + "]"


def _dot(directions: list[Any], maps: Sequence[LinearMap], parts: Sequence[Any]) -> Any:
    chosen = [f(x) for f, m, x in zip(directions, maps, parts, strict=True) if not isinstance(m, Zero)]
    if not chosen:
        return directions[0](parts[0])
    total = chosen[0]
    for part in chosen[1:]:
        total = add_elements(total, part)
    return total


def complete(rows: Sequence[Sequence[LinearMap | None]]) -> tuple[tuple[LinearMap, ...], ...]:
    """The table with zero maps for None; every row must agree on its output space, every column on its input."""
    width = {len(row) for row in rows}
    if len(width) != 1 or width == {0}:
        raise ShapeError(f"block: every row needs the same number of maps, got rows of {[len(r) for r in rows]}.")
    columns = list(zip(*rows, strict=True))
    ins = [_common("column", j, [m.in_shape for m in column if m is not None]) for j, column in enumerate(columns)]
    outs = [_common("row", i, [m.out_shape for m in row if m is not None]) for i, row in enumerate(rows)]
    return tuple(
        tuple(Zero(ins[j], outs[i]) if m is None else m for j, m in enumerate(row)) for i, row in enumerate(rows)
    )


def _common(what: str, i: int, spaces: list[Space]) -> Space:
    if not spaces:
        raise ShapeError(f"block: {what} {i} has only None, so its space is unknown; use aj.Zero(in_shape, out_shape).")
    if len(set(spaces)) > 1:
        raise ShapeError(f"block: {what} {i} mixes the spaces {sorted(set(spaces), key=str)}.")
    if is_product(spaces[0]):
        raise ShapeError(f"block: {what} {i} is a product of spaces already; block maps between plain spaces.")
    return spaces[0]


# Building


def compose(a: LinearMap, b: LinearMap) -> LinearMap:
    """a ∘ b, simplified where that is certain: identities drop, diagonals and numbers multiply, small products of
    dense matrices are formed when that makes applying them cheaper."""
    if a.in_shape != b.out_shape:
        raise ShapeError(
            f"{a.describe()} @ {b.describe()}: the left map takes {a.in_shape}, the right one gives {b.out_shape}"
            f"{'; the other order fits' if b.in_shape == a.out_shape else ''}"
            f"{'; did you mean the adjoint of one?' if a.out_shape == b.out_shape or a.in_shape == b.in_shape else ''}."
        )
    parts: list[LinearMap] = []
    for m in (*factors_of(a), *factors_of(b)):
        parts.append(m)
        while len(parts) > 1 and (merged := _merged(parts[-2], parts[-1])) is not None:
            parts[-2:] = [merged]
    return kept(parts[0] if len(parts) == 1 else Composition(parts), a, b)


def factors_of(m: LinearMap) -> tuple[LinearMap, ...]:
    """The maps that a composition is made of; a map itself otherwise."""
    return m.maps if isinstance(m, Composition) else (m,)


def terms_of(m: LinearMap) -> tuple[LinearMap, ...]:
    """The maps that a sum is made of; a map itself otherwise."""
    return m.maps if isinstance(m, Sum) else (m,)


def _merged(a: LinearMap, b: LinearMap) -> LinearMap | None:
    if isinstance(a, Identity):
        return b
    if isinstance(b, Identity):
        return a
    if isinstance(a, Zero) or isinstance(b, Zero):
        return Zero(b.in_shape, a.out_shape)
    if isinstance(a, Diagonal) and isinstance(b, Diagonal) and a.in_shape == b.in_shape:
        return Diagonal(a.d * b.d)
    ca, cb = factor(a), factor(b)
    if ca is not None and cb is not None:
        return scale(ca * cb, Identity(b.in_shape))
    if isinstance(a, Dense) and isinstance(b, Dense):
        (m, k), n = a.shape, b.shape[1]
        if m * n <= (m + n) * k:
            square = POSITIVE if is_adjoint(a, b) else NONE
            return Dense(a.weight @ b.weight, (a.properties & b.properties & ORTHOGONAL) | square)
    if is_adjoint(a, b) and "orthogonal" in a.properties:
        return Identity(b.in_shape)
    return None


def factor(m: LinearMap) -> Any:
    """The number c when the map is c I, else None."""
    return m.factor if isinstance(m, Scale) else -1.0 if isinstance(m, Negate) else None


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


def add(a: LinearMap, b: LinearMap) -> LinearMap:
    """a + b, simplified where that is certain: zero drops, diagonals, numbers and dense matrices add."""
    if (a.in_shape, a.out_shape) != (b.in_shape, b.out_shape):
        raise ShapeError(
            f"{a.describe()} + {b.describe()}: the maps act between different spaces, {a.in_shape} → {a.out_shape} "
            f"and {b.in_shape} → {b.out_shape}{'; add the adjoint' if a.in_shape == b.out_shape else ''}."
        )
    if isinstance(a, Zero):
        return b
    if isinstance(b, Zero):
        return a
    if isinstance(a, Diagonal) and isinstance(b, Diagonal):
        return Diagonal(a.d + b.d)
    if isinstance(a, Dense) and isinstance(b, Dense):
        return Dense(a.weight + b.weight, a.properties & b.properties & {"symmetric", "positive"})
    return kept(Sum((*terms_of(a), *terms_of(b))), a, b)


def scale(c: Any, a: LinearMap) -> LinearMap:
    """c · a."""
    if isinstance(c, (int, float)) and c == 1:
        return a
    if isinstance(a, (Identity, Scale, Negate)):
        inner = factor(a)
        return Scale(c if inner is None else c * inner, a.in_shape)
    if isinstance(a, Diagonal):
        return Diagonal(c * a.d)
    if isinstance(a, Dense):
        return Dense(c * a.weight, a.properties & {"symmetric"})
    if isinstance(a, Zero):
        return a
    return compose(Scale(c, a.out_shape), a)


def power(a: LinearMap, n: Any) -> LinearMap:
    """aⁿ by repeated squaring, for n ≥ 0."""
    if a.in_shape != a.out_shape:
        raise ShapeError(f"{a.describe()} ** {n}: only a map from a space to itself has powers, not {a!r}.")
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"{a.describe()} ** {n}: the exponent is an integer ≥ 0; for A⁻¹ call A.inverse().")
    result: LinearMap = Identity(a.in_shape)
    while n:
        if n & 1:
            result = compose(result, a)
        n >>= 1
        if n:
            a = compose(a, a)
    return result


def kron(a: LinearMap, b: LinearMap) -> LinearMap:
    """The Kronecker product A ⊗ B, a map on arrays of shape a.in_shape + b.in_shape.

    >>> import numpy as np, adjoint as aj
    >>> aj.kron(aj.Dense(np.eye(2)), aj.Dense(np.ones((3, 4)))).shape
    (6, 8)
    """
    if isinstance(a, Identity) and isinstance(b, Identity):
        return Identity((*a.in_shape, *b.in_shape))
    return Kronecker(a, b)


def block(rows: Sequence[Sequence[LinearMap | None]]) -> LinearMap:
    """The map with these maps as blocks; None is zero.

    >>> import adjoint as aj
    >>> aj.block([[aj.Identity((2,)), None], [None, aj.Identity((3,))]]).rank()
    5 (exact, structure)
    """
    return Block(rows)


def batched(lead: Shape, m: LinearMap) -> LinearMap:
    """I ⊗ A: the map of a whole batch, the batch's axes part of the space."""
    return m if lead == () else Kronecker(Identity(lead), m)


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
