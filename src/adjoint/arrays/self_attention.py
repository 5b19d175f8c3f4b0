"""The seam's self-attention of packed heads: queries, keys and values from one product, and back into one cotangent."""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays.attention import attend
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.layout import getitem, reshape, swapaxes
from adjoint.errors import ShapeError


@composition
def self_attention(qkv: Array, /, num_heads: int, is_causal: bool = False) -> Array:
    """Multi-head attention of a sequence to itself: qkv (…, T, 3C), its queries, keys and values side by side as one
    linear layer gives them, result (…, T, C).

    Raises `ShapeError` unless the last axis is 3 · num_heads · d.

    >>> import numpy as np, adjoint as aj
    >>> qkv = np.random.default_rng(0).standard_normal((2, 5, 12))
    >>> q, k, v = (aj.swapaxes(x.reshape(2, 5, 2, 2), 1, 2) for x in aj.split(qkv, 3, -1))
    >>> out = aj.swapaxes(aj.scaled_dot_product_attention(q, k, v, is_causal=True), 1, 2).reshape(2, 5, 4)
    >>> np.allclose(aj.self_attention(qkv, 2, is_causal=True), out)
    True
    """
    q, k, v = unpacked(qkv, num_heads)
    return packed(attend(q, k, v, None, **options(q, is_causal)))


def options(query: Array, is_causal: bool) -> dict[str, Any]:
    """The options of `attend`."""
    return {"scale": 1.0 / math.sqrt(query.shape[-1]), "right": 0 if is_causal else None}


def unpacked(qkv: Array, num_heads: int) -> tuple[Array, Array, Array]:
    """(…, T, 3C) as queries, keys and values (…, num_heads, T, d)."""
    shape = tuple(qkv.shape)
    if len(shape) < 2 or shape[-1] % (3 * num_heads):
        raise ShapeError(f"self_attention: qkv is (…, T, 3C) where {num_heads} heads divide C, not {shape}.")
    width = shape[-1] // 3
    parts = [getitem(qkv, (..., slice(i * width, (i + 1) * width))) for i in range(3)]
    q, k, v = (heads(x, num_heads) for x in parts)
    return q, k, v


def heads(x: Array, num_heads: int) -> Array:
    """(…, T, C) as (…, num_heads, T, d)."""
    return swapaxes(reshape(x, (*x.shape[:-1], num_heads, x.shape[-1] // num_heads)), -2, -3)


def packed(x: Array) -> Array:
    """(…, heads, T, d) as (…, T, heads · d)."""
    y = swapaxes(x, -2, -3)
    return reshape(y, (*y.shape[:-2], y.shape[-2] * y.shape[-1]))
