"""Maps as NumPy sees them: a batch of flat float64 vectors in, a batch of them out; and the matrix with its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import backend, is_complex
from adjoint.arrays.traced import Traced
from adjoint.errors import DtypeError, SpectrumError
from adjoint.maps.base import LinearMap
from adjoint.maps.matrices import Dense
from adjoint.maps.spaces import Space, ravel, unravel

PROBES = 4


def to_numpy(x: Any) -> np.ndarray:
    """The array as NumPy's, in its own dtype; a traced value refuses, for its derivative would be lost."""
    if not hasattr(x, "dtype") or type(x) is Traced:
        return np.asarray(x)
    if "ShapeArray" in type(x).__name__:
        raise SpectrumError("an array that only has a shape has no numbers: ask on NumPy, PyTorch or JAX arrays.")
    return np.asarray(backend(type(x)).to_numpy(x))


def numbers(x: Any) -> np.ndarray:
    """The array in float64; refuses complex numbers, NaN and infinity."""
    return finite(real(to_numpy(x)))


def real(values: np.ndarray) -> np.ndarray:
    """The numbers in float64; refuses complex ones."""
    refuse_complex(values)
    return values.astype(np.float64)


def refuse_complex(x: Any) -> None:
    """Raise `DtypeError` for an array of complex numbers."""
    if is_complex(getattr(x, "dtype", None)):
        raise DtypeError(
            "maps are real here, this one has complex numbers: take the map of real and imaginary parts, "
            "aj.block([[Re, -Im], [Im, Re]])."
        )


def finite(values: np.ndarray) -> np.ndarray:
    """The numbers themselves; refuses NaN and infinity."""
    if not np.isfinite(values).all():
        raise SpectrumError("the map has NaN or infinite entries, so it has no singular values: look where they arise.")
    return values


def dtype_name(map: LinearMap) -> str:
    """The map's dtype as NumPy names it."""
    return str(map.dtype).rpartition(".")[2]


def epsilon(map: LinearMap) -> float:
    """The spacing of the map's own numbers at 1: 2.2e-16 in float64, 1.2e-7 in float32."""
    name = dtype_name(map)
    return 2.0**-7 if name == "bfloat16" else float(np.finfo(name).eps)


def moved(map: LinearMap, rows: np.ndarray, space: Space) -> Any:
    """NumPy vectors (k, n) as k elements of a space, in the map's own backend, and dtype where they are real."""
    like = map.array()
    if np.iscomplexobj(rows):
        return unravel(rows if like is None else xp.asarray(like, rows), space)
    return unravel(rows if like is None else xp.asarray(like, rows, map.dtype), space)


def flat(y: Any, space: Space) -> np.ndarray:
    """k elements of a space as vectors (k, n) in float64."""
    return real(to_numpy(ravel(y, space)))


def push(map: LinearMap, rows: np.ndarray) -> np.ndarray:
    """A on every row: (k, n) to (k, m)."""
    with np.errstate(all="ignore"):
        return flat(map.apply(moved(map, rows, map.in_shape)), map.out_shape)


def pull(map: LinearMap, rows: np.ndarray) -> np.ndarray:
    """Aᵀ on every row: (k, m) to (k, n)."""
    with np.errstate(all="ignore"):
        return flat(map.adjoint(moved(map, rows, map.out_shape)), map.in_shape)


def formed(map: LinearMap) -> tuple[np.ndarray, float]:
    """(matrix, error): the map's matrix in float64, and how far its rounding took it from the map, in the 2-norm.

    The error is 0 for a map that is given by a matrix. Otherwise it is estimated by both directions on random signs z:
    the mean of ‖(M - A) z‖² is ‖M - A‖_F². Raises `SpectrumError` when they show that `adjoint` is not the adjoint.
    """
    with np.errstate(all="ignore"):
        matrix: np.ndarray = numbers(map.matrix())
    if isinstance(map, Dense) or not matrix.size:
        return matrix, 0.0
    error, noise = (max(pair) for pair in zip(_off(map, push, matrix.T), _off(map, pull, matrix), strict=True))
    if error > max(epsilon(map) ** 0.5 * float(np.linalg.norm(matrix)), 1e3 * noise):
        raise SpectrumError(
            f"{map!r}: apply and adjoint are not of one matrix, they differ by {error:.2g}: check it by the dot test "
            "⟨A x, y⟩ = ⟨x, Aᵀ y⟩."
        )
    return matrix, 4.0 * error


def _off(
    map: LinearMap, direction: Callable[[LinearMap, np.ndarray], np.ndarray], matrix: np.ndarray
) -> tuple[float, float]:
    """How far a direction is from x ↦ x @ matrix, and how far rounding alone takes it from being linear."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (PROBES, len(matrix)))
    found = direction(map, signs)
    again = direction(map, 1.125 * signs) / 1.125
    off, noise = (float(np.linalg.norm(x)) / PROBES**0.5 for x in (found - signs @ matrix, found - again))
    return off, noise
