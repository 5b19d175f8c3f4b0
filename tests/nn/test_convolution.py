"""Convolutional layers against torch.nn; convolutions as matrices, columns, spectra; what does not fit."""

from __future__ import annotations

import itertools
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint as aj
from adjoint import nn
from adjoint.arrays.dispatch import backend
from adjoint.arrays.numpy import convolutions as compiled
from adjoint.arrays.numpy import winograd as tiles

tn = torch.nn
EPS = float(np.finfo("float64").eps)
BACKENDS = ("numpy", "torch", "jax")
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (3, 4, 3), {"padding": "same", "padding_mode": "replicate"}, (2, 3, 7)),
    ("Conv1d", (4, 6, 2), {"stride": 2, "padding": 1, "groups": 2, "bias": False}, (4, 8)),
    ("Conv2d", (3, 4, (3, 2)), {"padding": (1, 2), "padding_mode": "circular"}, (2, 3, 5, 4)),
    ("Conv2d", (2, 2, 3), {"stride": 2, "padding": 2, "padding_mode": "reflect"}, (1, 2, 6, 5)),
    ("Conv2d", (4, 8, 3), {"groups": 4, "dilation": 2, "padding": "valid"}, (2, 4, 7, 6)),
    ("Conv2d", (1, 2, 3), {"padding": 1}, (0, 1, 4, 4)),
    ("Conv3d", (2, 4, (1, 2, 3)), {"padding": (0, 1, 1), "stride": (2, 1, 1), "groups": 2}, (2, 2, 3, 4, 3)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "output_padding": 1, "groups": 2}, (2, 4, 5)),
    ("ConvTranspose2d", (3, 2, 3), {"stride": 2, "padding": 1, "output_padding": 1, "bias": False}, (3, 3, 4)),
    ("ConvTranspose3d", (2, 2, 2), {"dilation": 2, "padding": (1, 0, 1)}, (1, 2, 2, 3, 2)),
]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(LAYERS)]


def plain(x: Any) -> np.ndarray:
    return np.asarray(backend(type(x)).to_numpy(x))


def pair(name: str, args: Any, options: Any) -> tuple[Any, Any]:
    """Our layer and PyTorch's in float64, with its numbers."""
    theirs = getattr(tn, name)(*args, **options).double()
    ours = getattr(nn, name)(*args, **options, dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


# Against PyTorch


@pytest.mark.covers("C04", "C05")
@pytest.mark.parametrize(
    ("name", "args", "options", "shape", "to"),
    [pytest.param(*x, to, id=f"{i}-{to}") for i, x in zip(IDS, LAYERS, strict=True) for to in BACKENDS
     if to != "jax" or i in ("Conv2d-4", "ConvTranspose2d-8")],
)  # fmt: skip
def test_values_and_gradients_are_pytorchs(name: str, args: Any, options: Any, shape: Any, to: str) -> None:
    ours, theirs = pair(name, args, options)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    expected = theirs(there := torch.tensor(x, requires_grad=True))
    c = rng.standard_normal(tuple(expected.shape))
    (expected * torch.tensor(c)).sum().backward()
    near = 64 * EPS * (1.0 + np.abs(c).sum() ** 0.5)
    net, x, c = aj.to((ours, x, c), to)
    net_grad, x_grad = aj.grad(lambda net, x: aj.sum(net(x) * c), (0, 1))(net, x)
    np.testing.assert_allclose(plain(net(x)), expected.detach(), rtol=0, atol=near)
    np.testing.assert_allclose(plain(x_grad), there.grad, rtol=0, atol=near)
    for key, parameter in theirs.named_parameters():
        np.testing.assert_allclose(plain(net_grad.state_dict()[key]), parameter.grad, rtol=0, atol=8 * near)


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS, ids=IDS)
def test_state_dicts_load_both_ways(name: str, args: Any, options: Any, shape: Any) -> None:
    ours, theirs = getattr(nn, name)(*args, **options, rng=0), getattr(tn, name)(*args, **options)
    theirs.load_state_dict({key: torch.tensor(x) for key, x in ours.state_dict().items()})
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).detach(), rtol=0, atol=1e-5)
    ours.load_state_dict(theirs.state_dict())
    assert nn.count_parameters(ours) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_initial_numbers_fill_pytorchs_interval(name: str) -> None:
    ours = getattr(nn, name)(6, 30, 3, groups=3, rng=0)
    bound = 1.0 / np.sqrt(ours.weight[0].size)
    theirs = getattr(tn, name)(6, 30, 3, groups=3)
    for key, x in ours.state_dict().items():
        assert x.dtype == np.float32
        assert 0.9 * bound < np.abs(x).max() <= np.float32(bound)
        assert float(theirs.state_dict()[key].abs().max()) <= np.float32(bound)


