"""What an operator of ONNX is here: a function of a node and of the values that it takes, claimed under its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_floating
from adjoint.arrays.shapes import ShapeArray
from adjoint.errors import TraceError
from adjoint.interop.entries import dtype_of
from adjoint.interop.onnx.types import Types
from adjoint.ops.define import plain


class Operator(NamedTuple):
    """`call(node, *inputs)`, and what its inputs are at some positions.

    Inputs at `static` decide shapes: they arrive as NumPy's arrays. Floating initializers at `static` and `fixed` are
    constants of the network rather than parameters, those at `buffers` are buffers.
    """

    call: Callable[..., Any]
    static: tuple[int, ...] = ()
    fixed: tuple[int, ...] = ()
    buffers: tuple[int, ...] = ()


OPERATORS: dict[str, Operator] = {}
"""The operators of ONNX's own domain that are claimed, by name."""


def operator(
    *names: str, static: Sequence[int] = (), fixed: Sequence[int] = (), buffers: Sequence[int] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Claim operators for the function that is decorated; the arguments are `Operator`'s.

    >>> call = operator("Abs")(lambda node, x: xp.abs(x))
    >>> OPERATORS["Abs"].call(None, np.array([-1.0])).tolist()
    [1.0]
    """

    def claimed(call: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            OPERATORS[name] = Operator(call, tuple(static), tuple(fixed), tuple(buffers))
        return call

    return claimed


class Node:
    """A node of a graph: its operator, its attributes as plain values, the version of its operator set.

    It gives `count` outputs; output i has the type of the inputs at the positions `alike[i]`.

    >>> node = Node("Concat", {"axis": 1}, 13, Types(), 1)
    >>> node.get("axis", 0), node(np.ones((1, 2)), np.ones((1, 3))).shape
    (1, (1, 5))
    """

    __slots__ = ("alike", "attributes", "count", "op", "operator", "opset", "types")

    def __init__(
        self,
        op: str,
        attributes: Mapping[str, Any],
        opset: int,
        types: Types,
        count: int,
        alike: Sequence[Sequence[int]] = (),
    ) -> None:
        self.op = op
        self.attributes = dict(attributes)
        self.opset = opset
        self.types = types
        self.count = count
        self.alike = tuple(tuple(places) for places in alike)
        self.operator = OPERATORS[op]

    def __reduce__(self) -> Any:
        return Node, (self.op, self.attributes, self.opset, self.types, self.count, self.alike)

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute of that name."""
        return self.attributes.get(name, default)

    def dtype(self, name: str, default: int | None = None) -> np.dtype[Any] | None:
        """The dtype that an attribute names by ONNX's number; None where neither it nor a default is given."""
        code = self.get(name, default)
        return None if code is None else self.types.dtype(code)

    def __call__(self, *inputs: Any, **captured: Any) -> Any:
        """The node's value, a tuple where it has several."""
        if self.operator.static:
            inputs = tuple(
                known(x, f"{self.op}: input {i}") if i in self.operator.static else x for i, x in enumerate(inputs)
            )
        found = self.operator.call(self, *inputs, **captured)
        outputs = found if type(found) is tuple else (found,)
        if len(outputs) < self.count:
            raise ValueError(f"{self.op}: {self.count} outputs are asked for, there are {len(outputs)} in this form.")
        outputs = (
            tuple(self.halved(y, inputs, places) for y, places in zip(outputs, self.alike, strict=False)) or outputs
        )
        return outputs[0] if self.count == 1 else outputs

    def halved(self, y: Any, inputs: Sequence[Any], places: Sequence[int]) -> Any:
        """An output rounded to half precision where all inputs of its type are, which NumPy computes wider."""
        own = {dtype_name(inputs[i]) for i in places if i < len(inputs)} - {""}
        if len(own) != 1 or not own <= HALVES or dtype_name(y) in own or "float" not in dtype_name(y):
            return y
        return xp.astype(y, dtype_of(own.pop()))


# Values


HALVES = {"float16", "bfloat16"}


def dtype_name(x: Any) -> str:
    """The dtype's name as NumPy has it; "" for what has none."""
    dtype = getattr(x, "dtype", None)
    return "" if dtype is None else str(dtype).removeprefix("torch.")


def known(x: Any, what: str) -> Any:
    """x as NumPy's array: it decides shapes, so it cannot depend on what is not known while a program is compiled."""
    x = plain(x)
    if x is None or isinstance(x, (np.ndarray, np.generic)):
        return x
    try:
        if isinstance(x, ShapeArray):
            raise TypeError("an array without values")
        if isinstance(x, list):
            return np.array([known(part, what) for part in x])
        return np.asarray(x)
    except Exception as error:
        raise TraceError(
            f"{what} decides shapes or which way to go, and its value depends on data that is not known yet under "
            "jax.jit or on arrays without values: run the network on arrays with values."
        ) from error


def integers(x: Any, default: Sequence[int] | None = None) -> list[int] | None:
    """A static array, or an attribute, as a list of Python's integers."""
    if x is None:
        return None if default is None else list(default)
    return [int(n) for n in np.ravel(x)]


def hosted(x: Any) -> bool:
    """Whether x is NumPy's."""
    return isinstance(x, (np.ndarray, np.generic, int, float, bool))


def together(*operands: Any) -> tuple[Any, ...]:
    """The operands on one backend: constants of the file are NumPy's, and move to the side of what is not.

    Floating ones take its dtype, for an operator of ONNX takes operands of one dtype.
    """
    like = next((x for x in operands if x is not None and not hosted(plain(x))), None)
    if like is None:
        return operands
    return tuple(beside(like, x) if x is not None and hosted(plain(x)) else x for x in operands)


def beside(like: Array, x: Any) -> Any:
    """NumPy's array x on the backend of `like`, a floating one in its dtype; other arrays as they are."""
    if hosted(plain(like)) or not hosted(plain(x)):
        return x
    moved = xp.asarray(like, np.asarray(x))
    same = not is_floating(moved.dtype) or not is_floating(like.dtype) or moved.dtype == like.dtype
    return moved if same else xp.astype(moved, like.dtype)


def position(axis: int, ndim: int, op: str) -> int:
    """The axis counted from the front."""
    if not -ndim <= axis < max(ndim, 1):
        raise ValueError(f"{op}: axis {axis} is out of bounds for {ndim} axes.")
    return axis % max(ndim, 1)
