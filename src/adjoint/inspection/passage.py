"""How gradients pass a network: those at the input and output of each block, of a loss or of a random cotangent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint.arrays import asarray
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.inspection.flow import taken
from adjoint.inspection.watching import Call, calls, evaluated, leaves, main, replaced, watch
from adjoint.maps.flat import to_numpy
from adjoint.nn.module import Module
from adjoint.ops.reductions import sum as total
from adjoint.transforms import grad

Loss = Callable[[Any, Any], Any]
PEERS = 3  # blocks of one kind that are compared among themselves


class Passage:
    """The gradients that pass a network, once back: then its blocks, `chosen` in the order of computation, one by one.

    Arguments are those of `adjoint.inspection.flow_by_block`, and what `calls` gave for x, where that is `known`;
    `gradients` has for each block those at its input and at its output; `seen` are all calls, `value` is the loss.
    """

    def __init__(
        self, net: Module, x: Array, points: int = 16, seed: int = 0, loss: Loss | None = None, target: Any = None,
        known: tuple[Any, list[Call]] | None = None,
    ) -> None:  # fmt: skip
        self.net, self.x, self.seed = evaluated(net), taken("flow_by_block", net, x, points), seed
        y, self.seen = calls(self.net, self.x) if known is None or self.x.shape[0] < x.shape[0] else known
        self.chosen = _chosen(self.seen)
        if loss is None:
            weighed, self.value = _cotangents(y, self.x.shape[0], seed), float("nan")
        else:
            target = targets(target, x)[: self.x.shape[0]]
            weighed, self.value = None, _number(applied(loss, y, target))

        def scalar(moves: Any) -> Any:
            output = _moved(self.net, self.chosen, moves)(self.x)
            if weighed is None:
                return loss(output, target)  # type: ignore[misc]
            parts = [total(leaf * u) for leaf, u in zip(leaves(output), weighed, strict=True)]
            return sum(parts[1:], parts[0])

        moves = [(0 * call.input, 0 * call.output) for call in self.chosen]
        self.gradients = grad(scalar)(moves) if moves else []


def unfit(y: Any, n: int) -> str:
    """Why an output of n examples is nothing to send a random cotangent back from; "" where it is."""
    parts = leaves(y)
    if parts and all(tuple(part.shape[:1]) == (n,) for part in parts):
        return ""
    shapes = ", ".join(str(tuple(part.shape)) for part in parts)
    found = f"has the shapes {shapes}, not with the {n} examples in front" if parts else "has no floating numbers"
    return f"the output {found}: give a loss of it, or a module that returns the part that matters"


def _cotangents(y: Any, n: int, seed: int) -> list[Array]:
    """A random cotangent of each array of the output, of norm 1 for each example over all of them."""
    if told := unfit(y, n):
        raise TypeError(f"flow_by_block: {told}.")
    parts = leaves(y)
    if not all(np.all(np.isfinite(to_numpy(part))) for part in parts):
        raise ValueError("flow_by_block: the network's output is not finite at these examples.")
    rng, drawn, squares = np.random.default_rng(seed), [], np.zeros(n)
    for part in parts:
        dtype = to_numpy(part).dtype
        u = rng.standard_normal(tuple(part.shape), np.float64 if dtype.itemsize == 8 else np.float32)  # it may be large
        flat = u.reshape(n, -1)
        squares += np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
        drawn.append(u)
    for u in drawn:
        u /= np.sqrt(squares).reshape(-1, *[1] * (u.ndim - 1))
    return [asarray(part, u.astype(to_numpy(part).dtype, copy=False)) for part, u in zip(parts, drawn, strict=True)]


def targets(target: Any, x: Array) -> Any:
    """The target; raises TypeError where it is no array, ShapeError where it has not one for each example."""
    if not hasattr(target, "shape"):
        raise TypeError(f"flow_by_block: a loss's target is an array, not {type(target).__name__}.")
    if (shape := tuple(target.shape))[:1] != tuple(x.shape[:1]):
        raise ShapeError(f"flow_by_block: a loss needs a target for each of the {x.shape[0]} examples, not {shape}.")
    return target


def applied(loss: Loss, y: Any, target: Any) -> Any:
    """The loss of an output and its target; raises ValueError where it takes no such shapes, or is not one number."""
    try:
        value = loss(y, target)
    except (IndexError, TypeError, ValueError) as error:
        name = getattr(loss, "__name__", type(loss).__name__)
        shapes = " and ".join(str(tuple(part.shape)) for part in leaves(y)) or type(y).__name__
        raise (ShapeError if isinstance(error, ShapeError) else ValueError)(
            f"flow_by_block: the loss {name} does not take what the network gives, {shapes}, with this target, "
            f"{target.dtype} {tuple(target.shape)}: {error}"
        ) from error
    if tuple(getattr(value, "shape", ())):
        raise ValueError(
            f"flow_by_block: the loss is of shape {tuple(value.shape)} and has to be one number, such as their mean."
        )
    return value


def _number(value: Any) -> float:
    """A loss as a finite number."""
    number = float(to_numpy(value))
    if not np.isfinite(number):
        raise ValueError(f"flow_by_block: the loss is {number} at these examples.")
    return number


def _chosen(seen: Sequence[Call]) -> list[Call]:
    """The calls of the repeated blocks, or of the outermost modules, as they end; an example in, an example out."""
    seen = [call for call in seen if call.output.shape and call.output.shape[0] == call.input.shape[0]]
    names = {call.name for call in seen}
    outer = [call for call in seen if not any(around in names for around in _around(call.name))]
    kinds = [call.kind for call in outer]
    repeated = [kind for kind in kinds if kinds.count(kind) >= PEERS and any("." in n for n, _ in _inside(outer, kind))]
    if repeated:
        kind = max(repeated, key=kinds.count)
        outer = [call for call in outer if call.kind == kind]
    return sorted(outer, key=lambda call: call.finished)


def _around(name: str) -> list[str]:
    """The names of the modules that one is inside of."""
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def _inside(outer: Sequence[Call], kind: str) -> list[tuple[str, Module]]:
    """The modules inside the first of a kind, with names that have a dot."""
    first = next(call for call in outer if call.kind == kind)
    return [("." + name, module) for name, module in first.module.named_modules() if name]


def _moved(net: Module, chosen: Sequence[Call], moves: Any) -> Callable[[Array], Any]:
    """The network with something added to the input and the output of each chosen call."""
    places = {(call.name, call.nth): k for k, call in enumerate(chosen)}
    times: dict[str, int] = {}

    def around(name: str, module: Module, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        nth = times[name] = times.get(name, -1) + 1
        k = places.get((name, nth))
        if k is None:
            return call(*args)
        at = chosen[k].place
        y = call(*args[:at], args[at] + moves[k][0], *args[at + 1 :])
        return replaced(y, main(y) + moves[k][1])

    return watch(net, around)
