"""Pooling and resampling against PyTorch's: values, positions, gradients, odd geometries, what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import adjoint as aj
from adjoint.arrays import numpy as on_numpy
from adjoint.arrays.numpy import pooling as numpy_pooling
from adjoint.arrays.pooling_windows import windows_of
from adjoint.errors import DtypeError, ShapeError


def assert_equals_torch(mine: Any, theirs: Any, *operands: np.ndarray) -> None:
    """Values, integer results and gradients in all floating operands, in float64; PyTorch refuses where we do."""
    tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in operands]
    try:
        wanted = theirs(*tensors)
    except (RuntimeError, ValueError):
        with pytest.raises((ShapeError, ValueError, IndexError)):
            mine(*operands)
        return
    several = isinstance(wanted, tuple)
    first = wanted[0] if several else wanted
    u = np.random.default_rng(0).normal(size=first.shape)
    floats = [x for x in operands if x.dtype.kind == "f"]
    others = [x for x in operands if x.dtype.kind != "f"]
    found, pullback = aj.vjp(lambda *xs: mine(*xs, *others), *floats)
    if several:
        np.testing.assert_array_equal(found[1], wanted[1].numpy())
        assert found[1].dtype == np.int64
    np.testing.assert_allclose(found[0] if several else found, first.detach().numpy(), rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(first, [x for x in tensors if x.requires_grad], torch.tensor(u))
    for g, h in zip(pullback((u, np.zeros(u.shape)) if several else u), gradients, strict=True):
        np.testing.assert_allclose(g, h.numpy(), rtol=0, atol=1e-10)


def image(draw: Any, ndim: int, ties: bool = True) -> np.ndarray:
    """(batch, channels, …) or (channels, …), perhaps an empty batch, with many equal entries."""
    shape = (*draw(st.sampled_from([(2, 3), (3,), (0, 2), (1, 1)])), *[draw(st.integers(1, 8)) for _ in range(ndim)])
    return np.random.default_rng(1).integers(-3, 4, shape) * 1.0 + (not ties) * np.random.default_rng(2).normal(
        size=shape
    )


def each(draw: Any, ndim: int, low: int, high: int) -> Any:
    """An integer, or one for each axis."""
    numbers = st.integers(low, high)
    return draw(st.one_of(numbers, st.tuples(*[numbers] * ndim)))


@pytest.mark.covers("C09", "C04")
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_geometry(data: st.DataObject) -> None:
    draw = data.draw
    ndim = draw(st.integers(1, 3))
    x = image(draw, ndim)
    kernel, stride = each(draw, ndim, 1, 4), draw(st.one_of(st.none(), st.just(each(draw, ndim, 1, 3))))
    padding, ceil = each(draw, ndim, 0, 2), draw(st.booleans())
    if draw(st.booleans()):
        name, options = f"max_pool{ndim}d", [each(draw, ndim, 1, 2), ceil, draw(st.booleans())]
    else:
        name, options = f"avg_pool{ndim}d", [ceil, draw(st.booleans())]
        options += [draw(st.sampled_from([None, 1, 5]))] * (ndim > 1)
    sizes = np.broadcast_to(kernel, ndim)
    if name == "avg_pool3d" and np.any(sizes > x.shape[-3:]):  # PyTorch counts the padding in one and two axes only
        return
    if name.startswith("max") and np.any(np.array(x.shape[-ndim:]) < np.broadcast_to(options[0], ndim)):
        return  # dilated beyond the axis: windows in the padding alone, of which PyTorch gives -∞
    assert_equals_torch(
        lambda x: getattr(aj, name)(x, kernel, stride, padding, *options),
        lambda x: getattr(F, name)(x, kernel, stride, padding, *options),
        x,
    )


@pytest.mark.covers("C09")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_adaptive_geometry(data: st.DataObject) -> None:
    draw = data.draw
    ndim = draw(st.integers(1, 3))
    x = image(draw, ndim)
    sizes = st.integers(1, 9) if ndim == 1 else st.one_of(st.none(), st.integers(1, 9))
    wanted = draw(st.one_of(st.integers(1, 9), st.tuples(*[sizes] * ndim)))
    kind, more = draw(st.sampled_from([("avg", ()), ("max", (False,)), ("max", (True,))]))
    name = f"adaptive_{kind}_pool{ndim}d"
    assert_equals_torch(lambda x: getattr(aj, name)(x, wanted, *more), lambda x: getattr(F, name)(x, wanted, *more), x)


MODES = {"nearest": 0, "nearest-exact": 0, "area": 0, "linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_interpolation(data: st.DataObject) -> None:
    draw = data.draw
    mode = draw(st.sampled_from(list(MODES)))
    ndim = MODES[mode] or draw(st.integers(1, 3))
    shape = [draw(st.integers(1, 8)) for _ in range(ndim)]
    x = np.random.default_rng(1).normal(size=(2, 1, *shape))
    how: dict[str, Any] = {"mode": mode}
    if draw(st.booleans()):
        how["size"] = each(draw, ndim, 1, 11)
    else:
        scales = st.sampled_from([0.5, 1 / 3, 0.7, 1.3, 1.5, 2, 2.7])
        how["scale_factor"] = draw(st.one_of(scales, st.tuples(*[scales] * ndim)))
        how["recompute_scale_factor"] = draw(st.sampled_from([None, True, False]))
        grown = [int(n * s) for n, s in zip(shape, np.broadcast_to(how["scale_factor"], ndim), strict=True)]
        if mode == "area" and 0 in grown:
            return  # PyTorch gives nothing, and has no gradient of it
        if mode == "nearest" and any(m == n for m, n in zip(grown, shape, strict=True)):
            return  # PyTorch's value takes other entries than its gradient
    if MODES[mode]:
        how["align_corners"] = draw(st.sampled_from([None, True, False]))
    assert_equals_torch(lambda x: aj.interpolate(x, **how), lambda x: F.interpolate(x, **how), x)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "how", [{"size": (3, 4)}, {"size": (9, 2)}, {"scale_factor": 0.45}, {"size": 3, "align_corners": True}]
)
def test_antialiased(mode: str, how: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 2, 7, 8))
    assert_equals_torch(
        lambda x: aj.interpolate(x, mode=mode, antialias=True, **how),
        lambda x: F.interpolate(x, mode=mode, antialias=True, **how),
        x,
    )


def test_antialiased_to_one_column_is_the_adjoint_of_its_gradient() -> None:
    """PyTorch's value is not: this is where ours differs."""
    x = torch.randn(1, 2, 9, 5, dtype=torch.float64)
    how = {"size": (4, 1), "mode": "bilinear", "antialias": True}
    y, pullback = aj.vjp(lambda x: aj.interpolate(x, **how), x)
    assert torch.allclose(y, aj.interpolate(x, **how), rtol=0, atol=1e-12)
    assert torch.allclose((y * y).sum(), (x * pullback(y)[0]).sum())


