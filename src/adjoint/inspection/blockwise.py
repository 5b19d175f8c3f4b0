"""How gradients pass the blocks of a network, without any matrix, and which makes them explode or vanish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array
from adjoint.inspection.blocks import Block
from adjoint.inspection.layers import apart
from adjoint.inspection.passage import PEERS, Loss, Passage
from adjoint.inspection.watching import Call
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import pull, push, to_numpy
from adjoint.nn.module import Module
from adjoint.transforms import jacobian

STEPS, PROBES = 24, 16  # at most, of Lanczos, and random directions for the mean σ²
FEWEST, FEW = 8, 4  # of them, after which a block that is large is done where it is known well enough:
LARGE, OFF_NORM, OFF_GAIN = 1 << 14, 0.03, 0.01  # numbers that go in or come out; bound of σ₁, error of the mean σ²
EXAMPLES = 1 << 17  # numbers that go in or come out of so many examples as the Jacobian is probed at
AT_ONCE, BASIS = 1 << 24, 1 << 26  # numbers of the probes that are pushed together, and of the basis of Lanczos
NOTHING = 1e-10  # of a step of Lanczos: what is left of it is rounding
STEEPEST = {"Sigmoid": 0.25, "Tanh": 1.0}  # slopes
ENOUGH = 8  # examples, below which a ReLU that is zero at all of them may be so by chance
BESIDE = 5.0  # times the typical growth, above or below which a block is named


def flow_by_block(
    net: Module, x: Array, points: int = 16, seed: int = 0, *, loss: Loss | None = None, target: Any = None
) -> tuple[Block, ...]:
    """Each block in the order of computation, at the first `points` examples of x (n, *in_shape).

    Blocks are the members of the longest lists of modules of one kind, else each outermost layer that maps an array of
    floating numbers to another; further arguments are held. The network is in evaluation mode. The gradient is that of
    `loss(output, target)`, the target having as many examples as x; without a loss that of a random unit cotangent at
    the output, drawn from `seed`. σ₁ comes from at most 24 steps of Golub and Kahan's method (1965) for all examples at
    once, fewer where their basis would take more than 512 MiB, the mean σ² from 16 random signs (Hutchinson 1990).
    Where more than 16,384 numbers go in or come out, they end once σ₁ is known to 3 % (after 8 steps or more) and the
    mean σ² to 1 % (4 signs or more); more than 131,072 are probed at the first examples only, `examples` of them. A
    block is named where its growth is more than 5 times, or less than a fifth of, the typical one of its kind (three or
    more of them; single layers are compared with those of their shape), where more than half of its sigmoids and tanhs
    are saturated, or of its ReLUs dead.

    Raises ShapeError where x is no batch or has not as many examples as the target, TypeError where the output has no
    arrays of floating numbers with an example each, ValueError where that is not finite or the loss is not one number.

    >>> import adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((4, 8)).astype("float32")
    >>> net = aj.nn.Sequential(*(aj.nn.Linear(8, 8, rng=i) for i in range(5)))
    >>> net[2].weight *= 10
    >>> [(block.name, block.verdict) for block in flow_by_block(net, x) if block.verdict]
    [('2', 'explodes')]
    >>> last = flow_by_block(net, x, loss=aj.nn.MSELoss(), target=0 * x)[-1]
    >>> bool(np.isclose(last.gradient, np.median(np.linalg.norm(2 * net(x) / 32, axis=1))))
    True
    """
    passage = Passage(net, x, points, seed, loss, target)
    return judged([block(passage, k) for k in range(len(passage.chosen))])


def block(passage: Passage, k: int) -> Block:
    """What is known of the k-th of the blocks by itself."""
    call, gradients, seed = passage.chosen[k], passage.gradients[k], passage.seed
    y = to_numpy(call.output).astype(np.float64)
    activation = float(np.median(np.sqrt(np.mean(y.reshape(len(y), -1) ** 2, axis=1))))
    sizes = [np.linalg.norm(to_numpy(g).reshape(len(y), -1), axis=1) for g in gradients]
    J, n, examples = _probed(call, len(y))
    outs, ins = J.shape[0] // n, J.shape[1] // n
    squares = _squares(J, n, seed)
    energy = np.median(squares.mean(axis=0))
    error = float(np.median(squares.std(axis=0, ddof=1))) / len(squares) ** 0.5 / ins
    norms, bounds = largest(J, n, seed)
    found = Block(
        call.name, call.kind, activation, float(np.median(sizes[0])), float(np.median(sizes[1])),
        float(np.median(norms)), float(np.max(bounds)), "golub-kahan", float(energy) / ins, error,
        float(energy / outs) ** 0.5, nth=call.nth, role=_role(call), examples=examples, of=len(y),
    )  # fmt: skip
    return replace(found, **_still(call, passage.seen))


def _probed(call: Call, n: int) -> tuple[LinearMap, int, int]:
    """(the Jacobian, how many blocks it has, of how many examples it is): of fewer than n where they are large.

    Where the examples are mixed they are all one block.
    """
    J = jacobian(call.function, call.input)
    if not apart(J, n):
        return J, 1, n
    few = max(1, EXAMPLES // max(1, max(J.shape) // n))
    if few >= n or not call.alone:
        return J, n, n
    return jacobian(call.function, call.input[:few]), few, few


def _squares(J: LinearMap, n: int, seed: int) -> np.ndarray:
    """‖J z‖² for random signs z, by direction and example."""
    outs, ins = J.shape[0] // n, J.shape[1] // n
    rng, size = np.random.default_rng(seed), n * max(ins, outs, 1)
    at_once = max(1, min(FEW if size > LARGE else PROBES, AT_ONCE // size))
    squares = np.zeros((0, n))
    while len(squares) < PROBES:
        signs = rng.choice([-1.0, 1.0], (min(at_once, PROBES - len(squares)), n * ins))
        images = push(J, signs).reshape(len(signs), n, outs)
        squares = np.concatenate([squares, np.sum(images**2, axis=2)])
        errors = squares.std(axis=0) / len(squares) ** 0.5
        if size > LARGE and len(squares) >= FEW and np.all(errors <= OFF_GAIN * squares.mean(axis=0)):
            break
    return squares


def _role(call: Call) -> str:
    """What blocks have in common that are compared: the kind, and shapes where it is a layer with none inside."""
    if any(name for name, _ in call.module.named_modules()):
        return call.kind
    return f"{call.kind} {tuple(call.input.shape[1:])} → {tuple(call.output.shape[1:])}"


def _still(block: Call, seen: Sequence[Call]) -> dict[str, Any]:
    """The shares of a block's activations that let hardly any gradient pass."""
    flat: list[np.ndarray] = []
    zero: list[np.ndarray] = []
    for call in seen:
        if call.name != block.name and not call.name.startswith(f"{block.name}."):
            continue
        if call.name == block.name and call.nth != block.nth:
            continue
        y = to_numpy(call.output).astype(np.float64)
        if call.kind in STEEPEST:
            slope = y * (1 - y) if call.kind == "Sigmoid" else 1 - y**2
            flat.append((slope < STEEPEST[call.kind] / 50).reshape(-1))
        elif call.kind in ("ReLU", "Relu") and len(y) >= ENOUGH:
            zero.append(np.all(y == 0, axis=0).reshape(-1))
    told = {"saturated": flat, "dead": zero}
    return {name: float(np.mean(np.concatenate(parts))) for name, parts in told.items() if parts}


