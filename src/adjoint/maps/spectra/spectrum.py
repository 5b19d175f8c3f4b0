"""A whole set of singular values, with multiplicities and errors; every number that depends on them alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adjoint.maps.base import LinearMap
from adjoint.maps.flat import epsilon, finite
from adjoint.maps.records import Count, Number, Values

EPSILON = float(np.finfo(np.float64).eps)


class Spectrum:
    """The singular values of an m×n map: `values` σ, largest first, each `counts` times and known to within `bound`.

    Values that are not listed are exactly zero: the counts are filled up to min(m, n). `eps` is the spacing of the
    map's own numbers; `method` says how the values were computed.
    """

    __slots__ = ("bound", "counts", "eps", "method", "shape", "values")

    def __init__(
        self,
        shape: tuple[int, int],
        eps: float,
        values: np.ndarray,
        bound: np.ndarray | float = 0.0,
        method: str = "structure",
        counts: np.ndarray | int = 1,
    ) -> None:
        values, bound, counts = np.broadcast_arrays(finite(np.asarray(values, np.float64)), bound, counts)
        order = np.argsort(-values, kind="stable")
        order = order[(values > 0)[order] | (bound > 0)[order]]
        rest = max(min(shape) - int(np.sum(counts[order])), 0)
        zero = np.zeros(min(rest, 1))
        self.values = np.append(values[order], zero)
        self.bound = np.append(bound[order], zero)
        self.counts = np.append(counts[order], np.full(len(zero), rest))
        self.shape, self.eps, self.method = shape, eps, method

    @property
    def largest(self) -> float:
        """σ₁, 0 when there is none."""
        return float(self.values[0]) if len(self.values) else 0.0

    @property
    def tolerance(self) -> float:
        """max(m, n) · ε · σ₁, NumPy's; or the error of the values that cannot be told from zero, where it is larger."""
        usual = max(self.shape) * self.eps * self.largest
        nothing = self.values <= np.maximum(usual, self.bound)
        return max(usual, float(np.max(self.bound[nothing], initial=0.0)))

    def certain(self) -> bool:
        """Whether every value is known to be exactly zero, or to lie above the tolerance, from the structure alone."""
        zero = (self.values == 0) & (self.bound == 0)
        return self.method == "structure" and bool(np.all(zero | (self.values - self.bound > self.tolerance)))

    def rank(self, tol: float | None) -> Count:
        """How many values lie above the tolerance."""
        if tol is not None and not tol >= 0:
            raise ValueError(f"rank: a tolerance is a number ≥ 0, not {tol}.")
        threshold = (0.0 if self.certain() else self.tolerance) if tol is None else float(tol)
        unsure = np.abs(self.values - threshold) < self.bound
        above = self.values > threshold
        return Count(int(np.sum(self.counts[above])), threshold, self.method, int(np.sum(self.counts[unsure])))

    def dropped(self, tol: float) -> float:
        """The largest value that counts as zero, with its error."""
        small = self.values <= tol
        return float(np.max((self.values + self.bound)[small], initial=0.0))

    def listed(self, k: int | None = None) -> Values:
        """All values, or the k largest, one by one."""
        last = None if k is None else int(np.searchsorted(np.cumsum(self.counts), k)) + 1
        counts = self.counts[:last]
        values, bound = np.repeat(self.values[:last], counts)[:k], np.repeat(self.bound[:last], counts)[:k]
        return Values(values, bound, self.method, self.tolerance)

    def norm(self) -> Number:
        """σ₁."""
        upper = float(np.max(self.values + self.bound, initial=0.0))
        lower = float(np.max(self.values - self.bound, initial=0.0))
        return Number(self.largest, max(upper - self.largest, self.largest - lower), self.method)

    def frobenius(self) -> Number:
        """√Σσ²."""
        value = self._root(self.values)
        rounding = 0.0 if np.sum(self.counts[self.values > 0]) <= 1 else rounded(len(self.values)) * value
        return Number(value, self._root(self.bound) + rounding, self.method)

    def _root(self, x: np.ndarray) -> float:
        top = float(np.max(x, initial=0.0))
        return top * math.sqrt(float(np.sum(self.counts * (x / top) ** 2))) if top else 0.0

    def cond(self) -> Number:
        """σ₁ / σ_min, infinite where the rank is not full."""
        if not len(self.values):
            return Number(1.0, 0.0, self.method)
        rank = self.rank(None)
        if rank < min(self.shape):
            return Number(math.inf, math.inf if rank.tolerance else 0.0, self.method, rank.tolerance)
        most, least = self.values[[0, -1]]
        value = float(most / least)
        above = (most + self.bound[0]) / (least - self.bound[-1]) if self.bound[-1] < least else math.inf
        below = (most - self.bound[0]) / (least + self.bound[-1])
        bound = max(float(above) - value, value - float(below), 0.0 if value == 1.0 else EPSILON * value)
        return Number(value, bound, self.method, rank.tolerance)

    def effective_rank(self) -> Number:
        """exp of the entropy H of p = σ / Σσ; the bound is Fannes': |H(p) - H(q)| ≤ Σ η(|p - q|), η(x) = -x log x."""
        total, error = float(np.sum(self.counts * self.values)), float(np.sum(self.counts * self.bound))
        alike = self.values[self.values > 0]
        if not error and np.all(alike == self.largest):
            return Number(float(np.sum(self.counts[self.values > 0])), 0.0, self.method)
        p = self.values / total if total else self.values
        entropy = float(np.sum(self.counts * _entropy(p)))
        if total <= error:
            return Number(math.exp(entropy), math.inf, self.method)
        off = np.minimum((self.bound + p * error) / (total - error), 0.5)
        change = float(np.sum(self.counts * _entropy(off))) + rounded(len(p)) * (1.0 + entropy)
        return Number(math.exp(entropy), math.exp(entropy) * math.expm1(min(change, 700.0)), self.method)