# Layers

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, (2, 3, 9)),
    ("MaxPool2d", (2,), {}, (2, 3, 5, 6)),
    ("MaxPool2d", ((3, 2),), {"dilation": 2, "return_indices": True, "ceil_mode": True}, (3, 7, 6)),
    ("MaxPool3d", (2, 1), {}, (1, 2, 3, 4, 3)),
    ("AvgPool1d", (3,), {"padding": 1, "count_include_pad": False}, (2, 3, 8)),
    ("AvgPool2d", (3, 2, 1), {"divisor_override": 4}, (2, 3, 6, 5)),
    ("AvgPool3d", (2,), {"ceil_mode": True}, (2, 3, 4, 5)),
    ("AdaptiveAvgPool1d", (5,), {}, (2, 3, 8)),
    ("AdaptiveAvgPool2d", ((None, 3),), {}, (2, 3, 5, 7)),
    ("AdaptiveAvgPool3d", (1,), {}, (2, 3, 4, 5, 2)),
    ("AdaptiveMaxPool1d", (5,), {}, (3, 8)),
    ("AdaptiveMaxPool2d", (3,), {"return_indices": True}, (2, 3, 5, 7)),
    ("AdaptiveMaxPool3d", ((1, None, 2),), {}, (2, 3, 4, 5)),
    ("LPPool1d", (2, 3), {"stride": 1}, (2, 3, 8)),
    ("LPPool2d", (1.5, (2, 3)), {"ceil_mode": True}, (2, 3, 5, 7)),
    ("LPPool3d", (2, 2), {}, (2, 4, 4, 5)),
    ("Upsample", (), {"scale_factor": 2, "mode": "bicubic"}, (1, 2, 3, 4)),
    ("Upsample", ((4, 5),), {}, (1, 2, 3, 4)),
    ("UpsamplingNearest2d", (), {"scale_factor": 3}, (1, 2, 3, 4)),
    ("UpsamplingBilinear2d", (7,), {}, (1, 2, 3, 4)),
    ("PixelShuffle", (2,), {}, (2, 8, 3, 2)),
    ("PixelUnshuffle", (3,), {}, (2, 2, 6, 3)),
    ("ChannelShuffle", (3,), {}, (2, 6, 3)),
]


