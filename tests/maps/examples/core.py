"""Examples of the vocabulary: elementary maps, matrices, layout, reductions, algebra, programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

import adjoint as aj
from adjoint import arrays as xp
from adjoint.maps import LinearMap
from adjoint.ops.checkpoint import Recomputed
from adjoint.program import Door, Program
from tests.maps.examples.example import Example, Shape, columns


def probabilities(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Shares of 1 in 64ths, which float32 holds and adds exactly."""
    n = shape[-1]
    return (1 + rng.multinomial(64 - n, rng.dirichlet(np.ones(n)), shape[:-1])) / 64.0


CHOSEN = np.array([1, -100, 3])


def surprisal(axes: int | None) -> Callable[..., LinearMap]:
    def build(x: Any, f: Any) -> LinearMap:
        target = aj.asarray(x, CHOSEN)
        _, top, total, _ = xp.surprisal(x, target, 1)
        return aj.Surprisal(x, target, top, total, 1, -100, f, axes)

    return build


def surprisal_weights(axes: int | None) -> Callable[..., np.ndarray]:
    def matrix(x: np.ndarray, f: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(1, keepdims=True))
        w = (f * (CHOSEN >= 0))[:, None] * (e / e.sum(1, keepdims=True) - (np.arange(4) == CHOSEN[:, None]))
        return columns(lambda v: (w * v).sum(axes), (3, 4))

    return matrix


