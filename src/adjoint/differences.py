"""Numerical derivatives with an error estimate for every entry: Ridders' extrapolation of central differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Curve = Callable[[float], Vector]

FIRST = 2.0**-5
LEVELS = 18
ORDERS = 3
PATIENCE = 4
ENOUGH = 1e-11
TINY = (2.0**-18, 2.0**-20, 2.0**-22)


@dataclass(slots=True)
class Slope:
    """The derivative at 0 of a curve of vectors, entry by entry: value, estimated error, the step it comes from, and
    whether the curve has a kink or a jump there, so that there is no derivative."""

    value: Vector
    error: Vector
    step: Vector
    kink: NDArray[np.bool_]


def slope(g: Curve, centre: Vector, unit: float) -> Slope:
    """The derivative of g at 0 by central differences D(h) = (g(h) - g(-h)) / 2h with h halved until nothing is gained.

    D has an error in h², h⁴, …: the extrapolation D(h) + (D(h) - D(2h))/(4ᵏ - 1) takes them away one after the other, and
    what it changes is the error's estimate (Ridders 1982). To that comes rounding, `unit`·|g|/h; `centre` is g(0).
    """
    found = Slope(np.full_like(centre, np.nan), np.full_like(centre, np.inf), np.full_like(centre, FIRST), centre != centre)
    before: list[Vector] = []
    bends: list[Vector] = []
    h, idle = FIRST, 0
    for _ in range(LEVELS):
        up, down = g(h), g(-h)
        rounding = unit * (np.abs(up) + np.abs(down)) / h
        row = [(up - down) / (2 * h)]
        for order, coarser in enumerate(before[:ORDERS], 1):
            row.append(row[-1] + (row[-1] - coarser) / (4**order - 1))
        gained = [_improve(found, row[k], row[k - 1], before[k - 1], rounding, h) for k in range(1, len(row))]
        idle = 0 if any(gained) else idle + 1
        bends = [*bends[-1:], np.abs(up - 2 * centre + down) / h]
        goal = np.maximum(ENOUGH * np.abs(found.value), 4 * rounding)
        if len(before) > 1 and (idle >= PATIENCE or np.all(found.error <= goal)):
            break
        before, h = row, h / 2
    if np.any((bends[-1] > 0.7 * bends[0]) & (bends[-1] > 64 * rounding)) or not np.all(np.isfinite(found.error)):
        found.kink = kinks(g, centre, unit)
    return found


def _improve(found: Slope, value: Vector, left: Vector, above: Vector, rounding: Vector, h: float) -> bool:
    error = np.maximum(np.abs(value - left), np.abs(value - above)) + rounding
    better = error < found.error
    found.value[better], found.error[better], found.step[better] = value[better], error[better], h
    return bool(np.any(better))


def kinks(g: Curve, centre: Vector, unit: float) -> NDArray[np.bool_]:
    """Where the slopes from the left and the right differ however small the step.

    The difference |g(h) - 2g(0) + g(-h)|/h shrinks with h where there is a derivative; at a kink it stays, at a jump it
    grows as 1/h. Noise does neither.
    """
    bends = [np.abs(g(h) - 2 * centre + g(-h)) / h for h in TINY]
    ratios = [fine / coarse for coarse, fine in zip(bends, bends[1:], strict=False)]
    loud = bends[0] > 256 * unit * np.abs(centre) / TINY[0]
    flat = np.logical_and.reduce([np.abs(r - 1) < 0.1 for r in ratios])
    growing = np.logical_and.reduce([np.abs(r / 4 - 1) < 0.1 for r in ratios])
    result: NDArray[np.bool_] = loud & (flat | growing)
    return result


def noise(g: Curve) -> Vector:
    """The rounding noise in the entries of g, from fourth differences of close samples (Hamming; Moré & Wild 2011)."""
    samples: Any = np.stack([g(k * TINY[-1]) for k in range(-5, 6)])
    rms: Vector = np.sqrt(np.mean(np.diff(samples, 4, axis=0) ** 2, axis=0) / 70.0)
    return rms
