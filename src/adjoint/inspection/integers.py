"""Weights that a graph stores as integers beside their scales: ONNX's DequantizeLinear, QLinearConv, QLinearMatMul."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.interop.graph import Graph, Step, Value
from adjoint.maps.flat import to_numpy

UNSCALED = ("ConvInteger", "MatMulInteger")  # the scale comes later, if at all


@dataclass(frozen=True)
class Stored:
    """A weight as integers `codes`, with what gives the numbers that they stand for."""

    codes: np.ndarray
    floating: Callable[[], Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight."""
        return tuple(self.codes.shape)

    @property
    def dtype(self) -> str:
        """The integers' dtype."""
        return self.codes.dtype.name

    @property
    def nbytes(self) -> int:
        """The integers' bytes."""
        return int(self.codes.nbytes)

    @property
    def packed_parameters(self) -> int:
        """How many numbers it stands for."""
        return int(self.codes.size)

    def dequantize(self, dtype: Any) -> np.ndarray:
        """The numbers that it stands for."""
        return to_numpy(self.floating()).astype(dtype)


def of_graph(model: Any) -> dict[str, Any]:
    """What a graph stores as integers, by the name of the value that it becomes; an array where no scale is known.

    What QLinearConv, QLinearMatMul, ConvInteger and MatMulInteger take is called as their result, with ".weight".
    """
    found: dict[str, Any] = {}
    for step, _ in model.plan.steps if isinstance(model, Graph) else ():
        found.update(_of(model, step))
    return found


def _of(model: Graph, step: Step) -> Iterator[tuple[str, Any]]:
    op, name = getattr(step.call, "op", ""), step.outputs[0]
    args = [model.__dict__.get(x, x) if isinstance(x, Value) else x for x in step.args]
    if op == "DequantizeLinear" and _integers(args[0]) and not any(isinstance(x, Value) for x in args):
        yield name, Stored(args[0], lambda: step.call(*args))
    elif op in ("QLinearConv", "QLinearMatMul") and _integers(args[3]):
        codes, *scaled = args[3:6]
        if not any(isinstance(x, Value) for x in scaled):
            after = codes.ndim - 1 if op == "QLinearConv" else 0  # axes behind the one that the scales are of
            scale, zero = (to_numpy(x).astype(np.float32) for x in scaled)
            scale, zero = (x.reshape(*x.shape, *(1,) * after) if x.ndim else x for x in (scale, zero))
            yield f"{name}.weight", Stored(codes, lambda: (codes.astype(np.float32) - zero) * scale)
    elif op in UNSCALED and _integers(args[1]):
        yield f"{name}.weight", args[1]


def _integers(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.ndim > 0 and "int" in x.dtype.name
