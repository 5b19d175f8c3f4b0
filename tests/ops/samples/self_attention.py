"""Samples of self-attention of packed heads."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from tests.ops.samples.operands import normal, s, strided


def self_attention(qkv: Any, num_heads: int, is_causal: bool = False) -> Any:
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(-2, -3) for x in qkv.chunk(3, -1))
    return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal).transpose(-2, -3).flatten(-2)


TABLE: dict[str, list[Any]] = {
    "self_attention": [
        s(normal(2, 4, 12), num_heads=2, is_causal=True),
        s(normal(3, 6), num_heads=1),
        s(strided(normal(3, 12)), num_heads=2, is_causal=True),
        s(normal(2, 2, 3, 6), num_heads=2),
        s(normal(1, 6), num_heads=2, is_causal=True),
    ],
}
TORCH = {"self_attention": self_attention}
JAX: dict[str, Any] = {}
