"""How gradients pass the blocks of a network, without any matrix, and which makes them explode or vanish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adjoint.arrays import asarray
from adjoint.arrays.dispatch import Array
from adjoint.inspection.blocks import Block
from adjoint.inspection.flow import examples
from adjoint.inspection.watching import Call, calls, evaluated, watch
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import pull, push, to_numpy
from adjoint.nn.module import Module
from adjoint.ops.reductions import sum as total
from adjoint.transforms import grad, jacobian
from adjoint.trees import differentiable

STEPS, PROBES = 24, 16  # of Lanczos; random directions for the mean σ²
PEERS = 3  # blocks of one kind that are compared among themselves
STEEPEST = {"Sigmoid": 0.25, "Tanh": 1.0}  # slopes
ENOUGH = 8  # examples, below which a ReLU that is zero at all of them may be so by chance
BESIDE = 5.0  # times the typical growth, above or below which a block is named


def flow_by_block(net: Module, x: Array, points: int = 16, seed: int = 0) -> tuple[Block, ...]:
    """Each block in the order of computation, at the first `points` examples of x (n, *in_shape).

    Blocks are the members of the longest lists of modules of one kind, else each outermost layer that maps an array of
    floating numbers to another; further arguments are held. The network is in evaluation mode. The gradient is that of
    a random unit cotangent at the output, drawn from `seed`. σ₁ comes from at most 24 steps of Golub and Kahan's method
    (1965) for all examples at once, the mean σ² from 16 random signs (Hutchinson 1990). A block is named where its
    growth is more than 5 times, or less than a fifth of, the typical one of its kind (three or more of them), where
    more than half of its sigmoids and tanhs are saturated, or of its ReLUs dead. Raises ShapeError where x is no batch,
    TypeError where the network's output is no array of floating numbers, ValueError where that is not finite.

    >>> import adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((4, 8)).astype("float32")
    >>> net = aj.nn.Sequential(*(aj.nn.Linear(8, 8, rng=i) for i in range(5)))
    >>> net[2].weight *= 10
    >>> [(block.name, block.verdict) for block in flow_by_block(net, x) if block.verdict]
    [('2', 'explodes')]
    """
    examples("flow_by_block", x, points)
    net, x = evaluated(net), x[:points]
    y, seen = calls(net, x)
    if not differentiable(y):
        raise TypeError("flow_by_block: the network's output is no array of floating numbers, so nothing flows back.")
    if not np.all(np.isfinite(to_numpy(y))):
        raise ValueError("flow_by_block: the network's output is not finite at these examples.")
    chosen = _chosen(seen)
    if not chosen:
        return ()
    u = np.random.default_rng(seed).standard_normal(y.shape).astype(to_numpy(y).dtype)
    u /= np.linalg.norm(u.reshape(len(u), -1), axis=1).reshape(-1, *[1] * (u.ndim - 1))
    cotangent = asarray(y, u)

    def scalar(moves: Any) -> Any:
        return total(_moved(net, chosen, moves)(x) * cotangent)

    moves = [(0 * call.input, 0 * call.output) for call in chosen]
    gradients = grad(scalar)(moves)
    found = [
        replace(_block(call, pair[0], pair[1], seed), **_still(call, seen))
        for call, pair in zip(chosen, gradients, strict=True)
    ]
    return _judged(found)


def _chosen(seen: Sequence[Call]) -> list[Call]:
    """The calls of the repeated blocks, or of the outermost modules, as they end."""
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
        return call(*args) if k is None else call(args[0] + moves[k][0], *args[1:]) + moves[k][1]

    return watch(net, around)


def _block(call: Call, before: Any, after: Any, seed: int) -> Block:
    y = to_numpy(call.output).astype(np.float64)
    n = len(y)
    activation = float(np.median(np.sqrt(np.mean(y.reshape(n, -1) ** 2, axis=1))))
    sizes = [np.linalg.norm(to_numpy(g).reshape(n, -1), axis=1) for g in (before, after)]
    J = jacobian(call.function, call.input)
    outs, ins = J.shape[0] // n, J.shape[1] // n
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (PROBES, n * ins))
    squares = np.sum(push(J, signs).reshape(PROBES, n, outs) ** 2, axis=2)
    energy = np.median(squares.mean(axis=0))
    error = float(np.median(squares.std(axis=0, ddof=1))) / PROBES**0.5 / ins
    norms, bounds = largest(J, n, seed)
    return Block(
        call.name, call.kind, activation, float(np.median(sizes[0])), float(np.median(sizes[1])),
        float(np.median(norms)), float(np.max(bounds)), "golub-kahan", float(energy) / ins, error,
        float(energy / outs) ** 0.5,
    )  # fmt: skip


def _still(block: Call, seen: Sequence[Call]) -> dict[str, Any]:
    """The shares of a block's activations that let hardly any gradient pass."""
    flat: list[np.ndarray] = []
    zero: list[np.ndarray] = []
    for call in seen:
        if call.name != block.name and not call.name.startswith(f"{block.name}."):
            continue
        y = to_numpy(call.output).astype(np.float64)
        if call.kind in STEEPEST:
            slope = y * (1 - y) if call.kind == "Sigmoid" else 1 - y**2
            flat.append((slope < STEEPEST[call.kind] / 50).reshape(-1))
        elif call.kind == "ReLU" and len(y) >= ENOUGH:
            zero.append(np.all(y == 0, axis=0).reshape(-1))
    told = {"saturated": flat, "dead": zero}
    return {name: float(np.mean(np.concatenate(parts))) for name, parts in told.items() if parts}


