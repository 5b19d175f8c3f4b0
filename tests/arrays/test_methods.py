"""Methods of NumPy's and PyTorch's arrays on traced and shape-only values: against JAX and PyTorch's autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import adjoint as aj
from adjoint.arrays.numpy_names import NUMPY, NUMPY_ATTRIBUTES, NUMPY_CHANGING, NUMPY_METHODS
from adjoint.arrays.shapes import ShapeArray
from adjoint.arrays.torch_names import TORCH, TORCH_ATTRIBUTES, TORCH_METHODS
from adjoint.errors import BackendError, TraceError
from tests.arrays.test_protocols import (
    IDS,
    LABELS,
    ROWS,
    TB,
    TOLERANCE,
    TS,
    TV,
    TX,
    TY,
    B,
    V,
    X,
    Y,
    check_against_autograd,
    check_against_jax,
    words,
)

Case = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


# NumPy's

NUMPY_CASES: dict[str, Case] = {
    "sum": lambda v: [v.sum(), v.sum(0), v.sum(axis=(0, 1), keepdims=True), v.sum(-1, dtype=np.float64)],
    "prod": lambda v: [v.prod(), v.prod(axis=1)],
    "max": lambda v: [v.max(), v.max(axis=1), v.max(0, keepdims=True)],
    "min": lambda v: [v.min(), v.min(1)],
    "mean": lambda v: [v.mean(), v.mean(0), v.mean(axis=-1, keepdims=True)],
    "any": lambda v: (v > 0.5).any(),
    "all": lambda v: v.all(axis=0),
    "var": lambda v: [v.var(), v.var(ddof=1), v.var(axis=0, ddof=1)],
    "std": lambda v: [v.std(), v.std(1, keepdims=True)],
    "argmax": lambda v: [v.argmax(), v.argmax(axis=1)],
    "argmin": lambda v: v.argmin(0),
    "cumsum": lambda v: [v.cumsum(), v.cumsum(axis=0)],
    "reshape": lambda v: [v.reshape(2, -1), v.reshape((4, 3)), v.reshape(-1), v.reshape([2, 2, 3], order="C")],
    "ravel": lambda v: [v.ravel(), v.ravel(order="C")],
    "flatten": lambda v: v.flatten(),
    "transpose": lambda v: [v.transpose(), v.transpose(1, 0), v.transpose((0, 1)), v[None].transpose(-1, 0, 1)],
    "swapaxes": lambda v: v.swapaxes(0, 1),
    "squeeze": lambda v: [v[None, :, :1].squeeze(), v[None, :, :1].squeeze(axis=0)],
    "repeat": lambda v: [v.repeat(2), v.repeat(3, axis=1)],
    "diagonal": lambda v: [v[:, :3].diagonal(), v[:, None, 1:].diagonal(axis1=0, axis2=2)],
    "trace": lambda v: v[:, 1:].trace(),
    "take": lambda v: [v.take(ROWS), v.take(ROWS, axis=0)],
    "copy": lambda v: v.copy(),
    "conj": lambda v: v.conj(),
    "conjugate": lambda v: v.conjugate(),
    "astype": lambda v: [v.astype(np.float64), v.astype("float64", copy=False), v.astype(float), v.astype(int)],
    "clip": lambda v: [v.clip(0.4, 0.6), v.clip(min=0.4), v.clip(max=0.6), v.clip(None, 0.6)],
    "round": lambda v: [v.round(), v.round(1), v.round(decimals=2)],
    "dot": lambda v: [v.dot(Y.T), v.dot(V), v.dot(B)],
    "T": lambda v: [v.T, v[0].T],
    "mT": lambda v: v[None].mT,
    "shape": lambda v: list(v.shape),
    "ndim": lambda v: v.ndim,
    "size": lambda v: v.size,
    "itemsize": lambda v: v.itemsize,
    "nbytes": lambda v: v.nbytes,
    "real": lambda v: v.real,
}


@pytest.mark.parametrize("name", NUMPY_CASES)
def test_numpy_methods(name: str) -> None:
    check_against_jax(lambda n, v: NUMPY_CASES[name](v))


def test_numpy_methods_are_covered() -> None:
    shared = {name for name in NUMPY if hasattr(np.ndarray, name)}
    assert shared | set(NUMPY_METHODS) | set(NUMPY_ATTRIBUTES) | {"T", "mT"} == set(NUMPY_CASES)
    assert all(hasattr(np.ndarray, name) for name in {*NUMPY_METHODS, *NUMPY_ATTRIBUTES, *NUMPY_CHANGING})


def mlp(x: Any, w: Any, b: Any, v: Any) -> Any:
    """A pasted NumPy forward pass: standardized inputs, one hidden layer, the mean of the rows' cross-entropies."""
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)
    h = (x.dot(w.T) + b).clip(0, None)
    logits = h.reshape(len(x), -1) @ v
    logits = logits - logits.max(axis=1, keepdims=True).astype(logits.dtype)
    exp = 2.718281828459045**logits
    p = exp / exp.sum(axis=1, keepdims=True)
    return ((p - 1.0 / p.shape[1]) ** 2).sum() / p.size + b.dot(b) * 0.1


