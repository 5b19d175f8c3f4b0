"""The derivative of attention in its query, key, value and mask: softmax's Jacobian between two matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays import attention as plain
from adjoint.arrays.dispatch import Array
from adjoint.maps.base import LinearMap
from adjoint.maps.layout import summed_to
from adjoint.maps.spaces import Space, lead_of

PLACES = ("query", "key", "value", "mask")


class Attended:
    """Attention at a point: its operands, its value `out` and log-sums `lse`, which the maps in all operands share.

    `options` are those of `attend`; `places` the operands whose cotangents are wanted: one sweep gives them all.
    """

    __slots__ = ("_cotangents", "_of", "lse", "operands", "options", "out", "places")

    def __init__(
        self, query: Array, key: Array, value: Array, mask: Array | None = None, /, *,
        places: Sequence[int] = (0, 1, 2), **options: Any,
    ) -> None:  # fmt: skip
        self.operands = (query, key, value, mask)
        self.options = options
        self.places = places
        self.out, self.lse = xp.attend_residual(query, key, value, mask, **options)
        self._of: Any = None
        self._cotangents: dict[int, Array] = {}

    def weights(self) -> tuple[Array, Array | None]:
        """The whole matrix of weights, and the slope of the soft cap."""
        query, key, _, mask = self.operands
        how = {"scale": 1.0, "left": None, "right": None, "softcap": None, **self.options}
        how.pop("block_size", None)
        every = range(query.shape[-2]), range(key.shape[-2])
        return plain.weights(query, key, mask, self.lse, **how, rows=every[0], cols=every[1])

    def pull(self, u: Array, place: int) -> Array:
        """The cotangent of one operand; those of the others are kept until they have been asked for, too."""
        if self._of is not u or place not in self._cotangents:
            found = xp.attend_cotangents(u, *self.operands, self.out, self.lse, **self.options)
            self._of, self._cotangents = u, {k: found[k] for k in {*self.places, place} - {3}}
        back = self._cotangents.pop(place)
        if not self._cotangents:
            self._of = None
        return back


class Attention(LinearMap):
    """The Jacobian of softmax(scale · Q Kᵀ + mask) V in one operand, at a point where the others are held.

    In V it is P ⊗ I with the weights P; in Q, dQ ↦ (diag(p) - ppᵀ)(scale · dQ Kᵀ) V row by row, in K with Q dKᵀ and in
    the mask with its change alone. The pullback computes P again, block by block (Dao et al. 2022).

    >>> import numpy as np, adjoint as aj
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 5, 2))
    >>> J = aj.jacobian(lambda v: aj.scaled_dot_product_attention(q, k, v), v)
    >>> J, np.allclose(J.matrix(), np.kron(aj.attention_weights(q, k), np.eye(2)))
    (Attention in value: (5, 2) → (5, 2), True)
    """

    __slots__ = ("at", "place")

    def __init__(self, at: Attended, place: int) -> None:
        self.at = at
        self.place = place

    @property
    def in_shape(self) -> Space:
        """The operand's shape."""
        operand: Any = self.at.operands[self.place]
        return tuple(operand.shape)

    @property
    def out_shape(self) -> Space:
        """The shape of the result."""
        return tuple(self.at.out.shape)

    def apply(self, v: Any) -> Any:
        """P v for the value; P (ds - Σ P ds) V for scores that change by ds."""
        query, key, value, _ = self.at.operands
        p, slope = self.at.weights()
        if self.place == 2:
            return xp.matmul(p, v)
        if self.place == 3:
            lead = lead_of(v, self.in_shape)
            ds = xp.reshape(v, (*lead, *(1,) * (len(p.shape) - len(self.in_shape)), *self.in_shape))
        else:
            ds = xp.matmul(v, key.mT) if self.place == 0 else xp.matmul(query, v.mT)
            ds = ds * self.at.options.get("scale", 1.0)
            ds = ds if slope is None else ds * slope
        weighted = p * ds
        return xp.matmul(weighted - p * xp.sum(weighted, -1, True), value)

    def adjoint(self, u: Any) -> Any:
        """Pᵀ u for the value; for the others P (u Vᵀ - Σ u · out) in the scores, and from there."""
        if self.place < 3:
            return self.at.pull(u, self.place)
        p, _ = self.at.weights()
        along = xp.sum(u * self.at.out, -1, True)
        return summed_to(p * (xp.matmul(u, self.at.operands[2].mT) - along), tuple(p.shape), self.in_shape)

    def array(self) -> Array | None:
        """The query."""
        return self.at.operands[0]

    def describe(self) -> str:
        """The operand that it is the derivative in."""
        return f"Attention in {PLACES[self.place]}"
