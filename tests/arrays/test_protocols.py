"""NumPy's and PyTorch's own functions on traced values: each entry of the tables against JAX and PyTorch's autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

import adjoint as aj
from adjoint.arrays.numpy_names import NUMPY, UFUNC_ACCUMULATIONS, UFUNC_REDUCTIONS, UFUNCS
from adjoint.arrays.torch_names import TORCH
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError, TraceError

RNG = np.random.default_rng(5)
X, Y = RNG.uniform(0.2, 0.9, (3, 4)), RNG.uniform(1.1, 2.0, (3, 4))
S, V, B = RNG.uniform(0.2, 0.9, (3, 3)), RNG.uniform(0.2, 0.9, 4), RNG.uniform(0.2, 0.9, (2, 4, 3))
ROWS = np.array([2, 0])
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}  # float64, at most 24 terms, condition below 1e3


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.cos(np.arange(math.prod(shape), dtype=np.float64)).reshape(shape)


def parts(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (list, tuple)) else [y]


def seen_and_gradient(f: Callable[[Any], Any], x: Any, there: Callable[[np.ndarray], Any]) -> tuple[list[Any], Any]:
    """What f gives on a traced value, and the gradient of its weighted sum; None where f has no derivative."""
    seen: list[Any] = []

    def loss(v: Any) -> Any:
        seen.extend(parts(f(v)))
        traced = [y for y in seen if isinstance(y, Traced)]
        return sum((aj.sum(y * there(weights(y.shape))) for y in traced), 0.0 * aj.sum(v))

    gradient = aj.grad(loss)(x)
    return [y.value if isinstance(y, Traced) else y for y in seen], gradient


def assert_like(seen: list[Any], expected: Any) -> None:
    assert len(seen) == len(parts(expected))
    for y, wanted in zip(seen, parts(expected), strict=True):
        np.testing.assert_allclose(np.asarray(y, np.float64), np.asarray(wanted, np.float64), **TOLERANCE)


# NumPy's

UNARY = (
    "negative square sqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsin arccos arctan "
    "arcsinh arctanh absolute fabs positive conjugate deg2rad rad2deg radians degrees sign floor ceil rint trunc isfinite "
    "isnan isinf logical_not"
).split()
BINARY = (
    "add subtract multiply divide power float_power maximum minimum logaddexp arctan2 hypot floor_divide remainder equal "
    "not_equal less less_equal greater greater_equal logical_and logical_or"
).split()

UFUNC_CASES: dict[str, Callable[[Any, Any], Any]] = {
    **{name: lambda n, v, name=name: getattr(n, name)(v) for name in UNARY},
    **{name: lambda n, v, name=name: [getattr(n, name)(v, Y), getattr(n, name)(Y, v)] for name in BINARY},
    "arccosh": lambda n, v: n.arccosh(v + 1.0),
    "matmul": lambda n, v: [n.matmul(v, B), n.matmul(B, v), n.matmul(v, V)],
    "vecdot": lambda n, v: n.vecdot(v, Y),
    "erf": lambda n, v: (jax.scipy.special if n is jnp else scipy.special).erf(v),
    "expit": lambda n, v: (jax.scipy.special if n is jnp else scipy.special).expit(v),
    "log_expit": lambda n, v: jax.nn.log_sigmoid(v) if n is jnp else scipy.special.log_expit(v),
}

METHOD_CASES: dict[str, Callable[[Any, Any], Any]] = {
    "add.reduce": lambda n, v: [n.add.reduce(v), n.add.reduce(v, axis=None), n.add.reduce(v, 1, keepdims=True)],
    "multiply.reduce": lambda n, v: n.multiply.reduce(v, axis=1),
    "maximum.reduce": lambda n, v: n.max(v, 0) if n is jnp else n.maximum.reduce(v),
    "minimum.reduce": lambda n, v: n.min(v, 0) if n is jnp else n.minimum.reduce(v),
    "logical_and.reduce": lambda n, v: n.logical_and.reduce(v),
    "logical_or.reduce": lambda n, v: n.logical_or.reduce(v),
    "logaddexp.reduce": lambda n, v: n.logaddexp.reduce(v, axis=1),
    "add.accumulate": lambda n, v: n.add.accumulate(v),
    "multiply.outer": lambda n, v: [n.multiply.outer(v, V), n.multiply.outer(V, v)],
    "subtract.outer": lambda n, v: n.subtract.outer(v, V),
}

NUMPY_CASES: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda n, v: [n.sum(v), n.sum(v, 0), n.sum(v, axis=(0, 1), keepdims=True)],
    "prod": lambda n, v: [n.prod(v), n.prod(v, axis=1)],
    "max": lambda n, v: [n.max(v), n.max(v, axis=1, keepdims=True)],
    "min": lambda n, v: n.min(v, 0),
    "amax": lambda n, v: n.amax(v, 0),
    "amin": lambda n, v: n.amin(v),
    "mean": lambda n, v: [n.mean(v), n.mean(v, axis=-1)],
    "any": lambda n, v: n.any(v),
    "all": lambda n, v: n.all(v, axis=0),
    "var": lambda n, v: [n.var(v), n.var(v, axis=0, ddof=1), n.var(v, axis=1, correction=1)],
    "std": lambda n, v: [n.std(v), n.std(v, axis=0, ddof=1, keepdims=True)],
    "ptp": lambda n, v: n.ptp(v, axis=1),
    "average": lambda n, v: n.average(v, axis=0),
    "argmax": lambda n, v: [n.argmax(v), n.argmax(v, axis=1)],
    "argmin": lambda n, v: n.argmin(v, axis=0),
    "cumsum": lambda n, v: [n.cumsum(v), n.cumsum(v, axis=0)],
    "cumulative_sum": lambda n, v: n.cumulative_sum(v, axis=1),
    "diff": lambda n, v: [n.diff(v), n.diff(v, 2, axis=0)],
    "linalg.norm": lambda n, v: [
        n.linalg.norm(v), n.linalg.norm(v, axis=1), n.linalg.norm(v, 1, axis=0), n.linalg.norm(v[0], math.inf),
        n.linalg.norm(v, 3, axis=1, keepdims=True), n.linalg.norm(v, "fro", axis=(0, 1)),
    ],
    "linalg.vector_norm": lambda n, v: [n.linalg.vector_norm(v), n.linalg.vector_norm(v, axis=0, ord=1)],
    "linalg.matrix_norm": lambda n, v: n.linalg.matrix_norm(v, keepdims=True),
    "reshape": lambda n, v: [n.reshape(v, (2, 6)), n.reshape(v, -1), n.reshape(v, (4, 3), order="C")],
    "ravel": lambda n, v: n.ravel(v),
    "transpose": lambda n, v: [n.transpose(v), n.transpose(v, (1, 0))],
    "matrix_transpose": lambda n, v: n.matrix_transpose(v),
    "linalg.matrix_transpose": lambda n, v: n.linalg.matrix_transpose(v),
    "swapaxes": lambda n, v: n.swapaxes(v, 0, 1),
    "moveaxis": lambda n, v: [n.moveaxis(v[None], 0, -1), n.moveaxis(v[None], (0, 2), (2, 0))],
    "expand_dims": lambda n, v: [n.expand_dims(v, 0), n.expand_dims(v, -1), n.expand_dims(v, (0, 2))],
    "squeeze": lambda n, v: [n.squeeze(v[None, :, :1]), n.squeeze(v[None, :, :1], axis=0)],
    "broadcast_to": lambda n, v: n.broadcast_to(v, (2, 3, 4)),
    "atleast_1d": lambda n, v: [n.atleast_1d(v), n.atleast_1d(v[0, 0])],
    "atleast_2d": lambda n, v: [n.atleast_2d(v), n.atleast_2d(v[0])],
    "concatenate": lambda n, v: [n.concatenate([v, Y]), n.concatenate((Y, v, v), axis=1)],
    "stack": lambda n, v: [n.stack([v, Y]), n.stack((Y, v), axis=-1)],
    "vstack": lambda n, v: [n.vstack([v, Y]), n.vstack([v[0], V])],
    "hstack": lambda n, v: [n.hstack([v, Y]), n.hstack([v[0], V])],
    "column_stack": lambda n, v: n.column_stack([v[:, 0], Y]),
    "split": lambda n, v: [*n.split(v, 2, axis=1), *n.split(v, [1], 0)],
    "vsplit": lambda n, v: n.vsplit(v, 3),
    "hsplit": lambda n, v: [*n.hsplit(v, 2), *n.hsplit(v[0], 2)],
    "pad": lambda n, v: [n.pad(v, 1), n.pad(v, ((1, 0), (0, 2)), constant_values=2.0), n.pad(v, (0, 1), "constant")],
    "tile": lambda n, v: [n.tile(v, 2), n.tile(v, (2, 1, 3))],
    "repeat": lambda n, v: [n.repeat(v, 2), n.repeat(v, 3, axis=1)],
    "flip": lambda n, v: [n.flip(v), n.flip(v, 0), n.flip(v, (0, 1))],
    "fliplr": lambda n, v: n.fliplr(v),
    "flipud": lambda n, v: n.flipud(v),
    "roll": lambda n, v: [n.roll(v, 5), n.roll(v, 1, axis=0), n.roll(v, (1, -2), (0, 1)), n.roll(v, 1, (0, 1))],
    "tril": lambda n, v: [n.tril(v), n.tril(v, -1)],
    "triu": lambda n, v: n.triu(v, k=1),
    "diag": lambda n, v: [n.diag(v[0]), n.diag(v[:, :3])],
    "diagonal": lambda n, v: [n.diagonal(v[:, 1:]), n.diagonal(v[:, None, :3], axis1=0, axis2=2)],
    "linalg.diagonal": lambda n, v: n.linalg.diagonal(v[:, :3]),
    "trace": lambda n, v: n.trace(v[:, :3]),
    "linalg.trace": lambda n, v: n.linalg.trace(v[:, :3]),
    "take": lambda n, v: [n.take(v, ROWS, axis=0), n.take(v, ROWS + 7), n.take(v, ROWS, 1)],
    "take_along_axis": lambda n, v: n.take_along_axis(v, np.array([[1], [0], [3]]), axis=1),
    "copy": lambda n, v: n.copy(v),
    "real": lambda n, v: n.real(v),
    "astype": lambda n, v: n.astype(v, np.float64),
    "where": lambda n, v: [n.where(v > 0.5, v, Y), n.where(X > 0.5, 0.0, v)],
    "clip": lambda n, v: [n.clip(v, 0.4, 0.6), n.clip(v, None, 0.6), n.clip(v, min=0.4), n.clip(v, V, None)],
    "round": lambda n, v: [n.round(v), n.round(v, 1), n.round(v, decimals=2)],
    "around": lambda n, v: n.around(v, 1),
    "isclose": lambda n, v: n.isclose(v, X + np.eye(3, 4)),
    "allclose": lambda n, v: [n.allclose(v, X), n.allclose(v, Y), n.allclose(Y, v, atol=9.0)],
    "dot": lambda n, v: [n.dot(v, S @ Y[:, :1].T if False else Y.T), n.dot(V, v[0]), n.dot(v, 2.0), n.dot(v, B), n.dot(B, S)],
    "inner": lambda n, v: [n.inner(v, Y), n.inner(v, V), n.inner(v, 3.0)],
    "vdot": lambda n, v: n.vdot(v, Y),
    "outer": lambda n, v: [n.outer(v, V), n.outer(V, v)],
    "linalg.outer": lambda n, v: n.linalg.outer(v[0], V),
    "linalg.matmul": lambda n, v: n.linalg.matmul(v, Y.T),
    "linalg.vecdot": lambda n, v: n.linalg.vecdot(v, Y),
    "linalg.multi_dot": lambda n, v: n.linalg.multi_dot([S, v, Y.T]),
    "linalg.tensordot": lambda n, v: n.linalg.tensordot(v, Y, axes=((0,), (0,))),
    "tensordot": lambda n, v: [n.tensordot(v, Y), n.tensordot(v, B, 1), n.tensordot(B, v, ([2, 1], [0, 1]))],
    "einsum": lambda n, v: [n.einsum("ij,kj->ik", v, Y), n.einsum("ij,ij", v, v, optimize=True)],
    "kron": lambda n, v: [n.kron(v, S), n.kron(S, v), n.kron(V, v)],
    "shape": lambda n, v: list(n.shape(v)),
    "ndim": lambda n, v: n.ndim(v),
    "size": lambda n, v: [n.size(v), n.size(v, 0)],
    "zeros_like": lambda n, v: [n.zeros_like(v), n.zeros_like(v, shape=(2, 2))],
    "empty_like": lambda n, v: 0.0 * n.empty_like(v).size,
    "ones_like": lambda n, v: n.ones_like(v, dtype=np.float32),
    "full_like": lambda n, v: n.full_like(v, 2.0),
}  # fmt: skip
TOLD = {"result_type", "isrealobj", "iscomplexobj"}  # tested apart: they tell no numbers


def check_against_jax(case: Callable[[Any, Any], Any]) -> None:
    def loss(v: Any) -> Any:
        return sum((jnp.sum(y * weights(jnp.shape(y))) for y in parts(case(jnp, v))), 0.0)

    with np.errstate(all="ignore"):
        seen, gradient = seen_and_gradient(lambda v: case(np, v), X, lambda w: w)
        assert_like(seen, case(np, X))
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, jax.grad(loss)(X), **TOLERANCE)


@pytest.mark.parametrize("name", UFUNC_CASES)
def test_ufuncs(name: str) -> None:
    check_against_jax(UFUNC_CASES[name])


@pytest.mark.parametrize("name", METHOD_CASES)
def test_ufunc_methods(name: str) -> None:
    check_against_jax(METHOD_CASES[name])


@pytest.mark.parametrize("name", NUMPY_CASES)
def test_numpy_functions(name: str) -> None:
    check_against_jax(NUMPY_CASES[name])
