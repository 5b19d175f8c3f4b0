"""The derivative of a recurrent network through time: one triangular solve along the sequence."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from adjoint import arrays as xp
from adjoint.arrays import recurrent
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import LinearMap


class Cell(NamedTuple):
    """The derivative of one step in both directions, as functions of the seam."""

    push: Callable[..., tuple[Array, ...]]
    pull: Callable[..., tuple[Array, ...]]


UNITS = Cell(recurrent.units_push, recurrent.units_pull)
MEMORY = Cell(recurrent.memory_push, recurrent.memory_pull)
Coefficients = tuple[Array | None, ...]


class Recurrence(LinearMap):
    """e ↦ s, where dsₜ = Bₜ eₜ + Aₜ dsₜ₋₁: the inverse of a block-bidiagonal map, solved forwards in time.

    The adjoint solves backwards: that is backpropagation through time (Werbos 1990). e (T + 1, n, E) has the first
    state in row 0 (as many entries as it has; the others count for nothing) and in row t + 1 what enters step t; s is
    (T, n, S). `coefficients` are the steps' slopes, (T, n, …) or None, or a function that gives them when first needed;
    `weights` are the same at every step; with `reverse` time runs from the end. The cell `UNITS` is
    dsₜ = Σⱼ kⱼ (e + W dsₜ₋₁)ⱼ + z dsₜ₋₁ with k (T, n, E), z (T, n, S) or None, and W (G, S) for the first G of e.

    >>> import numpy as np, adjoint as aj
    >>> ones = np.ones((3, 1, 1))
    >>> powers = aj.Recurrence(aj.maps.recurrent.UNITS, (ones, None), (np.array([[2.0]]),), (4, 1, 1), (3, 1, 1))
    >>> powers.dense().reshape(3, 4)
    array([[2., 1., 0., 0.],
           [4., 2., 1., 0.],
           [8., 4., 2., 1.]])
    """

    __slots__ = ("_coefficients", "cell", "in_shape", "out_shape", "reverse", "weights")

    def __init__(
        self,
        cell: Cell,
        coefficients: Coefficients | Callable[[], Coefficients],
        weights: Coefficients,
        in_shape: Shape,
        out_shape: Shape,
        reverse: bool = False,
    ) -> None:
        self.cell = cell
        self._coefficients = coefficients
        self.weights = weights
        self.in_shape = in_shape
        self.out_shape = out_shape
        self.reverse = reverse

    @property
    def coefficients(self) -> Coefficients:
        """The slopes of every step."""
        if isinstance(self._coefficients, FunctionType):
            self._coefficients = self._coefficients()
        return self._coefficients  # type: ignore[return-value]

    def apply(self, v: Any) -> Any:
        """Forward in time: every state's tangent from those of what enters."""
        e = xp.moveaxis(v, -3, 0)
        first = e[0][..., : self.out_shape[-1]]
        states = xp.scan(self.cell.push, first, [e[1:], *self.coefficients], self.weights, self.reverse)[1]
        return xp.moveaxis(states, 0, -3)

    def adjoint(self, u: Any) -> Any:
        """Backward in time: cotangents of what entered from those of the states."""
        u = xp.moveaxis(u, -3, 0)
        last, e = xp.scan(self.cell.pull, xp.zeros_like(u[0]), [u, *self.coefficients], self.weights, not self.reverse)
        spare = self.in_shape[-1] - self.out_shape[-1]
        last = xp.pad(last, [(0, 0)] * (len(last.shape) - 1) + [(0, spare)]) if spare else last
        return xp.moveaxis(xp.concatenate([xp.expand_dims(last, 0), e]), 0, -3)

    def array(self) -> Array | None:
        """A weight."""
        return next((w for w in self.weights if w is not None), None)
