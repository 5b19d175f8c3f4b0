"""The seam's rotations by position: pairs of coordinates turned, as rotary encodings do."""

from __future__ import annotations

from typing import Any

from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.elementwise import cos, sin
from adjoint.arrays.layout import astype, concatenate, getitem, reshape, stack


@composition
def rotate(x: Array, angles: Array, /, interleaved: bool = False) -> Array:
    """Every pair (a, b) of coordinates turned by its angle φ: (a cos φ - b sin φ, a sin φ + b cos φ).

    x (…, d), angles (…, d/2) or broadcast to it. Pair i is (xᵢ, xᵢ₊d/₂), or with `interleaved` (x₂ᵢ, x₂ᵢ₊₁).

    >>> import numpy as np, adjoint as aj
    >>> aj.rotate(np.array([1.0, 2.0, 0.0, 0.0]), np.array([np.pi / 2, 0.0])).round(3).tolist()
    [0.0, 2.0, 1.0, 0.0]
    """
    c, s = astype(cos(angles), x.dtype), astype(sin(angles), x.dtype)
    first, second = halves(int(x.shape[-1]), interleaved)
    a, b = getitem(x, first), getitem(x, second)
    turned = [a * c - b * s, a * s + b * c]
    return reshape(stack(turned, -1), tuple(x.shape)) if interleaved else concatenate(turned, -1)


def halves(d: int, interleaved: bool) -> tuple[Any, Any]:
    """The keys of the first and of the second coordinates of all pairs."""
    if interleaved:
        return (..., slice(0, None, 2)), (..., slice(1, None, 2))
    return (..., slice(0, d // 2)), (..., slice(d // 2, None))
