"""Maps that change no arrangement: identity, zero, scale, diagonal, cast."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import NONE, SYMMETRIC, LinearMap
from adjoint.maps.spaces import Space, is_product, lead_of, size


class Identity(LinearMap):
    """x ↦ x on a space: what a residual connection adds.

    >>> import adjoint as aj
    >>> aj.Identity((3,)).dense().tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    __slots__ = ("in_shape",)
    properties = frozenset({"symmetric", "orthogonal", "projection", "positive"})

    def __init__(self, shape: Space) -> None:
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same space."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """v."""
        return v

    def adjoint(self, u: Any) -> Any:
        """u."""
        return u

    def bind(self, in_shape: Space) -> LinearMap:
        """The identity of that space."""
        return Identity(in_shape)

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self

    def matrix(self) -> Array:
        """The identity matrix."""
        return np.eye(size(self.in_shape))

    def describe(self) -> str:
        """I."""
        return "I"


class Zero(LinearMap):
    """x ↦ 0 between two spaces.

    >>> import numpy as np, adjoint as aj
    >>> aj.Zero((3,), (2,)) @ np.ones(3)
    array([0., 0.])
    """

    __slots__ = ("in_shape", "out_shape")

    def __init__(self, in_shape: Space, out_shape: Space) -> None:
        self.in_shape = in_shape
        self.out_shape = out_shape

    def apply(self, v: Any) -> Any:
        """Zeros of the output space."""
        return _zeros(v, self.in_shape, self.out_shape)

    def adjoint(self, u: Any) -> Any:
        """Zeros of the input space."""
        return _zeros(u, self.out_shape, self.in_shape)

    @property
    def T(self) -> LinearMap:
        """Zero the other way."""
        return Zero(self.out_shape, self.in_shape)

    def describe(self) -> str:
        """0."""
        return "0"


def _zeros(x: Any, space: Space, other: Space) -> Any:
    first, shape = (x[0], space[0]) if is_product(space) else (x, space)
    lead = lead_of(first, shape)
    if is_product(other):
        return tuple(xp.zeros(first, (*lead, *s)) for s in other)
    return xp.zeros(first, (*lead, *other))


class Scale(LinearMap):
    """x ↦ c x with a number c.

    >>> import numpy as np, adjoint as aj
    >>> aj.Scale(2.0, (2,)) @ np.ones(2)
    array([2., 2.])
    """

    __slots__ = ("factor", "in_shape")

    def __init__(self, factor: Any, shape: Space = ()) -> None:
        self.factor = factor
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same space."""
        return self.in_shape

    properties = SYMMETRIC

    def apply(self, v: Any) -> Any:
        """c v."""
        if type(v) is tuple:
            return tuple([self.factor * part for part in v])
        return self.factor * v

    adjoint = apply

    def bind(self, in_shape: Space) -> LinearMap:
        """c I on that space."""
        return Scale(self.factor, in_shape)

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self

    def array(self) -> Array | None:
        """The factor, when it is an array."""
        return self.factor if hasattr(self.factor, "dtype") else None

    def describe(self) -> str:
        """c I."""
        return f"{self.factor:g} I" if isinstance(self.factor, (int, float)) else "c I"


class Negate(LinearMap):
    """x ↦ -x.

    >>> import numpy as np, adjoint as aj
    >>> aj.Negate((2,)) @ np.ones(2)
    array([-1., -1.])
    """

    __slots__ = ("in_shape",)
    properties = frozenset({"symmetric", "orthogonal"})

    def __init__(self, shape: Shape = ()) -> None:
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same space."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """-v."""
        return -v

    adjoint = apply

    def bind(self, in_shape: Space) -> LinearMap:
        """-I on that space."""
        return Negate(in_shape)

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self

    def describe(self) -> str:
        """-I."""
        return "-I"


class Diagonal(LinearMap):
    """x ↦ d · x, entry by entry: the derivative of every element-wise function.

    `d` is an array of the space's shape, or a function without arguments that gives it when first needed (so that a
    forward pass does not compute slopes that no backward pass asks for).

    >>> import numpy as np, adjoint as aj
    >>> aj.Diagonal(np.array([1.0, 0.0, 2.0])).kernel().dim
    1
    """

    __slots__ = ("_d",)
    properties = SYMMETRIC

    def __init__(self, d: Array | Callable[[], Array]) -> None:
        self._d = d

    @property
    def d(self) -> Array:
        """The diagonal."""
        if type(self._d) is FunctionType:
            self._d = self._d()
        return self._d

    @property
    def in_shape(self) -> Space:
        """The shape of d."""
        return tuple(self.d.shape) if hasattr(self.d, "shape") else ()

    @property
    def out_shape(self) -> Space:
        """The shape of d."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """d v."""
        d = self._d
        if type(d) is FunctionType:
            self._d = d = d()
        return d * v

    adjoint = apply

    def bind(self, in_shape: Space) -> LinearMap:
        """d as large as the space; a number becomes c I."""
        if not hasattr(self.d, "shape"):
            return Scale(self.d, in_shape)
        return self if self.in_shape == in_shape else Diagonal(xp.broadcast_to(self.d, in_shape))

    @property
    def T(self) -> LinearMap:
        """Itself."""
        return self

    def array(self) -> Array | None:
        """The diagonal."""
        return self.d if hasattr(self.d, "dtype") else None

    def matrix(self) -> Array:
        """d on the diagonal."""
        return xp.astype(xp.diagonal_matrix(xp.reshape(self.d, (-1,))), self.dtype)


class Gate(Diagonal):
    """x ↦ [z > 0] x, entry by entry: the derivative of relu, z its value, whose shape is that of both spaces.

    A closed gate multiplies by 0, so that NaN stays NaN. The diagonal is made where it is asked for.

    >>> import numpy as np, adjoint as aj
    >>> aj.Gate(np.array([1.0, 0.0, 2.0])) @ np.array([3.0, 4.0, 5.0])
    array([3., 0., 5.])
    """

    __slots__ = ("z",)

    def __init__(self, z: Array) -> None:
        self.z = z
        self._d = lambda: xp.astype(xp.greater(z, 0.0), z.dtype)

    def apply(self, v: Any) -> Any:
        """v where z > 0."""
        return xp.gated(v, self.z)

    adjoint = apply

    def array(self) -> Array | None:
        """z."""
        return self.z

    def describe(self) -> str:
        """As what it is."""
        return "Diagonal"


class Cast(LinearMap):
    """x ↦ x in another floating dtype; the adjoint casts back.

    >>> import numpy as np, adjoint as aj
    >>> (aj.Cast("float64", "float32", (2,)) @ np.ones(2)).dtype
    dtype('float32')
    """

    __slots__ = ("in_shape", "source", "target")
    properties = NONE

    def __init__(self, source: Any, target: Any, shape: Shape = ()) -> None:
        self.source = source
        self.target = target
        self.in_shape = shape

    @property
    def out_shape(self) -> Space:
        """The same shape."""
        return self.in_shape

    def apply(self, v: Any) -> Any:
        """v in the target dtype."""
        return xp.astype(v, self.target)

    def adjoint(self, u: Any) -> Any:
        """u in the source dtype."""
        return xp.astype(u, self.source)

    def bind(self, in_shape: Space) -> LinearMap:
        """The same cast on that space."""
        return Cast(self.source, self.target, in_shape)