def columnwise(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return probabilities(rng, shape[::-1]).T


def orthonormal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Rows of halves and zeros, exactly orthonormal in every dtype."""
    rows = np.zeros(shape)
    rows[:, :4] = scipy.linalg.hadamard(4)[1 : shape[0] + 1] / 2.0
    return rows


def positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.uniform(0.5, 2.0, shape)


def dominant(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.standard_normal(shape) + 3.0 * shape[-1] * np.eye(shape[-1])


def numpy_softmax(w: np.ndarray) -> np.ndarray:
    return np.diag(w) - np.outer(w, w)


def blocks(parts: Iterator[np.ndarray]) -> np.ndarray:
    return scipy.linalg.block_diag(*parts)


def jacobian(f: Callable[[Any], Any]) -> Callable[[Any], LinearMap]:
    return lambda x: aj.jacobian(f, x)


def shared(x: Any) -> Any:
    y = aj.sin(x)
    return aj.exp(y * x) + y * aj.cos(aj.exp(y * x) * y)


def shared_slope(x: np.ndarray) -> np.ndarray:
    y, dy = np.sin(x), np.cos(x)
    e = np.exp(y * x)
    de = e * (dy * x + y)
    return np.diag(de + dy * np.cos(e * y) - y * np.sin(e * y) * (de * y + e * dy))


TAKEN = np.array([[2, 0, 0], [1, -1, 2]])
ALONG = np.array([[2, 0], [1, 1], [-1, 0], [0, 0]])
PATTERN = scipy.sparse.csr_array(np.array([[0.0, 2.0, 0.0, -1.0], [0.5, 0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]]))


def dense(w: Any) -> LinearMap:
    return aj.Dense(w)


EXAMPLES: list[Example] = [
    # elementary
    Example(aj.Identity, lambda: aj.Identity((3, 2)), (), lambda: np.eye(6)),
    Example(aj.Identity, lambda: aj.Identity(((3,), (2, 2))), (), lambda: np.eye(7)),
    Example(aj.Zero, lambda: aj.Zero((3,), (2, 2)), (), lambda: np.zeros((4, 3))),
    Example(aj.Zero, lambda: aj.Zero(((3,), ()), ((2,), (1, 2))), (), lambda: np.zeros((4, 4))),
    Example(aj.Scale, lambda: aj.Scale(-2.5, (5,)), (), lambda: -2.5 * np.eye(5)),
    Example(aj.Scale, lambda c: aj.Scale(c, (2, 3)), ((),), lambda c: c * np.eye(6)),
    Example(aj.Scale, lambda: aj.Scale(0.5, ((2,), (3,))), (), lambda: 0.5 * np.eye(5)),
    Example(aj.Negate, lambda: aj.Negate((2, 3)), (), lambda: -np.eye(6)),
    Example(aj.Diagonal, aj.Diagonal, ((3, 5),), lambda d: np.diag(d.ravel())),
    Example(aj.Diagonal, lambda d: aj.Diagonal(lambda: d), ((4,),), np.diag),
    Example(aj.Diagonal, aj.Diagonal, ((),), lambda d: d.reshape(1, 1)),
    Example(aj.Gate, aj.Gate, ((3, 5),), lambda z: np.diag((z.ravel() > 0).astype(z.dtype))),
    Example(aj.Gate, aj.Gate, ((),), lambda z: (z > 0).astype(z.dtype).reshape(1, 1)),
    Example(aj.Cast, lambda: aj.Cast("float64", "float32", (3, 1)), (), lambda: np.eye(3)),
    # layout
    Example(aj.Reshape, lambda: aj.Reshape((3, 4), (2, 6)), (), lambda: np.eye(12)),
    Example(aj.Flatten, lambda: aj.Flatten(((2, 3), (), (4,))), (), lambda: np.eye(11)),
    Example(
        aj.Permute,
        lambda: aj.Permute((2, 0, 1), (2, 3, 4)),
        (),
        lambda: columns(lambda x: np.transpose(x, (2, 0, 1)), (2, 3, 4)),
    ),
    Example(
        aj.Broadcast,
        lambda: aj.Broadcast((1, 3), (5, 2, 3)),
        (),
        lambda: columns(lambda x: np.broadcast_to(x, (5, 2, 3)), (1, 3)),
    ),
    Example(aj.Broadcast, lambda: aj.Broadcast((), (4,)), (), lambda: np.ones((4, 1))),
    Example(
        aj.Slice,
        lambda: aj.Slice((slice(3, 0, -2), Ellipsis, None, 1), (5, 2, 3)),
        (),
        lambda: columns(lambda x: x[3:0:-2, ..., None, 1], (5, 2, 3)),
    ),
    Example(aj.Slice, lambda: aj.Slice(2, (5,)), (), lambda: np.eye(5)[2:3]),
    Example(aj.Take, lambda: aj.Take(TAKEN, 1, (2, 3, 2)), (), lambda: columns(lambda x: x[:, TAKEN], (2, 3, 2))),
    Example(aj.Take, lambda: aj.Take(TAKEN[0], -1, (3,)), (), lambda: np.eye(3)[TAKEN[0]]),
    Example(
        aj.TakeAlong,
        lambda: aj.TakeAlong(ALONG, -1, (4, 3)),
        (),
        lambda: columns(lambda x: np.take_along_axis(x, ALONG, -1), (4, 3)),
    ),
    Example(
        aj.TakeAlong,
        lambda: aj.TakeAlong(ALONG[:1], 0, (4, 2)),
        (),
        lambda: columns(lambda x: np.take_along_axis(x, ALONG[:1], 0), (4, 2)),
    ),
    Example(
        aj.Concatenate,
        lambda: aj.Concatenate(((2, 3), (2, 1), (2, 2)), 1),
        (),
        lambda: columns(lambda x, y, z: np.concatenate([x, y, z], 1), (2, 3), (2, 1), (2, 2)),
    ),
    Example(aj.Flip, lambda: aj.Flip((0, 2), (2, 3, 2)), (), lambda: columns(lambda x: np.flip(x, (0, 2)), (2, 3, 2))),
    Example(aj.Roll, lambda: aj.Roll(2, 1, (2, 5)), (), lambda: columns(lambda x: np.roll(x, 2, 1), (2, 5))),
    Example(
        aj.DiagonalPart,
        lambda: aj.DiagonalPart((2, 3, 3)),
        (),
        lambda: columns(lambda x: np.einsum("aii->ai", x), (2, 3, 3)),
    ),
    # matrices
    Example(aj.Dense, aj.Dense, ((3, 5),), lambda w: w),
    Example(aj.Dense, lambda w: aj.Dense(w.mT), ((1, 4),), lambda w: w.T),
    Example(aj.Outer, aj.Outer, ((3,), (5,)), np.outer),
    Example(aj.LowRank, aj.LowRank, ((5, 2), (2, 4)), np.matmul),
    Example(aj.LeftProduct, lambda a: aj.LeftProduct(a, (3, 4)), ((2, 3),), lambda a: np.kron(a, np.eye(4))),
    Example(
        aj.LeftProduct,
        lambda a: aj.LeftProduct(a, (3, 2)),
        ((2, 5, 3),),
        lambda a: columns(lambda v: a @ v, (3, 2)),
    ),
    Example(
        aj.LeftProduct,
        lambda a: aj.LeftProduct(a, (4, 1, 3, 2)),
        ((2, 5, 3),),
        lambda a: columns(lambda v: a @ v, (4, 1, 3, 2)),
    ),
    Example(aj.RightProduct, lambda b: aj.RightProduct(b, (2, 3)), ((3, 4),), lambda b: np.kron(np.eye(2), b.T)),
    Example(
        aj.RightProduct,
        lambda b: aj.RightProduct(b, (2, 3)),
        ((5, 3, 4),),
        lambda b: columns(lambda v: v @ b, (2, 3)),
    ),
    Example(
        aj.RightProduct,
        lambda b: aj.RightProduct(b, (2, 2, 3)),
        ((2, 3, 1),),
        lambda b: columns(lambda v: v @ b, (2, 2, 3)),
    ),
    Example(aj.Weighting, lambda x: aj.Weighting(x, (2, 3)), ((5, 3),), lambda x: columns(lambda w: x @ w.T, (2, 3))),
    Example(
        aj.Weighting,
        lambda x: aj.Weighting(x, (2, 3)),
        ((4, 2, 3),),
        lambda x: columns(lambda w: x @ w.T, (2, 3)),
    ),
    Example(
        aj.Einsum,
        lambda a, b: aj.Einsum("ij,jkl,lm->mki", [a, None, b], (3, 2, 5)),
        ((2, 3), (5, 4)),
        lambda a, b: columns(lambda v: np.einsum("ij,jkl,lm->mki", a, v, b), (3, 2, 5)),
    ),
    Example(
        aj.Einsum,
        lambda a: aj.Einsum("ijk,j->i", [None, a], (2, 3, 4)),
        ((3,),),
        lambda a: columns(lambda v: np.einsum("ijk,j->i", v, a), (2, 3, 4)),
    ),
    Example(
        aj.Einsum,
        lambda a: aj.Einsum("iji,j->ij", [None, a], (2, 3, 2)),
        ((3,),),
        lambda a: columns(lambda v: np.einsum("iji,j->ij", v, a), (2, 3, 2)),
    ),
    Example(aj.Einsum, lambda: aj.Einsum("ii->", [None], (3, 3)), (), lambda: columns(np.trace, (3, 3))),
    # reductions
    Example(aj.Reduce, lambda w: aj.Reduce(w, -1, (3, 4)), ((3, 4),), lambda w: blocks(w)),
    Example(
        aj.Reduce,
        lambda w: aj.Reduce(lambda: w, (0, 2), (2, 3, 2), True),
        ((2, 3, 2),),
        lambda w: columns(lambda v: (w * v).sum((0, 2)), (2, 3, 2)),
    ),
    Example(aj.Reduce, lambda: aj.Reduce(None, None, (2, 3)), (), lambda: np.ones((1, 6))),
    Example(aj.Reduce, lambda: aj.Reduce(0.25, 0, (4, 3)), (), lambda: np.tile(np.eye(3), 4) / 4),
    Example(aj.Reduce, lambda w: aj.Reduce(w, 0, (4, 3)), ((),), lambda w: w * np.tile(np.eye(3), 4)),
    *(Example(aj.Surprisal, surprisal(axes), ((3, 4), (3,)), surprisal_weights(axes)) for axes in (None, 1)),
    Example(
        aj.CumulativeSum,
        lambda: aj.CumulativeSum(0, (4, 2)),
        (),
        lambda: np.kron(np.tri(4), np.eye(2)),
    ),
    Example(aj.Softmax, aj.Softmax, ((5,),), numpy_softmax, (probabilities,)),
    Example(
        aj.Softmax,
        lambda p: aj.Softmax(p, 0),
        ((4, 3),),
        lambda p: columns(lambda v: p * (v - (p * v).sum(0)), (4, 3)),
        (columnwise,),
    ),
    Example(
        aj.LogSoftmax,
        lambda p: aj.LogSoftmax(lambda: p, 1, (2, 4)),
        ((2, 4),),
        lambda p: blocks(np.eye(4) - row for row in p),
        (probabilities,),
    ),
    # maps made of maps
    Example(aj.Adjoint, lambda w: aj.Adjoint(aj.Dense(w)), ((3, 5),), np.transpose),
    Example(aj.Adjoint, lambda: aj.Broadcast((3,), (2, 3)).T, (), lambda: np.tile(np.eye(3), 2)),
    Example(
        aj.Composition,
        lambda a, d, b: aj.Composition([aj.Dense(a), aj.Diagonal(d), aj.Dense(b)]),
        ((3, 4), (4,), (4, 2)),
        lambda a, d, b: a @ np.diag(d) @ b,
    ),
    Example(
        aj.Composition,
        lambda a: aj.Composition([aj.Dense(a), aj.Reshape((2, 3), (6,))]),
        ((5, 6),),
        lambda a: a,
    ),
    Example(
        aj.Composition,
        lambda a: aj.Composition([aj.Reshape((2,), (1, 2)), aj.Dense(a)]),
        ((2, 6),),
        lambda a: a,
    ),
    Example(
        aj.Sum,
        lambda a, d: aj.Sum([aj.Dense(a), aj.Identity((4,)), aj.Diagonal(d)]),
        ((4, 4), (4,)),
        lambda a, d: a + np.eye(4) + np.diag(d),
    ),
    Example(
        aj.Kronecker,
        lambda a, b: aj.Kronecker(aj.Dense(a), aj.Dense(b)),
        ((2, 3), (4, 5)),
        np.kron,
    ),
    Example(
        aj.Kronecker,
        lambda b: aj.Kronecker(aj.Identity((2, 2)), aj.Dense(b)),
        ((3, 2),),
        lambda b: np.kron(np.eye(4), b),
    ),
    Example(
        aj.Kronecker,
        lambda a: aj.Kronecker(aj.LeftProduct(a, (3, 2)), aj.Permute((1, 0), (2, 3))),
        ((2, 3),),
        lambda a: np.kron(np.kron(a, np.eye(2)), columns(np.transpose, (2, 3))),
    ),
    Example(
        aj.Block,
        lambda a, b: aj.Block([[aj.Dense(a), None], [aj.Dense(b), aj.Scale(2.0, (3,))]]),
        ((2, 4), (3, 4)),
        lambda a, b: np.block([[a, np.zeros((2, 3))], [b, 2.0 * np.eye(3)]]),
    ),
    Example(
        aj.Block,
        lambda a, b: aj.Block([[aj.Dense(a), aj.Dense(b)]]),
        ((2, 4), (2, 3)),
        lambda a, b: np.hstack([a, b]),
    ),
    Example(
        aj.Block,
        lambda a: aj.Block([[aj.Dense(a)], [aj.Zero((4,), (2, 2))]]),
        ((3, 4),),
        lambda a: np.vstack([a, np.zeros((4, 4))]),
    ),
    Example(
        aj.Subspace,
        lambda q: aj.Subspace(q, (2, 3), 0.0, "given", 0.0),
        ((3, 6),),
        np.transpose,
        (orthonormal,),
    ),
    Example(
        aj.Projection,
        lambda q: aj.Subspace(q, (5,), 0.0, "given", 0.0).projection(),
        ((2, 5),),
        lambda q: q.T @ q,
        (orthonormal,),
    ),
    Example(
        aj.Inverse,
        lambda w: aj.Inverse(aj.Dense(w)),
        ((4, 4),),
        np.linalg.inv,
        (dominant,),
        held=True,
    ),
    Example(aj.Operator, lambda: aj.Operator(PATTERN), (), PATTERN.toarray, held=True),
    Example(
        aj.Operator,
        lambda w: aj.Operator(aj.LowRank(w, w.mT).to_scipy()),
        ((5, 2),),
        lambda w: w @ w.T,
        held=True,
    ),
    Example(Program, jacobian(shared), ((5,),), shared_slope),
    Example(
        Program,
        lambda x: aj.jacobian(lambda v: (shared(v), aj.sum(shared(v))), x).map,
        ((3,),),
        lambda x: np.vstack([shared_slope(x), shared_slope(x).sum(0, keepdims=True)]),
    ),
    Example(
        Door,
        lambda w, x: aj.jacobian(lambda p: {"y": p["w"] @ p["x"], "x": p["x"]}, {"w": w, "x": x}),
        ((2, 3), (3,)),
        lambda w, x: columns(lambda dw, dx: (dx, dw @ x + w @ dx), (2, 3), (3,)),
    ),
    Example(
        Recomputed,
        lambda x: aj.jacobian(aj.checkpoint(shared), x),
        ((4,),),
        shared_slope,
    ),
]