@pytest.mark.covers("C09")
@pytest.mark.parametrize(
    ("name", "args", "options", "shape"), LAYERS, ids=[f"{x[0]}-{i}" for i, x in enumerate(LAYERS)]
)
def test_layer(name: str, args: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...]) -> None:
    x = np.abs(np.random.default_rng(0).normal(size=shape)) + 0.1
    mine, theirs = getattr(aj.nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert_equals_torch(mine, theirs, x)
    assert_equals_torch(mine, theirs, np.asfortranarray(x))
    assert not mine.state_dict()


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_unpooling_undoes_pooling(ndim: int) -> None:
    """Also where windows overlap and a position comes twice, of which PyTorch's gradient counts every occurrence."""
    x = np.random.default_rng(0).normal(size=(2, 3, *(7, 5, 6)[:ndim]))
    pool = getattr(torch.nn, f"MaxPool{ndim}d")(2, return_indices=True)
    y, at = (part.numpy().copy() for part in pool(torch.tensor(x)))
    unpool, theirs = (getattr(nn, f"MaxUnpool{ndim}d")(2) for nn in (aj.nn, torch.nn))
    assert_equals_torch(unpool, theirs, y, at)
    size = x.shape[2:]
    assert_equals_torch(lambda *xs: unpool(*xs, output_size=size), lambda *xs: theirs(*xs, output_size=size), y, at)
    overlapping = getattr(torch.nn, f"MaxPool{ndim}d")(3, 1, return_indices=True)
    y, at = (part.numpy().copy() for part in overlapping(torch.tensor(x)))
    back = getattr(torch.nn, f"MaxUnpool{ndim}d")(3, 1)(torch.tensor(y), torch.tensor(at))
    np.testing.assert_allclose(getattr(aj.nn, f"MaxUnpool{ndim}d")(3, 1)(y, at), back.numpy(), rtol=1e-15)


def test_pytorchs_functions_of_traced_values() -> None:
    x = torch.rand(1, 4, 6, 6, dtype=torch.float64)

    def f(x: Any) -> Any:
        y, at = F.max_pool2d(x, 2, return_indices=True)
        y = F.max_unpool2d(y, at, 2) + F.interpolate(F.adaptive_avg_pool2d(x, 3), scale_factor=2, mode="bilinear")
        return (
            F.avg_pool2d(F.pixel_shuffle(y, 2), 3, stride=2).sum()
            + F.adaptive_max_pool2d(F.lp_pool2d(y, 2, 2), 1).sum()
        )

    leaf = x.clone().requires_grad_()
    assert torch.allclose(aj.grad(f)(x), torch.autograd.grad(f(leaf), leaf)[0], rtol=0, atol=1e-12)


# What NumPy's kernels do is what the plain form does


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_pooling, "COMPILED", 0)
    monkeypatch.setattr(numpy_pooling, "SHARED", 300)


