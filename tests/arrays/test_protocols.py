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
from adjoint.arrays.numpy_names import UFUNC_ACCUMULATIONS, UFUNC_REDUCTIONS, UFUNCS
from adjoint.arrays.protocols import NUMPY
from adjoint.arrays.torch_names import TORCH
from adjoint.arrays.traced import Traced
from adjoint.errors import BackendError, TraceError
from adjoint.interop.traced_tensors import NAMES

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
        terms = [aj.sum(y * there(weights(y.shape))) for y in seen if isinstance(y, Traced)]
        return sum(terms, 0.0 * aj.sum(v))

    gradient = aj.grad(loss)(x)
    differentiable = any(isinstance(y, Traced) for y in seen)
    return [y.value if isinstance(y, Traced) else y for y in seen], gradient if differentiable else None


def assert_like(seen: list[Any], expected: Any) -> None:
    assert len(seen) == len(parts(expected))
    for y, wanted in zip(seen, parts(expected), strict=True):
        np.testing.assert_allclose(np.asarray(y, np.float64), np.asarray(wanted, np.float64), **TOLERANCE)


def words(text: str) -> list[str]:
    return text.split()


# NumPy's

UNARY = words(
    "negative square sqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsin arccos "
    "arctan arcsinh arctanh absolute fabs positive conjugate deg2rad rad2deg radians degrees sign floor ceil rint "
    "trunc isfinite isnan isinf logical_not"
)
BINARY = words(
    "add subtract multiply divide power float_power maximum minimum logaddexp arctan2 hypot floor_divide "
    "remainder equal not_equal less less_equal greater greater_equal logical_and logical_or"
)


def windows(n: Any, v: Any, window: Any, axis: Any) -> Any:
    """NumPy's windows; of JAX, which has none, by the places that NumPy's windows of the places name."""
    view = np.lib.stride_tricks.sliding_window_view
    return v.reshape(-1)[view(np.arange(v.size).reshape(v.shape), window, axis)] if n is jnp else view(v, window, axis)


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
    "dot": lambda n, v: [n.dot(v, Y.T), n.dot(V, v[0]), n.dot(v, 2.0), n.dot(v, B), n.dot(B, v)],
    "inner": lambda n, v: [n.inner(v, Y), n.inner(v, V), n.inner(v, 3.0)],
    "vdot": lambda n, v: n.vdot(v, Y),
    "outer": lambda n, v: [n.outer(v, V), n.outer(V, v)],
    "linalg.outer": lambda n, v: n.linalg.outer(v[0], V),
    "linalg.matmul": lambda n, v: n.linalg.matmul(v, Y.T),
    "linalg.vecdot": lambda n, v: n.linalg.vecdot(v, Y),
    "linalg.multi_dot": lambda n, v: n.linalg.multi_dot([S, v, Y.T]),
    "linalg.tensordot": lambda n, v: n.linalg.tensordot(v, Y, axes=((0,), (0,))),
    "tensordot": lambda n, v: [n.tensordot(v, Y), n.tensordot(v, B[0], 1), n.tensordot(B, v, ([2, 1], [0, 1]))],
    "einsum": lambda n, v: [n.einsum("ij,kj->ik", v, Y), n.einsum("ij,ij", v, v, optimize=True)],
    "kron": lambda n, v: [n.kron(v, S), n.kron(S, v), n.kron(V, v)],
    # linear algebra
    "linalg.solve": lambda n, v: [n.linalg.solve(v[:, 1:], Y), n.linalg.solve(S, v[:, 0])],
    "linalg.inv": lambda n, v: n.linalg.inv(v[:, 1:]),
    "linalg.pinv": lambda n, v: n.linalg.pinv(v),
    "linalg.cholesky": lambda n, v: [n.linalg.cholesky(v @ v.T), n.linalg.cholesky(v @ v.T, upper=True)],
    "linalg.qr": lambda n, v: [*n.linalg.qr(v[:, 1:]), n.linalg.qr(v.T, mode="r")],
    "linalg.svd": lambda n, v: [n.linalg.svd(v, full_matrices=False)[1], n.linalg.svd(v, compute_uv=False)],
    "linalg.svdvals": lambda n, v: n.linalg.svdvals(v),
    "linalg.eigh": lambda n, v: n.linalg.eigh(v @ v.T)[0],
    "linalg.eigvalsh": lambda n, v: n.linalg.eigvalsh(v @ v.T),
    "linalg.det": lambda n, v: n.linalg.det(v[:, 1:]),
    "linalg.slogdet": lambda n, v: n.linalg.slogdet(v[:, 1:])[1],
    "linalg.matrix_power": lambda n, v: [
        n.linalg.matrix_power(v[:, 1:], 5), n.linalg.matrix_power(v[:, 1:], -2), n.linalg.matrix_power(v[:, 1:], 0),
    ],
    # order and windows
    "sort": lambda n, v: [n.sort(v), n.sort(v, 0), n.sort(v, axis=None)],
    "argsort": lambda n, v: [n.argsort(v), n.argsort(v, axis=0), n.argsort(v, None)],
    "median": lambda n, v: [n.median(v), n.median(v[1:], 0), n.median(v, 1, keepdims=True), n.median(v, keepdims=True)],
    "lib.stride_tricks.sliding_window_view": lambda n, v: [
        windows(n, v, 3, 1), windows(n, v, (2, 2), None), windows(n, v, (2, 3), (1, 0)), windows(n, v, (2, 2), (1, 1)),
    ],
    # what an array is like
    "shape": lambda n, v: list(n.shape(v)),
    "ndim": lambda n, v: n.ndim(v),
    "size": lambda n, v: [n.size(v), n.size(v, 0)],
    "zeros_like": lambda n, v: [n.zeros_like(v), n.zeros_like(v, shape=(2, 2))],
    "empty_like": lambda n, v: list(n.empty_like(v).shape),
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
    if gradient is not None:
        assert gradient.dtype == np.float64
        np.testing.assert_allclose(gradient, jax.jit(jax.grad(loss))(X), **TOLERANCE)


