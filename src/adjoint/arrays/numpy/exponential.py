"""eˣ in float32 as instructions that run on whole vectors, for Numba kernels: 2ⁿ times a polynomial in the rest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

# r = x - n ln 2, |r| ≤ ½ ln 2
LOG2E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
C2, C3, C4 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
C5, C6, C7 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)
ZERO, ONE, HALF, LEAST = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(-87.0)
BIAS, SHIFT = np.int32(127), np.uint32(23)


def exponential(x: Any) -> Any:
    """eˣ for x ≤ 0."""
    return math.exp(x)


def _exponential32(x):  # type: ignore[no-untyped-def]
    n = np.float32(np.floor(x * LOG2E + HALF))
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = ((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
    power = np.uint32(np.uint32(np.int32(n) + BIAS) << SHIFT).view(np.float32)
    y = (y * r * r + r + ONE) * power
    return ZERO if x < LEAST else y


@overload(exponential)
def _exponential(x):  # type: ignore[no-untyped-def]
    return _exponential32 if x == types.float32 else lambda x: math.exp(x)
