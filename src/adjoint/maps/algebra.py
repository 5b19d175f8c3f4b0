"""The algebra of maps: composed, added, multiplied, and what simplifies for certain when they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint.arrays.dispatch import Shape
from adjoint.errors import ShapeError
from adjoint.maps.base import NONE, ORTHOGONAL, POSITIVE, LinearMap, kept
from adjoint.maps.combinations import Composition, Kronecker, Sum, is_adjoint
from adjoint.maps.elementary import Diagonal, Identity, Negate, Scale, Zero
from adjoint.maps.matrices import Dense
from adjoint.maps.tables import Block


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
    if isinstance(a, Diagonal) and isinstance(b, Diagonal) and not (_chooses(a) and _chooses(b)):
        return Diagonal(a.d + b.d)
    if isinstance(a, Dense) and isinstance(b, Dense):
        return Dense(a.weight + b.weight, a.properties & b.properties & {"symmetric", "positive"})
    return kept(Sum((*terms_of(a), *terms_of(b))), a, b)


def _chooses(m: Diagonal) -> bool:
    """Whether the diagonal is true and false: sums and multiples of those are none of the dtype they are applied to."""
    return "bool" in str(getattr(m.d, "dtype", ""))


def scale(c: Any, a: LinearMap) -> LinearMap:
    """c · a."""
    if isinstance(c, (int, float)) and c == 1:
        return a
    if isinstance(a, (Identity, Scale, Negate)):
        inner = factor(a)
        return Scale(c if inner is None else c * inner, a.in_shape)
    if isinstance(a, Diagonal) and not _chooses(a):
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
    check_maps("kron", (a, b))
    if isinstance(a, Identity) and isinstance(b, Identity):
        return Identity((*a.in_shape, *b.in_shape))
    return Kronecker(a, b)


def block(rows: Sequence[Sequence[LinearMap | None]]) -> LinearMap:
    """The map with these maps as blocks; None is zero.

    >>> import adjoint as aj
    >>> aj.block([[aj.Identity((2,)), None], [None, aj.Identity((3,))]]).rank()
    5 (exact, structure)
    """
    check_maps("block", [m for row in rows for m in row if m is not None])
    return Block(rows)


def check_maps(what: str, maps: Sequence[Any]) -> None:
    """Raise TypeError for what is no map."""
    for m in maps:
        if not isinstance(m, LinearMap):
            raise TypeError(f"{what} takes maps, not {type(m).__name__}: aj.Dense(x) is the map of a matrix.")


def batched(lead: Shape, m: LinearMap) -> LinearMap:
    """I ⊗ A: the map of a whole batch, the batch's axes part of the space."""
    return m if lead == () else Kronecker(Identity(lead), m)