GEOMETRIES = [
    ((2, 3, 8, 6), 2, 2, 0, 1),
    ((3, 9, 7), 2, 2, 0, 1),
    ((2, 3, 7, 8), (3, 2), (1, 2), 1, (2, 1)),
    ((2, 9), 3, 2, 1, 1),
]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_kernels_are_the_composition(
    shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    ndim = 1 if len(shape) == 2 else 2
    w = windows_of("max_pool", np.zeros(shape[-ndim - 1 :]), ndim, kernel, stride, padding, dilation)
    x = rng.integers(-2, 3, shape).astype(dtype)
    x.flat[rng.integers(0, x.size, 5)] = [np.nan, np.inf, -np.inf, np.nan, -0.0]
    x[0] = -np.inf
    y, at = on_numpy.max_pool(x, w)
    plain = numpy_pooling.pooling.max_pool.table.composed(x, w)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(y, plain[0])
    np.testing.assert_array_equal(at, plain[1])
    np.testing.assert_array_equal(np.isnan(y), np.isnan(torch_max(x, kernel, stride, padding, dilation)))
    u = rng.normal(size=(2, *y.shape)).astype(dtype)
    back = on_numpy.place(u, at, shape[-ndim:])
    plain = numpy_pooling.pooling.place.table.composed(u, at, shape[-ndim:])  # type: ignore[attr-defined]
    np.testing.assert_allclose(back, plain, rtol=1e-6)
    v = rng.normal(size=(2, *shape)).astype(dtype)
    np.testing.assert_array_equal(
        on_numpy.pick(v, at, ndim),
        numpy_pooling.pooling.pick.table.composed(v, at, ndim),  # type: ignore[attr-defined]
    )


def torch_max(x: np.ndarray, *geometry: Any) -> np.ndarray:
    pool = F.max_pool1d if x.ndim == 2 else F.max_pool2d
    return np.asarray(pool(torch.tensor(x), *geometry))


@pytest.mark.usefixtures("compiled")
def test_resampling_kernels_are_the_composition() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 8, 7))
    for f in (
        lambda x: aj.avg_pool2d(x, 3, 2, 1),
        lambda x: aj.adaptive_avg_pool2d(x, (3, 5)), lambda x: aj.adaptive_avg_pool2d(x, 1),
        lambda x: aj.interpolate(x, size=(5, 11), mode="bicubic"), lambda x: aj.interpolate(x, scale_factor=2),
    ):  # fmt: skip
        J = aj.jacobian(f, x)
        u = np.random.default_rng(1).normal(size=J.out_shape)
        plain = numpy_pooling.resampling.resample.table.composed  # type: ignore[attr-defined]
        np.testing.assert_allclose(J @ x, plain(x, J.taps), rtol=0, atol=1e-14)
        np.testing.assert_allclose(J.T @ u, plain(u, J.T.taps), rtol=0, atol=1e-14)


@pytest.mark.parametrize("limit", [0, 1 << 13])
def test_positions_outside_are_refused(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_pooling, "COMPILED", limit)
    for bad in (-1, 8):
        with pytest.raises(IndexError, match="0 to 7"):
            aj.max_unpool1d(np.ones((1, 4)), np.array([[0, 2, 4, bad]]), 2)


def test_nothing_of_nan_or_infinity_leaks_into_other_windows() -> None:
    x = np.ones((1, 1, 4, 4))
    x[..., 0, 0], x[..., 3, 3] = np.nan, np.inf
    for f, g in ((aj.avg_pool2d, F.avg_pool2d), (aj.max_pool2d, F.max_pool2d)):
        np.testing.assert_array_equal(f(x, 2, 1, 1), np.asarray(g(torch.tensor(x), 2, 1, 1)))


# The maps


@pytest.mark.covers("C09")
def test_average_pooling_is_a_kronecker_product() -> None:
    J = aj.jacobian(lambda x: aj.avg_pool2d(x, 2), np.ones((3, 4, 6)))
    rows, columns = J.factors()
    np.testing.assert_array_equal(J.matrix(), np.kron(np.eye(3), np.kron(rows, columns)))
    assert float(J.norm()) == pytest.approx(0.5)
    assert int(J.rank()) == 3 * 2 * 3


@pytest.mark.covers("C09")
def test_max_pooling_is_a_selection() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 6))
    J = aj.jacobian(lambda x: aj.max_pool2d(x, 2), x)
    assert isinstance(J, aj.Selection)
    np.testing.assert_array_equal(J @ x, aj.max_pool2d(x, 2))
    np.testing.assert_allclose((J @ J.T).matrix(), np.eye(12))
    np.testing.assert_array_equal(J.svdvals().values, np.ones(12))
    overlapping = aj.jacobian(lambda x: aj.max_pool2d(x, 3, 1), x)
    np.testing.assert_allclose(
        overlapping.svdvals().values, np.linalg.svd(overlapping.matrix(), compute_uv=False), atol=1e-12
    )


