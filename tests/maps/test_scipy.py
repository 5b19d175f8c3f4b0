"""To SciPy's operators and back, against SciPy's solvers and PyLops' own dot test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pylops
import pytest
import scipy.sparse
import scipy.sparse.linalg
from pylops.utils import dottest

import adjoint as aj
from tests.maps.examples import EXAMPLES, Example, moved, name, plain

RNG = np.random.default_rng(0)
W = RNG.standard_normal((5, 4))
SPARSE = scipy.sparse.random_array((6, 4), density=0.4, rng=np.random.default_rng(1))


@pytest.mark.covers("M07")
@pytest.mark.parametrize("example", EXAMPLES, ids=name)
def test_pylops_dot_test_and_the_matrix_by_products(example: Example) -> None:
    A = example.build(*example.arrays())
    assert example.matrix is not None
    M = np.asarray(example.matrix(*example.arrays()))
    S = A.to_scipy()
    m, n = A.shape
    assert S.shape == (m, n)
    rtol = 1e-5 if example.kind is aj.Cast else 1e-9
    assert dottest(pylops.aslinearoperator(S), m, n, rtol=rtol)
    near = 1e-12 * (m + n) * (1.0 + np.linalg.norm(M))
    np.testing.assert_allclose(S @ np.eye(n), M, 0, near)
    np.testing.assert_allclose(S.H @ np.eye(m), M.T, 0, near)
    x, y = np.ones(n), np.ones(m)
    np.testing.assert_allclose(S @ x, M @ x, 0, near)
    np.testing.assert_allclose(S.matvec(x[:, None]), (M @ x)[:, None], 0, near)
    np.testing.assert_allclose(S.rmatvec(y), M.T @ y, 0, near)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_and_backends_go_over_numpy(backend: str, dtype: str) -> None:
    (w,) = moved([W.astype(dtype)], backend)
    S = aj.Dense(w).to_scipy()
    assert S.dtype == np.dtype(dtype)
    found = S @ np.ones((4, 2))
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, W.astype(dtype) @ np.ones((4, 2)), 1e-5)
    assert (S @ np.ones(4)).dtype == np.dtype(dtype)


def test_scipy_solves_with_a_map_of_product_spaces() -> None:
    x, b = RNG.standard_normal((6, 4)), RNG.standard_normal((6, 3))
    _, J = aj.linearize(lambda p: aj.linear(x, p["w"], p["b"]), {"w": np.zeros((3, 4)), "b": np.zeros(3)})
    found = scipy.sparse.linalg.lsqr(J.to_scipy(), b.ravel(), atol=1e-14, btol=1e-14)[0]
    expected = np.linalg.lstsq(np.hstack([x, np.ones((6, 1))]), b, rcond=None)[0]
    parts = J.in_tree.leaves(J.T @ b)
    assert sum(p.size for p in parts) == found.size
    np.testing.assert_allclose(
        np.linalg.norm(J.to_scipy() @ found - b.ravel()),
        np.linalg.norm(np.hstack([x, np.ones((6, 1))]) @ expected - b),
        1e-9,
    )


SOURCES: dict[str, tuple[Any, np.ndarray]] = {
    "array": (W, W),
    "csr": (scipy.sparse.csr_array(SPARSE), SPARSE.toarray()),
    "coo": (scipy.sparse.coo_array(SPARSE), SPARSE.toarray()),
    "matrix": (scipy.sparse.csc_matrix(SPARSE), SPARSE.toarray()),
    "integers": (scipy.sparse.eye_array(3, 4, dtype=int), np.eye(3, 4)),
    "operator": (scipy.sparse.linalg.aslinearoperator(W), W),
    "pylops": (pylops.FirstDerivative(7, dtype="float64"), pylops.FirstDerivative(7, dtype="float64").todense()),
    "ours": (aj.Dense(W).to_scipy(), W),
}


@pytest.mark.parametrize("source", SOURCES)
def test_from_scipy(source: str) -> None:
    operator, M = SOURCES[source]
    A = aj.from_scipy(operator)
    m, n = M.shape
    assert (A.in_shape, A.out_shape) == ((n,), (m,))
    x, y = RNG.standard_normal((2, 3, n)), RNG.standard_normal((0, m))
    np.testing.assert_allclose(A(x), x @ M.T, 0, 1e-12)
    assert A.T(y).shape == (0, n)
    np.testing.assert_allclose(A.matrix(), M, 0, 1e-12)
    np.testing.assert_allclose(A.T.matrix(), M.T, 0, 1e-12)
    assert A.rank() == np.linalg.matrix_rank(M)
    np.testing.assert_allclose(aj.grad(lambda x: aj.sum(aj.square(A(x))))(x), 2.0 * x @ M.T @ M, 0, 1e-11)


def test_a_sparse_matrix_on_tensors_and_in_networks() -> None:
    A = aj.from_scipy(scipy.sparse.csr_array(SPARSE))
    (x,) = moved([RNG.standard_normal((3, 4)).astype(np.float32)], "torch")
    y = A(x)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(plain(y), plain(x) @ SPARSE.toarray().T, 1e-5, 1e-6)
    J = aj.jacobian(lambda x: aj.tanh(A(x)), plain(x)[0].astype(float))
    assert J.describe() == "Diagonal @ Operator"
    H = aj.jacobian(aj.grad(lambda x: aj.sum(aj.tanh(A(x)))), plain(x)[0].astype(float))
    np.testing.assert_allclose(H.matrix(), H.matrix().T, 0, 1e-12)


def test_matrix_free_operators_of_scipy_have_norms() -> None:
    big = scipy.sparse.random_array((30_000, 20_000), density=1e-4, rng=np.random.default_rng(0))
    A = aj.from_scipy(big)
    s = scipy.sparse.linalg.svds(big, 1, return_singular_vectors=False, rng=np.random.default_rng(5))[0]
    assert abs(A.norm() - s) <= A.norm().bound + 1e-9
    assert abs(A.frobenius() - scipy.sparse.linalg.norm(big)) <= A.frobenius().bound
    with pytest.raises(aj.SpectrumError, match="30,000"):
        A.rank()


@pytest.mark.parametrize("wrong", [3.0, "matrix", [[1.0]], None])
def test_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="from_scipy takes a matrix"):
        aj.from_scipy(wrong)


def test_wrong_matrices_are_refused() -> None:
    with pytest.raises(aj.ShapeError, match=r"two axes.*\(3,\)"):
        aj.from_scipy(np.ones(3))
    with pytest.raises(TypeError, match="complex"):
        aj.from_scipy(scipy.sparse.eye_array(3, dtype=complex))
    with pytest.raises(TypeError, match="complex"):
        aj.from_scipy(1j * np.eye(2))
    with pytest.raises(TypeError, match=r"no adjoint .*: give it rmatvec"):
        aj.from_scipy(scipy.sparse.linalg.LinearOperator((3, 3), matvec=lambda v: v)).T @ np.ones(3)


@pytest.mark.parametrize("build", [lambda w: aj.Dense(w * np.eye(2)), lambda w: aj.Diagonal(w * np.ones(2))])
def test_spectra_of_complex_numbers_are_refused(build: Any) -> None:
    """The singular values of i·I are 1, not those of its real part, 0."""
    A = build(1j)
    for question in (A.svdvals, A.norm, A.rank, A.cond, A.kernel, A.frobenius, A.eig):
        with pytest.raises(aj.DtypeError, match="maps are real here"):
            question()