@pytest.mark.covers("C05")
def test_a_transposed_convolution_takes_the_size_it_is_told() -> None:
    ours, theirs = pair("ConvTranspose2d", (2, 3, 3), {"stride": 3, "padding": 1})
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 5))
    for size in ((10, 13), (11, 15)):
        np.testing.assert_allclose(ours(x, size), theirs(torch.tensor(x), size).detach(), rtol=0, atol=1e-13)
    with pytest.raises(aj.ShapeError, match=r"output_size \(13, 13\) is not between \(10, 13\) and \(12, 15\)"):
        ours(x, 13)


SIZES = st.integers(1, 3)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 3))
def test_any_options_in_any_dimension(data: st.DataObject, ndim: int) -> None:
    """All three functions, in plain NumPy and by the compiled kernels that large arrays take, of strided operands."""
    draw = lambda least=1, most=3: tuple(data.draw(st.integers(least, most)) for _ in range(ndim))  # noqa: E731
    kernel, stride, dilation, padding = draw(), draw(), draw(1, 2), draw(0, 2)
    groups, per, share, n = (data.draw(SIZES) for _ in range(4))
    sizes = tuple(d * (k - 1) + 1 + extra for k, d, extra in zip(kernel, dilation, draw(0, 3), strict=True))
    rng = np.random.default_rng(0)
    x = np.moveaxis(rng.standard_normal((groups * per, n, *sizes)), 0, 1)
    w, b = rng.standard_normal((groups * share, per, *kernel)), rng.standard_normal(groups * share)
    tx, tw, tb = (torch.tensor(a, requires_grad=True) for a in (x, w, b))
    ty = getattr(torch.nn.functional, f"conv{ndim}d")(tx, tw, tb, stride, padding, dilation, groups)
    u = rng.standard_normal(tuple(ty.shape))
    ty.backward(torch.tensor(u))
    conv = getattr(aj, f"conv{ndim}d")
    for threshold in (0, 1 << 30):
        with patch.object(compiled, "SMALL", threshold):
            y, pullback = aj.vjp(lambda x, w, b: conv(x, w, b, stride, padding, dilation, groups), x, w, b)
            found = pullback(u)
        np.testing.assert_allclose(y, ty.detach(), rtol=1e-12, atol=1e-12)
        for got, t in zip(found, (tx, tw, tb), strict=True):
            np.testing.assert_allclose(got, t.grad, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("sizes", "padding"), [((14, 14), ((1, 1), (1, 1))), ((7, 10), ((0, 2), (2, 0))), ((9, 8), ((2, -1), (-1, 1)))]
)
def test_three_by_three_by_winograd(sizes: tuple[int, int], padding: Any, dtype: str) -> None:
    """As near to the sums in float64 as direct ones are, for odd sizes, parts of chunks, entries left out."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((13, 17, *sizes), (20, 17, 3, 3), (20,)))
    x = np.moveaxis(x, 1, -1).copy("F").transpose(0, 3, 1, 2)
    window = ((1, 1), padding, (1, 1), 1)
    tx, tw, tb = (torch.tensor(a.astype("float64"), requires_grad=True) for a in (x, w, b))
    around = [n for pair in padding[::-1] for n in pair]
    ty = torch.conv2d(torch.nn.functional.pad(tx, around), tw, tb)
    u = rng.standard_normal(tuple(ty.shape)).astype(dtype)
    ty.backward(torch.tensor(u.astype("float64")))
    assert compiled.fits(13, compiled.plan(x.shape, w.shape, compiled.Window(*window[:3]), 1), x)
    with patch.object(tiles, "CACHE", 1 << 18):
        found = (
            aj.arrays.convolution(x, w, b, *window),
            aj.arrays.convolution_input(u, w, None, *window),
            aj.arrays.convolution_weight(x, u, *window),
        )
    for got, expected in zip(found, (ty.detach(), tx.grad, tw.grad), strict=True):
        near = 16 * float(np.finfo(dtype).eps) * float(expected.abs().max())
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=near)


def test_pytorchs_functions_take_traced_values() -> None:
    F = torch.nn.functional
    rng = np.random.default_rng(0)
    x, w, v = (torch.tensor(rng.standard_normal(shape)) for shape in ((1, 4, 5, 5), (2, 2, 3, 3), (4, 1, 2, 2)))

    def f(x: Any, w: Any) -> Any:
        y = F.conv_transpose2d(F.conv2d(x, w, stride=2, padding=1, groups=2).repeat(1, 2, 1, 1), v, groups=4)
        columns = F.unfold(y, 2)
        return (F.fold(columns, (4, 4), 2) ** 2).sum() + (y.unfold(-1, 3, 1) ** 3).sum()

    tx, tw = x.clone().requires_grad_(), w.clone().requires_grad_()
    f(tx, tw).backward()
    for got, t in zip(aj.grad(f, (0, 1))(x, w), (tx, tw), strict=True):
        torch.testing.assert_close(got, t.grad)


# As matrices


@pytest.mark.covers("C01")
def test_one_dimension_is_a_toeplitz_matrix() -> None:
    w = np.array([2.0, -1.0, 3.0])
    A = aj.Convolution(w[None, None], (1, 6), padding=1)
    T = scipy.linalg.toeplitz([-1.0, 2.0, 0, 0, 0, 0], [-1.0, 3.0, 0, 0, 0, 0])
    np.testing.assert_array_equal(A.toeplitz().toarray(), T)
    x = np.arange(6.0)
    np.testing.assert_allclose(
        A @ x[None], torch.conv1d(torch.tensor(x[None, None]), torch.tensor(w[None, None]), padding=1)[0]
    )


@pytest.mark.covers("C02")
def test_two_and_three_dimensions_are_blocked_toeplitz_matrices() -> None:
    w = np.random.default_rng(0).standard_normal((3, 3, 2))
    A = aj.Convolution(w[None, None], (1, 4, 5, 3), padding=(1, 1, 0))
    blocks = A.toeplitz().toarray().reshape(4, 5, 2, 4, 5, 3)
    for i, j, k, l in itertools.product(range(4), range(4), range(5), range(5)):
        inside = 0 <= j - i + 1 < 3 and 0 <= l - k + 1 < 3
        row = w[j - i + 1, l - k + 1] if inside else np.zeros(2)
        expected = np.array([[row[0], row[1], 0], [0, row[0], row[1]]])
        np.testing.assert_array_equal(blocks[i, k, :, j, l], expected)


@pytest.mark.covers("C02")
def test_the_sparse_matrix_is_the_map() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        w = rng.standard_normal((4, 2, 3, 2)).astype(dtype)
        A = aj.Convolution(w, (4, 5, 6), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
        assert A.toeplitz().dtype == dtype
        assert A.toeplitz().nnz < A.shape[0] * 2 * 6
        np.testing.assert_allclose(A.toeplitz().toarray(), A.matrix(), rtol=1e-6)
        np.testing.assert_array_equal(A.T.toeplitz().toarray(), A.toeplitz().toarray().T)


@pytest.mark.covers("C03")
def test_columns_and_what_they_cost() -> None:
    w = np.random.default_rng(0).standard_normal((6, 3, 3, 3))
    A = aj.Convolution(w, (3, 8, 8), padding=1)
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8))
    columns = A.im2col(x)
    np.testing.assert_array_equal(columns, torch.nn.functional.unfold(torch.tensor(x), 3, padding=1))
    np.testing.assert_allclose(w.reshape(6, -1) @ columns, A(x).reshape(2, 6, -1), atol=1e-12)
    again = torch.nn.functional.fold(torch.tensor(columns), (8, 8), 3, padding=1)
    np.testing.assert_allclose(A.col2im(columns), again, atol=1e-13)
    assert A.columns == (columns.shape[1:], columns[0].nbytes, columns[0].nbytes / x[0].nbytes) == ((27, 64), 13824, 9)
    assert nn.Unfold(3, padding=1)(x).shape == (2, 27, 64)
    np.testing.assert_array_equal(nn.Fold(8, 3, padding=1)(columns), A.col2im(columns))


@pytest.mark.covers("C05")
def test_the_transpose_is_not_the_inverse() -> None:
    ours, _ = pair("ConvTranspose1d", (1, 1, 3), {"stride": 1, "padding": 1, "bias": False})
    A = aj.Convolution(ours.weight, (1, 6), padding=1)
    assert isinstance(A.T, aj.ConvolutionTranspose)
    x = np.random.default_rng(0).standard_normal((1, 6))
    np.testing.assert_allclose(A.T @ x, ours(x), atol=1e-14)
    np.testing.assert_allclose(A.T.matrix(), A.matrix().T, atol=1e-14)
    assert not np.allclose(A.T @ (A @ x), x)
    np.testing.assert_allclose(A.inverse() @ (A @ x), x, atol=1e-9)


@pytest.mark.covers("C07")
@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_the_adjoint_is_convolution_with_the_flipped_kernel(stride: Any) -> None:
    rng = np.random.default_rng(0)
    A = aj.Convolution(rng.standard_normal((4, 3, 3, 2)), (6, 7, 8), stride, (1, 0), (2, 1), groups=2)
    B = A.T.flipped()
    x, u = rng.standard_normal(A.in_shape), rng.standard_normal(A.out_shape)
    assert np.sum((A @ x) * u) == pytest.approx(np.sum(x * (B @ u)), rel=1e-12)
    np.testing.assert_allclose(B.matrix(), A.matrix().T, atol=1e-13)


# What they cost


@pytest.mark.covers("C06")
def test_depthwise_separable_is_a_factorization_of_the_full_kernel() -> None:
    assert nn.count_parameters(nn.Conv2d(64, 128, 3)) == 64 * 128 * 9 + 128 == 73_856
    assert nn.count_parameters(nn.DepthwiseSeparableConv2d(64, 128, 3)) == 64 * 9 + 64 + 64 * 128 + 128 == 8_960
    net = nn.DepthwiseSeparableConv2d(4, 5, 3, stride=2, padding=1, dtype="float64", rng=0)
    full = nn.Conv2d(4, 5, 3, stride=2, padding=1, dtype="float64")
    bias = net.pointwise.weight[:, :, 0, 0] @ net.depthwise.bias + net.pointwise.bias
    full.load_state_dict({"weight": net.full_weight(), "bias": bias})
    x = np.random.default_rng(0).standard_normal((2, 4, 7, 7))
    np.testing.assert_allclose(net(x), full(x), atol=1e-14)
    assert all(np.linalg.matrix_rank(full.weight[:, c].reshape(5, 9)) == 1 for c in range(4))


@pytest.mark.covers("C10")
def test_from_two_to_three_dimensions_parameters_and_products_grow() -> None:
    flat, deep = nn.Conv2d(3, 6, 4, padding=1, bias=False), nn.Conv3d(3, 6, 4, padding=1, bias=False)
    assert nn.count_parameters(deep) == 4 * nn.count_parameters(flat) == 4 * 288
    images, volumes = aj.cost(flat, (2, 3, 6, 6)), aj.cost(deep, (2, 3, 6, 6, 6))
    assert images.forward.matmul_flops == 28_800
    assert volumes.forward.matmul_flops == 28_800 * 4 * 5
    assert volumes.backward.matmul_flops == volumes.forward.matmul_flops  # in the weight; the input needs none
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counted:
        tn.Conv3d(3, 6, 4, padding=1)(torch.zeros(2, 3, 6, 6, 6)).sum().backward()
    assert counted.get_total_flops() == volumes.forward.matmul_flops + volumes.backward.matmul_flops


# Singular values


def circulant(w: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """The matrix of a periodic convolution, its columns by NumPy's roll."""
    out, c, *kernel = w.shape
    matrix = np.zeros((out, *sizes, c, *sizes))
    for place in itertools.product(*map(range, sizes)):
        for k in itertools.product(*map(range, kernel)):
            seen = tuple((p + a) % n for p, a, n in zip(place, k, sizes, strict=True))
            matrix[(slice(None), *place, slice(None), *seen)] += w[(slice(None), slice(None), *k)]
    return matrix.reshape(out * int(np.prod(sizes)), -1)


