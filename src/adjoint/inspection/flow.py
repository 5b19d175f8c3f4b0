"""How gradients travel: the Jacobian from each depth of a network to its output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median

from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.inspection.layers import blocks
from adjoint.inspection.watching import calls, evaluated, onward, sole
from adjoint.interop.sections import batch_of
from adjoint.maps.base import LinearMap
from adjoint.nn.module import Module
from adjoint.transforms import jacobian
from adjoint.trees import differentiable

FREE = "open it with a free batch (dynamic_shapes of aj.open, a dynamic axis of an ONNX file)"


@dataclass(frozen=True)
class Depth:
    """The Jacobian J from one depth, the output of module `name` ("" is the network's input), to the network's output.

    `level`: how many modules that one is inside of; above 0 it is in a branch. `size`: the dimension n of the space
    there. `norm`: σ₁(J), the most that a small change there can grow by on its way to the output, and that a gradient
    can on its way back; the median over the points, `low` and `high` the extremes. `gain`: ‖J‖_F²/n, the mean of ‖J v‖²
    over random unit v, a mean over the points. `nth`: the call's number, of a module called several times.

    >>> import numpy as np, adjoint as aj
    >>> from adjoint.inspection import gradient_flow
    >>> at_input, at_output = gradient_flow(aj.nn.MLP((3, 2), rng=0), np.eye(3, dtype="float32"))
    >>> at_input.kind, at_input.size, at_output.kind, at_output.size, at_output.gain
    ('input', 3, 'Linear', 2, 1.0)
    """

    name: str
    kind: str
    level: int
    size: int
    norm: float
    low: float
    high: float
    gain: float
    nth: int = 0


def gradient_flow(net: Module, x: Array, points: int = 16) -> tuple[Depth, ...]:
    """The norm of the Jacobian from each depth to the output, at the first `points` examples of x (n, *in_shape).

    Depths come in the order of computation, the input first. The network is in evaluation mode. Raises ShapeError where
    x is no batch.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((3, 4, 2), rng=0)
    >>> [depth.kind for depth in aj.inspection.gradient_flow(net, np.ones((5, 3), "float32"))]
    ['input', 'Linear', 'ReLU', 'Linear']
    >>> float(aj.inspection.gradient_flow(net, np.ones((5, 3), "float32"))[-1].norm)
    1.0
    """
    return merged(list(depths(net, x, points)))


Located = tuple[str, str, int, int, LinearMap]


def depths(net: Module, x: Array, points: int) -> Iterator[list[Located]]:
    """For one example after the other (name, kind, level, nth, Jacobian to the output) of each depth."""
    net, x = evaluated(net), taken("gradient_flow", net, x, points)
    if batch_of(net)[0] <= 1:
        for i in range(x.shape[0]):
            yield [at for at, _ in _jacobians(net, x[i : i + 1])]
    else:
        parted = [[(*at[:4], block) for block in blocks(at[4], here, x.shape[0])] for at, here in _jacobians(net, x)]
        yield from map(list, zip(*parted, strict=True))


def _jacobians(net: Module, x: Array) -> Iterator[tuple[Located, Array]]:
    """Each depth with the Jacobian from there to the output, and the value there."""
    if differentiable(x):
        yield ("", "input", 0, 0, jacobian(lambda x: sole(net(x)), x)), x
    for call in sorted(calls(net, x)[1], key=lambda call: call.finished):
        rest = onward(net, x, call.name, call.nth)
        J = jacobian(lambda h, rest=rest: sole(rest(h)), call.output)
        yield (call.name, call.kind, call.level, call.nth, J), call.output


def merged(one_by_one: Sequence[list[Located]]) -> tuple[Depth, ...]:
    """The depths, from those of each example."""
    return tuple(_depth(*at) for at in zip(*one_by_one, strict=True))


def _depth(*at: Located) -> Depth:
    name, kind, level, nth, J = at[0]
    n = J.shape[1]
    norms = [float(J.norm()) for *_, J in at]
    gain = mean(float(J.frobenius()) ** 2 for *_, J in at) / n if n else 0.0
    return Depth(name, kind, level, n, median(norms), min(norms), max(norms), gain, nth)


def taken(what: str, net: Module, x: Array, points: int) -> Array:
    """The first `points` examples of a batch; as many as a program takes, where it asks for more or less.

    Raises ShapeError where x is no batch, or has fewer.
    """
    examples(what, x)
    least, most = batch_of(net)
    if x.shape[0] < least:
        raise ShapeError(
            f"{what}: this program takes {least} examples at once, as it was exported, and x has {x.shape[0]}: "
            f"give {least}, or {FREE}."
        )
    return x[: int(min(max(points, least), most, x.shape[0]))]


def examples(what: str, x: Array) -> None:
    """Raise ShapeError where x is no batch of examples."""
    if len(x.shape) < 2 or not x.shape[0]:
        raise ShapeError(
            f"{what}: x is a batch of examples, leading axis first, but has shape {tuple(x.shape)}"
            f"{'; for a single example pass x[None]' if x.shape and x.shape[0] else ''}."
        )
