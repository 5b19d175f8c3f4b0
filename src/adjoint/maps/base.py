"""The linear map: two directions written by hand, everything else inherited."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array, is_floating
from adjoint.errors import ShapeError
from adjoint.maps.questions import Spectral
from adjoint.maps.spaces import Space, batch_of, factors, is_product, ravel, shapes_of, size, unravel

NONE: frozenset[str] = frozenset()
SYMMETRIC = frozenset({"symmetric"})
ORTHOGONAL = frozenset({"orthogonal"})
POSITIVE = frozenset({"symmetric", "positive"})


_guarded: weakref.WeakSet[LinearMap] = weakref.WeakSet()


def guarded(map: LinearMap, release: Callable[[], None]) -> LinearMap:
    """The map, `release` called when it and all that is made of it are gone."""
    weakref.finalize(map, release)
    _guarded.add(map)
    return map


def kept(new: LinearMap, *sources: LinearMap) -> LinearMap:
    """The new map, which keeps the guarded ones that it is made of alive."""
    for source in sources:
        if source is not new and source in _guarded:
            weakref.finalize(new, id, source)
            _guarded.add(new)
    return new


def lasting(x: Any, map: LinearMap) -> Any:
    """x, made of a guarded map; where it shares memory with what the map refers to, that stays guarded while x lives.

    A view of a NumPy array keeps the array at the bottom alive, not those between; a buffer in between, it keeps all.
    """
    if type(x) is not np.ndarray or x.flags.writeable or map not in _guarded:
        return x
    if x.dtype.isbuiltin == 2:  # those of ml_dtypes have no buffers
        return x.copy()
    view = np.asarray(x.data)
    weakref.finalize(view, id, map)
    return view


def added(total: Any, v: Any) -> Any:
    """total + v; in the memory of `total`, to which nothing else refers, where both are NumPy's arrays of one kind."""
    alike = type(v) is type(total) is np.ndarray and v.dtype == total.dtype and v.shape == total.shape
    if alike and total.flags.writeable:
        total += v
        return total
    return total + v


