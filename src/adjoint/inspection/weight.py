"""One weight examined: a single pass over its numbers, a single spectrum, everything else from these."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from adjoint.inspection.row import Places, Row
from adjoint.inspection.tails import marchenko_pastur, power_law
from adjoint.maps.spectra import budget
from adjoint.maps.spectra.gram import IN_PLACE, of_gram
from adjoint.maps.spectra.lapack import add_gram
from adjoint.maps.spectra.spectrum import Spectrum, svd_error

BLOCK = 1 << 17  # numbers that are made float64 at a time, unless a small Gram matrix leaves room for more
FIRST = 5  # faulty rows or columns that are named
NARROWEST = 8  # entries that a row has at least, so that its repetition is no chance
POINTS = 64  # of a spectrum's curve that are kept
LARGEST_GRAM = 11_585  # rows of a Gram matrix of 1 GiB
Measured = dict[str, Any]


class Stopped(Exception):
    """The inspection was told to end."""


def refused(rows: int, columns: int, dtype: np.dtype[Any]) -> str:
    """Why the whole spectrum of such a matrix is not computed, or nothing.

    >>> refused(768, 768, np.dtype("float32")), refused(20_000, 20_000, np.dtype("float32"))
    ('', 'its whole spectrum would take a Gram matrix of 2.98 GiB')
    """
    k = min(rows, columns)
    if spacing(dtype) > budget.NARROW:
        return (
            ""
            if k <= LARGEST_GRAM
            else f"its whole spectrum would take a Gram matrix of {budget.in_words(8.0 * k * k)}"
        )
    return "" if budget.affordable(rows, columns) else "its singular value decomposition in float64 is too costly"


def working_bytes(rows: int, columns: int, dtype: np.dtype[Any]) -> int:
    """About how much memory `measured` takes beside the weight itself."""
    k = min(rows, columns)
    if not by_gram(rows, columns, dtype):
        return 24 * rows * columns
    return 8 * ((1 if k > IN_PLACE else 2) * k * k + 2 * at_once(rows, columns))


def at_once(rows: int, columns: int) -> int:
    """How many numbers are made float64 at a time: the more, the longer a thread goes without the interpreter's lock.

    >>> at_once(768, 768) == BLOCK, at_once(50_257, 768)
    (True, 4750944)
    """
    return max(BLOCK, (rows * columns - min(rows, columns) ** 2) // 8)


def measured(array: np.ndarray, stop: Callable[[], bool] = lambda: False) -> Measured:
    """The fields of `Row` that follow from the numbers of an array (rows, …); floats of any width.

    Blocks of rows become float64; where a number is not finite, the count of these is all that is told. Raises
    `Stopped` between blocks where `stop()` says so, SpectrumError where a norm overflows.

    >>> import numpy as np
    >>> found = measured(np.array([[3.0, 0.0], [0.0, 4.0]], "float16"))
    >>> found["rank"], found["sigma_max"], found["method"]
    (2, 4.0, 'svd')
    """
    x = array.reshape(len(array), -1)
    m, n = x.shape
    gram = by_gram(m, n, x.dtype)
    rng = np.random.default_rng(0)
    right, left = rng.standard_normal(n), rng.standard_normal(m)
    rows, columns = np.empty(m), np.zeros(n)
    whole = np.zeros((min(m, n),) * 2) if gram and n <= m else None
    for start, stop_at, block in _blocks(x):
        if stop():
            raise Stopped
        with np.errstate(all="ignore"):
            rows[start:stop_at] = block @ right
            columns += left[start:stop_at] @ block
        if not (np.all(np.isfinite(rows[start:stop_at])) and np.all(np.isfinite(columns))):
            bad = _not_finite(x)
            if bad["nans"] or bad["infs"]:
                return bad
        if whole is not None:
            add_gram(whole, block)
    with np.errstate(invalid="ignore", over="ignore"):
        told = _faults(x, rows, columns)
    eps = spacing(x.dtype)
    if gram:
        values, bound = of_gram(_wide_gram(x) if whole is None else whole, max(m, n))
        whole, method = None, "gram in float64"
    else:
        values = np.linalg.svd(x.astype(np.float64, copy=False), compute_uv=False)
        bound, method = svd_error((m, n), values), "svd"
    found = figures(Spectrum((m, n), eps, values, bound, method))
    if found["rank"]:
        found["alpha"], found["tail"] = power_law(values[: found["rank"]])
        found["randomness"], found["random"] = marchenko_pastur(values, (m, n))
    if gram and m == n == found["rank"] + 1 and found.get("random"):
        values[-1], bound[-1] = min(smallest(x), values[-2]), svd_error((m, n), values)[-1]
        found |= figures(Spectrum((m, n), eps, values, bound, method))
    return told | found


def spacing(dtype: np.dtype[Any]) -> float:
    """The spacing of a weight's numbers at 1; narrower floats are exact in float32 and judged as such."""
    return float(np.finfo(np.float64 if dtype == np.float64 else np.float32).eps)