@pytest.mark.parametrize("name", UFUNC_CASES)
def test_ufuncs(name: str) -> None:
    check_against_jax(UFUNC_CASES[name])


@pytest.mark.parametrize("name", METHOD_CASES)
def test_ufunc_methods(name: str) -> None:
    check_against_jax(METHOD_CASES[name])


@pytest.mark.parametrize("name", NUMPY_CASES)
def test_numpy_functions(name: str) -> None:
    check_against_jax(NUMPY_CASES[name])


def test_numpy_tables_are_covered() -> None:
    assert set(UFUNC_CASES) == set(UFUNCS)
    assert {f"{name}.reduce" for name in UFUNC_REDUCTIONS} <= set(METHOD_CASES)
    assert {f"{name}.accumulate" for name in UFUNC_ACCUMULATIONS} <= set(METHOD_CASES)
    assert set(NUMPY_CASES) | TOLD == set(NUMPY)


def test_what_numpy_asks_of_an_array() -> None:
    def f(v: Any) -> Any:
        assert np.result_type(v, np.float32) == np.float64
        assert np.isrealobj(v)
        assert not np.iscomplexobj(v)
        assert np.sum(v, dtype=np.float32).dtype == np.float32
        return np.sum(v)

    assert aj.grad(f)(X).dtype == np.float64


def test_raw_arrays_keep_their_side() -> None:
    """array - v and array @ v reach the operations with the operands in order."""
    for f in (lambda v: Y - v, lambda v: Y / v, lambda v: Y**v, lambda v: S @ v, lambda v: V @ (v.T @ v)):
        seen, _ = seen_and_gradient(f, X, lambda w: w)
        assert_like(seen, f(X))