# What is refused

REFUSED: list[tuple[Any, tuple[int, ...], str]] = [
    (lambda x: aj.max_pool2d(x, 5), (1, 1, 4, 4), "reaches over 5 entries, and the axis has 4"),
    (lambda x: aj.max_pool2d(x, 3, padding=2), (1, 1, 4, 4), "padding 2 is more than half"),
    (lambda x: aj.max_pool1d(x, 2, dilation=2, padding=1), (1, 1), "has no entry"),
    (lambda x: aj.max_pool2d(x, 2), (4, 4), "(batch, channels, height, width)"),
    (lambda x: aj.avg_pool3d(x, 2), (1, 1, 4, 4, 4, 4), "(batch, channels, depth, height, width)"),
    (lambda x: aj.avg_pool2d(x, 2, stride=0), (1, 1, 4, 4), "stride is 1 at least"),
    (lambda x: aj.avg_pool2d(x, 2, divisor_override=0), (1, 1, 4, 4), "not zero"),
    (lambda x: aj.avg_pool2d(x, (2, 2, 2)), (1, 1, 4, 4), "2 of them"),
    (lambda x: aj.adaptive_avg_pool2d(x, -1), (1, 1, 4, 4), "not negative"),
    (lambda x: aj.adaptive_max_pool2d(x, 2), (1, 1, 0, 4), "without entries"),
    (lambda x: aj.max_unpool2d(x, aj.zeros(x, (1, 1, 2, 2), "int64"), 2), (1, 1, 2, 3), "one shape"),
    (lambda x: aj.max_unpool1d(x, aj.zeros(x, (1, 2), "int64"), 2, output_size=[7]), (1, 2), "cannot have been pooled"),
    (lambda x: aj.interpolate(x, size=3, mode="bilinear"), (1, 1, 4), "2 axes to resample, got 1"),
    (lambda x: aj.interpolate(x, size=3, mode="cubic"), (1, 1, 4), "mode is one of"),
    (lambda x: aj.interpolate(x), (1, 1, 4), "either size or scale_factor"),
    (lambda x: aj.interpolate(x, size=(3, 3)), (1, 1, 4), "2 entries for 1 axes"),
    (lambda x: aj.interpolate(x, size=3, align_corners=True), (1, 1, 4), "align_corners is for"),
    (lambda x: aj.interpolate(x, size=3, antialias=True), (1, 1, 4), "antialias is for"),
    (lambda x: aj.interpolate(x, size=3, recompute_scale_factor=True), (1, 1, 4), "goes with scale_factor"),
    (lambda x: aj.interpolate(x, scale_factor=0.2, mode="linear"), (1, 1, 4), "must be positive"),
    (lambda x: aj.pixel_shuffle(x, 2), (1, 3, 4, 4), "not a multiple of 2²"),
    (lambda x: aj.pixel_unshuffle(x, 3), (1, 3, 4, 6), "does not divide"),
    (lambda x: aj.channel_shuffle(x, 2), (1, 3, 4), "do not divide into 2 groups"),
]


@pytest.mark.parametrize(("f", "shape", "message"), REFUSED, ids=[x[2][:30] for x in REFUSED])
def test_refused(f: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        f(np.ones(shape))
    with pytest.raises(ValueError, match=re.escape(message)):
        aj.jacobian(f, np.ones(shape))


REFUSED_ON_TORCH = [x for x in REFUSED if "no entry" not in x[2]]


@pytest.mark.parametrize(("f", "shape", "message"), REFUSED_ON_TORCH, ids=[x[2][:30] for x in REFUSED_ON_TORCH])
def test_refused_on_torch(f: Any, shape: tuple[int, ...], message: str) -> None:
    """Geometries in our words, other arguments in PyTorch's."""
    with pytest.raises((ValueError, RuntimeError, NotImplementedError)) as caught:
        f(torch.ones(shape))
    assert message in str(caught.value) or not isinstance(caught.value, ShapeError)


def test_means_of_integers_are_refused() -> None:
    with pytest.raises(DtypeError, match=r"avg_pool2d.*int64"):
        aj.avg_pool2d(np.ones((1, 4, 4), int), 2)
    assert aj.interpolate(np.ones((1, 1, 2), int), size=3).dtype == np.int64
