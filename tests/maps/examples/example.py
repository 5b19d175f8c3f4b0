"""An example of a map: how it is built from arrays, and its matrix by NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adjoint.maps import LinearMap

Shape = tuple[int, ...]


def normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.standard_normal(shape)


@dataclass(frozen=True)
class Example:
    """A map of one kind: `build(*arrays)` with arrays of `shapes`, each drawn by its entry of `draw` or normal.

    `held` is true when the map cannot be differentiated in its arrays: its numbers leave the backend.
    """

    kind: type[LinearMap]
    build: Callable[..., LinearMap]
    shapes: tuple[Shape, ...] = ()
    matrix: Callable[..., np.ndarray] | None = None
    draw: tuple[Callable[[np.random.Generator, Shape], np.ndarray], ...] = ()
    held: bool = False

    def arrays(self, dtype: str = "float64") -> list[np.ndarray]:
        """The same numbers every time, such as float32 holds them."""
        rng = np.random.default_rng(20 + len(self.shapes))
        draw = self.draw + (normal,) * (len(self.shapes) - len(self.draw))
        return [np.asarray(d(rng, s), "float32").astype(dtype) for d, s in zip(draw, self.shapes, strict=True)]


def columns(f: Callable[[np.ndarray], np.ndarray], *shapes: Shape) -> np.ndarray:
    """The matrix of a linear function of NumPy arrays: its values at the basis of its arguments, as columns."""
    found = []
    for k, shape in enumerate(shapes):
        for j in range(math.prod(shape)):
            parts = [np.zeros(s) for s in shapes]
            parts[k].reshape(-1)[j] = 1.0
            y = f(*parts)
            found.append(np.concatenate([np.ravel(p) for p in y]) if isinstance(y, tuple) else np.ravel(y))
    return np.array(found).T
