"""Linear algebra beyond what every operation must do: where there is no answer, equal values, signs, costs."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray, count

rng = np.random.default_rng(0)
A = rng.normal(size=(3, 3))
S = A @ A.T + np.eye(3)
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.parametrize("name", ["inv", "cholesky", "eigh", "eigvalsh", "slogdet", "logdet", "det", "matrix_exp"])
@pytest.mark.parametrize("move", [np.asarray, torch.tensor, jax.numpy.asarray])
def test_not_square(name: str, move: Any) -> None:
    with pytest.raises(aj.ShapeError, match=r"\(2, 3\) is not square, axis -2 is 2, axis -1 is 3"):
        getattr(aj, name)(move(np.ones((2, 3))))


@pytest.mark.parametrize("name", ["inv", "det", "qr", "svd", "pinv", "svdvals"])
def test_no_matrix(name: str) -> None:
    with pytest.raises(aj.ShapeError, match=r"\(3,\) is no matrix"):
        getattr(aj, name)(np.ones(3))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((3, 3), (2,), "b has 2 entries, not 3"),
        ((3, 3), (2, 1), "axis -2 of b must be 3"),
        ((4, 3, 3), (4, 3), r"axis -2 of b must be 3.*b\[..., None\]"),
        ((2, 3), (3,), r"not square.*aj.pinv"),
        ((4, 3, 3), (5, 3, 1), "do not broadcast"),
    ],
)
@pytest.mark.parametrize("move", [np.asarray, torch.tensor])
def test_systems_that_do_not_fit(a: Any, b: Any, message: str, move: Any) -> None:
    with pytest.raises(aj.ShapeError, match=message):
        aj.solve(move(rng.normal(size=a)), move(rng.normal(size=b)))


@pytest.mark.parametrize("move", [np.asarray, torch.tensor])
def test_matrices_that_have_no_answer(move: Any) -> None:
    batch = np.stack([np.eye(2), SINGULAR])
    with pytest.raises(aj.SpectrumError, match=r"inv: matrix \[1\] of the batch \(2, 2, 2\) is singular: use aj.pinv"):
        aj.inv(move(batch))
    with pytest.raises(aj.SpectrumError, match=r"solve: the matrix \(2, 2\) is singular"):
        aj.solve(move(np.zeros((2, 2))), move(np.ones(2)))
    with pytest.raises(aj.SpectrumError, match=r"matrix \[1\].*not positive definite, its smallest eigenvalue is -3"):
        aj.cholesky(move(np.stack([np.eye(2), np.diag([1.0, -3.0])])))
    with pytest.raises(aj.SpectrumError, match="NaN or infinite entries"):
        aj.svd(move(np.full((2, 2), np.nan)))


def test_without_an_answer_jax_gives_no_number() -> None:
    bad = jax.numpy.asarray([[1.0, 2.0], [2.0, 1.0]])
    assert np.isnan(jax.jit(aj.cholesky)(bad)).any()
    assert not np.isfinite(jax.jit(aj.inv)(jax.numpy.zeros((2, 2)))).any()
    assert not np.isfinite(jax.jit(aj.grad(aj.logdet))(jax.numpy.zeros((2, 2)))).any()


def test_triangles_are_read_alone() -> None:
    wild = np.triu(S) + np.tril(np.full((3, 3), np.nan), -1)
    np.testing.assert_allclose(aj.solve_triangular(wild, np.eye(3), upper=True), np.linalg.inv(np.triu(S)), rtol=1e-13)


# Where values are equal: never a wrong number


def test_equal_eigenvalues_have_no_vectors_to_differentiate() -> None:
    x = np.diag([1.0, 1.0, 2.0])
    with pytest.warns(RuntimeWarning, match="invalid value"):
        gradient = aj.grad(lambda x: aj.eigh(x).eigenvectors[0, 0])(x)
    assert np.isnan(gradient).any()
    theirs = torch.tensor(x, requires_grad=True)
    assert torch.autograd.grad(torch.linalg.eigh(theirs)[1][0, 0], theirs)[0].isnan().any()
    np.testing.assert_allclose(aj.grad(lambda x: aj.sum(aj.eigvalsh(x) ** 3))(x), 3 * x @ x, atol=1e-14)


def test_equal_singular_values_have_no_vectors_to_differentiate() -> None:
    x = np.diag([2.0, 2.0])
    with pytest.warns(RuntimeWarning, match="invalid value"):
        gradient = aj.grad(lambda x: aj.svd(x).U[0, 1])(x)
    assert np.isnan(gradient).any()
    np.testing.assert_allclose(aj.grad(lambda x: aj.sum(aj.svdvals(x)))(x), np.eye(2), atol=1e-14)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_determinants_differentiate_twice_at_any_rank(rank: int) -> None:
    """A polynomial: its differences over integers are exact. Equal and zero singular values disturb nothing."""
    x = np.diag([1.0] * rank + [0.0] * (3 - rank))
    u, v = rng.integers(-2, 3, (2, 3, 3)).astype(float)
    value = lambda s, t: np.linalg.det(x + s * u + t * v)  # noqa: E731
    mixed = (value(1, 1) - value(1, -1) - value(-1, 1) + value(-1, -1)) / 4
    found = np.sum(u * aj.hvp(aj.det, x, v))
    assert abs(found - mixed) < 1e-12
    cubic = (8 * (value(1, 0) - value(-1, 0)) - (value(2, 0) - value(-2, 0))) / 12  # exact for degree 4
    assert abs(np.sum(u * aj.grad(aj.det)(x)) - cubic) < 1e-12


def test_pseudo_inverse_at_constant_rank() -> None:
    """Along a path of matrices of rank 2 the derivative is that of the path (Golub & Pereyra 1973)."""
    b, c, db, dc = rng.normal(size=(4, 4, 2))
    path = lambda t: (b + t * db) @ (c + t * dc).T  # noqa: E731
    tangent = db @ c.T + b @ dc.T
    found = aj.jvp(aj.pinv, [path(0.0)], [tangent])[1]
    step = 1e-6
    by_differences = (np.linalg.pinv(path(step), 1e-9) - np.linalg.pinv(path(-step), 1e-9)) / (2 * step)
    np.testing.assert_allclose(found, by_differences, rtol=1e-6, atol=1e-7 * np.abs(found).max())


def test_signs_are_the_same_on_every_backend() -> None:
    x = rng.normal(size=(5, 8, 6))
    for name in ("svd", "eigh"):
        given = x if name == "svd" else x[:, :6]
        ours = getattr(aj, name)(given)
        for move in (torch.tensor, jax.numpy.asarray):
            with jax.enable_x64(True):
                theirs = getattr(aj, name)(move(given))
            assert type(theirs) is type(ours)
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-12)


def test_the_jacobian_of_the_inverse_is_a_map() -> None:
    J = aj.jacobian(aj.inv, A)
    inverse = np.linalg.inv(A)
    np.testing.assert_allclose(J.matrix(), -np.kron(inverse, inverse.T), rtol=1e-12)
    assert repr(J) == "LeftProduct @ RightProduct: (3, 3) → (3, 3)"


@pytest.mark.parametrize("f", [lambda x: np.linalg.svd(x)[0], lambda x: np.linalg.qr(x, mode="complete")[0]])
def test_full_bases_have_no_derivative(f: Any) -> None:
    with pytest.raises(aj.BackendError, match="reduced"):
        aj.vjp(f, np.ones((3, 2)))


# What it costs


@pytest.mark.parametrize(
    ("name", "shape", "flops"),
    [
        ("cholesky", (2, 30, 30), 2 * 30**3 / 3),
        ("inv", (30, 30), 2 * 30**3),
        ("slogdet", (30, 30), 2 * 30**3 / 3),
        ("svd", (40, 30), 6 * 40 * 30**2 + 20 * 30**3),
        ("eigh", (30, 30), 9 * 30**3),
        ("qr", (30, 30), 4 * 30**3 * 2 / 3),
    ],
)
def test_costs_are_those_of_the_textbook(name: str, shape: Any, flops: float) -> None:
    with count() as tally:
        result = getattr(aj, name)(ShapeArray(shape, "float64"))
    assert tally.flops == round(flops)
    expected = getattr(aj, name)(np.broadcast_to(np.eye(*shape[-2:]), shape))
    for given, real in zip(*(x if isinstance(x, tuple) else (x,) for x in (result, expected)), strict=True):
        assert given.shape == np.shape(real)
    with count() as tally:
        aj.solve(ShapeArray((5, 9, 9)), ShapeArray((9, 2)))
    assert tally.flops == round(5 * 2 * 9**3 / 3) + 5 * 2 * 9**2 * 2
