"""What every operation is tried on: operands and options, away from kinks; odd, empty, broadcast, strided, scalar.

An entry is a list of samples, one at least for every differentiable function of the seam; a new operation is tried by
everything in test_operations.py as soon as it has one here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import FUNCTIONS

Factory = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Sample:
    """Operands of a function (arrays, made fresh for each use, numbers, None) and its options."""

    name: str
    index: int
    operands: tuple[Any, ...]
    options: dict[str, Any]

    def make(self, dtype: str = "float64") -> tuple[Any, ...]:
        """The operands, always the same numbers; they are exact in float32."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name} {self.index}".encode()))
        made = [x(rng) if callable(x) else x for x in self.operands]
        return tuple(x.astype("float32", order="K").astype(dtype, order="K") if floating(x) else x for x in made)

    def __str__(self) -> str:
        shapes = ",".join("x".join(map(str, np.shape(x))) or "_" for x in self.make())
        return f"{self.name}-{self.index}-{shapes}"


def floating(x: Any) -> bool:
    """Whether x is an array to differentiate in."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def s(*operands: Any, **options: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return operands, options


# Operands


def normal(*shape: int) -> Factory:
    return lambda rng: rng.normal(size=shape)


def positive(*shape: int) -> Factory:
    return lambda rng: rng.uniform(0.5, 2.0, shape)


def within(low: float, high: float, *shape: int) -> Factory:
    return lambda rng: rng.uniform(low, high, shape)


def signs(*shape: int) -> Factory:
    return lambda rng: rng.choice([-1.0, 1.0], shape)


def truth(*shape: int) -> Factory:
    return lambda rng: rng.random(shape) < 0.5


def integers(high: int, *shape: int) -> Factory:
    return lambda rng: rng.integers(0, high, shape)


def simplex(*shape: int, axis: int = -1) -> Factory:
    return lambda rng: (e := rng.exponential(size=shape) + 0.1) / e.sum(axis, keepdims=True)


def away(*kinks: float) -> Callable[..., Factory]:
    """Normal numbers that keep a distance of 0.1 from the kinks."""

    def of_shape(*shape: int) -> Factory:
        def make(rng: np.random.Generator) -> Any:
            x = rng.normal(size=shape) * 2.0
            for kink in kinks:
                x = np.where(np.abs(x - kink) < 0.1, kink + 0.15, x)
            return np.asarray(x)

        return make

    return of_shape


def strided(factory: Factory) -> Factory:
    """The same numbers with gaps in memory, in column-major order."""

    def make(rng: np.random.Generator) -> Any:
        x = np.asarray(factory(rng))
        wide = np.zeros((*x.shape[::-1], 2))
        wide[..., 0] = x.T
        return wide[..., 0].T

    return make


# Families


def unary(of_shape: Callable[..., Factory] = normal, **options: Any) -> list[Any]:
    shapes = [(), (5,), (1, 3), (0, 2)]
    return [s(of_shape(*shape), **options) for shape in shapes] + [s(strided(of_shape(3, 2)), **options)]


def binary(left: Callable[..., Factory] = normal, right: Callable[..., Factory] = normal) -> list[Any]:
    shapes = [((2, 3), (2, 3)), ((2, 1, 3), (4, 1)), ((), (3,)), ((0, 3), (1, 3)), ((1, 3), (3,))]
    pairs = [s(left(*a), right(*b)) for a, b in shapes]
    return [*pairs, s(left(3), 1.5), s(0.75, right(2, 2)), s(strided(left(3, 2)), right(2))]


def reduction(of_shape: Callable[..., Factory] = normal, empty: bool = True, **options: Any) -> list[Any]:
    axes = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"axis": (1,), "keepdims": True}]
    samples = [s(of_shape(2, 3, 2), **axis, **options) for axis in axes]
    samples += [s(of_shape(4), axis=0, **options), s(strided(of_shape(3, 2)), axis=1, **options)]
    return samples + [s(of_shape(0, 3), axis=1, **options)] * empty


def matrices(*sizes: int, **options: Any) -> list[Any]:
    n, m = sizes
    return [s(normal(n, m), **options), s(normal(2, n, m), **options), s(strided(normal(n, m)), **options)]


def losses(left: Callable[..., Factory], right: Callable[..., Factory], *modes: str, **options: Any) -> list[Any]:
    samples = [s(left(3, 2), right(3, 2), reduction=mode, **options) for mode in ("mean", "sum", "none", *modes)]
    return [*samples, s(left(1, 3), right(1, 3), **options), s(left(0, 3), right(0, 3), reduction="sum", **options)]


def unit_interval(*shape: int) -> Factory:
    return within(0.1, 0.9, *shape)


def log_simplex(*shape: int) -> Factory:
    return lambda rng: np.log(simplex(*shape)(rng))


def above_one(*shape: int) -> Factory:
    return within(1.2, 3.0, *shape)


def inside(*shape: int) -> Factory:
    return within(-0.9, 0.9, *shape)


def apart(*shape: int) -> Factory:
    """Numbers no two of which are near each other, so that their order is sure."""

    def make(rng: np.random.Generator) -> Any:
        n = int(np.prod(shape))
        return (rng.permutation(n) + rng.uniform(-0.2, 0.2, n)).reshape(shape) / 3.0

    return make


def far(*shape: int) -> Factory:
    """Numbers near a half-integer grid shifted from `apart`'s, so that the two are never equal."""
    return lambda rng: np.asarray(rng.integers(-2, 3, shape) + 0.5 + rng.uniform(-0.1, 0.1, shape))