@pytest.mark.parametrize("place", [np.asarray, jnp.asarray])
def test_a_pasted_numpy_network(place: Callable[[np.ndarray], Any]) -> None:
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(shape) for shape in ((6, 4), (5, 4), (5,), (5, 3))]
    gradients = aj.grad(mlp, argnums=(0, 1, 2, 3))(*map(place, given))
    expected = jax.grad(mlp, argnums=(0, 1, 2, 3))(*map(jnp.asarray, given))
    for g, wanted in zip(gradients, expected, strict=True):
        assert isinstance(g, type(place(X)))
        np.testing.assert_allclose(g, wanted, **TOLERANCE)


def test_methods_in_second_derivatives() -> None:
    def f(v: Any) -> Any:
        return (v.reshape(-1).cumsum() ** 3).mean()

    u = np.ones_like(X)
    expected = jax.jvp(jax.grad(f), (X,), (u,))[1]
    np.testing.assert_allclose(aj.hvp(f, X, u), expected, **TOLERANCE)


# PyTorch's

TORCH_UNARY = words(
    "square sqrt rsqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh "
    "atanh erf sigmoid relu sign floor ceil trunc isfinite isnan isinf abs absolute logical_not neg negative positive "
    "arcsin arccos arctan arcsinh arctanh deg2rad rad2deg"
)
TORCH_BINARY = words(
    "add sub subtract mul multiply div divide true_divide pow float_power maximum minimum logaddexp atan2 arctan2 "
    "hypot floor_divide remainder eq ne not_equal lt less le less_equal gt greater ge greater_equal logical_and "
    "logical_or"
)
TORCH_CASES: dict[str, Case] = {
    **{name: lambda v, name=name: getattr(v, name)() for name in TORCH_UNARY},
    **{name: lambda v, name=name: [getattr(v, name)(TY), getattr(TY, name)(v)] for name in TORCH_BINARY},
    "acosh": lambda v: (v + 1.0).acosh(),
    "arccosh": lambda v: (v + 1.0).arccosh(),
    "add": lambda v: [v.add(TY), v.add(TY, alpha=2), v.add(1.0)],
    "pow": lambda v: [v.pow(2), v.pow(0.5), v.pow(TY)],
    "div": lambda v: [v.div(2), v.div(TY, rounding_mode="floor")],
    "lerp": lambda v: v.lerp(TY, 0.3),
    "addcmul": lambda v: v.addcmul(TX, TY, value=0.5),
    "addcdiv": lambda v: v.addcdiv(TX, TY),
    "where": lambda v: [v.where(TX > 0.5, TY), TY.where(TX > 0.5, v)],
    "masked_fill": lambda v: v.masked_fill(TX > 0.5, -math.inf).exp(),
    "clamp": lambda v: [v.clamp(0.4, 0.6), v.clamp(min=0.4)],
    "clip": lambda v: v.clip(0.4, 0.6),
    "clamp_min": lambda v: v.clamp_min(0.5),
    "clamp_max": lambda v: v.clamp_max(0.5),
    "round": lambda v: [v.round(), v.round(decimals=1)],
    "isclose": lambda v: v.isclose(TX),
    "allclose": lambda v: v.allclose(TY),
    "sum": lambda v: [v.sum(), v.sum(dim=-1), v.sum((0, 1)), v.sum(1, True), v.sum(axis=0, keepdims=True)],
    "mean": lambda v: [v.mean(), v.mean(-1, keepdim=True)],
    "amax": lambda v: v.amax(1),
    "amin": lambda v: v.amin(dim=0, keepdim=True),
    "prod": lambda v: v.prod(1),
    "any": lambda v: v.any(1),
    "all": lambda v: v.all(),
    "logsumexp": lambda v: v.logsumexp(-1, keepdim=True),
    "var": lambda v: [v.var(), v.var(1, unbiased=False), v.var(dim=0, correction=0)],
    "std": lambda v: [v.std(), v.std(1, keepdim=True)],
    "max": lambda v: [v.max(), v.max(dim=1).values, *v.max(0), v.max(TV)],
    "min": lambda v: [v.min(), v.min(1, keepdim=True).values, v.min(1).indices],
    "argmax": lambda v: [v.argmax(), v.argmax(dim=-1)],
    "argmin": lambda v: v.argmin(1),
    "cumsum": lambda v: v.cumsum(dim=1),
    "norm": lambda v: [v.norm(), v.norm(dim=-1, keepdim=True), v.norm(1)],
    "dist": lambda v: v.dist(TY),
    "reshape": lambda v: [v.reshape(2, -1), v.reshape((4, 3)), v.reshape(v.size(0), -1)],
    "view": lambda v: [v.view(2, -1), v.view((4, 3)), v.view(torch.Size([12])), v.view(*v.shape[:-1], 2, 2)],
    "reshape_as": lambda v: v.reshape_as(TY.mT),
    "view_as": lambda v: [v.view_as(TY.reshape(2, 6)), TY.view_as(v) * v],
    "flatten": lambda v: [v.flatten(), v[None].flatten(1)],
    "ravel": lambda v: v.ravel(),
    "unflatten": lambda v: v.unflatten(-1, (2, 2)),
    "squeeze": lambda v: [v[None].squeeze(), v[None, :, :1].squeeze(0)],
    "hardshrink": lambda v: v.hardshrink(0.3),
    "unfold": lambda v: v.unfold(-1, 2, 1),
    "unsqueeze": lambda v: [v.unsqueeze(0), v.unsqueeze(-1)],
    "transpose": lambda v: [v.transpose(0, 1), v[None].transpose(-2, -1)],
    "swapaxes": lambda v: v.swapaxes(0, 1),
    "swapdims": lambda v: v.swapdims(0, 1),
    "t": lambda v: [v.t(), v[0].t()],
    "H": lambda v: v.H,
    "mH": lambda v: v[None].mH,
    "det": lambda v: v[:, :3].det(),
    "inverse": lambda v: v[:, :3].inverse(),
    "logdet": lambda v: (v @ v.mT).logdet(),
    "matrix_exp": lambda v: v[:, :3].matrix_exp(),
    "matrix_power": lambda v: v[:, :3].matrix_power(3),
    "pinverse": lambda v: v.pinverse(),
    "slogdet": lambda v: v[:, :3].slogdet()[1],
    "adjoint": lambda v: v.adjoint(),
    "permute": lambda v: [v.permute(1, 0), v[None].permute((2, 0, 1)), v[None].permute(0, -1, 1)],
    "moveaxis": lambda v: v[None].moveaxis(0, 2),
    "movedim": lambda v: v[None].movedim(0, -1),
    "broadcast_to": lambda v: v.broadcast_to((2, 3, 4)),
    "expand": lambda v: [v.expand(2, 3, 4), v[:, :1].expand(-1, 5), v[:1].expand((2, -1, -1))],
    "expand_as": lambda v: [v[0].expand_as(TY), TV.expand_as(v) * v],
    "repeat": lambda v: [v.repeat(2, 1), v.repeat(2, 1, 3), v.repeat((1, 2))],
    "tile": lambda v: [v.tile(2), v.tile(2, 1), v.tile((1, 2))],
    "repeat_interleave": lambda v: v.repeat_interleave(2, dim=0),
    "flip": lambda v: [v.flip(0, 1), v.flip((1,)), v.flip(-1)],
    "fliplr": lambda v: v.fliplr(),
    "flipud": lambda v: v.flipud(),
    "roll": lambda v: [v.roll(1), v.roll(1, -1), v.roll((1, 2), dims=(0, 1))],
    "split": lambda v: [*v.split(3, dim=1), *v.split([1, 2])],
    "split_with_sizes": lambda v: v.split_with_sizes([1, 3], 1),
    "chunk": lambda v: v.chunk(2, -1),
    "unbind": lambda v: v.unbind(1),
    "select": lambda v: v.select(1, 2),
    "narrow": lambda v: v.narrow(1, 1, 2),
    "diff": lambda v: v.diff(dim=0),
    "tril": lambda v: v.tril(-1),
    "triu": lambda v: v.triu(diagonal=1),
    "diag": lambda v: [v[0].diag(), v[:, 1:].diag()],
    "diag_embed": lambda v: v.diag_embed(),
    "diagonal": lambda v: v[:, None, 1:].diagonal(dim1=0, dim2=2),
    "trace": lambda v: v[:, :3].trace(),
    "index_select": lambda v: v.index_select(1, LABELS),
    "gather": lambda v: v.gather(1, IDS),
    "take_along_dim": lambda v: v.take_along_dim(LABELS[:, None], dim=1),
    "clone": lambda v: v.clone(),
    "contiguous": lambda v: v.mT.contiguous(),
    "detach": lambda v: [v.detach(), v * v.detach()],
    "data": lambda v: [v.data, v * v.data],
    "matmul": lambda v: [v.matmul(TB), TS.matmul(v)],
    "mm": lambda v: v.mm(TY.mT),
    "bmm": lambda v: v[None].bmm(TY.mT[None]),
    "mv": lambda v: v.mv(TV),
    "dot": lambda v: v[0].dot(TV),
    "vdot": lambda v: v[0].vdot(TV),
    "inner": lambda v: v.inner(TY),
    "outer": lambda v: v[0].outer(TV),
    "ger": lambda v: v[0].ger(TV),
    "addmm": lambda v: v.addmm(TS, TY, beta=2),
    "baddbmm": lambda v: v[None].baddbmm(TS[None], TY[None]),
    "addmv": lambda v: v[0].addmv(TY.mT, TV[:3]),
    "kron": lambda v: v.kron(TS),
    "softmax": lambda v: [v.softmax(-1), v.softmax(dim=0, dtype=torch.float64)],
    "log_softmax": lambda v: v.log_softmax(dim=-1),
    "to": lambda v: [v.to(torch.float64), v.to("cpu"), v.to(TY), v.to("cpu", dtype=torch.float64, non_blocking=True)],
    "cpu": lambda v: v.cpu(),
    "type_as": lambda v: [v.type_as(TY), TY.type_as(v) * v],
    "double": lambda v: v.double(),
    "float": lambda v: v.double().float().double().round(decimals=3),
    "int": lambda v: (9.0 * v).int(),
    "long": lambda v: (9.0 * v).long(),
    "bool": lambda v: v.bool(),
    "size": lambda v: [*v.size(), v.size(0), v.size(dim=-1)],
    "shape": lambda v: [*v.shape],
    "dim": lambda v: v.dim(),
    "ndimension": lambda v: v.ndimension(),
    "numel": lambda v: v.numel(),
    "nelement": lambda v: v.nelement(),
    "element_size": lambda v: v.element_size(),
    "itemsize": lambda v: v.itemsize,
    "nbytes": lambda v: v.nbytes,
    "real": lambda v: v.real,
    "requires_grad": lambda v: v.requires_grad,
    "is_cuda": lambda v: v.is_cuda,
    "is_contiguous": lambda v: v.is_contiguous(),
    "is_floating_point": lambda v: v.is_floating_point(),
    "is_complex": lambda v: v.is_complex(),
    "new_zeros": lambda v: [v.new_zeros(2, 3), v.new_zeros((2,), dtype=torch.int64)],
    "new_ones": lambda v: v.new_ones(v.size(0), 1),
    "new_full": lambda v: v.new_full((2, 3), 7.0),
    "T": lambda v: v.T,
    "mT": lambda v: v[None].mT,
}  # fmt: skip
APART = {"cuda", "half", "bfloat16"}  # they need a device, or are coarse


