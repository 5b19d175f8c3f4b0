"""Numerical derivatives with an error estimate for every entry: Ridders' extrapolation of central differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Curve = Callable[[float], Vector]

FIRST = 2.0**-3
LEVELS = 24
ORDERS = 3
PATIENCE = 3
TINY = (2.0**-18, 2.0**-20, 2.0**-22)
GROWTH = TINY[0] / TINY[1]
UNIT = 2.0**-52


@dataclass(slots=True)
class Slope:
    """The derivative at 0 of a curve of vectors, entry by entry: its value, the estimated error, and whether there is a
    kink, a jump or an edge of the domain, so that there is no derivative."""

    value: Vector
    error: Vector
    kink: NDArray[np.bool_]


def slope(g: Curve, centre: Vector, noise: Vector) -> Slope:
    """The derivative of g at 0 by central differences D(h) = (g(h) - g(-h)) / 2h with h halved until nothing is gained.

    D has an error in h², h⁴, …: the extrapolation D(h) + (D(h) - D(2h))/(4ᵏ - 1) takes one after the other away, and
    what it changes estimates the error (Ridders 1982); to that comes rounding, the size of `noise` over h. Tiny steps
    tell first where about the derivative lies, so that steps too large for g cannot agree by accident, and where the
    slopes from the left and the right differ however small the step. `centre` is g(0).
    """
    anchor, band, kink = _anchored(g, centre, noise)
    found = Slope(np.full_like(centre, np.nan), np.full_like(centre, np.inf), kink)
    above: list[Vector] = []
    h, idle = FIRST, 0
    for _ in range(LEVELS):
        up, down = g(h), g(-h)
        rounding = (noise + UNIT * (np.abs(up) + np.abs(down))) / h
        row = [(up - down) / (2 * h)]
        for order, coarser in enumerate(above[:ORDERS], 1):
            row.append(row[-1] + (row[-1] - coarser) / (4**order - 1))
        gained = False
        for value, left, over in zip(row[1:], row, above, strict=False):
            error = np.maximum(np.abs(value - left), np.abs(value - over)) + rounding
            better = (error < found.error) & (np.abs(value - anchor) <= band)
            found.value[better], found.error[better] = value[better], error[better]
            gained |= bool(better.any())
        idle = 0 if gained else idle + 1
        if _settled(found, rounding, 1e-11) or (idle >= PATIENCE and _settled(found, rounding, 1e-7)):
            break
        above, h = row, h / 2
    found.kink |= ~np.isfinite(found.error)
    return found


def _settled(found: Slope, rounding: Vector, part: float) -> bool:
    return bool(np.all((found.error <= np.maximum(part * np.abs(found.value), 4 * rounding)) | found.kink))


def _anchored(g: Curve, centre: Vector, noise: Vector) -> tuple[Vector, Vector, NDArray[np.bool_]]:
    """The derivative from tiny steps, how far it may be off, and where g has a kink or a jump.

    The difference (g(h) - 2g(0) + g(-h))/h of the slopes on both sides shrinks with h where there is a derivative; at a
    kink it stays, at a jump it grows as 1/h, or the slope itself does.
    """
    pairs = [(h, g(h), g(-h)) for h in TINY]
    slopes = [(up - down) / (2 * h) for h, up, down in pairs]
    bends = [(up - 2 * centre + down) / h for h, up, down in pairs]
    rounding = (noise + UNIT * np.abs(centre)) / TINY[1]
    kink = _scales(bends, 1.0, rounding) | _scales(bends, GROWTH, rounding) | _scales(slopes, GROWTH, rounding)
    band = 1e-3 * np.abs(slopes[1]) + 4 * np.abs(slopes[1] - slopes[0]) + 32 * rounding
    return slopes[1], band, kink


def _scales(values: list[Vector], ratio: float, rounding: Vector) -> Any:
    """Whether values well above rounding grow by this ratio from each tiny step to the next."""
    near = [np.abs(fine / coarse - ratio) < 0.1 * ratio for coarse, fine in pairwise(values)]
    return np.logical_and.reduce([np.abs(values[0]) > 64 * rounding, *near])


def noise(g: Curve) -> Vector:
    """The rounding noise in the entries of g near 0: fourth differences of close samples (Hamming; Moré & Wild 2011).

    They are taken a little to the side, where a kink or a jump at 0 does not reach, at steps that are no power of two.
    """
    samples = np.stack([g(3e-4 + k * 3e-7) for k in range(11)])
    rms: Vector = np.sqrt(np.mean(np.diff(samples, 4, axis=0) ** 2, axis=0) / 70.0)
    return np.where(np.isfinite(rms), rms, 0.0)
