"""What a layer cannot see, as pictures: what it hides of a digit, and two pictures that it cannot tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adjoint import nn
from adjoint.data import Dataset
from adjoint.maps import LinearMap
from adjoint.transforms import jacobian

ROUNDS = 1000
SURE = 0.95
CLEARLY = 0.9


@dataclass(frozen=True)
class Twins:
    """Two pictures with grey values in [0, 1] that a layer cannot tell apart: a digit, and one that looks like another.

    `digit` and `goal` are rows of the data, `twin` (n,) is the picture nearest to `goal` among those that the layer
    takes for `digit`; `likeness` is how far it comes on the way there, from 0 to 1.
    """

    digit: int
    goal: int
    twin: np.ndarray
    likeness: float


def first_map(net: nn.Sequential) -> LinearMap:
    """The network's first layer as a linear map: the same at every input."""
    weight = net[0].weight
    return jacobian(net[0], np.zeros_like(weight[0]))


def twins(net: nn.Sequential, data: Dataset, answers: np.ndarray, certainty: np.ndarray, count: int) -> list[Twins]:
    """The `count` most striking pairs, each class at most once on either side.

    `answers` are the network's classes for the data, `certainty` how sure it is of them. Digits that it reads wrong or
    is not sure of are left out, and those that are hardly nearer to the average of their own class than to another.
    """
    right = np.flatnonzero((answers == data.y) & (certainty >= SURE) & typical(data))
    x, y = data.x[right].astype(np.float64), data.y[right]
    kernel = first_map(net).kernel().vectors.astype(np.float64)
    a, b = best_pairs(x, y, kernel)
    pictures = nearest(x[a], x[b], kernel)
    likeness = 1 - np.linalg.norm(pictures - x[b], axis=1) / np.linalg.norm(x[a] - x[b], axis=1)
    found: list[Twins] = []
    taken: set[tuple[str, int]] = set()
    for k in np.argsort(-likeness, kind="stable"):
        sides = {("digit", int(y[a[k]])), ("goal", int(y[b[k]]))}
        if len(found) < count and not sides & taken:
            taken |= sides
            found.append(Twins(int(right[a[k]]), int(right[b[k]]), pictures[k], float(likeness[k])))
    return found


def typical(data: Dataset) -> np.ndarray:
    """Whether each digit is clearly nearest to the average of its own class."""
    classes = np.unique(data.y)
    averages = np.stack([data.x[data.y == c].mean(axis=0) for c in classes])
    away = np.linalg.norm(data.x[:, None] - averages, axis=-1)
    own = data.y[:, None] == classes
    return np.asarray(away[own] < CLEARLY * np.where(own, np.inf, away).min(axis=1))


def best_pairs(x: np.ndarray, y: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every two classes the rows (a, b) for which the layer notices the least part of the way from a to b."""
    noticed = distances(x - x @ kernel.T @ kernel) / np.maximum(distances(x), np.finfo(np.float64).tiny)
    pairs = []
    for p in np.unique(y):
        for q in np.unique(y):
            if p != q:
                rows, columns = np.flatnonzero(y == p), np.flatnonzero(y == q)
                k = int(np.argmin(noticed[np.ix_(rows, columns)]))
                pairs.append((rows[k // len(columns)], columns[k % len(columns)]))
    chosen = np.array(pairs, int).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


def nearest(a: np.ndarray, b: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The points nearest to b (k, n) in the intersection of a + span(kernel) and [0, 1]ⁿ (Boyle & Dykstra 1986)."""
    y, p, q = b, np.zeros_like(b), np.zeros_like(b)
    for _ in range(ROUNDS):
        z = np.clip(y + p, 0.0, 1.0)
        p = y + p - z
        y = a + (z + q - a) @ kernel.T @ kernel
        q = z + q - y
    return y


def distances(x: np.ndarray) -> np.ndarray:
    """‖xᵢ - xⱼ‖² for all pairs of rows (n, n)."""
    square = np.sum(x**2, axis=1)
    return np.maximum(square[:, None] + square[None, :] - 2 * x @ x.T, 0.0)


def named(digit: int) -> str:
    """A digit with its article.

    >>> named(8), named(7)
    ('an 8', 'a 7')
    """
    return f"an {digit}" if digit == 8 else f"a {digit}"


@dataclass(frozen=True)
class Unlit:
    """Pixels that are empty in every digit trained on: no gradient ever reached their weights, only weight decay did.

    `shrunk` is the factor by which those weights became smaller, at the pixel where it differs most from `predicted`,
    the product of 1 - lr·decay over all steps.
    """

    pixels: tuple[int, ...]
    shrunk: float
    predicted: float


def unlit(net: nn.Sequential, initial: nn.Sequential, train: Dataset, rates: Sequence[float], decay: float) -> Unlit:
    """Those pixels, and whether their weights did what they must."""
    pixels = np.flatnonzero(np.all(train.x == 0, axis=0))
    predicted = float(np.prod(1 - decay * np.array(rates)))
    before, after = (np.linalg.norm(n[0].weight[:, pixels].astype(np.float64), axis=0) for n in (initial, net))
    ratios = after / before
    shrunk = float(ratios[np.argmax(np.abs(ratios - predicted))]) if len(pixels) else predicted
    return Unlit(tuple(map(int, pixels)), shrunk, predicted)