def by_gram(m: int, n: int, dtype: np.dtype[Any]) -> bool:
    """Whether the Gram matrix sees all that the numbers can tell, and repays its forming."""
    return spacing(dtype) > budget.NARROW and (min(m, n) > budget.GRAM_SIZE or m * n > BLOCK)


def _blocks(x: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Rows of a matrix in float64, some at a time."""
    step = max(1, at_once(*x.shape) // max(1, x.shape[1]))
    room = np.empty((0 if x.dtype == np.float64 else min(step, len(x)), x.shape[1]))
    for start in range(0, len(x), step):
        stop = min(start + step, len(x))
        yield start, stop, _wide(x[start:stop], room)


def _wide(part: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The numbers in float64, written into `room` if they are not: new memory would take as long as they do."""
    if part.dtype == np.float64:
        return part
    room = room[: len(part)]
    room[...] = part
    return room


def _wide_gram(x: np.ndarray) -> np.ndarray:
    """The upper triangle of AAᵀ of a matrix with more columns than rows, by blocks of columns."""
    m, n = x.shape
    gram, step = np.zeros((m, m)), max(1, at_once(m, n) // m)
    room = np.empty(m * min(step, n))
    for start in range(0, n, step):
        part = x[:, start : start + step]
        block = room[: part.size].reshape(part.shape)
        block[...] = part
        add_gram(gram, block.T)
    return gram


def _not_finite(x: np.ndarray) -> Measured:
    nans = infs = 0
    for _, _, block in _blocks(x):
        nans += int(np.count_nonzero(np.isnan(block)))
        infs += int(np.count_nonzero(np.isinf(block)))
    return {"nans": nans, "infs": infs}


def _faults(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Measured:
    """Rows and columns of zeros, and those that repeat another, found by their products with a random vector.

    Equal rows have equal products but for rounding; those whose products are equal are compared number by number.
    """
    zero_rows, repeated_rows = _alike(rows, lambda i: x[i], x.shape[1])
    zero_columns, repeated_columns = _alike(columns, lambda j: x[:, j], x.shape[0])
    return {
        "zero_rows": zero_rows,
        "zero_columns": zero_columns,
        "repeated_rows": repeated_rows,
        "repeated_columns": repeated_columns,
    }


def _alike(products: np.ndarray, line: Callable[[int], np.ndarray], length: int) -> tuple[Places, Places]:
    """(lines of zeros, lines that repeat an earlier one)."""
    zeros = [int(i) for i in np.flatnonzero(products == 0) if not np.any(line(int(i)))]
    if length < NARROWEST:
        return _places(zeros), Places()
    order = np.argsort(products, kind="stable")
    ordered = products[order]
    close = np.diff(ordered) <= 1e-12 * np.maximum(np.abs(ordered[1:]), np.abs(ordered[:-1])) + _rounding(products)
    empty, repeated, seen = set(zeros), [], set[bytes]()
    near = np.zeros(len(products), bool)
    near[order[1:][close]] = near[order[:-1][close]] = True
    for i in np.flatnonzero(near):
        if int(i) in empty:
            continue
        text = hashlib.blake2b(np.ascontiguousarray(line(int(i))).tobytes(), digest_size=16).digest()
        if text in seen:
            repeated.append(int(i))
        seen.add(text)
    return _places(zeros), _places(repeated)


def _rounding(products: np.ndarray) -> float:
    """What cancellation may leave of equal products: relative to the usual one, not to the largest."""
    return 1e-13 * float(np.median(np.abs(products))) if len(products) else 0.0


def _places(found: list[int]) -> Places:
    return Places(len(found), tuple(found[:FIRST]))


def tolerance(spectrum: Spectrum, shape: tuple[int, int] | None = None) -> float:
    """½ √(m + n + 1) ε σ₁ (Press et al., Numerical Recipes, 2.6), or the error of what cannot be told from zero.

    NumPy's max(m, n) ε σ₁ would call a random square matrix of 768 rows singular once in twenty times, one of 8,192
    always; what rounding leaves of a direction that is not there lies well below this one.

    >>> f"{tolerance(Spectrum((100, 100), 2.0**-23, np.ones(100))):.3g}"
    '8.45e-07'
    """
    usual = 0.5 * math.sqrt(sum(shape or spectrum.shape) + 1.0) * spectrum.eps * spectrum.largest
    nothing = spectrum.values <= np.maximum(usual, spectrum.bound)
    return max(usual, float(np.max(spectrum.bound[nothing], initial=0.0)))


def smallest(x: np.ndarray, sweeps: int = 4) -> float:
    """σ_min of a square matrix by inverse iteration in float64, where it lies far below the other values.

    The smallest of a random matrix may come so close to zero that its Gram matrix cannot tell it from zero.

    >>> round(smallest(np.diag([3.0, 2.0, 1e-9])) * 1e9, 6)
    1.0
    """
    from scipy.linalg import lapack

    lu, pivots, info = lapack.dgetrf(np.array(x, np.float64, order="F"), overwrite_a=True)
    if info > 0:
        return 0.0
    v = np.random.default_rng(0).standard_normal(len(x))
    size = 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(sweeps):
            v /= np.linalg.norm(v)
            v = lapack.dgetrs(lu, pivots, lapack.dgetrs(lu, pivots, v, trans=1)[0])[0]
            size = float(np.linalg.norm(v))
    return 1.0 / math.sqrt(size) if math.isfinite(size) else 0.0


def figures(spectrum: Spectrum, shape: tuple[int, int] | None = None) -> Measured:
    """What depends on the singular values alone; their tolerance is that of a matrix of `shape`, by itself its own."""
    values, counts = spectrum.values, spectrum.counts
    threshold = tolerance(spectrum, shape)
    rank = int(np.sum(counts[values > threshold]))
    told: Measured = {
        "rank": rank,
        "tolerance": threshold,
        "sigma_max": float(values[0]),
        "sigma_min": float(values[-1]),
        "cond": float(values[0] / values[-1]) if rank == np.sum(counts) else math.inf,
        "method": spectrum.method,
        "bound": float(spectrum.bound[0]),
        "bound_min": float(np.max(spectrum.bound)),
        "stable_rank": 0.0,
        "entropy_rank": 0.0,
        "k90": 0,
        "k99": 0,
        "spectrum": thinned(values, counts=counts),
    }
    if not rank:
        return told
    return told | {
        "stable_rank": float(np.sum(counts * (values / values[0]) ** 2)),
        "entropy_rank": float(spectrum.effective_rank()),
        "k90": holding(0.90, values, counts),
        "k99": holding(0.99, values, counts),
    }


def holding(share: float, values: np.ndarray, counts: np.ndarray) -> int:
    """The fewest of the singular values, the k-th of them `counts[k]` times there, that hold a share of Σσ².

    >>> holding(0.9, np.array([2.0, 1.0]), np.array([3, 8]))
    9
    """
    squares = (values / values[0]) ** 2
    energy = np.cumsum(counts * squares)
    k = int(np.searchsorted(energy, share * energy[-1]))
    missing = share * energy[-1] - (energy[k] - counts[k] * squares[k])
    inside = min(max(math.ceil(missing / squares[k]), 1), int(counts[k]))
    return int(np.sum(counts[:k])) + inside


def thinned(
    values: np.ndarray, points: int = POINTS, counts: np.ndarray | None = None
) -> tuple[tuple[int, float], ...]:
    """Some of the pairs (k, σ_k) of a spectrum, the first and the last among them, evenly spaced in log k.

    >>> thinned(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), 3)
    ((1, 5.0), (2, 4.0), (5, 1.0))
    """
    ends = np.arange(1, len(values) + 1) if counts is None else np.cumsum(counts)
    places = np.unique(np.round(np.geomspace(1, ends[-1], points)).astype(int))
    return tuple((int(k), float(f"{values[np.searchsorted(ends, k)]:.6g}")) for k in places)


def row(name: str, kind: str, shape: tuple[int, ...], dtype: str, found: Measured, tied: tuple[str, ...] = ()) -> Row:
    """The record of a weight with what was measured of it."""
    rows = shape[0]
    return Row(name, kind, shape, dtype, (rows, math.prod(shape[1:])), tied=tied, **found)