class LinearMap(Spectral):
    """A linear map A between spaces of arrays; ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for all x, y.

    A subclass has `in_shape`, `out_shape` (a shape, or a tuple of shapes for a product of spaces) and writes `apply`
    and `adjoint`, which act on trailing axes: leading axes are a batch. Both take arrays of any backend, traced values
    too. `properties` names what is certain: "symmetric", "orthogonal" (square, AᵀA = AAᵀ = I), "projection"
    (symmetric, A² = A), "positive" (symmetric, ⟨x, A x⟩ ≥ 0).

    >>> import numpy as np, adjoint as aj
    >>> A = aj.Dense(np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]))
    >>> A @ np.array([1.0, 1.0, 1.0]), A.T @ np.array([1.0, 0.0])
    (array([3., 2.]), array([1., 2., 0.]))
    >>> A(np.ones((5, 3))).shape
    (5, 2)
    """

    __slots__ = ("__weakref__",)
    __array_ufunc__ = None
    properties: frozenset[str] = NONE
    in_tree: Any = None
    out_tree: Any = None
    registry: ClassVar[list[type[LinearMap]]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        LinearMap.registry.append(cls)

    if TYPE_CHECKING:
        in_shape: Any  # a Space
        out_shape: Any

    # The two directions

    def apply(self, v: Any, /) -> Any:
        """A v, for a batch of v: shape (…, *in_shape) to (…, *out_shape). Unchecked; people call `A(v)` or `A @ v`."""
        raise NotImplementedError(f"{type(self).__name__}.apply")

    def adjoint(self, u: Any, /) -> Any:
        """Aᵀ u, for a batch of u: shape (…, *out_shape) to (…, *in_shape). Unchecked; people call `A.T @ u`."""
        raise NotImplementedError(f"{type(self).__name__}.adjoint")

    fresh: ClassVar[bool] = False  # whether `adjoint` gives a new array, to which nothing else refers

    def adjoint_added(self, u: Any, total: Any, /) -> Any:
        """total + Aᵀ u; in the memory of `total`, to which nothing else refers, where it can be."""
        return added(total, self.adjoint(u))

    def bind(self, in_shape: Space) -> LinearMap:
        """This map on the spaces it was met on: itself, or I ⊗ A where those have batch axes in front."""
        if self.in_shape == in_shape:
            return self
        from adjoint.maps.algebra import batched

        return batched(in_shape[: len(in_shape) - len(self.in_shape)], self)

    def array(self) -> Array | None:
        """One of the arrays that the map is made of, which tells dtype, backend and device; None when it has none."""
        return None

    # What people call

    def __call__(self, x: Any) -> Any:
        """A applied to a batch: x has any leading axes, then `in_shape`."""
        return self.through(self.apply, x)

    def through(self, apply: Callable[[Any], Any], x: Any) -> Any:
        """`apply`, which stands for the map's own, of a batch as people give it: checked, taken out of its tree."""
        x = self._taken(x)
        if batch_of(x, self.in_shape) is None:
            raise ShapeError(
                f"{self.describe()}: the input's trailing axes must be {self.in_shape}, got {shapes_of(x)}"
                f"{self._hint(x)}."
            )
        return self._given(apply(x))

    def __matmul__(self, other: Any) -> Any:
        """A @ x for exactly one element x of `in_shape`, or A @ B, the composition x ↦ A(B(x))."""
        if isinstance(other, LinearMap):
            from adjoint.maps.algebra import compose

            return compose(self, other)
        other = self._taken(other)
        batch = batch_of(other, self.in_shape)
        if batch != ():
            many = batch is not None
            raise ShapeError(
                f"{self.describe()} @ x takes one element of shape {self.in_shape}, got {shapes_of(other)}"
                f"{'; for a batch, leading axes first, call A(x)' if many else self._hint(other)}."
            )
        return self._given(self.apply(other))

    def _taken(self, x: Any) -> Any:
        if self.in_tree is not None and not (type(x) is tuple and is_product(shapes_of(x))):
            x = self.in_tree.leaves(x)
        return tuple([self._array(part) for part in x]) if type(x) is tuple else self._array(x)

    def _array(self, x: Any) -> Any:
        if not isinstance(x, (int, float)):
            return x
        like = self.array()
        return np.float64(x) if like is None else xp.asarray(like, x, self.dtype)

    def _given(self, y: Any) -> Any:
        return y if self.out_tree is None else self.out_tree.tree(y)

    def _hint(self, x: Any) -> str:
        shapes = shapes_of(x)
        if isinstance(x, list):
            return "; it is a list: pass an array"
        if batch_of(x, self.out_shape) is not None:
            return "; that is the output space: did you mean A.T?"
        if not is_product(self.in_shape) and not is_product(shapes) and shapes[::-1] == self.in_shape:
            return "; transpose it"
        return ""

    @property
    def T(self) -> LinearMap:
        """The adjoint map Aᵀ."""
        return Adjoint(self)

    def __add__(self, other: Any) -> LinearMap:
        from adjoint.maps.algebra import add

        return add(self, other) if isinstance(other, LinearMap) else NotImplemented

    def __sub__(self, other: Any) -> LinearMap:
        return self + (-1.0) * other if isinstance(other, LinearMap) else NotImplemented

    def __neg__(self) -> LinearMap:
        return (-1.0) * self

    def __mul__(self, c: Any) -> LinearMap:
        from adjoint.maps.algebra import scale

        return scale(c, self) if isinstance(c, (int, float)) or (is_array(c) and c.shape == ()) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, c: Any) -> LinearMap:
        return self * (1.0 / c)

    def __pow__(self, n: int) -> LinearMap:
        """A composed with itself n times; A⁰ = I."""
        from adjoint.maps.algebra import power

        return power(self, n)

    # As matrices

    @property
    def shape(self) -> tuple[int, int]:
        """(dimension of the output space, dimension of the input space)."""
        return size(self.out_shape), size(self.in_shape)

    @property
    def dtype(self) -> Any:
        """The dtype of the numbers in the map (float64 when it has none)."""
        return self.eye(0).dtype

    def matrix(self) -> Array:
        """The matrix of the map, (m, n), both spaces flattened: column j is the image of the j-th basis vector.

        It may be the memory of an array that the map is made of, guarded as in `dense`: a subclass that gives out such
        an array passes it through `lasting`.
        """
        m, n = self.shape
        if n <= m:
            return ravel(self.apply(unravel(self.eye(n), self.in_shape)), self.out_shape).mT
        return ravel(self.adjoint(unravel(self.eye(m), self.out_shape)), self.in_shape)

    def eye(self, n: int) -> Array:
        """The n×n identity matrix in the map's own dtype, backend and device."""
        like = self.array()
        if like is None:
            return np.eye(n)
        return xp.eye(like, n) if is_floating(like.dtype) else xp.eye(like, n, "float64")

    def dense(self) -> Any:
        """The map as an array of shape out_shape + in_shape; nested tuples of such arrays for products of spaces.

        It may be the memory of an array that the map is made of (`Dense(A)` gives A). Where that is a constant of a
        Jacobian, the result cannot change: with NumPy both are read-only while it lives, with PyTorch it is a copy.

        >>> import numpy as np, adjoint as aj
        >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> J = aj.jacobian(lambda x: A @ x, np.ones(2)).dense()
        >>> A.flags.writeable
        False
        >>> del J
        >>> A.flags.writeable
        True
        """
        matrix, row, blocks = self.matrix(), 0, []
        for out in factors(self.out_shape):
            col, line = 0, []
            for shape in factors(self.in_shape):
                part = matrix[row : row + size(out), col : col + size(shape)]
                line.append(xp.reshape(part, (*out, *shape)))
                col += size(shape)
            blocks.append(tuple(line) if is_product(self.in_shape) else line[0])
            row += size(out)
        return tuple(blocks) if is_product(self.out_shape) else blocks[0]

    def to_scipy(self) -> Any:
        """The map as `scipy.sparse.linalg.LinearOperator` on flattened spaces (NumPy arrays)."""
        from adjoint.maps.scipy import to_scipy

        return to_scipy(self)

    def to_torch(self) -> Callable[[Any], Any]:
        """x ↦ A x as a function of PyTorch's tensors, a `torch.autograd.Function`: its backward is Aᵀ.

        x is one element or a batch of them. The gradient has gradients, of any order; forward mode and `torch.func`
        (`vmap`, `jacrev`) work too. The map's own arrays are constants, moved to PyTorch where they are elsewhere.

        >>> import numpy as np, torch, adjoint as aj
        >>> A = aj.Dense(np.array([[1.0, 2.0], [0.0, 3.0]])).to_torch()
        >>> x = torch.ones(2, dtype=torch.float64, requires_grad=True)
        >>> torch.autograd.grad(A(x)[1], x)[0].tolist()
        [0.0, 3.0]
        """
        from adjoint.maps.torch import to_torch

        return to_torch(self)

    def to_jax(self) -> Callable[[Any], Any]:
        """x ↦ A x as a function of JAX's arrays that JAX knows to be linear, with the transpose Aᵀ.

        x is one element or a batch of them. `grad`, `jvp`, `vmap`, `jit` and `jax.linear_transpose` work, nested in any
        order. The map's own arrays are constants; raises `TraceError` where JAX traces them.

        >>> import numpy as np, jax, adjoint as aj
        >>> A = aj.Dense(np.array([[1.0, 2.0], [0.0, 3.0]], "float32")).to_jax()
        >>> jax.grad(lambda x: A(x)[1])(np.ones(2, "float32")).tolist()
        [0.0, 3.0]
        """
        from adjoint.maps.jax import to_jax

        return to_jax(self)

    # As text

    def describe(self) -> str:
        """One word for the map in messages and compositions."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"{self.describe()}: {self.in_shape} → {self.out_shape}"


class Adjoint(LinearMap):
    """The adjoint view Aᵀ of a map A: both directions exchanged.

    >>> import adjoint as aj
    >>> aj.Broadcast((3,), (2, 3)).T
    Broadcast.T: (2, 3) → (3,)
    """

    __slots__ = ("map",)

    def __init__(self, map: LinearMap) -> None:
        self.map = map

    @property
    def in_shape(self) -> Space:
        """The output space of A."""
        return self.map.out_shape

    @property
    def out_shape(self) -> Space:
        """The input space of A."""
        return self.map.in_shape

    @property
    def properties(self) -> frozenset[str]:  # type: ignore[override]
        """Those of A: all of them pass to the adjoint."""
        return self.map.properties

    def apply(self, v: Any) -> Any:
        """Aᵀ v."""
        return self.map.adjoint(v)

    def adjoint(self, u: Any) -> Any:
        """A u."""
        return self.map.apply(u)

    @property
    def in_tree(self) -> Any:
        """The structure of A's outputs."""
        return self.map.out_tree

    @property
    def out_tree(self) -> Any:
        """The structure of A's inputs."""
        return self.map.in_tree

    @property
    def T(self) -> LinearMap:
        """A itself."""
        return self.map

    def array(self) -> Array | None:
        """An array of A."""
        return self.map.array()

    def matrix(self) -> Array:
        """The transposed matrix."""
        return self.map.matrix().mT

    def describe(self) -> str:
        """A's word with .T."""
        return f"{self.map.describe()}.T"
