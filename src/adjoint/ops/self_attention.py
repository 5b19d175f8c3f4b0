"""Self-attention: one map for queries, keys and values together."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.self_attention import options, packed, unpacked
from adjoint.maps.attention import Attended
from adjoint.maps.self_attention import PackedAttention
from adjoint.ops.define import coarse


@coarse(xp.self_attention)
def self_attention(qkv: Any, num_heads: int, is_causal: bool = False) -> Any:
    """Softmax's Jacobian between two products, thrice."""
    q, k, v = unpacked(qkv, num_heads)
    at = Attended(q, k, v, **options(q, is_causal))
    return packed(at.out), (PackedAttention(at),)
