"""At a kink there is no derivative; which slope stands there is chosen, as PyTorch chooses, and the check says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import adjoint as aj

ACTIVATIONS = {
    "relu": (aj.relu, F.relu, [0.0, -0.0]),
    "relu6": (aj.relu6, F.relu6, [0.0, 6.0]),
    "leaky_relu": (aj.leaky_relu, F.leaky_relu, [0.0]),
    "elu": (lambda x: aj.elu(x, 2.0), lambda x: F.elu(x, 2.0), [0.0]),
    "selu": (aj.selu, F.selu, [0.0]),
    "celu": (aj.celu, F.celu, [0.0]),
    "hardtanh": (aj.hardtanh, F.hardtanh, [-1.0, 1.0]),
    "hardswish": (aj.hardswish, F.hardswish, [-3.0, 3.0]),
    "softsign": (aj.softsign, F.softsign, [0.0]),
    "abs": (aj.abs, torch.abs, [0.0]),
    "clip": (lambda x: aj.clip(x, -1.0, 1.0), lambda x: torch.clamp(x, -1.0, 1.0), [-1.0, 1.0]),
    "norm": (aj.norm, torch.linalg.vector_norm, [0.0, 0.0]),
    "max": (aj.max, torch.amax, [2.0, 2.0, 1.0, 2.0]),
    "min": (aj.min, torch.amin, [2.0, 1.0, 1.0]),
    "huber": (lambda x: aj.huber_loss(x, 0.0 * x), lambda x: F.huber_loss(x, torch.zeros_like(x)), [1.0, -1.0]),
    "l1": (lambda x: aj.l1_loss(x, 0.0 * x), lambda x: F.l1_loss(x, torch.zeros_like(x)), [0.0]),
    "prod": (aj.prod, torch.prod, [0.0, 2.0, 0.0, 3.0]),
    "pow": (lambda x: x**3, lambda x: x**3, [0.0]),
    "pow 0": (lambda x: x**0, lambda x: x**0, [0.0]),
}


@pytest.mark.covers("F03")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_is_pytorchs(name: str) -> None:
    ours, theirs, points = ACTIVATIONS[name]
    x = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    theirs(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(aj.grad(lambda v: aj.sum(ours(v)))(np.array(points)), x.grad.numpy())


def test_hardsigmoid_is_flat_at_its_corners() -> None:
    np.testing.assert_array_equal(aj.grad(lambda x: aj.sum(aj.hardsigmoid(x)))(np.array([-3.0, 3.0])), [0.0, 0.0])


@pytest.mark.covers("F08")
def test_equal_largest_share_the_derivative() -> None:
    x = np.array([[3.0, 3.0, 1.0], [0.0, 2.0, 2.0]])
    np.testing.assert_array_equal(aj.grad(lambda x: aj.sum(aj.max(x, 1)))(x), [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    for choose in (aj.maximum, aj.minimum):
        both = aj.grad(lambda x, y, f=choose: aj.sum(f(x, y)), (0, 1))(np.zeros(2), np.zeros(2))
        np.testing.assert_array_equal(both, np.full((2, 2), 0.5))


@pytest.mark.covers("F08")
def test_largest_is_a_selection() -> None:
    x = np.array([[1.0, 5.0, 3.0], [7.0, 2.0, 6.0]])
    np.testing.assert_array_equal(
        aj.jacobian(lambda x: aj.max(x, 1), x).dense(), [[[0, 1, 0], [0, 0, 0]], [[0, 0, 0], [1, 0, 0]]]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_of_saturated_probabilities_stays_finite(dtype: str) -> None:
    p, t = np.array([0.0, 1.0, 0.0, 1.0], dtype), np.array([0.0, 1.0, 1.0, 0.0], dtype)
    losses = aj.binary_cross_entropy(p, t, "none")
    expected = F.binary_cross_entropy(torch.tensor(p), torch.tensor(t), reduction="none")
    np.testing.assert_array_equal(losses, expected.numpy())
    gradient = aj.grad(aj.binary_cross_entropy)(p, t)
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, np.array([0.25, -0.25, 0.0, 0.0], dtype))


@pytest.mark.parametrize("x", [np.nan, -0.5, 1.5])
def test_cross_entropy_of_no_probability_is_nan(x: float) -> None:
    with np.errstate(invalid="ignore"):
        assert np.isnan(aj.binary_cross_entropy(np.array([x]), np.array([0.5])))


CORNERS: dict[str, tuple[Callable[..., Any], Any]] = {
    "relu": (aj.relu, np.array([-1.0, 0.0, 2.0])),
    "abs": (aj.abs, np.array([[0.0, 1.0], [0.0, -2.0]])),
    "max": (aj.max, np.array([1.0, 1.0, 0.5])),
    "clip": (lambda x: aj.sum(aj.clip(x, -1.0, 1.0)), np.array([-1.0, 0.3, 1.0])),
    "floor": (lambda x: x * aj.floor(x), np.array([2.0, 0.5])),
    "norm": (aj.norm, np.zeros(3)),
}


@pytest.mark.parametrize("name", CORNERS)
def test_check_steps_beside_a_kink_and_says_so(name: str) -> None:
    f, x = CORNERS[name]
    report = aj.check(f, x)
    report.raise_if_wrong()
    assert report.rows[0].kinks > 0
    assert "kinks avoided" in str(report)
