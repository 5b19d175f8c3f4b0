"""`aj.cost`: forward and backward of a network, counted by running it on arrays that only have shapes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adjoint.arrays import sum as total
from adjoint.arrays.dispatch import Array, Shape, is_array
from adjoint.arrays.shapes import ShapeArray, Tally, count, like
from adjoint.inspection.watching import Call, calls, evaluated
from adjoint.nn.module import Module, count_parameters
from adjoint.transforms import value_and_grad, vjp
from adjoint.trees import Structure, differentiable, flatten
from adjoint.trees import map as tree_map


@dataclass(frozen=True)
class Pass:
    """What one pass does: `flops` in all, those in matrix products (2·n·k·m each), `bytes` read and written.

    >>> import adjoint as aj
    >>> cost(aj.nn.Linear(3, 2), (5, 3)).forward
    Pass(flops=70, matmul_flops=60, bytes=132)
    """

    flops: int
    matmul_flops: int
    bytes: int


@dataclass(frozen=True)
class LayerCost:
    """What one call of a layer costs; `level` counts the modules that it is inside of, whose own figures include it.

    >>> import adjoint as aj
    >>> [(layer.kind, layer.forward.matmul_flops) for layer in cost(aj.nn.MLP((3, 4, 2)), (1, 3)).layers]
    [('Linear', 24), ('ReLU', 0), ('Linear', 16)]
    """

    name: str
    kind: str
    level: int
    parameters: int
    forward: Pass
    backward: Pass


@dataclass(frozen=True)
class Cost:
    """What a network costs on one batch.

    `inference_bytes` and `training_bytes` are the most memory alive at any moment of the forward pass, and of forward
    and backward together with what the first keeps for the second and the gradients; parameters and input not counted.

    >>> import adjoint as aj
    >>> found = cost(aj.nn.MLP((3, 4, 2)), (1, 3))
    >>> found.parameters, found.forward.matmul_flops, found.backward.matmul_flops
    (26, 40, 56)
    """

    parameters: int
    forward: Pass
    backward: Pass
    inference_bytes: int
    training_bytes: int
    layers: tuple[LayerCost, ...]


def cost(net: Module, x: Array | Shape, inputs: bool = False) -> Cost:
    """FLOPs, bytes and peak memory of a network's forward and backward pass on a batch x; nothing is computed.

    x is an array, of which only shape and dtype are read, or a shape (of float32 numbers). The backward pass gives the
    gradient of the parameters, as training needs it, and of x where `inputs` is true. A product n×k by k×m costs
    2·n·k·m forward and twice that backward, except in the first layer, which without `inputs` has only one product to
    do. What other functions count is in `adjoint.arrays.shapes`. The network is in evaluation mode.

    >>> import adjoint as aj
    >>> found = cost(aj.nn.Linear(3, 2), (5, 3))
    >>> found.forward.matmul_flops, found.backward.matmul_flops, found.training_bytes
    (60, 60, ...)
    """
    shapes: dict[int, Any] = {}  # tied weights stay one array
    net = tree_map(lambda w: shapes.setdefault(id(w), like(w)), evaluated(net))
    x = like(x) if is_array(x) else ShapeArray(x)
    with count() as forward:
        net(x)
    layers = tuple(
        LayerCost(call.name, call.kind, call.level, count_parameters(call.module), *_passes(call, inputs, x))
        for call in calls(net, x)[1]
    )
    inputs = inputs and differentiable(x)
    peak = max(forward.peak_bytes, _training_bytes(net, x, inputs))
    return Cost(count_parameters(net), _pass(forward), _backward(net, x, inputs), forward.peak_bytes, peak, layers)


def _passes(call: Call, inputs: bool, x: Array) -> tuple[Pass, Pass]:
    with count() as forward:
        call.module(call.input)
    return _pass(forward), _backward(call.module, call.input, inputs or call.input is not x)


def _backward(net: Module, x: Array, inputs: bool) -> Pass:
    f, primals = _variables(net, x, inputs)
    if not primals:
        return Pass(0, 0, 0)
    with count() as forward:
        f(*primals)
    with count() as recorded:
        y, pull = vjp(f, *primals)
    with count() as backward:
        pull(y)
    # slopes that are computed beside the values belong to the gradient; what `vjp` copies does not
    copied = recorded.by_function.get("copy", (0, 0, 0))[2] - forward.by_function.get("copy", (0, 0, 0))[2]
    return Pass(
        backward.flops + recorded.flops - forward.flops,
        backward.matmul_flops + recorded.matmul_flops - forward.matmul_flops,
        backward.bytes + recorded.bytes - forward.bytes - copied,
    )


def _training_bytes(net: Module, x: Array, inputs: bool) -> int:
    f, primals = _variables(net, x, inputs)
    if not primals:
        return 0
    with count() as training:
        value_and_grad(lambda *given: _summed(f(*given)), tuple(range(len(primals))))(*primals)
    return training.peak_bytes


def _summed(y: Any) -> Array:
    """A number that depends on every floating array of a network's value."""
    first, *others = [total(part) for part in flatten(y)[0] if differentiable(part)]
    return functools.reduce(operator.add, others, first)


def _variables(net: Module, x: Array, inputs: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """(f, primals): the network's value as a function of what has a gradient: parameters if any, and x if wanted."""
    learns = bool(Structure(net).own())
    if learns and inputs:
        return lambda net, x: net(x), (net, x)
    if learns:
        return lambda net: net(x), (net,)
    return net, (x,) if inputs else ()


def _pass(tally: Tally) -> Pass:
    return Pass(tally.flops, tally.matmul_flops, tally.bytes)
