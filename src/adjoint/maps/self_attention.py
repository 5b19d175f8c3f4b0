"""The derivative of self-attention in its packed queries, keys and values."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.self_attention import heads, packed, unpacked
from adjoint.maps.attention import Attended, Attention
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import Space


class PackedAttention(LinearMap):
    """The Jacobian of self-attention in queries, keys and values side by side, (…, T, 3C) to (…, T, C).

    The sum of `Attention`'s three Jacobians; the pullback finds all three cotangents in one sweep, side by side.

    >>> import numpy as np, adjoint as aj
    >>> aj.jacobian(lambda qkv: aj.self_attention(qkv, 2), np.ones((5, 12)))
    PackedAttention: (5, 12) → (5, 4)
    """

    __slots__ = ("at",)

    def __init__(self, at: Attended) -> None:
        self.at = at

    @property
    def in_shape(self) -> Space:
        """(…, T, 3C)."""
        *lead, width = self.out_shape
        return (*lead, 3 * width)

    @property
    def out_shape(self) -> Space:
        """(…, T, C)."""
        *lead, h, t, d = self.at.out.shape
        return (*lead, t, h * d)

    def apply(self, v: Any) -> Any:
        """What changes of queries, keys and values make, added."""
        parts = unpacked(v, self.at.out.shape[-3])
        q, k, v = (Attention(self.at, place).apply(part) for place, part in enumerate(parts))
        return packed(q + k + v)

    def adjoint(self, u: Any) -> Any:
        """The cotangents of queries, keys and values side by side."""
        at = self.at
        found = xp.attend_cotangents(heads(u, at.out.shape[-3]), *at.operands, at.out, at.lse, **at.options)
        return xp.concatenate([packed(x) for x in found], -1)

    def array(self) -> Array | None:
        """The queries."""
        return self.at.operands[0]