def largest(J: LinearMap, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """σ₁ of each of the n examples' blocks of a batch's Jacobian, and a bound each: the residual ‖Jᵀu - σv‖.

    Some singular value lies within the bound; that it is the largest is as good as certain, for the start is random.

    >>> from adjoint.maps import Diagonal
    >>> largest(Diagonal(np.array([[1.0, 3.0], [2.0, 0.5]])), 2)[0].round(6).tolist()
    [3.0, 2.0]
    """
    size = J.shape[1] // n
    v = np.random.default_rng(seed).standard_normal((n, size))
    basis: list[np.ndarray] = []
    images: list[np.ndarray] = []
    for _ in range(min(STEPS, size)):
        for _ in range(2):
            for q in basis:
                v = v - np.sum(q * v, axis=1, keepdims=True) * q
        scale = np.linalg.norm(v, axis=1, keepdims=True)
        v = np.divide(v, scale, out=np.zeros_like(v), where=scale > 0)
        basis.append(v)
        images.append(push(J, v.reshape(1, -1)).reshape(n, -1))
        v = pull(J, images[-1].reshape(1, -1)).reshape(n, -1)
    V, W = np.stack(basis, 1), np.stack(images, 1)
    u, s, small = np.linalg.svd(np.swapaxes(W, 1, 2), full_matrices=False)
    left, right = u[:, :, 0], np.einsum("nk,nkd->nd", small[:, 0], V)
    back = pull(J, left.reshape(1, -1)).reshape(n, -1)
    return s[:, 0], np.linalg.norm(back - s[:, :1] * right, axis=1)


def _judged(found: Sequence[Block]) -> tuple[Block, ...]:
    result: list[Block] = []
    product = most = 1.0
    for block in reversed(found):
        product, most = product * block.growth, most * block.norm
        peers = [other.growth for other in found if other.kind == block.kind and other.growth > 0]
        factor, verdict = float("nan"), ""
        if len(peers) >= PEERS:
            factor = block.growth / float(np.exp(np.median(np.log(peers))))
            verdict = "explodes" if factor > BESIDE else "vanishes" if factor < 1 / BESIDE else ""
        verdict = verdict or ("saturated" if block.saturated > 0.5 else "dead" if block.dead > 0.5 else "")
        result.append(replace(block, product=product, most=most, factor=factor, verdict=verdict))
    return tuple(reversed(result))
