"""Random numbers without values: their shape. Integers cost no FLOPs, a mask a comparison and a product an entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays.shapes.array import as_dtype, made

WORD = np.dtype(np.uint32)


def random_bits(key: Any, shape: Any, count: int = 32, start: Any = 0) -> Any:
    """New memory."""
    return made("random_bits", tuple(shape), WORD, 0, (key,))


def random_mask(key: Any, shape: Any, p: float, dtype: Any) -> Any:
    """New memory."""
    return made("random_mask", tuple(shape), as_dtype(dtype), 2 * math.prod(shape), (key,))