@pytest.mark.covers("C08")
@pytest.mark.parametrize(("kernel", "sizes"), [((3, 3), (5, 4)), ((2, 5), (3, 5)), ((1, 3), (2, 3))])
def test_the_spectrum_of_a_circular_convolution_by_fft(kernel: tuple[int, int], sizes: tuple[int, int]) -> None:
    net = nn.Conv2d(2, 3, kernel, padding="same", padding_mode="circular", dtype="float64", rng=0)
    expected = np.linalg.svd(circulant(net.weight, sizes), compute_uv=False)
    J = aj.jacobian(net, np.zeros((2, *sizes)))
    found = J.svdvals()
    assert found.method == "fft"
    assert np.all(np.abs(found.values - expected) <= found.bound)
    assert J.norm() == pytest.approx(expected[0])
    assert J.rank() == np.linalg.matrix_rank(J.matrix())
    many = aj.jacobian(net, np.zeros((3, 2, *sizes))).svdvals()
    assert many.method == "fft"
    np.testing.assert_allclose(many.values, expected.repeat(3), atol=1e-12)


@pytest.mark.covers("C08")
def test_the_spectrum_without_the_matrix_and_the_norm_that_others_use() -> None:
    w = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype("float32")
    small, large = aj.Convolution(w, (4, 5, 5), padding=1), aj.Convolution(w, (4, 40, 40), padding=1)
    dense = np.linalg.svd(small.toeplitz().toarray().astype("float64"), compute_uv=False)
    np.testing.assert_allclose(small.svdvals().values, dense, atol=1e-4)
    from scipy.sparse.linalg import svds

    norm = large.norm()
    assert norm.method == "golub-kahan"
    assert (
        abs(norm - svds(large.toeplitz().astype("float64"), 1, return_singular_vectors=False)[0]) <= norm.bound + 1e-5
    )
    theirs = np.linalg.svd(w.reshape(8, -1), compute_uv=False)[0]
    assert large.reshaped_norm() == pytest.approx(theirs, rel=1e-5)
    assert large.reshaped_norm() < norm <= 3.0 * large.reshaped_norm()
    assert "reshaped kernel" in large.reshaped_norm().method