@pytest.mark.parametrize("name", TORCH_CASES)
def test_torch_methods(name: str) -> None:
    check_against_autograd(TORCH_CASES[name])


def test_torch_methods_are_covered() -> None:
    shared = {name for name in TORCH if hasattr(torch.Tensor, name) and not name.startswith("__")}
    assert shared | set(TORCH_METHODS) | set(TORCH_ATTRIBUTES) | {"shape", "T", "mT"} == set(TORCH_CASES) | APART
    assert all(hasattr(torch.Tensor, name) for name in {*TORCH_METHODS, *TORCH_ATTRIBUTES})


@pytest.mark.parametrize("name", ["half", "bfloat16", "float"])
def test_coarse_casts(name: str) -> None:
    def f(v: Any) -> Any:
        y = getattr(v, name)()
        assert y.dtype == getattr(TX, name)().dtype
        return (y.double() ** 2).sum()

    leaf = TX.clone().requires_grad_()
    f(leaf).backward()
    np.testing.assert_array_equal(aj.grad(f)(TX).numpy(), leaf.grad.numpy())


def test_the_activations_that_call_methods() -> None:
    check_against_autograd(lambda v: [F.sigmoid(v), F.tanh(v)])


def attention(x: Any, qkv: Any, out: Any) -> Any:
    """A pasted PyTorch block: causal attention of two heads, the residual, a normalization."""
    batch, time, width = x.size()
    heads, dim = 2, width // 2
    q, k, v = x.matmul(qkv.t()).chunk(3, dim=-1)
    q, k, v = (y.view(batch, time, heads, dim).transpose(1, 2) for y in (q, k, v))
    scores = q.matmul(k.transpose(-2, -1)).div(math.sqrt(dim))
    mask = torch.ones(time, time).triu(1).bool().expand(batch, heads, -1, -1)
    weights = scores.masked_fill(mask, float("-inf")).softmax(-1)
    y = weights.matmul(v).permute(0, 2, 1, 3).contiguous().view(batch, time, -1)
    y = x.add(y.view(-1, width).mm(out).reshape_as(x))
    y = y.sub(y.mean(-1, keepdim=True)).div(y.var(dim=-1, keepdim=True, unbiased=False).add(1e-5).sqrt())
    return y.pow(3).mean() + x.detach().abs().max() * out.norm()