def whole(*shape: int) -> Factory:
    return lambda rng: np.asarray(rng.integers(-2, 3, shape) + rng.uniform(-0.1, 0.1, shape))


TABLE: dict[str, list[Any]] = {
    # arithmetic
    "add": binary(),
    "subtract": binary(),
    "multiply": binary(),
    "divide": binary(right=positive),
    "pow": [*binary(left=positive), *(s(normal(3), n) for n in (2, 3, 1, 0)), s(positive(2, 2), -0.5)],
    "negative": unary(),
    "abs": unary(away(0.0)),
    "square": unary(),
    "sqrt": unary(positive),
    "reciprocal": unary(positive),
    "rsqrt": unary(positive),
    "maximum": binary(whole, far),
    "minimum": binary(whole, far),
    "where": [
        s(truth(2, 3), normal(2, 3), normal(2, 3)),
        s(truth(3), normal(2, 1), normal(3)),
        s(truth(4, 1), normal(), normal(2)),
        s(truth(0, 3), normal(3), normal(0, 1)),
        s(truth(3), normal(3), 2.0),
        s(truth(3), 2.0, normal(3)),
    ],
    "clip": [
        *unary(away(-0.5, 0.8), min=-0.5, max=0.8),
        s(away(0.3)(2, 3), min=0.3),
        s(away(0.3)(2, 3), max=0.3),
        s(normal(3)),
    ],
    # exponentials, logarithms, trigonometry
    "exp": unary(),
    "exp2": unary(),
    "expm1": unary(),
    "log": unary(positive),
    "log2": unary(positive),
    "log10": unary(positive),
    "log1p": unary(positive),
    "logaddexp": [*binary(), s(lambda rng: np.array([800.0, -800.0, 0.0]), lambda rng: np.array([801.0, -790.0, 0.0]))],
    "sin": unary(),
    "cos": unary(),
    "tan": unary(inside),
    "asin": unary(inside),
    "acos": unary(inside),
    "atan": unary(),
    "atan2": binary(normal, positive),
    "sinh": unary(),
    "cosh": unary(),
    "tanh": unary(),
    "asinh": unary(),
    "acosh": unary(above_one),
    "atanh": unary(inside),
    "erf": unary(),
    # activations
    "relu": unary(away(0.0)),
    "relu6": unary(away(0.0, 6.0)),
    "leaky_relu": [*unary(away(0.0)), s(away(0.0)(4), negative_slope=0.2)],
    "elu": [*unary(away(0.0)), s(away(0.0)(4), alpha=0.5)],
    "selu": unary(away(0.0)),
    "celu": [*unary(away(0.0)), s(away(0.0)(4), alpha=0.5)],
    "sigmoid": [*unary(), s(lambda rng: np.array([-40.0, 40.0, 0.0]))],
    "logsigmoid": [*unary(), s(lambda rng: np.array([-60.0, 12.0, 0.0]))],
    "softplus": [*unary(), s(normal(4), beta=2.0), s(lambda rng: np.array([-60.0, 12.0, 0.0]))],
    "softsign": unary(away(0.0)),
    "tanhshrink": unary(),
    "silu": unary(),
    "mish": unary(),
    "hardtanh": [*unary(away(-1.0, 1.0)), s(away(-2.0, 0.5)(4), min_val=-2.0, max_val=0.5)],
    "hardsigmoid": unary(away(-3.0, 3.0)),
    "hardswish": unary(away(-3.0, 3.0)),
    "gelu": [*unary(), *unary(approximate="tanh")],
    "gelu_slope": [*unary(), s(normal(4), approximate="tanh")],
    # layout
    "reshape": [
        s(normal(2, 6), shape=(3, 4)), s(normal(2, 6), shape=(-1,)), s(normal(1, 1), shape=()),
        s(normal(), shape=(1, 1)),
        s(normal(0, 3), shape=(3, 0)), s(strided(normal(3, 2)), shape=(2, 3)),
    ],
    "flatten": [
        s(normal(2, 3, 2)), s(normal(2, 3, 2), start_dim=1), s(normal(2, 3, 2), end_dim=-2), s(normal()),
        s(normal(0, 3)),
    ],
    "permute": [
        s(normal(2, 3, 4), axes=(2, 0, 1)), s(normal(2, 3), axes=(-1, -2)), s(normal(), axes=()),
        s(normal(0, 3), axes=(1, 0)),
        s(strided(normal(2, 3)), axes=(1, 0)),
    ],
    "swapaxes": [s(normal(2, 3, 4), axis1=0, axis2=-1), s(normal(2, 3), axis1=-1, axis2=-2)],
    "moveaxis": [s(normal(2, 3, 4), source=0, destination=-1), s(normal(2, 3, 4), source=-1, destination=1)],
    "broadcast_to": [
        s(normal(3), shape=(2, 3)), s(normal(2, 1, 3), shape=(4, 2, 5, 3)), s(normal(), shape=(2, 2)),
        s(normal(1, 3), shape=(0, 3)),
        s(strided(normal(3, 1)), shape=(3, 2)), s(normal(2, 3), shape=(2, 3)), s(normal(1), shape=(1, 1)),
    ],
    "expand_dims": [s(normal(2, 3), axis=1), s(normal(2, 3), axis=-1), s(normal(), axis=0), s(normal(0, 2), axis=-2)],
    "squeeze": [s(normal(1, 3, 1)), s(normal(1, 3, 1), axis=0), s(normal(1, 3, 1), axis=(0, -1)), s(normal(2, 3))],
    "concatenate": [
        s(normal(2, 3), normal(1, 3)), s(normal(2, 3), normal(2, 1), normal(2, 0), axis=1),
        s(normal(3), normal(2), axis=-1),
        s(normal(2, 2)), s(strided(normal(2, 3)), normal(2, 3), axis=-2),
    ],
    "stack": [
        s(normal(2, 3), normal(2, 3)), s(normal(2, 3), normal(2, 3), axis=-1), s(normal(), normal()),
        s(normal(0), normal(0), axis=1),
    ],
    "split": [
        s(normal(4, 3), sections=2), s(normal(2, 5), sections=[1, 3], axis=1), s(normal(2, 3), sections=3, axis=-1),
    ],
    "pad": [
        s(normal(2, 3), width=[(1, 0), (0, 2)]), s(normal(3), width=[(2, 1)], value=5.0),
        s(normal(0, 2), width=[(1, 1), (0, 0)]),
        s(strided(normal(2, 2)), width=[(0, 0), (1, 1)]),
    ],
    "getitem": [
        s(normal(3, 4), key=1), s(normal(3, 4), key=(slice(None), slice(0, None, 2))),
        s(normal(3, 4), key=(Ellipsis, None, -1)),
        s(normal(5), key=slice(None, None, -2)), s(normal(3, 4), key=(0, 2)), s(normal(3, 4), key=slice(0, 0)),
        s(normal(), key=()),
        s(normal(4, 3), key=np.array([0, 2, 2, -1])), s(normal(4, 3), key=([0, 1, 1], [2, 0, 0])),
        s(normal(3), key=np.array([True, False, True])),
        s(normal(2, 3, 4), key=(slice(None), np.array([[0, 2], [1, 1]]), slice(1, 3))),
        s(normal(2, 3, 4), key=(0, slice(None), np.array([3, 3]))),
        s(normal(3, 4), key=np.zeros((2, 0), int)), s(strided(normal(4, 3)), key=(slice(1, 3), [2, 0])),
        s(normal(2, 3), key=np.eye(2, 3) > 0),
    ],
    "put": [
        s(normal(2, 2), key=(slice(0, 4, 2), slice(1, 3)), shape=(4, 3)), s(normal(3), key=1, shape=(2, 3)),
        s(normal(3), key=slice(None, None, -1), shape=(3,)), s(normal(), key=(0, -1), shape=(2, 2)),
        s(normal(0), key=slice(0, 0), shape=(2,)),
    ],
    "take": [
        s(normal(4, 3), indices=np.array([0, 2, 2, -1])), s(normal(4, 3), indices=np.array([[0, 1], [1, 1]]), axis=1),
        s(normal(2, 3, 2), indices=np.array(1), axis=-2), s(normal(3), indices=np.zeros(0, int)),
        s(strided(normal(3, 4)), indices=np.array([3, 3]), axis=-1),
    ],
    "segment_sum": [
        s(normal(5, 2), indices=np.array([0, 2, 2, 0, 3]), size=4), s(normal(1, 3), indices=np.array([0]), size=1),
        s(normal(0, 3), indices=np.zeros(0, int), size=2),
        s(strided(normal(4, 2)), indices=np.array([1, 1, 1, 1]), size=3),
    ],
    "take_along": [
        s(normal(3, 4), indices=np.array([[1], [0], [3]])), s(normal(3, 4), indices=np.array([[0, 2, 2, 1]]), axis=0),
        s(normal(3, 4), indices=np.array([[0, 0, 3], [1, 1, 1], [2, 0, -1]])),
        s(normal(4), indices=np.array([2, 2, 0])),
        s(normal(2, 3, 2), indices=np.array([[[0], [1], [1]], [[1], [0], [0]]])),
        s(normal(0, 2), indices=np.zeros((0, 1), int)),
    ],
    "put_along": [
        s(normal(3, 1), indices=np.array([[1], [0], [3]]), axis=-1, size=4),
        s(normal(1, 4), indices=np.array([[0, 2, 2, 1]]), axis=0, size=3),
        s(normal(2, 3), indices=np.array([[0, 0, 3], [1, 1, 1]]), axis=1, size=4),
        s(normal(0, 1), indices=np.zeros((0, 1), int), axis=-1, size=2),
    ],
    "flip": [
        s(normal(2, 3)), s(normal(2, 3), axis=0), s(normal(2, 3, 2), axis=(0, -1)), s(normal(0, 3), axis=1),
        s(strided(normal(3, 2)), axis=-1),
    ],
    "roll": [
        s(normal(5), shift=2, axis=0), s(normal(2, 3), shift=-1, axis=-1), s(normal(2, 3), shift=7, axis=0),
        s(normal(0, 2), shift=1, axis=1),
    ],
    "tile": [
        s(normal(3), reps=(2,)), s(normal(2, 3), reps=(2, 1)), s(normal(3), reps=(2, 2)), s(normal(2, 2), reps=(3,)),
        s(normal(0, 2), reps=(2, 2)),
    ],
    "repeat": [
        s(normal(3), repeats=2, axis=0), s(normal(2, 3), repeats=3, axis=-1), s(normal(2, 3), repeats=1, axis=0),
    ],
    "tril": [*matrices(3, 4), s(normal(3, 3), k=1), s(normal(3, 3), k=-1), s(normal(0, 3))],
    "triu": [*matrices(3, 4), s(normal(3, 3), k=1), s(normal(3, 3), k=-1), s(normal(0, 3))],
    "diagonal": [*matrices(3, 3), s(normal(1, 1)), s(normal(0, 2, 2))],
    "diagonal_matrix": [s(normal(3)), s(normal(2, 3)), s(normal(0)), s(strided(normal(2, 2)))],
    "astype": unary(dtype="float64"),
    "copy": unary(),
    # reductions
    "sum": [*reduction(), s(normal()), s(normal(2, 3), axis=())],
    "mean": [*reduction(), s(normal()), s(normal(2, 3), axis=())],
    "var": [*reduction(empty=False), *reduction(empty=False, correction=1)],
    "std": [s(normal(3, 4, 3), **axis) for axis in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)})]
    + [s(normal(4), correction=1), s(strided(normal(3, 3)), axis=1)],
    "max": [*reduction(apart), s(normal())],
    "min": [*reduction(apart), s(normal())],
    "prod": [
        *reduction(), s(normal()), s(lambda rng: np.array([[1.5, 0.0, 2.0], [0.0, 3.0, 0.0]]), axis=1),
        s(normal(1, 1)),
    ],
    "norm": reduction(),
    "logsumexp": [*reduction(), s(lambda rng: np.array([1000.0, 1001.0, -1000.0])), s(normal())],
    "cumulative_sum": [s(normal(4)), s(normal(2, 3), axis=0), s(normal(2, 0)), s(strided(normal(3, 2)), axis=-2)],
    "reversed_cumulative_sum": [
        s(normal(4)), s(normal(2, 3), axis=0), s(normal(2, 0)), s(strided(normal(3, 2)), axis=-2),
    ],
    "compensated_sum": [
        s(normal(5)), s(normal(2, 4), axis=0), s(normal(3, 1)), s(normal(2, 3, 2), axis=-2),
        s(strided(normal(3, 2)), axis=1),
    ],
    # products
    "matmul": [
        s(normal(2, 3), normal(3, 4)), s(normal(3), normal(3)), s(normal(2, 3), normal(3)), s(normal(3), normal(3, 2)),
        s(normal(2, 2, 3), normal(2, 3, 2)), s(normal(2, 2, 3), normal(3, 2)), s(normal(2, 3), normal(2, 3, 2)),
        s(normal(2, 1, 2, 3), normal(4, 3, 1)), s(normal(2, 2, 3), normal(3)), s(normal(3), normal(2, 3, 2)),
        s(normal(1, 2, 3), normal(2, 3, 2)),
        s(normal(0, 3), normal(3, 2)), s(normal(2, 0), normal(0, 3)), s(normal(1, 1), normal(1, 1)),
        s(strided(normal(2, 3)), strided(normal(3, 2))),
    ],
    "linear": [
        s(normal(3, 4), normal(2, 4), normal(2)), s(normal(4), normal(2, 4), normal(2)),
        s(normal(2, 3, 4), normal(2, 4), normal(2)),
        s(normal(3, 4), normal(2, 4), None), s(normal(4), normal(2, 4)), s(normal(0, 4), normal(2, 4), normal(2)),
        s(normal(1, 4), normal(1, 4), normal(1)),
        s(strided(normal(3, 4)), strided(normal(2, 4)), normal(2)), s(normal(3, 0), normal(2, 0), normal(2)),
    ],
    "affine": [
        s(normal(3, 4), normal(4, 2), normal(2)), s(normal(4), normal(4, 2), normal(2)),
        s(normal(2, 3, 4), normal(4, 2), normal(2)),
        s(normal(3, 4), normal(4, 2), None), s(normal(0, 4), normal(4, 2), normal(2)),
        s(strided(normal(3, 4)), strided(normal(4, 2)), normal(2)),
    ],
    "einsum_apply": [
        s(normal(2, 3), normal(3, 4), spec="ij,jk->ik"), s(normal(2, 3), normal(3, 4), spec="ij,jk"),
        s(normal(2, 3), spec="ij->ji"),
        s(normal(2, 3), spec="ij->"), s(normal(2, 2, 3), normal(2, 3, 2), spec="bij,bjk->bik"),
        s(normal(3), normal(2), spec="i,j->ij"),
        s(normal(2, 3), normal(3, 2), normal(2), spec="ij,jk,k->i"),
        s(normal(2, 2, 3), normal(3, 2), spec="...ij,jk->...ik"),
        s(normal(2, 3), normal(2, 3), spec="ij,ij->i"),
        s(normal(4, 1, 2, 3), normal(2, 3, 2), spec="...ij, ...jk -> ...ik"),
        s(normal(3, 3), spec="ii->i"), s(normal(0, 3), normal(3, 2), spec="ij,jk->ik"),
        s(strided(normal(2, 3)), normal(2), spec="ij,i->j"),
    ],
    "dot": [
        s(normal(3), normal(3)), s(normal(2, 3), normal(2, 3)), s(normal(2, 3), normal(3)),
        s(normal(2, 0), normal(2, 0)),
    ],
    "outer": [
        s(normal(2), normal(3)), s(normal(2, 2), normal(2, 3)), s(normal(0), normal(2)),
        s(strided(normal(2, 2)), normal(2, 1)),
    ],
    "weight_product": [
        s(normal(3, 2), normal(3, 4)), s(normal(2, 3, 2), normal(2, 3, 1)), s(normal(0, 2), normal(0, 3)),
    ],
    # layers
    "softmax": [*unary()[1:], s(normal(2, 3, 2), axis=1), s(lambda rng: np.array([[1000.0, 999.0, 0.0]]))],
    "log_softmax": [*unary()[1:], s(normal(2, 3, 2), axis=1), s(lambda rng: np.array([[1000.0, 999.0, 0.0]]))],
    "normalize_moments": [
        s(normal(2, 4), ndim=1, eps=1e-5, centre=True), s(normal(2, 2, 3), ndim=2, eps=1e-3, centre=False),
    ],
    "layer_norm": [
        s(normal(3, 4), normal(4), normal(4)), s(normal(3, 4)), s(normal(3, 4), normal(4)),
        s(normal(3, 4), None, normal(4)), s(normal(4), normal(4), normal(4)),
        s(normal(2, 2, 3), normal(2, 3), normal(2, 3), ndim=2, eps=1e-2), s(normal(0, 4), normal(4), normal(4)),
        s(strided(normal(3, 4)), normal(4), normal(4)),
    ],
    "rms_norm": [
        s(normal(3, 4), normal(4)), s(normal(3, 4)), s(normal(4), normal(4)),
        s(normal(2, 2, 3), normal(2, 3), ndim=2, eps=1e-2), s(normal(0, 4), normal(4)),
        s(strided(normal(3, 4)), normal(4)),
    ],
    "normalize": [s(normal(2, 3)), s(normal(2, 3), axis=0), s(normal(4)), s(normal(0, 3)), s(normal(1, 3), eps=10.0)],
    "cosine_similarity": [
        s(normal(2, 3), normal(2, 3)), s(normal(2, 3), normal(2, 3), axis=0), s(normal(3), normal(3)),
        s(normal(0, 3), normal(0, 3)),
    ],
    "embedding": [
        s(integers(4, 3), normal(4, 2)), s(integers(4, 2, 3), normal(4, 2)), s(integers(4), normal(4, 2)),
        s(integers(4, 0), normal(4, 2)),
        s(integers(3, 5), strided(normal(3, 2))),
    ],
    # losses
    "softmax_residual": [s(normal(3, 4), integers(4, 3), axis=1), s(normal(2, 3, 2), integers(3, 2, 2), axis=1)],
    "cross_entropy": [
        *(s(normal(3, 4), integers(4, 3), reduction=mode) for mode in ("mean", "sum", "none")),
        s(normal(4), integers(4)),
        s(normal(2, 3, 2), integers(3, 2, 2)), s(normal(2, 3, 2), integers(3, 2, 2), reduction="none"),
        s(normal(3, 4), simplex(3, 4)), s(normal(3, 4), simplex(3, 4), reduction="none"),
        s(normal(2, 3, 2), simplex(2, 3, 2, axis=1), reduction="sum"),
        s(normal(4), simplex(4)), s(strided(normal(3, 4)), integers(4, 3)),
        s(normal(0, 4), integers(4, 0), reduction="sum"), s(normal(1, 4), integers(4, 1)),
    ],
    "nll_loss": [
        *(s(log_simplex(3, 4), integers(4, 3), reduction=mode) for mode in ("mean", "sum", "none")),
        s(log_simplex(4), integers(4)),
        s(normal(2, 3, 2), integers(3, 2, 2)), s(normal(0, 4), integers(4, 0), reduction="sum"),
    ],
    "mse_loss": losses(normal, normal),
    "l1_loss": losses(whole, far),
    "huber_loss": [*losses(normal, normal), s(normal(3), normal(3), delta=0.3)],
    "smooth_l1_loss": [*losses(normal, normal), s(normal(3), normal(3), beta=0.3), s(whole(3), far(3), beta=0.0)],
    "binary_cross_entropy": losses(unit_interval, unit_interval),
    "binary_cross_entropy_with_logits": losses(normal, unit_interval),
    "kl_div": losses(log_simplex, simplex, "batchmean"),
    "hinge_loss": losses(away(-1.0, 1.0), signs),
}  # fmt: skip

SAMPLES = {name: [Sample(name, i, *entry) for i, entry in enumerate(entries)] for name, entries in TABLE.items()}
SEQUENCES = {"concatenate", "stack", "einsum_apply"}


def bound(sample: Sample) -> Callable[..., Any]:
    """The sample's function of its operands alone, its options set."""
    function = FUNCTIONS[sample.name]
    if sample.name in SEQUENCES:
        return lambda *operands: function(list(operands), **sample.options)
    return lambda *operands: function(*operands, **sample.options)
