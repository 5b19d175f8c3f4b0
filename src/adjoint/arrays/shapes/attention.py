"""Attention's cost as a kernel has it that keeps no scores: its products, and a few FLOPs a score.

Like published figures it counts all keys for a causal query; where a window has two sides, those inside it.
"""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays.shapes.array import ShapeArray, operand, spend
from adjoint.arrays.shapes.elementwise import promoted

SOFTMAX = 5  # FLOPs a score: scale, maximum, difference, exponential, sum
CAP = 2  # tanh and its factor
SLOPE = 3  # 1 - tanh² and its product


def scores(query: Any, key: Any, left: int | None, right: int | None) -> int:
    """How many scores are computed."""
    seen = key.shape[-2] if left is None or right is None else max(min(left + right + 1, key.shape[-2]), 0)
    return math.prod(query.shape[:-1]) * seen


def attend_residual(
    query: Any, key: Any, value: Any, mask: Any = None, scale: float = 1.0, left: int | None = None,
    right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Any:  # fmt: skip
    """Two products, a softmax, and one division an entry of the result."""
    query, key, value, mask = (operand(x) for x in (query, key, value, mask))
    count = scores(query, key, left, right)
    products = 2 * count * (query.shape[-1] + value.shape[-1])
    each = SOFTMAX + (mask is not None) + CAP * (softcap is not None)
    dtype = promoted(query, key, value)
    out, lse = ShapeArray((*query.shape[:-1], value.shape[-1]), dtype), ShapeArray(query.shape[:-1], dtype)
    flops = products + each * count + out.size + 2 * lse.size
    spend("attend", flops, products, [x for x in (query, key, value, mask, out, lse) if x is not None])
    return out, lse


def attend_cotangents(
    u: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, lse: Any, scale: float = 1.0,
    left: int | None = None, right: int | None = None, softcap: float | None = None, block_size: int | None = None,
) -> Any:  # fmt: skip
    """Five products, of which one makes the scores again."""
    operands = [operand(x) for x in (u, query, key, value, mask, out, lse)]
    u, query, key, value, mask, out, _ = operands
    lead = u.shape[: u.ndim - query.ndim]
    count = scores(query, key, left, right) * math.prod(lead)
    products = 2 * count * (3 * query.shape[-1] + 2 * value.shape[-1])
    each = SOFTMAX + (mask is not None) + (CAP + SLOPE) * (softcap is not None)
    results = [ShapeArray((*lead, *x.shape), promoted(u, x)) for x in (query, key, value)]
    spend(
        "attend_cotangents", products + each * count + 2 * u.size, products,
        [x for x in (*operands, *results) if x is not None],
    )  # fmt: skip
    return tuple(results)