@pytest.mark.parametrize(
    "f",
    [
        lambda v: v // 0.3 + v % 0.3, lambda v: 7 // v + 7 % v, lambda v: Y // v + Y % v,
        lambda v: (v - 0.5) // 0.2 + (v - 0.5) % -0.2,
    ],
)  # fmt: skip
def test_whole_parts_and_remainders(f: Callable[[Any], Any]) -> None:
    check_against_jax(lambda n, v: f(v))


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda v: np.fft.fft(v), "np.fft.fft"),
        (lambda v: np.interp(v, [0.0, 1.0], [0.0, 1.0]), "np.interp"),
        (lambda v: np.linalg.eig(v), "np.linalg.eig"),
        (lambda v: np.cbrt(v), "np.cbrt"),
        (lambda v: np.add.reduceat(v, [0, 1]), "np.add.reduceat"),
        (lambda v: np.heaviside.outer(v, v), "np.heaviside.outer"),
    ],
)
def test_what_is_missing_is_named(f: Callable[[Any], Any], name: str) -> None:
    with pytest.raises(BackendError, match=rf"^{name} has no operation here.*CONTRIBUTING\.md"):
        aj.grad(f)(X)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda v: np.sum(v, initial=3.0), r"np\.sum is known here with .*'initial'"),
        (lambda v: np.sum(v, 0, np.float32), r"np\.sum is known here with .*too many"),
        (lambda v: np.exp(v, where=X > 0.5), r"np\.exp is known here with .*'where'"),
        (lambda v: np.pad(v, 1, mode="mean"), "pad: mode='mean'"),
        (lambda v: np.average(v, weights=X), "'weights'"),
    ],
)
def test_arguments_without_a_counterpart_are_named(f: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        aj.grad(f)(X)


# PyTorch's

TX, TY, TS, TV, TB = (torch.from_numpy(a) for a in (X, Y, S, V, B))
LABELS, IDS = torch.tensor([3, 0, 1]), torch.tensor([[1, 0], [2, 2]])
TENSOR = torch.Tensor
TORCH_UNARY = words(
    "square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh "
    "asinh atanh erf sigmoid sign floor ceil isfinite isnan isinf abs absolute logical_not neg negative positive "
    "arcsin arccos arctan arcsinh arctanh deg2rad rad2deg trunc"
)
ACTIVATIONS = words(
    "softsign tanhshrink mish silu relu relu6 hardsigmoid hardswish leaky_relu elu celu hardtanh gelu softplus selu"
)
TORCH_BINARY = words(
    "add sub subtract mul multiply div divide true_divide pow float_power maximum minimum logaddexp atan2 arctan2 "
    "hypot floor_divide remainder eq ne not_equal lt less le less_equal gt greater ge greater_equal logical_and "
    "logical_or"
)

TORCH_CASES: dict[str, Callable[[Any], Any]] = {
    **{name: lambda v, name=name: getattr(torch, name)(v) for name in TORCH_UNARY},
    **{name: lambda v, name=name: getattr(F, name)(4.0 * v - 2.0) for name in ACTIVATIONS},
    **{name: lambda v, name=name: [getattr(torch, name)(v, TY), getattr(torch, name)(TY, v)] for name in TORCH_BINARY},
    "acosh": lambda v: torch.acosh(v + 1.0),
    "arccosh": lambda v: torch.arccosh(v + 1.0),
    "expit": lambda v: torch.special.expit(v),
    "log_sigmoid": lambda v: F.logsigmoid(v),
    "add": lambda v: [torch.add(v, TY, alpha=2), torch.add(TY, v, alpha=-1.5), TY + v, TY.add(v)],
    "sub": lambda v: [torch.sub(v, TY, alpha=2), torch.sub(TY, v, alpha=-1.5), TY - v, TY.sub(v)],
    "subtract": lambda v: torch.subtract(TY, v, alpha=2),
    "rsub": lambda v: [torch.rsub(v, TY), torch.rsub(TY, v, alpha=2)],
    "mul": lambda v: [torch.mul(v, TY), TY * v, TENSOR.__rmul__(TY, v), v * 2.0],
    "div": lambda v: [TY / v, torch.div(v, TY), *[torch.div(TY, v, rounding_mode=m) for m in ("floor", "trunc")]],
    "__floordiv__": lambda v: TY // v,
    "__rsub__": lambda v: TENSOR.__rsub__(TY, v),
    "__rdiv__": lambda v: TENSOR.__rtruediv__(TY, v),
    "__rpow__": lambda v: TENSOR.__rpow__(TY, v),
    "__rmatmul__": lambda v: TENSOR.__rmatmul__(TY.mT, v),
    "__rfloordiv__": lambda v: TENSOR.__rfloordiv__(TY, v),
    "__rmod__": lambda v: TENSOR.__rmod__(TY, v),
    "lerp": lambda v: [torch.lerp(v, TY, 0.3), torch.lerp(TY, TX, v)],
    "addcmul": lambda v: torch.addcmul(TX, v, TY, value=0.5),
    "addcdiv": lambda v: torch.addcdiv(TX, TY, v, value=0.5),
    "where": lambda v: [torch.where(TX > 0.5, v, TY), torch.where(v > 0.5, TY, v), TY.where(TX > 0.5, v)],
    "masked_fill": lambda v: torch.masked_fill(v, TX > 0.5, 0.0),
    "clamp": lambda v: [torch.clamp(v, 0.4, 0.6), torch.clamp(v, max=0.6)],
    "clip": lambda v: torch.clip(v, min=0.4),
    "clamp_min": lambda v: torch.clamp_min(v, 0.5),
    "clamp_max": lambda v: torch.clamp_max(v, 0.5),
    "round": lambda v: [torch.round(v), torch.round(v, decimals=1)],
    "softplus": lambda v: F.softplus(v, 2.0),
    "gelu": lambda v: [F.gelu(v), F.gelu(v, approximate="tanh")],
    "isclose": lambda v: torch.isclose(v, TX + torch.eye(3, 4)),
    "allclose": lambda v: torch.allclose(v, TX),
    "sum": lambda v: [torch.sum(v), torch.sum(v, 1), torch.sum(v, [0, 1], True), torch.sum(v, axis=0, keepdims=True)],
    "mean": lambda v: [torch.mean(v), torch.mean(v, dim=-1, keepdim=True)],
    "amax": lambda v: torch.amax(v, 1),
    "amin": lambda v: torch.amin(v, dim=(0, 1)),
    "prod": lambda v: [torch.prod(v), torch.prod(v, 1)],
    "any": lambda v: torch.any(v > 0.5, 0),
    "all": lambda v: torch.all(v > 0.5),
    "logsumexp": lambda v: [torch.logsumexp(v, 1), torch.logsumexp(v, (0, 1), keepdim=True)],
    "var": lambda v: [
        torch.var(v), torch.var(v, 1), torch.var(v, 0, False), torch.var(v, False),
        torch.var(v, 1, correction=0),
    ],
    "std": lambda v: [torch.std(v), torch.std(v, dim=1, unbiased=False, keepdim=True)],
    "var_mean": lambda v: torch.var_mean(v, 1),
    "std_mean": lambda v: torch.std_mean(v, dim=0, correction=0),
    "max": lambda v: [torch.max(v), *torch.max(v, 1), torch.max(v, dim=0, keepdim=True).values, torch.max(v, TV)],
    "min": lambda v: [torch.min(v), torch.min(v, 1).indices, torch.min(v, 1, True)[0], torch.min(v, other=TV)],
    "argmax": lambda v: [torch.argmax(v), torch.argmax(v, dim=1)],
    "argmin": lambda v: torch.argmin(v, 0),
    "cumsum": lambda v: torch.cumsum(v, dim=1),
    "norm": lambda v: [torch.norm(v), torch.norm(v, dim=1), torch.norm(v, 1), torch.norm(v, 3, 0, True)],
    "dist": lambda v: [torch.dist(v, TY), torch.dist(TY, v, 3)],
    "linalg_norm": lambda v: [torch.linalg.norm(v), torch.linalg.norm(v, dim=1), torch.linalg.norm(v[0], 1)],
    "linalg_vector_norm": lambda v: torch.linalg.vector_norm(v, 3, dim=0),
    "linalg_matrix_norm": lambda v: torch.linalg.matrix_norm(v),
    "reshape": lambda v: [torch.reshape(v, (2, 6)), torch.reshape(v, (-1,))],
    "flatten": lambda v: [torch.flatten(v), torch.flatten(v[None], 1), torch.flatten(v[None], start_dim=0, end_dim=1)],
    "ravel": lambda v: torch.ravel(v),
    "unflatten": lambda v: torch.unflatten(v, 1, (2, 2)),
    "squeeze": lambda v: [torch.squeeze(v[None]), torch.squeeze(v[None, :, :1], 0)],
    "unsqueeze": lambda v: torch.unsqueeze(v, -1),
    "transpose": lambda v: torch.transpose(v, 0, 1),
    "swapaxes": lambda v: torch.swapaxes(v, 0, 1),
    "swapdims": lambda v: torch.swapdims(v, 0, 1),
    "t": lambda v: [torch.t(v), torch.t(v[0])],
    "adjoint": lambda v: torch.adjoint(v),
    "permute": lambda v: torch.permute(v, (1, 0)),
    "moveaxis": lambda v: torch.moveaxis(v[None], 0, 2),
    "movedim": lambda v: torch.movedim(v[None], (0, 1), (2, 0)),
    "broadcast_to": lambda v: torch.broadcast_to(v, (2, 3, 4)),
    "atleast_1d": lambda v: torch.atleast_1d(v[0, 0]),
    "atleast_2d": lambda v: torch.atleast_2d(v[0]),
    "cat": lambda v: [torch.cat([v, TY]), torch.cat((TY, v), dim=1)],
    "concat": lambda v: torch.concat([v, TY], 1),
    "concatenate": lambda v: torch.concatenate([v, TY], axis=1),
    "stack": lambda v: [torch.stack([v, TY]), torch.stack([v, v], dim=-1)],
    "vstack": lambda v: torch.vstack([v, TV]),
    "hstack": lambda v: torch.hstack([v, TY]),
    "column_stack": lambda v: torch.column_stack([v[:, 0], TY]),
    "split": lambda v: [*torch.split(v, 3, dim=1), *torch.split(v, [1, 2])],
    "split_with_sizes": lambda v: torch.split_with_sizes(v, [1, 3], 1),
    "chunk": lambda v: [*torch.chunk(v, 2), *torch.chunk(v, 3, dim=1)],
    "unbind": lambda v: torch.unbind(v, 1),
    "select": lambda v: torch.select(v, 1, -1),
    "narrow": lambda v: torch.narrow(v, 1, 1, 2),
    "pad": lambda v: [F.pad(v, (1, 2)), F.pad(v, (0, 1, 2, 0), value=3.0)],
    "tile": lambda v: torch.tile(v, (2, 1)),
    "repeat_interleave": lambda v: [torch.repeat_interleave(v, 2), torch.repeat_interleave(v, 3, dim=1)],
    "flip": lambda v: torch.flip(v, (0, 1)),
    "fliplr": lambda v: torch.fliplr(v),
    "flipud": lambda v: torch.flipud(v),
    "roll": lambda v: [torch.roll(v, 5), torch.roll(v, 1, 1), torch.roll(v, (1, 2), (0, 1))],
    "diff": lambda v: torch.diff(v, dim=0),
    "tril": lambda v: torch.tril(v, -1),
    "triu": lambda v: torch.triu(v, diagonal=1),
    "diag": lambda v: [torch.diag(v[0]), torch.diag(v[:, :3])],
    "diag_embed": lambda v: torch.diag_embed(v),
    "diagonal": lambda v: torch.diagonal(v[:, None, :3], dim1=0, dim2=2),
    "trace": lambda v: torch.trace(v[:, :3]),
    "index_select": lambda v: torch.index_select(v, 1, LABELS),
    "gather": lambda v: [torch.gather(v, 1, IDS), torch.gather(v, 0, IDS)],
    "take_along_dim": lambda v: torch.take_along_dim(v, LABELS[:, None], dim=1),
    "clone": lambda v: torch.clone(v),
    "matmul": lambda v: [torch.matmul(v, TB), TY.mT @ v, torch.matmul(TS, v), TS.matmul(v)],
    "mm": lambda v: torch.mm(TS, v),
    "bmm": lambda v: torch.bmm(v[None], TY.mT[None]),
    "mv": lambda v: [torch.mv(v, TV), torch.mv(TY, v[0])],
    "dot": lambda v: torch.dot(v[0], TV),
    "vdot": lambda v: torch.vdot(TV, v[0]),
    "inner": lambda v: torch.inner(v, TY),
    "outer": lambda v: torch.outer(v[0], TV),
    "ger": lambda v: torch.ger(TV, v[0]),
    "addmm": lambda v: [torch.addmm(v, TS, TY, beta=2, alpha=0.5), torch.addmm(TX, TS, v)],
    "baddbmm": lambda v: torch.baddbmm(TX[None], TS[None], v[None]),
    "addmv": lambda v: torch.addmv(TV[:3], v, TV),
    "tensordot": lambda v: torch.tensordot(v, TY, dims=([0], [0])),
    "einsum": lambda v: [torch.einsum("ij,kj->ik", v, TY), torch.einsum("ij,ij", [v, v])],
    "kron": lambda v: torch.kron(TS, v),
    "linalg_vecdot": lambda v: torch.linalg.vecdot(v, TY, dim=0),
    "linalg_multi_dot": lambda v: torch.linalg.multi_dot([TS, v, TY.mT]),
    "linalg_matmul": lambda v: torch.linalg.matmul(TS, v),
    "glu": lambda v: [F.glu(v), F.glu(v.T, 0)],
    # linear algebra
    "linalg_solve": lambda v: [
        torch.linalg.solve(v[:, 1:], TS), torch.linalg.solve(TS, v[:, 0]), torch.linalg.solve(TS, v.mT, left=False),
        torch.linalg.solve(v[:, 1:], TY[:2, :3], left=False),
    ],
    "linalg_solve_triangular": lambda v: [
        torch.linalg.solve_triangular(v[:, 1:], TY, upper=True),
        torch.linalg.solve_triangular(v[:, 1:], TY.mT, upper=False, left=False, unitriangular=True),
    ],
    "inverse": lambda v: torch.inverse(v[:, 1:]),
    "linalg_diagonal": lambda v: torch.linalg.diagonal(v[None], offset=1),
    "linalg_inv": lambda v: torch.linalg.inv(v[:, 1:]),
    "linalg_pinv": lambda v: torch.linalg.pinv(v),
    "pinverse": lambda v: torch.pinverse(v),
    "linalg_cholesky": lambda v: [torch.linalg.cholesky(v @ v.mT), torch.linalg.cholesky(v @ v.mT, upper=True)],
    "linalg_qr": lambda v: [*torch.linalg.qr(v[:, 1:])],
    "linalg_svd": lambda v: torch.linalg.svd(v, full_matrices=False)[1],
    "linalg_svdvals": lambda v: torch.linalg.svdvals(v),
    "linalg_eigh": lambda v: torch.linalg.eigh(v @ v.mT)[0],
    "linalg_eigvalsh": lambda v: torch.linalg.eigvalsh(v @ v.mT),
    "linalg_det": lambda v: torch.linalg.det(v[:, 1:]),
    "det": lambda v: torch.det(v[:, 1:]),
    "linalg_slogdet": lambda v: torch.linalg.slogdet(v[:, 1:])[1],
    "slogdet": lambda v: torch.slogdet(v[:, 1:])[1],
    "logdet": lambda v: torch.logdet(v @ v.mT),
    "linalg_matrix_exp": lambda v: torch.linalg.matrix_exp(v[:, 1:]),
    "matrix_exp": lambda v: torch.matrix_exp(v[:, 1:]),
    "linalg_matrix_power": lambda v: torch.linalg.matrix_power(v[:, 1:], -3),
    "matrix_power": lambda v: torch.matrix_power(v[:, 1:], 4),
    "linear": lambda v: [F.linear(v, TY, TV[:3]), F.linear(TY, v), F.linear(TY, TX, v[:, 0])],
    "embedding": lambda v: F.embedding(IDS, v),
    "softmax": lambda v: [F.softmax(v, -1), torch.softmax(v, 0), F.softmax(v, dim=1, dtype=torch.float64)],
    "log_softmax": lambda v: F.log_softmax(v, dim=0),
    "layer_norm": lambda v: [
        F.layer_norm(v, (4,)), F.layer_norm(v, (3, 4), TY, v, 0.1), torch.layer_norm(TX, (4,), v[0]),
    ],
    "batch_norm": lambda v: [
        F.batch_norm(v[None], None, None, TV[:3], v[:, 0], True),
        F.batch_norm(v, TV[:4], TV[:4] ** 2, v[0], None, False),
    ],
    "instance_norm": lambda v: [F.instance_norm(v[None], weight=TV[:3]), F.instance_norm(v[None], eps=0.1)],
    "group_norm": lambda v: [F.group_norm(v, 2, v[0]), torch.group_norm(v[None], 3)],
    "local_response_norm": lambda v: F.local_response_norm(v[None], 2, 0.5),
    "rms_norm": lambda v: [F.rms_norm(v, (4,)), F.rms_norm(v, [4], v[0], 0.1)],
    "normalize": lambda v: [F.normalize(v), F.normalize(v, p=3.0, dim=0)],
    "cosine_similarity": lambda v: F.cosine_similarity(v, TY, dim=0),
    "dropout": lambda v: [F.dropout(v, training=False), F.dropout(v, 0.0)],
    "cross_entropy": lambda v: [
        F.cross_entropy(v, LABELS), F.cross_entropy(v, TY / 9, reduction="sum"),
        F.cross_entropy(v, LABELS, TV, ignore_index=0, label_smoothing=0.1),
    ],
    "nll_loss": lambda v: [F.nll_loss(v, LABELS, reduction="none"), F.nll_loss(v, LABELS, weight=TV, ignore_index=0)],
    "mse_loss": lambda v: [
        F.mse_loss(v, TY), F.mse_loss(TY, v, reduction="sum"), F.mse_loss(v, TY, weight=TY - 1.0),
    ],
    "l1_loss": lambda v: F.l1_loss(v, TY),  # of its weight PyTorch tells nothing
    "binary_cross_entropy": lambda v: [
        F.binary_cross_entropy(v, TY - 1.0), F.binary_cross_entropy(v, TY - 1.0, TV, reduction="sum"),
    ],
    "binary_cross_entropy_with_logits": lambda v: [
        F.binary_cross_entropy_with_logits(v, TX, reduction="none"),
        F.binary_cross_entropy_with_logits(v, TX, TV, pos_weight=TV),
    ],
    "kl_div": lambda v: [F.kl_div(v, TY, reduction="batchmean"), F.kl_div(v, TX, reduction="sum", log_target=True)],
    "huber_loss": lambda v: [F.huber_loss(v, TY, delta=0.7), F.huber_loss(v, TY, "sum", 0.7)],
    "smooth_l1_loss": lambda v: F.smooth_l1_loss(v, TY, beta=0.7),
    "poisson_nll_loss": lambda v: [F.poisson_nll_loss(v, TY), F.poisson_nll_loss(v, TY, False, True, eps=0.1)],
    "gaussian_nll_loss": lambda v: F.gaussian_nll_loss(v, TY, TY[:, :1], True, 1e-3, "sum"),
    "soft_margin_loss": lambda v: F.soft_margin_loss(v, TY),
    "hinge_embedding_loss": lambda v: F.hinge_embedding_loss(v, torch.sign(TX - 0.5), 0.35),
    "margin_ranking_loss": lambda v: F.margin_ranking_loss(v, TX + 0.3, TY, 0.4),
    "cosine_embedding_loss": lambda v: F.cosine_embedding_loss(v, TY, torch.tensor([1, -1, 1]), 0.1),
    "pairwise_distance": lambda v: F.pairwise_distance(v, TY, 3.0, keepdim=True),
    "triplet_margin_loss": lambda v: F.triplet_margin_loss(v, TY, 2.0 * TX, 0.9, swap=True, reduction="sum"),
    "triplet_margin_with_distance_loss": lambda v: F.triplet_margin_with_distance_loss(v, TY, 2.0 * TX, margin=0.9),
    "multi_margin_loss": lambda v: F.multi_margin_loss(v, LABELS, 2, 0.8, TV),
    "multilabel_margin_loss": lambda v: F.multilabel_margin_loss(v, torch.tensor([[0, 2, -1, 1]] * 3)),
    "multilabel_soft_margin_loss": lambda v: F.multilabel_soft_margin_loss(v, TX, TV),
    "ctc_loss": lambda v: F.log_softmax(v, -1).sum() + F.ctc_loss(
        F.log_softmax(v, -1), torch.tensor([1, 2]), torch.tensor(3), torch.tensor(2)
    ),
    "numel": lambda v: torch.numel(v),
    "is_floating_point": lambda v: torch.is_floating_point(v),
    "is_complex": lambda v: torch.is_complex(v),
    "zeros_like": lambda v: torch.zeros_like(v),
    "empty_like": lambda v: list(torch.empty_like(v).shape),
    "ones_like": lambda v: torch.ones_like(v, dtype=torch.float32),
    "full_like": lambda v: torch.full_like(v, 2.0),
}  # fmt: skip


def check_against_autograd(case: Callable[[Any], Any], tolerance: dict[str, float] = TOLERANCE) -> None:
    seen, gradient = seen_and_gradient(case, TX, torch.from_numpy)
    leaf = TX.clone().requires_grad_()
    expected = parts(case(leaf))
    assert_like(seen, [y.detach() if isinstance(y, torch.Tensor) else y for y in expected])
    if gradient is not None:
        terms = [(y * torch.from_numpy(weights(y.shape))).sum() for y in expected if getattr(y, "requires_grad", False)]
        sum(terms, 0.0 * leaf.sum()).backward()
        np.testing.assert_allclose(gradient.detach().numpy(), leaf.grad.numpy(), **tolerance)


@pytest.mark.parametrize("name", TORCH_CASES)
def test_torch_functions(name: str) -> None:
    # PyTorch's slope of hardsigmoid is 1/6 in float32 whatever the dtype
    check_against_autograd(TORCH_CASES[name], {"rtol": 2.0**-24} if name == "hardsigmoid" else TOLERANCE)


LAYERS = {  # in tests/nn/test_convolution.py and test_pooling.py
    "fold", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    *(f"{kind}pool{n}d_with_indices" for kind in ("max_", "adaptive_max_") for n in (1, 2, 3)),
}  # fmt: skip


def test_torch_table_is_covered() -> None:
    """Here, there, or by PyTorch's own samples."""
    from tests.pytorch.test_opinfo import TRIED, short

    assert set(TORCH_CASES) <= set(TORCH)
    assert set(TORCH) - set(TORCH_CASES) - LAYERS <= {short(op) for op in TRIED.values()}


PLACES = torch.tensor([[0, 1, 1], [2, 3, 0], [1, 1, 1]])
ELSEWHERE_CASES: dict[str, Callable[[Any], Any]] = {
    "argsort": lambda v: [v.argsort(1).double(), torch.argsort(v, dim=0, descending=True).double()],
    "count_nonzero": lambda v: torch.count_nonzero(v).double(),
    "cumprod": lambda v: [torch.cumprod(v, 1), v.cumprod(dim=0)],
    "index_add": lambda v: [v.index_add(1, LABELS[:2], v[:, :2], alpha=2), torch.index_add(TY, 0, LABELS[1:], v[1:])],
    "index_copy": lambda v: v.index_copy(1, torch.tensor([2]), 3.0 * v[:, :1]),
    "index_fill": lambda v: v.index_fill(1, torch.tensor([2]), 3.0),
    "kthvalue": lambda v: torch.kthvalue(v, 2, dim=1).values,
    "logcumsumexp": lambda v: torch.logcumsumexp(v, 1),
    "masked_scatter": lambda v: v.masked_scatter(v > 0.5, 3.0 * v),
    "masked_select": lambda v: [torch.masked_select(v, v > 0.5), v.masked_select(TX[:1] > 0.5)],
    "median": lambda v: [v.median(), v.median(dim=1).values, torch.median(v, 0, keepdim=True)[0]],
    "nan_to_num": lambda v: torch.nan_to_num(torch.log(v - 0.5), 2.0, neginf=-3.0),
    "scatter": lambda v: [v.scatter(1, LABELS[:, None], 3.0 * v[:, 1:2]), torch.scatter(v, 1, LABELS[:, None], 2.0)],
    "scatter_add": lambda v: [v.scatter_add(1, PLACES, TY), torch.scatter_add(TY, 1, PLACES, v[:, :3])],
    "sort": lambda v: [v.sort(1).values, torch.sort(v, dim=0, descending=True)[0], v.sort().indices.double()],
    "topk": lambda v: [torch.topk(v, 2).values, v.topk(k=2, dim=0, largest=False)[0]],
    "xlogy": lambda v: [torch.xlogy(v, TY), torch.special.xlogy(TY, v)],
}


@pytest.mark.parametrize("name", ELSEWHERE_CASES)
def test_functions_of_pytorch_that_aten_has(name: str) -> None:
    case = ELSEWHERE_CASES[name]
    seen, gradient = seen_and_gradient(case, TX, lambda w: torch.from_numpy(w))
    expected = parts(case(TX))
    assert_like(seen, expected)
    if gradient is not None:
        x = TX.clone().requires_grad_()
        sum((y * torch.from_numpy(weights(tuple(y.shape)))).sum() for y in parts(case(x))).backward()
        np.testing.assert_allclose(gradient, x.grad, **TOLERANCE)


def test_all_that_aten_has_for_traced_tensors_is_tried() -> None:
    assert set(ELSEWHERE_CASES) == NAMES


def test_pictures_by_windows() -> None:
    """A tutorial's convolution by sliding windows is PyTorch's."""
    image, kernel = RNG.normal(size=(2, 3, 6, 5)), RNG.normal(size=(4, 3, 3, 2))

    def convolved(kernel: Any, image: Any) -> Any:
        padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (0, 1)))
        parts = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
        return np.einsum("bcijuv,ocuv->boij", parts, kernel)

    gradients = aj.grad(lambda *both: aj.sum(aj.square(convolved(*both))), (0, 1))(kernel, image)
    tensors = [torch.tensor(x, requires_grad=True) for x in (kernel, image)]
    F.conv2d(F.pad(tensors[1], (0, 1, 1, 1)), tensors[0]).square().sum().backward()
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("window", "axis"), [(5, 0), (5, None), ((2, 5), (0, 1)), ((2, 2), 0), (-1, 0)])
def test_windows_that_do_not_fit(window: Any, axis: Any) -> None:
    with pytest.raises(aj.ShapeError, match="sliding_window_view: "):
        aj.grad(lambda v: aj.sum(np.lib.stride_tricks.sliding_window_view(v, window, axis)))(X)


