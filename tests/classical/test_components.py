"""Principal components of real digits against scikit-learn's."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import adjoint as aj

X = load_digits().data
RNG = np.random.default_rng(0)


@pytest.mark.covers("M10")
@pytest.mark.parametrize("k", [None, 1, 10])
def test_equals_scikit_learn(k: int | None) -> None:
    ours, theirs = aj.pca(X, k), PCA(k, svd_solver="full").fit(X)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-13)
    np.testing.assert_allclose(ours.explained_variance, theirs.explained_variance_, atol=1e-11)
    np.testing.assert_allclose(ours.explained_variance_ratio, theirs.explained_variance_ratio_, atol=1e-13)
    assert np.all(abs(ours.explained_variance.values - theirs.explained_variance_) <= ours.explained_variance.bound)
    distinct = slice(0, 40 if k is None else k)  # the last variances are 0 and leave their directions free
    signs = np.sign(np.sum(ours.components * theirs.components_, 1))[distinct]
    directions = theirs.components_[distinct] * signs[:, None]
    np.testing.assert_allclose(ours.components[distinct], directions, atol=1e-10)
    scores = theirs.transform(X)[:, distinct] * signs
    np.testing.assert_allclose(ours.transform(X)[:, distinct], scores, atol=1e-9)
    np.testing.assert_allclose(
        ours.reconstruct(ours.transform(X)), theirs.inverse_transform(theirs.transform(X)), atol=1e-10
    )


@pytest.mark.covers("M10", "M12")
def test_a_projection_whose_kernel_is_the_complement() -> None:
    found = aj.pca(X, 10)
    P, V = found.projection(), found.subspace
    assert {"symmetric", "projection", "positive"} <= P.properties
    assert (P.rank(), P.nullity(), V.rank()) == (10, 54, 10)
    kernel = P.kernel().vectors
    np.testing.assert_allclose(kernel @ found.components.T, 0.0, atol=1e-12)
    np.testing.assert_allclose(P.matrix() @ P.matrix(), P.matrix(), atol=1e-12)
    rest = X - found.reconstruct(found.transform(X))
    np.testing.assert_allclose(rest @ found.components.T, 0.0, atol=1e-10)
    dropped = aj.pca(X).explained_variance.values[10:].sum() * (len(X) - 1)
    assert abs(np.sum(rest**2) / dropped - 1.0) < 1e-12  # what the projection loses is the variance it leaves out


@pytest.mark.covers("M10")
def test_orthonormal_directions_keep_the_norms_of_gradients() -> None:
    found = aj.pca(X, 10)
    weight = RNG.normal(size=10)

    def loss(c: Any) -> Any:
        return aj.sum(aj.tanh(found.reconstruct(c) * 0.1))

    c = found.transform(X[0])
    inner = aj.grad(lambda c: aj.sum(aj.tanh(weight * c)))(c)
    through = aj.grad(lambda x: aj.sum(aj.tanh(weight * found.transform(x))))(X[0])
    assert abs(np.linalg.norm(through) / np.linalg.norm(inner) - 1.0) < 1e-12
    outer = aj.grad(lambda x: aj.sum(aj.tanh(x * 0.1)))(found.reconstruct(c))
    np.testing.assert_allclose(aj.grad(loss)(c), found.components @ outer, rtol=1e-10)
    tangent = RNG.normal(size=10)
    assert abs(np.linalg.norm(found.subspace @ tangent) / np.linalg.norm(tangent) - 1.0) < 1e-12


@pytest.mark.covers("M10")
def test_it_maximizes_variance() -> None:
    """At V the gradient of ‖X V‖² along any rotation of V vanishes."""
    centred, found = X - X.mean(0), aj.pca(X, 5)
    V = found.components.T
    gradient = aj.grad(lambda V: aj.sum(aj.square(aj.matmul(centred, V))))(V)
    across = gradient - V @ (V.T @ gradient)
    assert np.linalg.norm(across) <= 1e-11 * np.linalg.norm(gradient)


@pytest.mark.parametrize("move", [torch.tensor, jax.numpy.asarray])
def test_on_other_backends(move: Any) -> None:
    x = move(X[:200].astype("float32"))
    found, reference = aj.pca(x, 3), aj.pca(X[:200], 3)
    assert type(found.components) is type(found.mean) is type(x)
    np.testing.assert_allclose(found.components, reference.components, atol=1e-4)
    np.testing.assert_allclose(found.transform(x), reference.transform(X[:200]), atol=1e-3)


def test_of_a_map_that_is_never_formed() -> None:
    data = scipy.sparse.random_array((3000, 2500), density=2e-3, rng=np.random.default_rng(1))
    found = aj.pca(aj.from_scipy(data), 3)
    assert found.method != "svd"
    centred = data.toarray() - data.mean(0)
    values = np.sqrt(found.explained_variance.values * 2999)
    residual = np.linalg.norm(centred.T @ (centred @ found.components.T) - found.components.T * values**2, axis=0)
    assert np.all(residual <= 1e-6 * values**2)
    np.testing.assert_allclose(found.explained_variance_ratio, values**2 / np.sum(centred**2), rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "k", "message"),
    [(np.ones(3), 1, "is a matrix"), (np.ones((1, 3)), 1, "two examples"), (X, 65, "k is 1 to 64"), (X, 0, "k is 1")],
)
def test_what_is_refused(data: Any, k: int, message: str) -> None:
    with pytest.raises(aj.ShapeError, match=message):
        aj.pca(data, k)


def test_of_nothing_that_varies() -> None:
    found = aj.pca(np.ones((4, 3)), 2)
    assert found.explained_variance_ratio.tolist() == [0.0, 0.0]
    assert repr(found) == "Components: 2 of 3, 0.0% of the variance (svd)"
