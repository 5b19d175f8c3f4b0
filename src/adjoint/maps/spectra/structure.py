"""Singular values that the kind of map tells, in closed form or from its parts; no matrix of the whole is formed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from adjoint.maps.algebra import factor
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.combinations import Composition, Kronecker
from adjoint.maps.elementary import Cast, Diagonal, Negate, Scale, Zero
from adjoint.maps.flat import epsilon, formed, numbers, to_numpy
from adjoint.maps.layout import Broadcast, Concatenate, DiagonalPart, Slice, Take, TakeAlong
from adjoint.maps.matrices import Dense, LeftProduct, LowRank, Outer, RightProduct, Weighting
from adjoint.maps.normalization import Normalization
from adjoint.maps.pooling import Selection
from adjoint.maps.reductions import LogSoftmax, Reduce, Softmax
from adjoint.maps.resampling import Resampling
from adjoint.maps.spaces import size
from adjoint.maps.spectra.budget import affordable
from adjoint.maps.spectra.periodic import periodic
from adjoint.maps.spectra.spectrum import EPSILON, Spectrum, product_error, rounded, svd_error
from adjoint.maps.subspaces import Projection, Subspace
from adjoint.maps.tables import Block
from adjoint.program import Door

Of = Callable[[LinearMap], Spectrum]


@functools.singledispatch
def structure(map: LinearMap, of: Of) -> Spectrum | None:
    """The spectrum as far as the kind of map tells it, those of its parts by `of`; None when it needs the matrix."""
    return isometry(map) if "orthogonal" in map.properties else None


def isometry(map: LinearMap) -> Spectrum:
    """All ones; known to rounding where a matrix of numbers is orthogonal."""
    if map.array() is None:
        return exactly(map, [1.0], min(map.shape))
    error = (2.0 + max(map.shape) ** 0.5) * epsilon(map)
    return Spectrum(map.shape, epsilon(map), np.ones(1), error, "orthogonality", min(map.shape))


def exactly(map: LinearMap, values: Sequence[float] | np.ndarray, counts: np.ndarray | int = 1) -> Spectrum:
    """Values without error."""
    return Spectrum(map.shape, epsilon(map), np.asarray(values, np.float64), 0.0, "structure", counts)


def rooted(map: LinearMap, squares: np.ndarray, counts: np.ndarray | int = 1) -> Spectrum:
    """Square roots of whole numbers: exact where the root is whole."""
    roots = np.sqrt(np.asarray(squares, np.float64))
    error = np.where(roots == np.floor(roots), 0.0, EPSILON * roots)
    return Spectrum(map.shape, epsilon(map), roots, error, "structure", counts)


def renamed(map: LinearMap, s: Spectrum, factor: float = 1.0) -> Spectrum:
    """The values of another map times a number, as this one's."""
    error = abs(factor) * s.bound + (0.0 if factor in (1.0, -1.0) else EPSILON * abs(factor) * s.values)
    return Spectrum(map.shape, epsilon(map), abs(factor) * s.values, error, s.method, s.counts)


def joined(map: LinearMap, parts: Sequence[Spectrum]) -> Spectrum:
    """The values of several maps side by side, none of which sees the others' inputs or outputs."""
    values, bound, counts = (
        np.concatenate([np.zeros(0), *(getattr(s, what) for s in parts)]) for what in ("values", "bound", "counts")
    )
    return Spectrum(map.shape, epsilon(map), values, bound, methods(parts), counts.astype(np.int64))


def methods(parts: Sequence[Spectrum]) -> str:
    """The methods of the parts, each once."""
    return ", ".join(dict.fromkeys(name for s in parts for name in s.method.split(", "))) or "structure"


def stacked(
    map: LinearMap, shape: tuple[int, int, int], matrices: Callable[[], np.ndarray], copies: int = 1
) -> Spectrum | None:
    """The values of a direct sum of matrices (count, m, n), each so many times; None when they are too large."""
    count, m, n = shape
    if not affordable(m, n, count=count):
        return None
    values = np.linalg.svd(np.reshape(matrices(), shape), compute_uv=False)
    return Spectrum(
        map.shape, epsilon(map), values.ravel(), svd_error((m, n), values).ravel(), "svd of the blocks", copies
    )


# Maps without numbers, and diagonals


@structure.register
def _(map: Zero, of: Of) -> Spectrum:
    return exactly(map, [])


@structure.register
def _(map: Cast, of: Of) -> Spectrum:
    return exactly(map, [1.0], min(map.shape))


@structure.register(Concatenate)
@structure.register(Subspace)
def _(map: LinearMap, of: Of) -> Spectrum:
    return isometry(map)


@structure.register
def _(map: Projection, of: Of) -> Spectrum:
    return renamed(map, isometry(map.subspace))


@structure.register(Scale)
@structure.register(Negate)
def _(map: LinearMap, of: Of) -> Spectrum:
    return exactly(map, [abs(float(numbers(factor(map))))], min(map.shape))


