"""Maps given by matrices: dense, outer, low-rank, products from either side, any einsum."""

from __future__ import annotations

import functools
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.errors import ShapeError
from adjoint.maps.base import NONE, LinearMap, kept, lasting
from adjoint.maps.layout import summed_to
from adjoint.maps.spaces import Space, lead_of


class Dense(LinearMap):
    """x ↦ W x with a matrix W of shape (out, in): a linear layer without its bias.

    `properties` declares what is known of W ("symmetric", "orthogonal", "projection", "positive").

    >>> import numpy as np, adjoint as aj
    >>> aj.Dense(np.array([[1.0, 2.0], [2.0, 4.0]])).rank()
    1 (tolerance 2.2e-15, svd)
    """

    __slots__ = ("_properties", "weight")
    fresh = True

    def __init__(self, weight: Array, properties: frozenset[str] = NONE) -> None:
        if len(getattr(weight, "shape", ())) != 2:
            what = f"has shape {tuple(weight.shape)}" if hasattr(weight, "shape") else f"is a {type(weight).__name__}"
            raise ShapeError(f"Dense takes a matrix, an array of shape (out, in); this {what}.")
        self.weight = weight
        self._properties = properties

    @property
    def properties(self) -> frozenset[str]:  # type: ignore[override]
        """What was declared of W."""
        return self._properties

    @property
    def in_shape(self) -> Space:
        """(in,)."""
        return (int(self.weight.shape[-1]),)

    @property
    def out_shape(self) -> Space:
        """(out,)."""
        return (int(self.weight.shape[-2]),)

    def apply(self, v: Any) -> Any:
        """W v: (…, in) to (…, out)."""
        return xp.linear(v, self.weight)

    def adjoint(self, u: Any) -> Any:
        """Wᵀ u: (…, out) to (…, in)."""
        return xp.linear(u, self.weight.mT)

    def adjoint_added(self, u: Any, total: Any) -> Any:
        """total + Wᵀ u."""
        return xp.linear_added(total, u, self.weight.mT)

    @property
    def T(self) -> LinearMap:
        """The dense map of Wᵀ."""
        return kept(Dense(self.weight.mT, self._properties), self)

    def array(self) -> Array | None:
        """W."""
        return self.weight

    def matrix(self) -> Array:
        """W itself."""
        return lasting(self.weight, self)


class Outer(LinearMap):
    """x ↦ a ⟨b, x⟩, the matrix a bᵀ of rank one: a (m,), b (n,).

    >>> import numpy as np, adjoint as aj
    >>> aj.Outer(np.array([1.0, 2.0]), np.array([3.0, 4.0])).dense().tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """

    __slots__ = ("left", "right")

    def __init__(self, left: Array, right: Array) -> None:
        self.left = left
        self.right = right

    @property
    def in_shape(self) -> Space:
        """(n,)."""
        return tuple(self.right.shape)

    @property
    def out_shape(self) -> Space:
        """(m,)."""
        return tuple(self.left.shape)

    def apply(self, v: Any) -> Any:
        """a ⟨b, v⟩."""
        return self.left * xp.sum(self.right * v, -1, True)

    def adjoint(self, u: Any) -> Any:
        """b ⟨a, u⟩."""
        return self.right * xp.sum(self.left * u, -1, True)

    @property
    def T(self) -> LinearMap:
        """x ↦ b ⟨a, x⟩."""
        return Outer(self.right, self.left)

    def array(self) -> Array | None:
        """a."""
        return self.left


class LowRank(LinearMap):
    """x ↦ B (A x) of rank r at most: B (m, r), A (r, n), never multiplied out; LoRA's change of a weight.

    >>> import numpy as np, adjoint as aj
    >>> aj.LowRank(np.ones((4, 1)), np.ones((1, 3))).rank()
    1 (tolerance 3.1e-15, svd of the factors)
    """

    __slots__ = ("left", "right")

    def __init__(self, left: Array, right: Array) -> None:
        if left.shape[-1] != right.shape[-2]:
            raise ShapeError(
                f"LowRank: B {tuple(left.shape)} and A {tuple(right.shape)} disagree on the rank: "
                "B is (out, r) and A is (r, in)."
            )
        self.left = left
        self.right = right

    @property
    def in_shape(self) -> Space:
        """(n,)."""
        return (int(self.right.shape[-1]),)

    @property
    def out_shape(self) -> Space:
        """(m,)."""
        return (int(self.left.shape[-2]),)

    def apply(self, v: Any) -> Any:
        """B (A v)."""
        return (v @ self.right.mT) @ self.left.mT

    def adjoint(self, u: Any) -> Any:
        """Aᵀ (Bᵀ u)."""
        return (u @ self.left) @ self.right

    @property
    def T(self) -> LinearMap:
        """x ↦ Aᵀ (Bᵀ x)."""
        return kept(LowRank(self.right.mT, self.left.mT), self)

    def array(self) -> Array | None:
        """B."""
        return self.left

    def matrix(self) -> Array:
        """B A."""
        return self.left @ self.right