def test_a_pasted_attention_block() -> None:
    torch.manual_seed(0)
    given = [torch.randn(shape, dtype=torch.float64) for shape in ((2, 5, 6), (18, 6), (6, 6))]
    leaves = [x.clone().requires_grad_() for x in given]
    attention(*leaves).backward()
    gradients = aj.grad(attention, argnums=(0, 1, 2))(*given)
    for g, leaf in zip(gradients, leaves, strict=True):
        np.testing.assert_allclose(g.numpy(), leaf.grad.numpy(), **TOLERANCE)


# What is refused


@pytest.mark.parametrize(
    ("x", "name", "message"),
    [
        (X, "searchsorted", r"ndarray\.searchsorted has no operation here: write it with .*aj\.stop_gradient\(x\)"),
        (X, "exp", r"ndarray\.exp .*use aj\.exp\(x\)"),
        (X, "dim", "dim"),
        (TX, "histc", r"Tensor\.histc"),
        (TX, "astype", r"Tensor\.astype .*use aj\.astype\(x\)"),
        (TX, "silu", r"use aj\.silu\(x\)"),
        (TX, "nothing_", "nothing_"),
        (X, "__array_interface__", "'Traced' object has no attribute '__array_interface__'"),
        (TX, "__dlpack__", "__dlpack__"),
    ],
)
def test_unknown_names(x: Any, name: str, message: str) -> None:
    def f(v: Any) -> Any:
        assert not hasattr(v, name)
        assert getattr(v, name, None) is None
        return getattr(v, name)

    with pytest.raises(AttributeError, match=message):
        aj.grad(f)(x)