@structure.register
def _(map: Diagonal, of: Of) -> Spectrum:
    return exactly(map, np.abs(numbers(map.d)).ravel())


@structure.register
def _(map: Broadcast, of: Of) -> Spectrum:
    m, n = map.shape
    return rooted(map, np.array([m / n if n else 0.0]), n if m else 0)


@structure.register(Slice)
@structure.register(DiagonalPart)
def _(map: LinearMap, of: Of) -> Spectrum:
    return exactly(map, [1.0], map.shape[0])


@structure.register
def _(map: Take, of: Of) -> Spectrum:
    n = map.in_shape[map.axis]
    used = np.bincount(to_numpy(map.indices).ravel() % max(n, 1), minlength=n)
    return rooted(map, used, size(map.in_shape) // n if n else 0)


@structure.register
def _(map: TakeAlong, of: Of) -> Spectrum:
    n = map.in_shape[map.axis]
    lines = last(to_numpy(map.indices) % max(n, 1), map.axis).reshape(-1, map.indices.shape[map.axis])
    used = np.bincount((lines + n * np.arange(len(lines))[:, None]).ravel(), minlength=n * len(lines))
    return rooted(map, used)


@structure.register
def _(map: Selection, of: Of) -> Spectrum:
    entries = math.prod(map.in_shape[-map.ndim :])
    images = to_numpy(map.indices).reshape(-1, math.prod(map.indices.shape[-map.ndim :]))
    used = np.bincount((images + entries * np.arange(len(images))[:, None]).ravel(), minlength=size(map.in_shape))
    return rooted(map, used)


@structure.register
def _(map: Resampling, of: Of) -> Spectrum:
    return renamed(map, of(map.kronecker()))


# Sums with weights


@structure.register
def _(map: Reduce, of: Of) -> Spectrum:
    m, n = map.shape
    along = n // m if m else 0
    if map.w is None:
        return rooted(map, np.array([along]), m)
    weights = np.broadcast_to(numbers(map.w), map.in_shape)
    rows = np.moveaxis(weights, map.axes, range(-len(map.axes), 0)).reshape(m, along)
    lengths = np.linalg.norm(rows, axis=-1)
    return Spectrum(map.shape, epsilon(map), lengths, (along > 1) * rounded(along) * lengths)


@structure.register
def _(map: Outer, of: Of) -> Spectrum:
    length = float(np.linalg.norm(numbers(map.left)) * np.linalg.norm(numbers(map.right)))
    return Spectrum(map.shape, epsilon(map), np.array([length]), 2.0 * rounded(max(map.shape)) * length)


# Maps that act on blocks of their input separately


@structure.register
def _(map: LeftProduct, of: Of) -> Spectrum | None:
    *batch, n, k = map.left.shape
    if tuple(batch) != map.in_shape[:-2]:
        return None
    return stacked(map, (math.prod(batch), n, k), lambda: numbers(map.left), map.in_shape[-1])


@structure.register
def _(map: RightProduct, of: Of) -> Spectrum | None:
    *batch, k, m = map.right.shape
    if tuple(batch) != map.in_shape[:-2]:
        return None
    return stacked(map, (math.prod(batch), k, m), lambda: numbers(map.right), map.in_shape[-2])


@structure.register
def _(map: Weighting, of: Of) -> Spectrum | None:
    *batch, n = map.x.shape
    return stacked(map, (1, math.prod(batch), n), lambda: numbers(map.x), map.in_shape[0])


@structure.register
def _(map: Softmax, of: Of) -> Spectrum | None:
    def matrices() -> np.ndarray:
        p = last(numbers(map.p), map.axis)
        return p[..., None] * (np.eye(n) - p[..., None, :])

    n = map.in_shape[map.axis]
    return stacked(map, (map.shape[0] // max(n, 1), n, n), matrices)


@structure.register
def _(map: LogSoftmax, of: Of) -> Spectrum | None:
    def matrices() -> np.ndarray:
        p = last(np.broadcast_to(numbers(map.p), map.in_shape), map.axis)
        return np.eye(n) - p[..., None, :] * np.ones((n, 1))

    n = map.in_shape[map.axis]
    return stacked(map, (map.shape[0] // max(n, 1), n, n), matrices)


@structure.register
def _(map: Normalization, of: Of) -> Spectrum | None:
    def groups(x: np.ndarray) -> np.ndarray:
        """One row for all entries that share their statistics."""
        moved = np.moveaxis(np.broadcast_to(x, map.in_shape), map.axes, range(-len(map.axes), 0))
        return np.reshape(moved, (-1, n) if n else (0, 0))

    def matrices() -> np.ndarray:
        outer = normal[:, :, None] * normal[:, None, :] + float(centred)
        return (scale * weight)[:, :, None] * (np.eye(n) - outer / n)

    n, centred = math.prod(map.in_shape[a] for a in map.axes), map.mu is not None
    mu = numbers(map.mu) if centred else 0.0
    normal, scale = groups((numbers(map.x) - mu) * numbers(map.scale)), groups(numbers(map.scale))
    weight = groups(np.ones(()) if map.weight is None else numbers(map.weight))
    if not n or (weight != weight[:, :1]).any():
        return stacked(map, (len(normal), n, n), matrices) if n else exactly(map, [])
    # I - U Uᵀ, U = (1, x̂)/√n: all values are 1 but those of UᵀU taken from 1
    one, mean, square = float(centred), normal.mean(1) * centred, np.square(normal).mean(1)
    centre, spread = (one + square) / 2.0, np.hypot((one - square) / 2.0, mean)
    size, ones = np.abs(scale[:, 0] * weight[:, 0]), np.ones(len(scale))
    values = size * np.abs([1.0 - (centre + spread), 1.0 - (centre - spread), ones])
    error = EPSILON * (12.0 + math.log2(n)) * size * np.array([1.0 + square, 1.0 + square, ones])
    counts = np.repeat([[1], [1], [n - 2]], len(size), 1)
    values, error, counts = (x[:n].ravel() for x in (values, error, counts))
    return Spectrum(map.shape, epsilon(map), values, error, "closed form", counts)


def last(x: np.ndarray, axis: int) -> np.ndarray:
    """x with one axis last."""
    return np.moveaxis(x, axis, -1)


# Maps made of maps


@structure.register
def _(map: Adjoint, of: Of) -> Spectrum:
    return renamed(map, of(map.map))


@structure.register
def _(map: Door, of: Of) -> Spectrum:
    return of(map.verified())


@structure.register
def _(map: Kronecker, of: Of) -> Spectrum:
    a, b = of(map.left), of(map.right)
    values, counts = np.outer(a.values, b.values).ravel(), np.outer(a.counts, b.counts).ravel()
    error = product_error(a.values, a.bound, b.values, b.bound).ravel()
    return Spectrum(map.shape, epsilon(map), values, error, methods([a, b]), counts)


@structure.register
def _(map: Block, of: Of) -> Spectrum | None:
    """Blocks of which no two share a row or a column."""
    used = [(i, j) for i, row in enumerate(map.rows) for j, m in enumerate(row) if not isinstance(m, Zero)]
    if len({i for i, _ in used}) < len(used) or len({j for _, j in used}) < len(used):
        return None
    return joined(map, [of(map.rows[i][j]) for i, j in used])


@structure.register
def _(map: Composition, of: Of) -> Spectrum | None:
    """Numbers and rearrangements at the ends come off; what has a narrow waist is taken apart there."""
    if "orthogonal" in map.properties:
        return isometry(map)
    if (found := periodic(map)) is not None:
        return found
    c, rest = 1.0, list(map.maps)
    for end in (0, -1):
        while len(rest) > 1 and (rearranges(rest[end]) or factor(rest[end]) is not None):
            number = factor(rest.pop(end))
            c *= 1.0 if number is None else float(numbers(number))
    if len(rest) < len(map.maps):
        return renamed(map, of(rest[0] if len(rest) == 1 else Composition(rest)), c)
    return through_waist(map)


def rearranges(map: LinearMap) -> bool:
    """Whether the map moves entries without changing any number."""
    return "orthogonal" in map.properties and map.array() is None


@structure.register(LowRank)
def through_waist(map: LowRank | Composition, of: Of | None = None) -> Spectrum | None:
    """The values of L R from the small triangular factors of L and Rᵀ."""
    found = waist(map)
    if found is None:
        return None
    left, right, error = found
    core = np.linalg.qr(left).R @ np.linalg.qr(right.T).R.T
    values = np.linalg.svd(core, compute_uv=False)
    return Spectrum(map.shape, epsilon(map), values, error + svd_error(map.shape, values), "svd of the factors")


def waist(map: LowRank | Composition) -> tuple[np.ndarray, np.ndarray, float] | None:
    """(L, R, error): map = L R within the error, L (m, r) and R (r, n) for an r < min(m, n); None if there is none."""
    m, n = map.shape
    parts: tuple[LinearMap, LinearMap]
    if isinstance(map, LowRank):
        r, parts = int(map.right.shape[0]), (Dense(map.left), Dense(map.right))
    else:
        r, i = min((size(part.out_shape), i) for i, part in enumerate(map.maps) if i)
        parts = (grouped(map.maps[:i]), grouped(map.maps[i:]))
    if r >= min(m, n) or not (affordable(m, r) and affordable(r, n)):
        return None
    (left, off_left), (right, off_right) = formed(parts[0]), formed(parts[1])
    tall, wide = np.linalg.norm(left, 2), np.linalg.norm(right, 2)
    rounding = EPSILON * (2.0 + max(m, n) ** 0.5) * tall * wide
    return left, right, float(rounding + off_left * wide + off_right * tall)


def grouped(maps: Sequence[LinearMap]) -> LinearMap:
    """The maps one after the other."""
    return maps[0] if len(maps) == 1 else Composition(maps)
