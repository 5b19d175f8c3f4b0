"""Numerical derivatives against closed forms: the value to 1e-8, and an error estimate that bounds the true error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adjoint.checks.differences import noise, slope

SMOOTH: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Any]] = {
    "sin": (np.sin, np.cos, np.linspace(-3.0, 3.0, 7)),
    "exp": (np.exp, np.exp, np.array([-20.0, 0.0, 3.0])),
    "cube": (lambda x: x**3, lambda x: 3 * x**2, np.array([-1.0, 1e-3, 0.0, 50.0])),
    "line": (lambda x: 3.0 * x, lambda x: 3.0 + 0.0 * x, np.array([0.0, 1.0])),
    "constant": (lambda x: 0.0 * x + 2.0, lambda x: 0.0 * x, np.array([0.0, 1.0])),
    "fast": (lambda x: np.sin(1000.0 * x), lambda x: 1000.0 * np.cos(1000.0 * x), np.array([0.1, 0.7])),
    "reciprocal": (lambda x: 1.0 / x, lambda x: -1.0 / x**2, np.array([0.2, 2.0])),
    "logarithm near its edge": (np.log, lambda x: 1.0 / x, np.array([1e-4, 1.0])),
    "kink close by": (np.abs, np.sign, np.array([1e-4, -1e-5, 0.3])),
}


@pytest.mark.covers("F07")
@pytest.mark.parametrize("name", SMOOTH)
def test_known_derivative(name: str) -> None:
    f, derivative, x = SMOOTH[name]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = slope(lambda t: f(x + t), f(x), noise(lambda t: f(x + t)))
    true = derivative(x)
    assert not found.kink.any()
    np.testing.assert_allclose(found.value, true, rtol=1e-8, atol=1e-8)
    assert np.all(np.abs(found.value - true) <= 4 * found.error)


@pytest.mark.covers("F07")
@pytest.mark.parametrize(
    "f", [np.abs, lambda x: np.maximum(x, 0.0), np.sign, np.floor, lambda x: np.where(x > 0, x, 1.01 * x)]
)
def test_kink_is_found_where_it_is(f: Callable[[Any], Any]) -> None:
    x = np.array([0.0, 0.4, -1.3])
    with np.errstate(invalid="ignore", divide="ignore"):
        found = slope(lambda t: f(x + t), f(x), np.zeros(3))
    assert found.kink.tolist() == [True, False, False]


def test_edge_of_the_domain_is_no_derivative() -> None:
    x = np.array([0.0, 1.0])
    with np.errstate(invalid="ignore"):
        found = slope(lambda t: np.sqrt(x + t), np.sqrt(x), np.zeros(2))
    assert found.kink.tolist() == [True, False]


@pytest.mark.parametrize("size", [1.0, 1e-6, 1e8])
def test_noise_is_measured(size: float) -> None:
    def f(t: float) -> Any:
        return np.sin(np.array([t, 2.0 + t])) + size - size

    unit = np.spacing(size + 1.0) if size >= 1 else 2.0**-53
    measured = noise(f)
    assert np.all(measured <= unit)
    if size > 1:
        assert np.all(measured >= unit / 16)


def test_noise_widens_the_error() -> None:
    def rough(t: float) -> Any:
        return np.sin(np.array([1.0 + t])) + 1e8 - 1e8

    with np.errstate(invalid="ignore", divide="ignore"):
        found = slope(rough, rough(0.0), noise(rough))
    assert abs(found.value[0] - np.cos(1.0)) <= 8 * found.error[0]
    assert found.error[0] > 1e-9