# What does not fit


@pytest.mark.parametrize("to", BACKENDS)
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w: aj.conv2d(x, w), aj.ShapeError, "the kernel (3, 3) is larger than the input (2, 5): take"),
        (lambda x, w: aj.conv2d(x, w, dilation=3, padding=1), aj.ShapeError, "dilated to (7, 7), is larger than"),
        (lambda x, w: aj.conv2d(x[:, :3], w), aj.ShapeError, "the input has 3 channels on axis -3, the weight"),
        (lambda x, w: aj.conv2d(aj.moveaxis(x, 1, -1), w), aj.ShapeError, "aj.moveaxis(x, -1, -3)"),
        (lambda x, w: aj.conv2d(x, w, groups=3), aj.ShapeError, "groups=3 does not divide the 4 input channels"),
        (lambda x, w: aj.conv2d(x, w, stride=-1), ValueError, "stride is a whole number ≥ 1, or 2 of them, not -1"),
        (lambda x, w: aj.conv2d(x, w, stride=2, padding="same"), ValueError, "'same' needs stride 1, not (2, 2)"),
        (lambda x, w: aj.conv2d(x, w, padding="full"), ValueError, "not 'full'"),
        (lambda x, w: aj.conv2d(x, w, w[0, 0, 0], padding=1), aj.ShapeError, "each of the 2 output channels, not"),
        (lambda x, w: aj.conv1d(x, w), aj.ShapeError, "conv1d: the weight has 3 axes"),
        (lambda x, w: aj.conv2d(x[0, 0], w), aj.ShapeError, "conv2d: the input is (N, C, H, W) or (C, H, W)"),
        (lambda x, w: aj.conv_transpose2d(x, w), aj.ShapeError, "the weight (in, out/groups, *kernel) = (2, 4, 3, 3)"),
        (
            lambda x, w: aj.conv_transpose2d(x[:, :2], w, output_padding=1),
            ValueError,
            "output_padding (1, 1) must be smaller than stride (1, 1) or dilation (1, 1)",
        ),
        (lambda x, w: aj.unfold(x, 3), aj.ShapeError, "unfold: the kernel (3, 3) is larger than the input (2, 5)"),
        (lambda x, w: aj.fold(x[0], 4, 2), aj.ShapeError, "fold: columns (4, 2, 5) do not fit"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(call: Any, error: Any, message: str, to: str) -> None:
    x, w = aj.to((np.ones((1, 4, 2, 5)), np.ones((2, 4, 3, 3))), to)
    with pytest.raises(error) as caught:
        call(x, w)
    assert message in str(caught.value)


def test_layers_refuse_options_that_mean_nothing() -> None:
    with pytest.raises(ValueError, match="groups=2 does not divide in_channels=3"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="padding_mode is one of"):
        nn.Conv1d(3, 4, 3, padding_mode="mirror")
    with pytest.raises(ValueError, match="ConvTranspose1d: padding_mode is 'zeros' only"):
        nn.ConvTranspose1d(3, 4, 3, padding_mode="circular")
    with pytest.raises(ValueError, match="kernel_size is a whole number ≥ 1"):
        nn.Conv2d(3, 4, (3, 0))
    with pytest.raises(aj.ShapeError, match=r"extends axis -1 of \(1, 2, 3\) by at most 2 entries, not \(3, 3\)"):
        nn.Conv1d(2, 2, 3, padding=3, padding_mode="reflect")(np.ones((1, 2, 3), "float32"))
