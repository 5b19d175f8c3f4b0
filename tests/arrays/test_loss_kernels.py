"""The kernels of cross-entropy on rows: against float64, and PyTorch where numbers are not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.numpy import loss_kernels
from adjoint.arrays.numpy.losses import softmax_difference, surprisal

SHAPES = [(3, 6001), (1, 20_000), (700, 33), (2, 50_257), (64, 10), (5, 3), (1200, 1500)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 60.0])
def test_softmax_and_log_sums(shape: tuple[int, int], dtype: type, spread: float) -> None:
    rng = np.random.default_rng(0)
    x, target = (spread * rng.standard_normal(shape)).astype(dtype), rng.integers(0, shape[1], shape[0])
    each, top, total, share = surprisal(x, target, -1)
    factor = rng.standard_normal(shape[0]).astype(dtype)
    difference = softmax_difference(x, target, top, total, factor, -1)
    wide = x.astype(np.float64)
    e = np.exp(wide - wide.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    lse = np.log(e.sum(1)) + wide.max(1)
    eps = np.finfo(dtype).eps
    # An exponential of x - max is off by the rounding of that difference; blocks of 4096 are summed in x's precision.
    slack = eps * (np.abs(wide).max() * 2 + 64)
    expected = p.copy()
    expected[np.arange(len(x)), target] -= 1
    expected *= factor[:, None]
    np.testing.assert_array_less(np.abs(difference - expected), np.abs(factor)[:, None] * (slack * (p + eps) + eps))
    np.testing.assert_allclose(each, lse - wide[np.arange(len(x)), target], rtol=8 * eps, atol=slack)
    assert difference.dtype == each.dtype == dtype
    assert share == dtype(1 / len(x))


def test_kernels_serve_from_hundreds_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    kernel = loss_kernels.surprisal
    monkeypatch.setattr(loss_kernels, "surprisal", lambda *args: (seen.append(args[0].shape), kernel(*args))[1])
    surprisal(np.ones((64, 10), np.float32), np.zeros(64, int), 1)
    surprisal(np.ones((4, 8), np.float32), np.zeros(4, int), 1)
    surprisal(np.ones((2, 5, 400), np.float32), np.zeros((2, 400), np.int32), 1)
    surprisal(np.ones((64, 10), int), np.zeros(64, int), 1)
    assert seen == [(64, 10), (800, 5)]


@pytest.mark.parametrize("shape", [(64, 10), (9, 7000), (1200, 1500), (3, 4)])
def test_what_is_left_out_and_what_is_no_class(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    x, target = rng.standard_normal(shape), rng.integers(0, shape[1], shape[0])
    target[::2] = 7 if shape[1] > 7 else 1
    for ignored in (-100, 7 if shape[1] > 7 else 1, shape[1] + 3):
        places = np.where(np.arange(len(x)) % 2, target, ignored)
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        peer = torch.nn.functional.cross_entropy(theirs, torch.from_numpy(places), ignore_index=ignored)
        peer.backward()
        value, slope = aj.value_and_grad(aj.cross_entropy)(x, places, ignore_index=ignored)
        np.testing.assert_allclose(value, peer.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(slope, theirs.grad.numpy(), rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(aj.cross_entropy(x, places, ignore_index=ignored), value, rtol=1e-12)
    for wrong, words in ((shape[1], f"no class {shape[1]}"), (-1, "class -1 is negative")):
        target[-1] = wrong
        with pytest.raises(IndexError, match=words):
            aj.grad(lambda x: aj.cross_entropy(x, target))(x)
        with pytest.raises(IndexError, match=words):
            aj.cross_entropy(x, target)


@pytest.mark.parametrize("shape", [(64, 10), (3, 4)])
def test_where_nothing_counts_the_mean_is_no_number_and_its_slope_zero(shape: tuple[int, int]) -> None:
    value, slope = aj.value_and_grad(lambda x: aj.cross_entropy(x, np.full(len(x), -100)))(np.ones(shape))
    assert np.isnan(value)
    assert np.array_equal(slope, np.zeros(shape))


def test_maps_are_applied_many_times() -> None:
    x, target = np.random.default_rng(3).standard_normal((64, 10)), np.arange(64) % 10
    J = aj.jacobian(lambda x: aj.cross_entropy(x, target), x)
    once, u = J.T @ np.array(2.0), np.array([2.0, -1.0])
    np.testing.assert_array_equal(J.T @ np.array(2.0), once)
    np.testing.assert_allclose(J.T(u), np.multiply.outer(u, once / 2.0), rtol=1e-12)
    np.testing.assert_allclose(J @ x, (once / 2.0 * x).sum(), rtol=1e-12)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_do_what_they_do_in_pytorch(odd: float) -> None:
    x = np.random.default_rng(1).standard_normal((3, 7000)).astype(np.float32)
    x[1, 5] = odd
    target = np.array([1, 2, 3])
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    loss = torch.nn.functional.cross_entropy(theirs, torch.from_numpy(target), reduction="sum")
    loss.backward()
    value, slope = aj.value_and_grad(lambda x: aj.cross_entropy(x, target, "sum"))(x)
    np.testing.assert_allclose(value, loss.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(slope, theirs.grad.numpy(), rtol=1e-4, atol=1e-7)
