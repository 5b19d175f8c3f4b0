"""BLAS and LAPACK called without the interpreter's lock, NumPy's and SciPy's, against NumPy's own functions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from adjoint.maps.spectra import lapack


@pytest.fixture(params=["NumPy's", "SciPy's", "MKL's"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """NumPy's library where there is one, SciPy's as where there is none, and MKL's for larger matrices."""
    lapack.routine.cache_clear()
    if request.param != "MKL's":
        monkeypatch.setattr(lapack.mkl, "path", None)
    elif lapack.mkl.path is None:
        pytest.skip("MKL is not installed, or the processor is not Intel's")
    if request.param == "SciPy's":
        monkeypatch.setattr(lapack, "numpys", lambda: None)
    elif request.param == "NumPy's" and lapack.numpys() is None:
        pytest.skip("NumPy has no OpenBLAS of its own here")
    yield request.param
    lapack.routine.cache_clear()


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (5, 8), (40, 65)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_gram_matrices(library: str, shape: tuple[int, int], order: str) -> None:
    block = np.asarray(np.random.default_rng(0).standard_normal(shape), order=order)  # type: ignore[call-overload]
    gram = np.ones((shape[1], shape[1]))
    lapack.add_gram(gram, block)
    np.testing.assert_allclose(np.triu(gram), np.triu(1.0 + block.T @ block), rtol=0, atol=1e-13 * shape[0])


@pytest.mark.parametrize("n", [1, 2, 33, 200, 1100])
def test_eigenvalues(library: str, n: int) -> None:
    x = np.random.default_rng(1).standard_normal((n, n))
    matrix = x + x.T
    known = np.linalg.eigvalsh(matrix)
    found = lapack.eigenvalues(np.triu(matrix))
    assert np.max(abs(found - known)) <= 1e-13 * n**0.5 * np.max(abs(known))


def test_numbers_that_are_not_finite_have_no_eigenvalues(library: str) -> None:
    for n in (3, 600):
        with pytest.raises(np.linalg.LinAlgError, match=f"of a matrix of {n} rows did not converge"):
            lapack.eigenvalues(np.full((n, n), np.nan))


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 4, 70), (2, 40, 40), (2, 9, 5), (1, 64, 768)], ids=str)
def test_triangles(library: str, shape: tuple[int, int, int]) -> None:
    columns = np.random.default_rng(2).standard_normal(shape)
    known = np.linalg.qr(np.swapaxes(columns, 1, 2)).R
    found = np.swapaxes(lapack.triangles(columns.copy()), 1, 2)
    assert found.shape == known.shape
    np.testing.assert_allclose(abs(found), abs(known), rtol=0, atol=1e-13 * np.max(abs(known)))
