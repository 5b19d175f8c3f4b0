"""What the shape of a spectrum says: how heavy its tail is, and whether it is that of a random matrix."""

from __future__ import annotations

import math

import numpy as np

FEWEST = 32  # values, below which neither question has an answer
TAIL = 10  # values that a tail has at least
STARTS = 128  # beginnings of the tail that are tried
TOGETHER = 16  # of them at a time
NODES = 4096


def power_law(values: np.ndarray) -> tuple[float, int]:
    """(exponent, values in the tail) of the density λ^-α that fits the largest λ = σ² best.

    For each beginning λ_min of the tail the exponent is the likeliest one, α = 1 + n / Σ log(λ / λ_min); of all
    beginnings that one is taken whose tail has the smallest Kolmogorov-Smirnov distance to its power law (Clauset,
    Shalizi & Newman 2009). Up to 128 of the values are tried, evenly spaced in rank, each with a tail of 10 or more.
    (NaN, 0) where fewer than 32 values are positive.

    >>> import numpy as np
    >>> alpha, tail = power_law(np.sqrt((1.0 - np.arange(500) / 500.0) ** (-1.0 / 1.5)))
    >>> round(alpha, 1)
    2.5
    """
    logs = np.sort(2.0 * np.log(values[values > 0]))
    n = len(logs)
    if n < FEWEST:
        return math.nan, 0
    sums = np.cumsum(logs[::-1])[::-1]
    starts = np.unique(np.linspace(0, n - TAIL, STARTS).astype(int))
    counts, totals = n - starts, sums[starts] - (n - starts) * logs[starts]
    tails = totals > 1e-9 * counts
    best, found = math.inf, (math.nan, 0)
    for k in range(0, len(starts), TOGETHER):
        some = slice(k, k + TOGETHER)
        first, count, total = (x[some][tails[some], None] for x in (starts, counts, totals))
        if not len(first):
            continue
        distances = _distances(logs[first[0, 0] :], first - first[0], count, count / total)
        least = int(np.argmin(distances))
        if distances[least] < best:
            best = float(distances[least])
            found = 1.0 + float(count[least, 0] / total[least, 0]), int(count[least, 0])
    return found


def _distances(logs: np.ndarray, first: np.ndarray, count: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Kolmogorov's distance of each tail, from its `first` value on (a column), to 1 - (λ / λ_min)^-rate."""
    law = -np.expm1(-rate * (logs - logs[first]).clip(0.0))
    above = np.arange(len(logs)) - first
    return np.max(np.maximum((above + 1) / count - law, law - above / count) * (above >= 0), 1)


def marchenko_pastur(values: np.ndarray, shape: tuple[int, int]) -> tuple[float, bool]:
    """(distance, whether it is small) of the σ² of an m×n matrix to those of one with independent random entries.

    The distance is Kolmogorov's, between the distribution of the min(m, n) values σ²/max(m, n) and Marchenko and
    Pastur's with the variance Σσ²/(m n). For independent entries of any distribution it shrinks like 1/min(m, n); up
    to 0.01 + 4/min(m, n) counts as random. (NaN, False) for fewer than 32 values.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 60))
    >>> marchenko_pastur(np.linalg.svd(x, compute_uv=False), x.shape)[1]
    True
    """
    k, longer = min(shape), max(shape)
    if k < FEWEST or len(values) != k or not values[0] > 0:
        return math.nan, False
    scaled = np.sort((values / values[0]) ** 2)
    scaled = scaled / (float(np.mean(scaled)) or 1.0)  # of variance 1
    law = np.interp(scaled, *_law(k / longer))
    steps = np.arange(k + 1) / k
    distance = max(float(np.max(np.abs(law - steps[1:]))), float(np.max(np.abs(law - steps[:-1]))))
    return distance, distance <= 0.01 + 4.0 / k


def _law(ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """(λ, the share of Marchenko and Pastur's distribution up to λ) for n/m = `ratio` ≤ 1 and variance 1."""
    root = math.sqrt(ratio)
    low, high = (1.0 - root) ** 2, (1.0 + root) ** 2
    angle = (np.arange(NODES) + 0.5) * (math.pi / NODES)
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    mass = np.cumsum((half * np.sin(angle)) ** 2 / (middle - half * np.cos(angle)))
    edges = middle - half * np.cos(angle + 0.5 * math.pi / NODES)
    return np.append(low, edges), np.append(0.0, mass / mass[-1])


def random_values(shape: tuple[int, int]) -> np.ndarray:
    """The min(m, n) singular values, largest first, that a large m×n matrix of independent entries N(0, 1) has.

    They are quantiles of Marchenko and Pastur's distribution, which those of a sample come near to as it grows.

    >>> values = random_values((400, 300))
    >>> bool(abs(values[0] - (400**0.5 + 300**0.5)) < 0.5), round(float(np.sum(values**2)) / 120_000, 2)
    (True, 1.0)
    """
    k, longer = min(shape), max(shape)
    places, shares = _law(k / longer)
    squares = np.interp(1.0 - (np.arange(k) + 0.5) / max(k, 1), shares, places)
    return np.sqrt(longer * squares)