def _entropy(p: np.ndarray) -> np.ndarray:
    positive = np.where(p > 0, p, 1.0)
    return -positive * np.log(positive)


class Factors(NamedTuple):
    """Singular triplets in float64: orthonormal rows `left` (k, m) and `right` (k, n), sorted `values` (k,)."""

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    bound: np.ndarray
    method: str

    def spectrum(self, map: LinearMap) -> Spectrum:
        """The values as those of the map."""
        return Spectrum(map.shape, epsilon(map), self.values, self.bound, self.method)


def rounded(n: int) -> float:
    """The relative rounding error of a sum of n positive numbers by halves, blocks of 128 eight at a time (NumPy's)."""
    return EPSILON * (12.0 + math.log2(n + 1.0) / 2.0)


def stable_rank_of(frobenius: Number, norm: Number) -> Number:
    """Σσ² / σ₁² from its two parts, with the error that theirs allow."""
    if norm == 0.0:
        return Number(0.0, 0.0 if norm.bound == 0.0 else math.inf, norm.method)
    value = (frobenius / norm) ** 2
    above = ((frobenius + frobenius.bound) / (norm - norm.bound)) ** 2 if norm.bound < norm else math.inf
    below = (max(frobenius - frobenius.bound, 0.0) / (norm + norm.bound)) ** 2
    methods = dict.fromkeys((*frobenius.method.split(", "), *norm.method.split(", ")))
    exact = not (frobenius.bound or norm.bound)
    return Number(value, 0.0 if exact else max(above - value, value - below) + 4 * EPSILON * value, ", ".join(methods))


def svd_error(shape: Sequence[int], values: np.ndarray) -> np.ndarray:
    """How far LAPACK's singular values (…, k) of m×n matrices may be off, in float64.

    The backward error of a stable SVD grows like √max(m, n) · ε · σ₁ (Higham & Mary 2019); with these constants the
    bound holds with room to spare against exact arithmetic.
    """
    top = np.max(values, -1, keepdims=True, initial=0.0)
    bound: np.ndarray = EPSILON * ((1.0 + 0.5 * max(shape) ** 0.5) * top + 2.0 * values)
    return bound


def product_error(x: np.ndarray, dx: np.ndarray, y: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The error of all products of x, off by dx, and y, off by dy; multiplying by 1 rounds nothing."""
    rounding = EPSILON * np.outer(x, y) * ~np.logical_or.outer(x == 1.0, y == 1.0)
    error: np.ndarray = np.outer(dx, y + dy) + np.outer(x, dy) + rounding
    return error