def largest(J: LinearMap, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """σ₁ of each of the n examples' blocks of a batch's Jacobian, and a bound each: the residual ‖Jᵀu - σv‖.

    Some singular value lies within the bound; that it is the largest, or one beside it, is as good as certain, for the
    start is random. Of a large Jacobian it ends once all bounds are within 3 % of σ₁.

    >>> from adjoint.maps import Diagonal
    >>> largest(Diagonal(np.array([[1.0, 3.0], [2.0, 0.5]])), 2)[0].round(6).tolist()
    [3.0, 2.0]
    >>> largest(Diagonal(np.ones((1, 9))), 1)[0].round(6).tolist()
    [1.0]
    """
    size = J.shape[1] // n
    v = np.random.default_rng(seed).standard_normal((n, size))
    steps = min(STEPS, size, max(4, BASIS // (n * size)))
    fewest = FEWEST if max(J.shape) > LARGE else steps
    V, T = np.zeros((n, steps, size)), np.zeros((n, steps, steps))  # basis, and JᵀJ on it
    images: list[np.ndarray] = []
    norms, bounds, last = np.zeros(n), np.zeros(n), np.ones(n)
    for k in range(steps + 1):
        v, left = _beside(v, V[:, :k])
        if k:
            bounds = np.divide(left * last, norms, out=np.zeros(n), where=norms > 0)
        if k == steps or not v.any() or (k >= fewest and np.all(bounds <= OFF_NORM * norms)):
            break
        V[:, k] = v
        images.append(push(J, v.reshape(1, -1)).reshape(n, -1))
        T[:, : k + 1, k] = T[:, k, : k + 1] = np.stack([np.sum(image * images[-1], axis=1) for image in images], 1)
        squares, vectors = np.linalg.eigh(T[:, : k + 1, : k + 1])
        norms, last = np.sqrt(np.maximum(squares[:, -1], 0.0)), np.abs(vectors[:, -1, -1])
        v = pull(J, images[-1].reshape(1, -1)).reshape(n, -1)
    return norms, bounds


def _beside(v: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(what is left of v (n, d) beside the orthonormal rows V (n, k, d), of norm 1 or 0; its norm before)."""
    before = np.linalg.norm(v, axis=1)
    for _ in range(2):
        v = v - np.matmul(np.matmul(V, v[:, :, None]).swapaxes(1, 2), V)[:, 0]
    left = np.linalg.norm(v, axis=1)
    left[left <= NOTHING * before] = 0.0  # the rest is rounding
    return np.divide(v, left[:, None], out=np.zeros_like(v), where=left[:, None] > 0), left


def judged(found: Sequence[Block]) -> tuple[Block, ...]:
    """The blocks, the last of which ends the network, with what can be said of each beside the others."""
    result: list[Block] = []
    product = most = 1.0
    for block in reversed(found):
        product, most = product * block.growth, most * block.norm
        peers = [other.growth for other in found if other.role == block.role and other.growth > 0]
        factor, verdict = float("nan"), ""
        if len(peers) >= PEERS:
            factor = block.growth / float(np.exp(np.median(np.log(peers))))
            verdict = "explodes" if factor > BESIDE else "vanishes" if factor < 1 / BESIDE else ""
        verdict = verdict or ("saturated" if block.saturated > 0.5 else "dead" if block.dead > 0.5 else "")
        result.append(replace(block, product=product, most=most, factor=factor, verdict=verdict))
    return tuple(reversed(result))
