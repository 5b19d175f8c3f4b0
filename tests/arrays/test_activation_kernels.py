"""The kernels of large float32 arrays against SciPy's functions in float64, far out and at the parts' seams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, ndtr

import adjoint as aj
from adjoint.arrays.numpy.activations import GATES, LARGE

RNG = np.random.default_rng(0)
X = np.concatenate(
    [RNG.normal(size=LARGE) * 3.0, np.linspace(-100.0, 100.0, 9 * LARGE + 7), [0.0, -0.0, 1e-30, -1e-30]]
)
X = X.astype("float32").astype("float64")


def by_torch(x: np.ndarray, slope: bool) -> np.ndarray:
    t = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.gelu(t, approximate="tanh")
    return torch.autograd.grad(y.sum(), t)[0].numpy() if slope else y.detach().numpy()


def density(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi)


KERNELS: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "gelu": (aj.gelu, lambda x: x * ndtr(x)),
    "gelu's slope": (aj.grad(lambda x: aj.sum(aj.gelu(x))), lambda x: ndtr(x) + x * density(x)),
    "gelu tanh": (lambda x: aj.gelu(x, "tanh"), lambda x: by_torch(x, False)),
    "gelu tanh's slope": (aj.grad(lambda x: aj.sum(aj.gelu(x, "tanh"))), lambda x: by_torch(x, True)),
    "sigmoid": (aj.sigmoid, expit),
}


@pytest.mark.parametrize("name", KERNELS)
def test_against_float64(name: str) -> None:
    """Within 8 roundings of the value, or of 1 where the value is smaller."""
    function, reference = KERNELS[name]
    got, wanted = function(X.astype("float32")), reference(X)
    assert got.dtype == np.float32
    assert np.all(np.abs(got - wanted) <= 16 * 2.0**-24 * np.maximum(np.abs(wanted), 1.0))


def test_other_arrays_take_the_plain_form() -> None:
    x = X[: 2 * LARGE].reshape(2, -1)
    np.testing.assert_allclose(aj.gelu(x), x * ndtr(x), rtol=1e-13, atol=1e-13)
    strided = x.astype("float32").T
    np.testing.assert_allclose(aj.gelu(strided), strided * ndtr(strided), rtol=0, atol=16 * 2.0**-24 * 100.0)


def test_nothing_finite_stays_nothing_finite() -> None:
    x = np.full(LARGE, np.nan, "float32")
    for function, _ in KERNELS.values():
        assert np.isnan(function(x)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [GATES, 3 * LARGE + 5])
def test_relu_passes_on_where_it_was_positive(n: int, dtype: str) -> None:
    x, u = RNG.normal(size=(2, n)).astype(dtype)
    x[:3], x[-2:] = (0.0, -0.0, np.nan), (np.inf, -np.inf)
    t = torch.tensor(x, requires_grad=True)
    (expected,) = torch.autograd.grad(torch.relu(t), t, torch.tensor(u))
    got = aj.vjp(aj.relu, x)[1](u)[0]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got[np.isfinite(x)], expected.numpy()[np.isfinite(x)])
    np.testing.assert_array_equal(got, np.where(x > 0, u, 0 * u))
    rows = aj.linearize(aj.relu, x)[1].adjoint(np.stack([u, 2 * u]))
    np.testing.assert_array_equal(rows, [got, 2 * got])