@pytest.mark.parametrize(
    ("x", "f", "message"),
    [
        (TX, lambda v: v.add_(1.0), r"Tensor\.add_ would change an array in place"),
        (TX, lambda v: v.zero_(), r"Tensor\.zero_"),
        (TX, lambda v: v.requires_grad_(), r"Tensor\.requires_grad_"),
        (X, lambda v: v.sort(), r"ndarray\.sort would change an array in place"),
        (X, lambda v: v.fill(0.0), r"ndarray\.fill"),
        (X, lambda v: v.sum(out=X), "in place"),
        (X, lambda v: v.tolist(), r"tolist\(\) of a traced value"),
        (TX, lambda v: v.numpy(), r"numpy\(\) of a traced value"),
        (TX, lambda v: v.sum().item(), r"item\(\) of a traced value"),
    ],
)
def test_changes_and_lost_derivatives(x: Any, f: Case, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        aj.grad(f)(x)


@pytest.mark.parametrize(
    ("x", "f", "message"),
    [
        (X, lambda v: v.sum(dim=0), r"ndarray\.sum is known here with .*'dim'"),
        (X, lambda v: v.flatten(order="F"), r"ndarray\.flatten .*'order'"),
        (TX, lambda v: v.softmax(), r"Tensor\.softmax is known here with .*'dim'"),
        (TX, lambda v: v.to("meta"), r"Tensor\.to: a traced value stays on cpu: move .* meta before"),
        (TX, lambda v: v.cuda(), "stays on cpu"),
    ],
)
def test_arguments_that_are_refused(x: Any, f: Case, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        aj.grad(f)(x)


def test_errors_inside_methods_stay_their_own() -> None:
    with pytest.raises(aj.ShapeError, match=r"\(3, 4\)"):
        aj.grad(lambda v: v.reshape(5, 5).sum())(X)
    with pytest.raises(aj.ShapeError, match="axis 7"):
        aj.grad(lambda v: v.mean(7).sum())(X)


def test_augmented_assignment_binds_a_new_value() -> None:
    def f(v: Any) -> Any:
        y = v
        y += 1.0
        y *= v
        return y.sum()

    np.testing.assert_allclose(aj.grad(f)(X), 2.0 * X + 1.0, rtol=1e-15)


def test_shape_only_values_have_numpys_methods() -> None:
    x = ShapeArray((6, 4))
    assert mlp(x, ShapeArray((5, 4)), ShapeArray((5,)), ShapeArray((5, 3))).shape == ()
    assert x.reshape(2, -1).T.shape == (12, 2)
    assert x.size == 24
    assert not hasattr(x, "unsqueeze")
    with pytest.raises(BackendError, match="tolist"):
        x.tolist()