class LeftProduct(LinearMap):
    """V ↦ A V with A (…, n, k), V (…, k, m): the derivative of a matrix product in its right operand.

    >>> import numpy as np, adjoint as aj
    >>> aj.LeftProduct(np.ones((2, 3)), (3, 4))
    LeftProduct: (3, 4) → (2, 4)
    """

    __slots__ = ("in_shape", "left")

    def __init__(self, left: Array, shape: Shape) -> None:
        self.left = left
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The product's shape."""
        batch = broadcast(tuple(self.left.shape[:-2]), self.in_shape[:-2])
        return (*batch, int(self.left.shape[-2]), self.in_shape[-1])

    def apply(self, v: Any) -> Any:
        """A V."""
        return xp.matmul(self.left, aligned(v, self.in_shape, len(self.left.shape)))

    def adjoint(self, u: Any) -> Any:
        """Aᵀ U, summed over the axes along which V was repeated."""
        left, shape = self.left, self.in_shape
        if len(shape) == 2 and len(left.shape) > 2 and len(u.shape) == len(left.shape):
            return xp.weight_product(left, u)
        product = xp.matmul(left.mT, u)
        return product if tuple(product.shape) == shape else summed_to(product, self.out_batch(), shape)

    def out_batch(self) -> Shape:
        """The shape of Aᵀ U before the sum."""
        out = self.out_shape
        return (*out[:-2], *self.in_shape[-2:])

    def array(self) -> Array | None:
        """A."""
        return self.left


class RightProduct(LinearMap):
    """V ↦ V B with B (…, k, m), V (…, n, k): the derivative of a matrix product in its left operand.

    >>> import numpy as np, adjoint as aj
    >>> aj.RightProduct(np.ones((5, 3, 4)), (2, 3))
    RightProduct: (2, 3) → (5, 2, 4)
    """

    __slots__ = ("in_shape", "right")

    def __init__(self, right: Array, shape: Shape) -> None:
        self.right = right
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The product's shape."""
        batch = broadcast(self.in_shape[:-2], tuple(self.right.shape[:-2]))
        return (*batch, self.in_shape[-2], int(self.right.shape[-1]))

    def apply(self, v: Any) -> Any:
        """V B."""
        return xp.matmul(aligned(v, self.in_shape, len(self.right.shape)), self.right)

    def adjoint(self, u: Any) -> Any:
        """U Bᵀ, summed over the axes along which V was repeated."""
        product = xp.matmul(u, self.right.mT)
        shape = self.in_shape
        if tuple(product.shape) == shape:
            return product
        return summed_to(product, (*self.out_shape[:-2], *shape[-2:]), shape)

    def array(self) -> Array | None:
        """B."""
        return self.right


class Weighting(LinearMap):
    """V ↦ x Vᵀ with x (…, in) held: the derivative of a linear layer in its weight V (out, in).

    >>> import numpy as np, adjoint as aj
    >>> aj.Weighting(np.ones((5, 3)), (2, 3)).T @ np.ones((5, 2))
    array([[5., 5., 5.],
           [5., 5., 5.]])
    """

    __slots__ = ("in_shape", "x")

    def __init__(self, x: Array, shape: Shape) -> None:
        self.x = x
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """(…, out)."""
        return (*self.x.shape[:-1], self.in_shape[0])

    def apply(self, v: Any) -> Any:
        """x Vᵀ."""
        lead = lead_of(v, self.in_shape)
        if not lead:
            return self.x @ v.mT
        out = xp.matmul(xp.rows(self.x), v.mT)
        return xp.reshape(out, (*lead, *self.out_shape))

    def adjoint(self, u: Any) -> Any:
        """Uᵀ x summed over all rows, as one 2-D product."""
        x = self.x
        if len(u.shape) == len(x.shape):
            return xp.weight_product(u, x)
        rows = xp.rows(x)
        return xp.matmul(xp.reshape(u, (*lead_of(u, self.out_shape), rows.shape[0], u.shape[-1])).mT, rows)

    def array(self) -> Array | None:
        """x."""
        return self.x


