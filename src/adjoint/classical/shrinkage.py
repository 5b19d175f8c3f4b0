"""The lasso by proximal gradient steps, stopped by its duality gap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.classical.design import as_map, back, element, forth, target
from adjoint.classical.squares import Minimum


def lasso(A: Any, b: Any, alpha: float, tol: float = 1e-8, max_iter: int = 100_000) -> Minimum:
    """The x that makes ‖A x - b‖²/(2n) + α‖x‖₁ smallest, n entries in b, as scikit-learn's: most entries are 0.

    There the gradient g = Aᵀ(A x - b)/n is -α sign(xᵢ) where xᵢ ≠ 0 and |gᵢ| ≤ α elsewhere; `gradient` is how far from
    that it is. Proximal gradient steps with momentum, restarted where it overshoots (FISTA, Beck & Teboulle 2009;
    O'Donoghue & Candès 2015), until the duality gap, which bounds how far the objective is from the smallest and is
    given as `bound`, falls below tol·‖b‖²/n; ends at `max_iter` with the gap that it has. A as in `aj.least_squares`.

    >>> import numpy as np, adjoint as aj
    >>> np.round(aj.lasso(np.eye(2), np.array([3.0, 0.5]), alpha=0.5).x, 8).tolist()
    [2.0, 0.0]
    """
    if not alpha > 0.0 or not math.isfinite(alpha):
        raise ValueError(f"lasso: alpha is a positive number, not {alpha}; for none use aj.least_squares.")
    A = as_map("lasso", A)
    y = target("lasso", A, b)
    n = len(y)
    norm = A.norm()
    curvature = (float(norm) + norm.bound) ** 2 / n
    step = 1.0 / curvature if curvature else 0.0
    tolerance = tol * float(y @ y) / n
    x = ahead = np.zeros(A.shape[1])
    momentum, found, k = 1.0, _gap(A, x, y, alpha), 0
    while found[0] > tolerance and k < max_iter:
        k += 1
        slope = back(A, forth(A, ahead) - y) / n
        new = _shrunk(ahead - step * slope, step * alpha)
        if (ahead - new) @ (new - x) > 0.0:  # the momentum points uphill
            momentum = 1.0
        following = (1.0 + math.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        ahead = new + (momentum - 1.0) / following * (new - x)
        x, momentum = new, following
        if k % 10 == 0 or k == max_iter:
            found = _gap(A, x, y, alpha)
    gap, distance = found
    return Minimum(element(A, x), "fista", distance, tolerance, gap, k)


def _shrunk(x: np.ndarray, by: float) -> np.ndarray:
    return np.sign(x) * np.maximum(np.abs(x) - by, 0.0)


def _gap(A: Any, x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[float, float]:
    """How far the objective may be above its minimum, and the distance from 0 to its subgradients."""
    n = len(y)
    residual = y - forth(A, x)
    slope = -back(A, residual) / n
    steepest = float(np.abs(slope).max(initial=0.0))
    dual = residual * min(1.0, alpha / steepest if steepest else 1.0)
    objective = residual @ residual / 2.0 + n * alpha * np.abs(x).sum()
    gap = (objective - (y @ y - (y - dual) @ (y - dual)) / 2.0) / n
    free = np.maximum(np.abs(slope) - alpha, 0.0)
    return float(max(gap, 0.0)), float(np.linalg.norm(np.where(x == 0.0, free, slope + alpha * np.sign(x))))