def test_what_has_no_memory_says_what_to_write() -> None:
    with pytest.raises(AttributeError, match=r"no memory to look into: .*sliding_window_view"):
        aj.grad(lambda v: aj.sum(v) * v.strides[0])(X)
    with pytest.raises(TraceError, match=r"np\.stack\(\[v, w\]\).*append v to a list"):
        aj.grad(lambda v: np.sum(np.array([v[0, 0], v[0, 1]])))(X)

    def filled(v: Any) -> Any:
        out = np.zeros(2)
        out[0] = v[0, 0]  # NumPy asks for float(), and tells of the answer as a cause
        return aj.sum(out)

    with pytest.raises(ValueError, match="sequence") as failure:
        aj.grad(filled)(X)
    assert "append v to a list" in str(failure.value.__cause__)


def test_a_number_is_printed_in_any_format() -> None:
    shown: list[str] = []
    aj.grad(lambda v: (shown.extend((f"{v:.2f}", f"{v}")), v * v)[1])(1.5)
    assert shown == ["1.50", "Traced(np.float64(1.5), level=1)"]


def test_a_pytorch_module_on_a_traced_value() -> None:
    torch.manual_seed(3)
    nn = torch.nn
    net = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.LayerNorm(5), nn.Linear(5, 2)).double()
    leaf = TX.clone().requires_grad_()
    F.cross_entropy(net(leaf), torch.tensor([0, 1, 1])).backward()
    gradient = aj.grad(lambda v: F.cross_entropy(net(v), torch.tensor([0, 1, 1])))(TX)
    np.testing.assert_allclose(gradient.detach().numpy(), leaf.grad.numpy(), **TOLERANCE)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda v: torch.fft.fft(v), "torch.fft_fft has no operation here"),
        (lambda v: torch.cdist(v, v), "torch.cdist has no operation here"),
        (lambda v: F.cross_entropy(v, LABELS, size_average=True), "torch.cross_entropy is known here with .*'size_ave"),
        (lambda v: F.relu(v, inplace=True), "'inplace'"),
        (lambda v: F.embedding(IDS, v, padding_idx=0), "'padding_idx'"),
        (lambda v: F.dropout(v), "dropout"),
        (lambda v: F.pad(v, (1, 1), mode="mean"), "pad: mode='mean'"),
    ],
)
def test_what_is_missing_of_torch_is_named(f: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        aj.grad(f)(TX)


def test_nothing_is_changed_in_place() -> None:
    def add_to(v: Any) -> Any:
        y = Y.copy()
        y += v
        return y

    for f in (add_to, lambda v: np.exp(v, out=Y.copy()), lambda v: np.sum(v, axis=0, out=np.zeros(4))):
        with pytest.raises(TraceError, match="in place"):
            aj.grad(f)(X)
    with pytest.raises(TraceError):
        aj.grad(lambda v: np.asarray(v))(X)
    with pytest.raises(TraceError, match="in place"):
        aj.grad(lambda v: torch.ones(3, 4, dtype=torch.float64).mul_(v))(torch.from_numpy(X))
