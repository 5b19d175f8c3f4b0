"""Singular values from the eigenvalues of a Gram matrix."""

from __future__ import annotations

import numpy as np

from adjoint.maps.spectra import lapack
from adjoint.maps.spectra.spectrum import EPSILON

IN_PLACE = 1024  # rows of a Gram matrix above which no copy of it is made


def by_gram(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values, bound) from the eigenvalues of AᵀA or AAᵀ."""
    m, n = matrix.shape
    return of_gram(matrix.T @ matrix if n < m else matrix @ matrix.T, max(m, n))


def of_gram(gram: np.ndarray, longer: int) -> tuple[np.ndarray, np.ndarray]:
    """(values, bound) of A from the upper triangle of its smaller Gram matrix in double precision, or of a stack.

    Its entries are sums of `longer` products. What is no stack, or large, is overwritten. An error d of σ² is one of
    d / σ, but at most √d, of σ.
    """
    if gram.ndim == 2 and gram.dtype == np.float64:
        squares = lapack.eigenvalues(gram)
    elif gram.shape[-1] > IN_PLACE:
        from scipy.linalg import eigvalsh

        each = gram.reshape(-1, *gram.shape[-2:])  # turned, Fortran's order: the conjugate has the same eigenvalues
        found = [eigvalsh(one.T, overwrite_a=True, check_finite=False) for one in each]
        squares = np.reshape(found, gram.shape[:-1])
    else:
        squares = np.linalg.eigvalsh(gram, "U")
    squares = squares[..., ::-1].clip(0.0)
    values = np.sqrt(squares)
    off = longer**0.5 * EPSILON * np.sum(squares, -1, keepdims=True)
    with np.errstate(over="ignore"):  # beside a value of zero √d is the least
        return values, np.minimum(off**0.5, off / np.maximum(values, np.finfo(np.float64).tiny))
