"""Clipping gives PyTorch's gradients and norm, on trees, and leaves what it is given alone."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj

SHAPES = [(4, 3), (3,), ()]


def drawn(dtype: str, scale: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.asarray(scale * rng.standard_normal(shape), dtype) for shape in SHAPES]


def with_gradients(grads: list[np.ndarray]) -> list[torch.Tensor]:
    params = [torch.zeros(g.shape, dtype=torch.from_numpy(g).dtype) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = torch.from_numpy(g.copy())
    return params


def assert_same(got: Any, params: list[torch.Tensor], dtype: str) -> None:
    for g, p in zip(got, params, strict=True):
        np.testing.assert_allclose(np.asarray(g), p.grad, rtol=16 * np.finfo(dtype).eps)
        assert np.asarray(g).dtype == dtype


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
@pytest.mark.covers("N07")
def test_norm(to: str, dtype: str, norm_type: float, max_norm: float) -> None:
    grads = drawn(dtype)
    params = with_gradients(grads)
    norm = torch.nn.utils.clip_grad_norm_(params, max_norm, norm_type)
    given = aj.to(grads, to)
    got, size = aj.optim.clip_grad_norm(given, max_norm, norm_type)
    assert_same(got, params, dtype)
    assert float(size) == pytest.approx(float(norm), rel=16 * float(np.finfo(dtype).eps))
    assert all((np.asarray(a) == b).all() for a, b in zip(given, grads, strict=True))


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value(to: str, dtype: str) -> None:
    params = with_gradients(drawn(dtype))
    torch.nn.utils.clip_grad_value_(params, 0.4)
    assert_same(aj.optim.clip_grad_value(aj.to(drawn(dtype), to), 0.4), params, dtype)


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@pytest.mark.covers("N07")
def test_normalized(to: str, norm_type: float) -> None:
    grads = drawn("float64")
    size = float(torch.nn.utils.get_total_norm([torch.from_numpy(g) for g in grads], norm_type))
    got, norm = aj.optim.normalize_grad(aj.to(grads, to), norm_type)
    assert float(norm) == pytest.approx(size, rel=1e-14)
    for g, x in zip(got, grads, strict=True):
        np.testing.assert_allclose(np.asarray(g), x / (size + 1e-6), rtol=1e-14)
    assert aj.optim.normalize_grad({"a": None}) == ({"a": None}, 0.0)


def test_an_error_where_told_to() -> None:
    for bad in (math.inf, math.nan):
        with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError, match="the 2-norm of the gradients is"):
            aj.optim.clip_grad_norm([np.array([bad, 1.0])], 1.0, error_if_nonfinite=True)
    assert aj.optim.clip_grad_norm([np.array([3.0])], 1.0, error_if_nonfinite=True)[1] == 3.0


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
def test_what_is_not_finite_goes_through(bad: float, to: str) -> None:
    grads = [np.array([bad, 1.0]), np.array([2.0])]
    params = with_gradients(grads)
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    with np.errstate(invalid="ignore"):
        got, norm = aj.optim.clip_grad_norm(aj.to(grads, to), 1.0)
    assert not np.isfinite(float(norm))
    assert_same(got, params, "float64")


def test_frozen_parts_mixed_dtypes_and_nothing_at_all() -> None:
    net = aj.nn.Sequential(aj.nn.Linear(3, 2, rng=0), aj.nn.Linear(2, 1, dtype="float64", rng=0))
    net.freeze("0")
    grads = aj.grad(lambda net: aj.sum(net(np.ones((2, 3), "float32"))))(net)
    got, norm = aj.optim.clip_grad_norm(grads, 0.1)
    assert got[0].weight is None
    assert math.hypot(*got[1].weight.ravel(), *got[1].bias) == pytest.approx(0.1, rel=1e-5)
    assert norm == pytest.approx(math.hypot(*grads[1].weight.ravel(), *grads[1].bias))
    mixed = aj.optim.clip_grad_norm([np.ones(2, "float32"), np.ones(2)], 1.0)[0]
    assert [g.dtype for g in mixed] == ["float32", "float64"]
    assert aj.optim.clip_grad_norm({"a": None}, 1.0) == ({"a": None}, 0.0)
    for norm_type in (2.0, math.inf):
        empty, norm = aj.optim.clip_grad_norm([np.zeros((0, 2)), np.array([3.0])], 1.0, norm_type)
        assert norm == 3.0
        assert empty[0].shape == (0, 2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("to", ["numpy", "torch"])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_in_half_precision_the_squares_may_be_larger_than_any_number(dtype: str, to: str, norm_type: float) -> None:
    grads = aj.to([np.full(40, 300.0), np.array([-400.0])], to, dtype)
    params = [torch.zeros(n, dtype=getattr(torch, dtype)) for n in (40, 1)]
    for p, value in zip(params, (300.0, -400.0), strict=True):
        p.grad = torch.full_like(p, value)
    size = torch.nn.utils.clip_grad_norm_(params, 1.0, norm_type)
    got, norm = aj.optim.clip_grad_norm(grads, 1.0, norm_type)
    assert float(norm) == pytest.approx(float(size), rel=2.0**-7)
    for g, given, p in zip(got, grads, params, strict=True):
        assert g.dtype == given.dtype
        assert p.grad is not None
        np.testing.assert_allclose(np.asarray(aj.to(g, "numpy"), "float64"), p.grad.double(), rtol=2.0**-6)


def test_under_jit() -> None:
    grads = aj.to(drawn("float64"), "jax")
    got, norm = jax.jit(lambda g: aj.optim.clip_grad_norm(g, 0.5))(grads)
    expected, size = aj.optim.clip_grad_norm(drawn("float64"), 0.5)
    for a, b in zip([*got, norm], [*expected, size], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_bounds_are_checked() -> None:
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match="at least 0"):
            aj.optim.clip_grad_norm([np.ones(1)], bad)
        with pytest.raises(ValueError, match="at least 0"):
            aj.optim.clip_grad_value([np.ones(1)], bad)
    with pytest.raises(ValueError, match="positive"):
        aj.optim.clip_grad_norm([np.ones(1)], 1.0, 0.0)
