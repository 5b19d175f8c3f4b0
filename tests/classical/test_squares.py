"""Least squares, ridge and lasso on real data against scikit-learn; at each answer the gradient vanishes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import Lasso, LinearRegression, Ridge

import adjoint as aj

X, Y = load_diabetes(return_X_y=True)
Y = Y - Y.mean()
IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES, LABELS = IMAGES / 16.0, LABELS - LABELS.mean()
DATA = {"diabetes": (X, Y), "digits": (IMAGES, LABELS)}  # three pixels of the digits are always 0


def half_square(A: Any, b: Any, alpha: float = 0.0) -> Any:
    return lambda x: 0.5 * aj.sum(aj.square(aj.matmul(A, x) - b)) + 0.5 * alpha * aj.sum(aj.square(x))


# Least squares


@pytest.mark.covers("M11")
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", [None, "svd", "lsqr"])
def test_least_squares_equals_scikit_learn(data: str, method: str | None) -> None:
    A, b = DATA[data]
    ours, theirs = aj.least_squares(A, b, method), LinearRegression(fit_intercept=False).fit(A, b)
    assert ours.method == (method or "svd")
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.x, theirs.coef_, atol=scale * (1e-11 if ours.method == "svd" else 1e-6))
    gradient = aj.grad(half_square(A, b))(ours.x)
    size = np.linalg.norm(A, 2) * np.linalg.norm(b)
    assert np.linalg.norm(gradient) <= size * (1e-13 if ours.method == "svd" else 1e-9)
    assert np.linalg.norm(gradient) <= ours.gradient + 1e-12 * size
    assert np.linalg.norm(ours.x - theirs.coef_) <= ours.bound + 1e-10 * scale


@pytest.mark.covers("M11", "M13")
def test_the_residual_is_orthogonal_to_the_column_space() -> None:
    fit = aj.least_squares(X, Y)
    image = aj.Dense(X).image()
    np.testing.assert_allclose(image.T @ (X @ fit.x - Y), 0.0, atol=1e-10)
    np.testing.assert_allclose(X @ fit.x, image.projection() @ Y, atol=1e-9)


def test_an_intercept_is_a_column_of_ones() -> None:
    A, b = np.column_stack([X, np.ones(len(X))]), load_diabetes().target
    theirs = LinearRegression().fit(X, b)
    fit = aj.least_squares(A, b)
    np.testing.assert_allclose(fit.x[:-1], theirs.coef_, rtol=1e-10)
    assert abs(fit.x[-1] - theirs.intercept_) < 1e-10


def test_underdetermined_the_shortest_is_given() -> None:
    A, b = X.T[:5], Y[:5]
    for method in ("svd", "lsqr"):
        fit = aj.least_squares(A, b, method)
        np.testing.assert_allclose(fit.x, np.linalg.pinv(A) @ b, rtol=1e-8, atol=1e-8)


# Ridge


@pytest.mark.covers("M11")
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", [None, "cholesky", "svd", "lsqr", "cg"])
@pytest.mark.parametrize("alpha", [0.01, 10.0])
def test_ridge_equals_scikit_learn(data: str, method: str | None, alpha: float) -> None:
    A, b = DATA[data]
    ours, theirs = aj.ridge(A, b, alpha, method), Ridge(alpha, fit_intercept=False, solver="svd").fit(A, b)
    near = 1e-10 if ours.method in ("cholesky", "svd") else 1e-6
    np.testing.assert_allclose(ours.x, theirs.coef_, atol=near * np.abs(theirs.coef_).max())
    gradient = np.linalg.norm(aj.grad(half_square(A, b, alpha))(ours.x))
    assert gradient <= np.linalg.norm(A.T @ b) * (1e-12 if near == 1e-10 else 1e-8)
    assert np.linalg.norm(ours.x - theirs.coef_) <= ours.bound + 1e-11 * np.linalg.norm(theirs.coef_)
    assert ours.bound < np.inf


def test_ridge_of_a_wide_design() -> None:
    A, b = X.T, X.T @ Y
    for method in ("cholesky", "svd", "lsqr", "cg"):
        fit = aj.ridge(A, b, 0.5, method)
        expected = A.T @ np.linalg.solve(A @ A.T + 0.5 * np.eye(10), b)
        np.testing.assert_allclose(fit.x, expected, atol=1e-8 * np.abs(expected).max())


def test_ridge_takes_the_svd_where_cholesky_would_lose_digits() -> None:
    assert aj.ridge(X, Y, 1e-3).method == "cholesky"
    assert aj.ridge(X * 1e6, Y, 1e-3).method == "svd"


@pytest.mark.covers("M11")
def test_a_design_may_be_any_map() -> None:
    """A convolution by sums of maps, the space an image; never formed."""
    blur = aj.Identity((8, 8)) + 0.5 * aj.Roll(1, 0, (8, 8)) + 0.25 * aj.Roll(1, 1, (8, 8))
    image = IMAGES[0].reshape(8, 8)
    seen = blur @ image
    for fit in (
        aj.least_squares(blur, seen),
        aj.least_squares(blur, seen, "lsqr"),
        aj.ridge(blur, seen, 1e-12, "lsqr"),
    ):
        assert fit.x.shape == (8, 8)
        np.testing.assert_allclose(fit.x, image, atol=1e-8)
    alpha = 0.1
    fit = aj.ridge(blur, seen, alpha, "cg")
    gradient = aj.grad(lambda x: 0.5 * aj.sum(aj.square(blur(x) - seen)) + 0.5 * alpha * aj.sum(aj.square(x)))(fit.x)
    assert np.linalg.norm(gradient) < 1e-9


def test_sparse_designs_and_large_ones_are_not_formed() -> None:
    A = scipy.sparse.random_array((20_000, 8_000), density=1e-3, rng=np.random.default_rng(2))
    truth = np.random.default_rng(3).normal(size=8_000)
    fit = aj.ridge(A, A @ truth, 1e-6)
    assert fit.method == "lsqr"
    assert np.linalg.norm(A.T @ (A @ (fit.x - truth)) + 1e-6 * fit.x) < 1e-5
    assert np.linalg.norm(fit.x - truth) < 1e-2 * np.linalg.norm(truth)


def test_answers_are_in_the_designs_own_backend_and_structure() -> None:
    fit = aj.ridge(torch.tensor(X, dtype=torch.float32), torch.tensor(Y), 0.1)
    assert (type(fit.x), fit.x.dtype) == (torch.Tensor, torch.float32)
    np.testing.assert_allclose(fit.x, aj.ridge(X, Y, 0.1).x, rtol=1e-4)
    net = {"w": np.ones((3, 10)), "b": np.zeros(3)}
    J = aj.jacobian(lambda p: aj.linear(X[:9], p["w"], p["b"]), net)
    step = aj.least_squares(J, np.ones((9, 3)))
    assert {k: v.shape for k, v in step.x.items()} == {"w": (3, 10), "b": (3,)}
    np.testing.assert_allclose(J @ step.x, np.ones((9, 3)), atol=1e-10)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_least_squares_is_the_pseudo_inverse(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, b = rng.integers(-2, 3, (m, n)).astype(float), rng.normal(size=m)
    np.testing.assert_allclose(aj.least_squares(A, b).x, aj.pinv(A) @ b, atol=1e-12)


# Lasso


@pytest.mark.covers("M11")
@pytest.mark.parametrize(("data", "alpha"), [("diabetes", 0.5), ("diabetes", 0.01), ("digits", 0.1), ("digits", 0.01)])
def test_lasso_equals_scikit_learn(data: str, alpha: float) -> None:
    A, b = DATA[data]
    ours = aj.lasso(A, b, alpha, tol=1e-12)
    theirs = Lasso(alpha, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(A, b).coef_
    np.testing.assert_allclose(ours.x, theirs, atol=1e-5 * np.abs(theirs).max())
    np.testing.assert_array_equal(ours.x == 0.0, theirs == 0.0)
    n = len(b)

    def smooth(x: Any) -> Any:
        return half_square(A, b)(x) / n

    def objective(x: Any) -> float:
        return float(smooth(x)) + alpha * float(np.abs(x).sum())

    assert ours.bound <= ours.tolerance
    assert objective(ours.x) - objective(theirs) <= ours.bound + 1e-12 * objective(theirs)
    gradient = aj.grad(smooth)(ours.x)  # its negative is a subgradient of α‖x‖₁
    active = ours.x != 0.0
    near = 1e-6 * np.abs(A.T @ b / n).max()
    np.testing.assert_allclose(gradient[active], -alpha * np.sign(ours.x[active]), atol=near)
    assert np.all(np.abs(gradient[~active]) <= alpha + near)


@pytest.mark.covers("M11")
def test_lasso_of_a_map_and_what_bounds_it() -> None:
    blur = aj.Identity((8, 8)) + 0.5 * aj.Roll(1, 0, (8, 8))
    seen = blur @ IMAGES[0].reshape(8, 8)
    rough, fine = (aj.lasso(blur, seen, 1e-3, tol=tol) for tol in (1e-2, 1e-10))
    assert fine.x.shape == (8, 8)
    value = lambda x: np.sum((blur @ x - seen) ** 2) / 128 + 1e-3 * np.abs(x).sum()  # noqa: E731
    assert 0.0 <= value(rough.x) - value(fine.x) <= rough.bound
    assert rough.iterations < fine.iterations
    short = aj.lasso(X, Y, 0.1, tol=0.0, max_iter=7)
    assert (short.iterations, short.bound > 0.0) == (7, True)


def test_a_large_alpha_leaves_nothing() -> None:
    steepest = np.abs(X.T @ Y / len(Y)).max()
    assert not aj.lasso(X, Y, steepest * 1.0001).x.any()
    assert aj.lasso(X, Y, steepest * 0.999).x.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aj.least_squares(X, Y[1:]), r"design gives \(442,\), the target is \(441,\)"),
        (lambda: aj.least_squares(X[0], Y), "is a matrix"),
        (lambda: aj.least_squares(X, Y, "cholesky"), "method is one of 'svd', 'lsqr'"),
        (lambda: aj.ridge(X, Y, 0.0), "positive number, not 0"),
        (lambda: aj.ridge(X, Y, np.nan), "positive number, not nan"),
        (lambda: aj.lasso(X, Y, -1.0), "positive number, not -1"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_targets_without_numbers_are_refused() -> None:
    with pytest.raises(aj.SpectrumError, match="NaN"):
        aj.least_squares(X, np.full(442, np.nan))
