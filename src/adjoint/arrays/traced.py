"""The value that a transform passes through a program: an array of its own kind, whose functions are the operations."""

from __future__ import annotations

from typing import Any, NoReturn

from adjoint.arrays import elementwise as el
from adjoint.arrays import layout, products, reductions
from adjoint.arrays.dispatch import Array, Shape
from adjoint.errors import TraceError


class Traced:
    """A value on a tape: `value` is the array (or a traced value of the transform outside), `i` its place there."""

    __slots__ = ("i", "tape", "value")

    def __init__(self, value: Array, i: int, tape: Any) -> None:
        self.value = value
        self.i = i
        self.tape = tape

    def __repr__(self) -> str:
        return f"Traced({self.value!r}, level={self.tape.level})"

    # What an array tells of itself

    shape: Shape = property(lambda self: tuple(self.value.shape))  # type: ignore[assignment]
    dtype: Any = property(lambda self: self.value.dtype)
    ndim: int = property(lambda self: len(self.value.shape))  # type: ignore[assignment]
    device: Any = property(lambda self: getattr(self.value, "device", "cpu"))
    T: Any = property(lambda self: layout.permute(self, tuple(range(self.ndim))[::-1]))
    mT: Any = property(lambda self: layout.swapaxes(self, -1, -2))

    @property
    def size(self) -> Any:
        """The number of entries."""
        size = self.value.size
        return size() if callable(size) else size

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a traced scalar")
        return int(self.shape[0])

    def __iter__(self) -> Any:
        return iter([layout.getitem(self, i) for i in range(len(self))])

    # Operators; those of arithmetic are set where their operations are defined (ops/define.py)

    def __pos__(self) -> Any:
        return self

    def __eq__(self, y: object) -> Any:
        return el.equal(self, y)

    def __ne__(self, y: object) -> Any:
        return el.not_equal(self, y)

    def __lt__(self, y: Any) -> Any:
        return el.less(self, y)

    def __le__(self, y: Any) -> Any:
        return el.less_equal(self, y)

    def __gt__(self, y: Any) -> Any:
        return el.greater(self, y)

    def __ge__(self, y: Any) -> Any:
        return el.greater_equal(self, y)

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> Any:
        return layout.getitem(self, key)

    # Methods that NumPy's and PyTorch's arrays share

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Σ over the axes."""
        return reductions.sum(self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The mean over the axes."""
        return reductions.mean(self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The largest entry over the axes."""
        return reductions.max(self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The smallest entry over the axes."""
        return reductions.min(self, axis, keepdims)

    def reshape(self, *shape: Any) -> Any:
        """The same entries in another shape, given as a tuple or as several integers."""
        return layout.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes: Any) -> Any:
        """The axes in another order: all reversed when none are named."""
        named = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return layout.permute(self, named) if named else self.T

    def ravel(self) -> Any:
        """All entries in one axis."""
        return layout.reshape(self, (-1,))

    flatten = ravel

    def dot(self, y: Any) -> Any:
        """The matrix product with y."""
        return products.matmul(self, y)

    def astype(self, dtype: Any) -> Any:
        """The value in another floating dtype."""
        return layout.astype(self, dtype)

    def copy(self) -> Any:
        """The value itself: traced values never change."""
        return self

    # Where a number or a plain array is asked for, the derivative would be lost

    def _lost(self, what: str) -> NoReturn:
        raise TraceError(
            f"{what} of a traced value would lose its derivative: use adjoint's or NumPy's functions on it, or "
            "aj.stop_gradient(x) where no derivative is wanted."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._lost("a plain array")

    def __float__(self) -> float:
        self._lost("float()")

    def __int__(self) -> int:
        self._lost("int()")

    def __bool__(self) -> bool:
        self._lost("the truth value")

    def item(self) -> NoReturn:
        """Not for traced values: the number would have no derivative."""
        self._lost("item()")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TraceError(
            "x[key] = value would change a value that the backward pass needs: build the result from parts with "
            "aj.where or aj.concatenate, or write into a NumPy array outside the transform."
        )


    # NumPy's and PyTorch's own protocols, so that np.exp(v) and torch.exp(v) arrive here

    __array_priority__ = 1000.0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from adjoint.arrays.protocols import numpy_ufunc

        return numpy_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from adjoint.arrays.protocols import numpy_function

        return numpy_function(func, args, kwargs)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from adjoint.arrays.protocols import torch_function

        return torch_function(func, args, kwargs or {})
