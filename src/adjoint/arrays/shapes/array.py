"""An array without values: its shape, its dtype, and the memory that it shares with its views."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays import layout, products
from adjoint.arrays import piecewise as pw
from adjoint.arrays.dispatch import TRACED, Array, Shape, _known, is_array
from adjoint.arrays.shapes.tally import ACTIVE, Memory, claim
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError, DtypeError, ShapeError

Binary = Callable[[Any, Any], Any]


@functools.cache
def as_dtype(named: Any) -> np.dtype[Any]:
    """NumPy's dtype for a name or for a dtype of any backend.

    >>> as_dtype("torch.float32")
    dtype('float32')
    """
    name = str(named).removeprefix("torch.")
    with suppress(TypeError):
        return np.dtype(name if isinstance(named, str) or type(named).__module__ == "torch" else named)
    try:
        import ml_dtypes
    except ImportError:
        raise DtypeError(f"dtype {name} needs the package ml_dtypes: pip install ml_dtypes.") from None
    if not hasattr(ml_dtypes, name):
        raise DtypeError(f"{name} is no dtype of this NumPy and ml_dtypes: take one such as 'float32' or 'bfloat16'.")
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def _serves(x: Any) -> bool:
    """Whether x is a number or an array; what is traced, or unknown here, answers for itself."""
    kind: Any = type(x)
    known = _known(kind)
    return known is not None and known[0] != TRACED


def _operators(f: Binary) -> tuple[Binary, Binary]:
    """x ∘ y and y ∘ x."""

    def forward(self: Any, other: Any) -> Any:
        return f(self, other) if _serves(other) else NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        return f(other, self) if _serves(other) else NotImplemented

    return forward, reflected


class ShapeArray:
    """An array of `shape` and `dtype` without values: functions of the seam give their result's shape, and count.

    `strides` (in entries, None when in row-major order) tell views from copies by NumPy's rules; `memory` is shared
    with views. Where a value is asked for, it raises `BackendError`.

    >>> from adjoint.arrays import matmul
    >>> matmul(ShapeArray((32, 3), "float32"), ShapeArray((3, 5), "float64"))
    ShapeArray((32, 5), float64)
    """

    __slots__ = ("__weakref__", "dtype", "memory", "shape", "strides")
    __array_priority__ = 900.0
    __hash__ = object.__hash__

    shape: Shape
    dtype: np.dtype[Any]
    strides: tuple[int, ...] | None
    memory: Memory | None

    def __init__(self, shape: Any, dtype: Any = "float32") -> None:
        self.shape = tuple(map(operator.index, shape))
        if self.shape and min(self.shape) < 0:
            raise ShapeError(f"ShapeArray: a shape has no negative sizes, got {self.shape}.")
        self.dtype = as_dtype(dtype)
        self.strides = None
        self.memory = claim(self.nbytes)

    def __repr__(self) -> str:
        return f"ShapeArray({self.shape}, {self.dtype.name})"

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The entries' bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def T(self) -> Any:
        """The axes in reversed order."""
        return layout.permute(self, tuple(range(len(self.shape)))[::-1])

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return layout.swapaxes(self, -1, -2)

    def __reduce__(self) -> Any:
        return ShapeArray, (self.shape, self.dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return layout.getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nothing to set, once the value is known to fit."""
        place = np.empty(self.shape, "V0")[key].shape
        if np.broadcast_shapes(place, shape_of(value)) != place:
            raise ShapeError(f"{self!r}: a value of shape {shape_of(value)} does not fit a place of shape {place}.")

    __add__, __radd__ = _operators(el.add)
    __sub__, __rsub__ = _operators(el.subtract)
    __mul__, __rmul__ = _operators(el.multiply)
    __truediv__, __rtruediv__ = _operators(el.divide)
    __pow__, __rpow__ = _operators(el.pow)
    __matmul__, __rmatmul__ = _operators(products.matmul)
    __lt__, __gt__ = _operators(pw.less)[0], _operators(pw.greater)[0]
    __le__, __ge__ = _operators(pw.less_equal)[0], _operators(pw.greater_equal)[0]
    __eq__, __ne__ = _operators(pw.equal)[0], _operators(pw.not_equal)[0]

    def __neg__(self) -> Any:
        return el.negative(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return el.abs(self)

    # The methods and protocols of NumPy's and PyTorch's arrays, as traced values have them

    __getattr__, __torch_function__ = Traced.__getattr__, Traced.__torch_function__
    __array_ufunc__, __array_function__ = Traced.__array_ufunc__, Traced.__array_function__

    # Where a value is asked for

    def _lost(self, what: str) -> BackendError:
        return BackendError(
            f"{what} of {self!r}: it has a shape and a dtype but no values; keep decisions on values out of the "
            "program (aj.where instead of if), or run it on real arrays."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise self._lost("a NumPy array")

    def __bool__(self) -> bool:
        raise self._lost("the truth value")

    def __float__(self) -> float:
        raise self._lost("float()")

    def __int__(self) -> int:
        raise self._lost("int()")

    def __index__(self) -> int:
        raise self._lost("an index")

    def __iter__(self) -> Iterator[Any]:
        return iter([layout.getitem(self, i) for i in range(len(self))])

    def item(self) -> NoReturn:
        """Not here: there is no number."""
        raise self._lost("item()")

    def tolist(self) -> NoReturn:
        """Not here: there are no numbers."""
        raise self._lost("tolist()")


def bare(
    shape: Shape, dtype: np.dtype[Any], strides: tuple[int, ...] | None = None, memory: Memory | None = None
) -> Any:
    """A `ShapeArray` without checks, on memory that is there already, or on none."""
    x = ShapeArray.__new__(ShapeArray)
    x.shape, x.dtype, x.strides, x.memory = shape, dtype, strides, memory
    return x


def like(x: Any) -> Any:
    """An array of any backend, or a traced value, as a `ShapeArray`; lists and tuples part by part, the rest unchanged.

    >>> like([np.zeros((2, 3)), 1.0, None])
    [ShapeArray((2, 3), float64), 1.0, None]
    """
    if isinstance(x, (list, tuple)):
        parts = [like(part) for part in x]
        return parts if isinstance(x, list) else tuple(parts)
    if type(x) is ShapeArray or isinstance(x, np.generic) or not (is_array(x) and hasattr(x, "dtype")):
        return x
    return ShapeArray(x.shape, x.dtype)


def operand(x: Any) -> Any:
    """x as functions take it: arrays of other backends as `ShapeArray`s without new memory, numbers unchanged."""
    if type(x) is ShapeArray:
        return x
    if isinstance(x, (list, tuple, np.generic)):
        x = np.asarray(x)
    elif x is None or isinstance(x, (bool, int, float, complex)):
        return x
    return bare(tuple(x.shape), as_dtype(x.dtype))


def shape_of(x: Any, missing: Any = ()) -> Any:
    """x's shape; numbers have (), and None what is said."""
    return missing if x is None else tuple(getattr(x, "shape", ()))


def kind(x: Any) -> Any:
    """What decides on dtypes: x's dtype, or Python's type of a number."""
    return x.dtype if type(x) is ShapeArray else type(x)


def footprint(x: Any) -> int:
    """The bytes that reading or writing x touches: entries that a broadcast repeats count once, numbers not at all."""
    if type(x) is not ShapeArray:
        return 0
    if x.strides is None:
        return x.nbytes
    return x.dtype.itemsize * math.prod([n for n, step in zip(x.shape, x.strides, strict=True) if step])


def spend(name: str, flops: int, products: int, touched: Iterable[Any]) -> None:
    """Enter one call in the tallies of this thread: `products` are the FLOPs in matrix products among `flops`."""
    if ACTIVE.tallies:
        moved = sum([footprint(x) for x in touched])
        for tally in ACTIVE.tallies:
            tally.add(name, flops, products, moved)


def made(name: str, shape: Shape, dtype: np.dtype[Any], flops: int, read: Iterable[Any], products: int = 0) -> Any:
    """The new array that a function returns, its cost entered; `read` are its operands."""
    if not ACTIVE.tallies:
        return bare(shape, dtype)
    x = bare(shape, dtype)
    x.memory = claim(x.nbytes)
    spend(name, flops, products, (x, *read))
    return x


_ENTRY = np.empty(1, np.int8)


def viewed(x: Array, change: Callable[[Any], Any]) -> Any:
    """The view of x that NumPy's `change` makes of an array with these strides; no entry is ever read."""
    strides = x.strides
    if strides is None:
        strides = row_major(x.shape)
    view = change(np.lib.stride_tricks.as_strided(_ENTRY, x.shape, strides))
    return bare(view.shape, x.dtype, view.strides, x.memory)


def row_major(shape: Shape) -> tuple[int, ...]:
    """The strides of an array in row-major order, in entries."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))
