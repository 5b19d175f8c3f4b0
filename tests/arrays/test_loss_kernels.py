"""The kernel of softmax and cross-entropy on rows: against float64, and PyTorch where numbers are not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.numpy import loss_kernels
from adjoint.arrays.numpy.losses import softmax_residual

SHAPES = [(3, 6001), (1, 20_000), (700, 33), (2, 50_257)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 60.0])
def test_softmax_and_log_sums(shape: tuple[int, int], dtype: type, spread: float) -> None:
    rng = np.random.default_rng(0)
    x, target = (spread * rng.standard_normal(shape)).astype(dtype), rng.integers(0, shape[1], shape[0])
    each, difference, share = softmax_residual(x, target, -1)
    wide = x.astype(np.float64)
    e = np.exp(wide - wide.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    lse = np.log(e.sum(1)) + wide.max(1)
    eps = np.finfo(dtype).eps
    # An exponential of x - max is off by the rounding of that difference; blocks of 4096 are summed in x's precision.
    slack = eps * (np.abs(wide).max() * 2 + 64)
    expected = p.copy()
    expected[np.arange(len(x)), target] -= 1
    np.testing.assert_array_less(np.abs(difference - expected), slack * (p + eps) + eps)
    np.testing.assert_allclose(each, lse - wide[np.arange(len(x)), target], rtol=8 * eps, atol=slack)
    assert difference.dtype == each.dtype == dtype
    assert share == dtype(1 / len(x))


def test_the_kernel_serves_large_rows_and_small_ones_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    kernel = loss_kernels.softmax
    monkeypatch.setattr(loss_kernels, "softmax", lambda *args: (seen.append(len(args[0])), kernel(*args)))
    softmax_residual(np.ones((4, 8000), np.float32), np.zeros(4, int), 1)
    softmax_residual(np.ones((4, 8), np.float32), np.zeros(4, int), 1)
    softmax_residual(np.ones((8000, 4), np.float32).T, np.zeros(4, int), 1)
    assert seen == [4]


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
