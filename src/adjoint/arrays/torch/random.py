"""Random numbers in PyTorch: the same hash in 64-bit integers, for it hardly computes with unsigned ones of 32 bits.

Tensor arithmetic alone: it runs on the key's device, and is traced and compiled like everything else.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from adjoint.arrays.random import MULTIPLIERS

FIRST, SECOND = MULTIPLIERS[0], MULTIPLIERS[1] - 2**32  # the same modulo 2³², but no product leaves 64 bits
WORD = 2**32 - 1


def mix(h: Any) -> Any:
    h = ((h ^ (h >> 16)) * FIRST) & WORD
    h = ((h ^ (h >> 15)) * SECOND) & WORD
    return h ^ (h >> 16)


def random_bits(key: Any, shape: tuple[int, ...], count: int = 32, start: Any = 0) -> Any:
    key = key.to(torch.int64)
    i = torch.arange(math.prod(shape), device=key.device) + start
    h = mix(mix((i & WORD) ^ key[0]) ^ key[1])
    return (h if count == 32 else h >> (32 - count)).reshape(shape)