class Einsum(LinearMap):
    """The map that an einsum is in one of its arrays, the others held.

    `spec` is explicit ("ij,jk->ik"), `others` all its arrays with None at the free place, `shape` the free array's.

    >>> import numpy as np, adjoint as aj
    >>> aj.Einsum("ij,j->i", [np.ones((2, 3)), None], (3,)) @ np.ones(3)
    array([3., 3.])
    """

    __slots__ = ("in_shape", "others", "place", "spec")

    def __init__(self, spec: str, others: list[Array | None], shape: Shape) -> None:
        self.spec = spec
        self.others = others
        self.place = next(i for i, x in enumerate(others) if x is None)
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The result's shape."""
        inputs, output = self._terms()
        sizes = self._sizes(inputs)
        return tuple(sizes[c] for c in output)

    def _terms(self) -> tuple[list[str], str]:
        inputs, output = self.spec.split("->")
        return inputs.split(","), output

    def _sizes(self, inputs: list[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for i, term in enumerate(inputs):
            other = self.others[i]
            for c, n in zip(term, self.in_shape if other is None else other.shape, strict=True):
                sizes[c] = max(sizes.get(c, 1), int(n))
        return sizes

    def _held(self) -> list[Array]:
        return [x for x in self.others if x is not None]

    def apply(self, v: Any) -> Any:
        """The einsum with v in the free place."""
        inputs, output = self._terms()
        batch = _letters("".join(inputs), len(lead_of(v, self.in_shape)))
        terms = [batch + t if i == self.place else t for i, t in enumerate(inputs)]
        arrays = [v if x is None else x for x in self.others]
        return xp.einsum(f"{','.join(terms)}->{batch}{output}", *arrays)

    def adjoint(self, u: Any) -> Any:
        """The einsum of u with the held arrays, and with identities for axes that are one (the diagonal of "ii"); axes
        that the free array alone summed are repeated."""
        inputs, output = self._terms()
        free, links = untied(inputs[self.place], _letters("".join(inputs), len(inputs[self.place])))
        held = [t for i, t in enumerate(inputs) if i != self.place] + links
        eyes = [xp.eye(u, self.in_shape[free.index(link[1])]) for link in links]
        known = set(output).union(*held)
        lead = lead_of(u, self.out_shape)
        batch = _letters("".join([*inputs, *links]), len(lead))
        found = "".join([c for c in free if c in known])
        result = xp.einsum(f"{','.join([batch + output, *held])}->{batch}{found}", u, *self._held(), *eyes)
        kept = tuple(n if c in known else 1 for c, n in zip(free, self.in_shape, strict=True))
        return xp.broadcast_to(xp.reshape(result, (*lead, *kept)), (*lead, *self.in_shape))

    def array(self) -> Array | None:
        """One of the held arrays."""
        held = self._held()
        return held[0] if held else None


def untied(term: str, spare: str) -> tuple[str, list[str]]:
    """A term with a letter of its own for every axis, and the pairs of letters that must be equal.

    >>> untied("iji", "xyz")
    ('ijx', ['ix'])
    """
    letters = ""
    links: list[str] = []
    for c in term:
        if c in letters:
            links.append(c + spare[len(links)])
            c = links[-1][1]
        letters += c
    return letters, links


def _letters(used: str, n: int) -> str:
    return "".join([c for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in used][:n])


@functools.cache
def broadcast(x: Shape, y: Shape) -> Shape:
    """The shape that two shapes broadcast to.

    >>> broadcast((4, 1), (3,))
    (4, 3)
    """
    n = max(len(x), len(y))
    x, y = (1,) * (n - len(x)) + tuple(x), (1,) * (n - len(y)) + tuple(y)
    return tuple(b if a == 1 else a for a, b in zip(x, y, strict=True))


def aligned(v: Array, shape: Shape, ndim: int) -> Array:
    """v with axes put between its batch and its own axes, so that it broadcasts with an array of `ndim` axes."""
    lead = lead_of(v, shape)
    if not lead or ndim <= len(shape):
        return v
    return xp.reshape(v, (*lead, *(1,) * (ndim - len(shape)), *shape))
