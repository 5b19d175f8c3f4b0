"""Samples of dropout, whose peer draws its mask with Python's integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from tests.ops.samples.operands import normal, s, strided


def word(i: int, a: int, b: int) -> int:
    """Word i of the key (a, b)."""
    for k in (a, b):
        i ^= k
        i = (i ^ i >> 16) * 0x7FEB352D % 2**32
        i = (i ^ i >> 15) * 0x846CA68B % 2**32
        i ^= i >> 16
    return i


def dropout(x: Any, p: float, key: Any) -> Any:
    kept = [word(i, *map(int, key)) >= p * 2**32 for i in range(math.prod(x.shape))]
    mask = torch.tensor(kept, dtype=x.dtype).reshape(x.shape)
    return x * mask / (1.0 - p) if p < 1.0 else 0.0 * x


KEY = np.array([123456789, 4000000000], "uint32")
TABLE: dict[str, list[Any]] = {
    "dropout": [
        s(normal(5, 3), p=0.25, key=KEY),
        s(normal(2, 3, 4), p=0.5, key=KEY[::-1].copy()),
        s(normal(4), p=1.0, key=KEY),
        s(normal(4), p=0.0, key=KEY),
        s(strided(normal(3, 2)), p=0.9, key=KEY),
        s(normal(0, 2), p=0.5, key=KEY),
        s(normal(), p=0.5, key=KEY),
    ],
}
TORCH = {"dropout": dropout}
JAX: dict[str, Any] = {}
