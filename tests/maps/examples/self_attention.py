"""Examples of the derivative of self-attention, whose matrix PyTorch finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from adjoint.arrays.self_attention import options, unpacked
from adjoint.maps import PackedAttention
from adjoint.maps.attention import Attended
from tests.maps.examples.example import Example
from tests.ops.samples.self_attention import self_attention


def jacobian(qkv: Any, num_heads: int, is_causal: bool) -> PackedAttention:
    q, k, v = unpacked(qkv, num_heads)
    return PackedAttention(Attended(q, k, v, **options(q, is_causal)))


def matrix(qkv: np.ndarray, num_heads: int, is_causal: bool) -> np.ndarray:
    of: Any = lambda x: self_attention(x, num_heads, is_causal)  # noqa: E731
    found: Any = torch.autograd.functional.jacobian(of, torch.tensor(qkv))
    return np.asarray(found.reshape(qkv.size // 3, qkv.size))


EXAMPLES = [
    Example(PackedAttention, lambda x: jacobian(x, 2, True), ((3, 12),), lambda x: matrix(x, 2, True)),
    Example(PackedAttention, lambda x: jacobian(x, 1, False), ((2, 3, 6),), lambda x: matrix(x, 1, False)),
]
