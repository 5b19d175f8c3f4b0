"""The value that a transform passes through a program: an array of its own kind, whose functions are the operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from adjoint.arrays import layout
from adjoint.arrays import piecewise as pw
from adjoint.arrays.dispatch import Array, Shape
from adjoint.errors import TraceError

ELSEWHERE: list[Callable[[str], Callable[..., Any] | None]] = []  # who knows more functions of PyTorch by name


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

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a traced scalar")
        return int(self.shape[0])

    def __iter__(self) -> Any:
        return iter([layout.getitem(self, i) for i in range(len(self))])

    # Operators; those of arithmetic are set where their operations are defined (ops/define.py)

    def __pos__(self) -> Any:
        return self

    def __floordiv__(self, y: Any) -> Any:
        return _numpys("floor_divide", self, y)

    def __rfloordiv__(self, y: Any) -> Any:
        return _numpys("floor_divide", y, self)

    def __mod__(self, y: Any) -> Any:
        return _numpys("remainder", self, y)

    def __rmod__(self, y: Any) -> Any:
        return _numpys("remainder", y, self)

    def __eq__(self, y: object) -> Any:
        return pw.equal(self, y)

    def __ne__(self, y: object) -> Any:
        return pw.not_equal(self, y)

    def __lt__(self, y: Any) -> Any:
        return pw.less(self, y)

    def __le__(self, y: Any) -> Any:
        return pw.less_equal(self, y)

    def __gt__(self, y: Any) -> Any:
        return pw.greater(self, y)

    def __ge__(self, y: Any) -> Any:
        return pw.greater_equal(self, y)

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> Any:
        return layout.getitem(self, key)

    # Where a number or a plain array is asked for, the derivative would be lost

    def _lost(self, what: str, more: str = "") -> TraceError:
        return TraceError(
            f"{what} of a traced value would lose its derivative: use adjoint's or NumPy's functions on it, "
            f"{more}or aj.stop_gradient(x) where no derivative is wanted."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TraceError(
            "a plain array of a traced value would lose its derivative: in place of np.array([v, w]) write "
            "np.stack([v, w]); in place of out[i] = v append v to a list, and stack that; or take "
            "aj.stop_gradient(v) where no derivative is wanted."
        )

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __float__(self) -> float:
        raise self._lost("float()", "in place of out[i] = v append v to a list and np.stack that, ")

    def __int__(self) -> int:
        raise self._lost("int()")

    def __bool__(self) -> bool:
        raise self._lost("the truth value")

    def item(self) -> NoReturn:
        """Not for traced values: the number would have no derivative."""
        raise self._lost("item()")

    def tolist(self) -> NoReturn:
        """Not for traced values: the numbers would have no derivative."""
        raise self._lost("tolist()")

    def numpy(self) -> NoReturn:
        """Not for traced values: the array would have no derivative."""
        raise self._lost("numpy()")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TraceError(
            "x[key] = value would change a value that the backward pass needs: build the result from parts with "
            "aj.where or aj.concatenate, or write into a NumPy array outside the transform."
        )

    # NumPy's and PyTorch's own methods and protocols, so that v.sum(), np.exp(v) and torch.exp(v) arrive here

    def __getattr__(self, name: str) -> Any:
        from adjoint.arrays.protocols import method

        return method(self, name)

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


def _numpys(name: str, x: Any, y: Any) -> Any:
    from adjoint.arrays.numpy_names import UFUNCS

    return UFUNCS[name](x, y)
