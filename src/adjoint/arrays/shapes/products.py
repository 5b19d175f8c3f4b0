"""Matrix products and contractions: two FLOPs a multiply-add."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from adjoint.arrays.shapes import rules
from adjoint.arrays.shapes.array import bare, made, operand, row_major, shape_of
from adjoint.arrays.shapes.contraction import contraction
from adjoint.arrays.shapes.elementwise import promoted, resolved


def matmul(x: Any, y: Any) -> Any:
    """2·n·k·m for each of the batch."""
    x, y = operand(x), operand(y)
    shape = rules.matmul(shape_of(x), shape_of(y))
    flops = 2 * math.prod(shape) * x.shape[-1]
    return made("matmul", shape, resolved("matmul", x.dtype, y.dtype), flops, (x, y), flops)


def einsum_apply(arrays: Sequence[Any], spec: str) -> Any:
    """2·∏ of all sizes for two operands or each step, 1·∏ where no index is summed; a mere rearrangement is a view."""
    operands = [operand(x) for x in arrays]
    it, steps = contraction(spec, tuple([shape_of(x) for x in operands]))
    if len(operands) == 1 and not steps[0].summed:
        return _rearranged(operands[0], it.terms[0], it.result)
    dtype = promoted(*operands)
    for step in steps:
        taken = [operands[i] for i in step.operands]
        operands = [x for i, x in enumerate(operands) if i not in step.operands]
        products = step.flops if step.summed and len(taken) > 1 else 0
        operands.append(made("einsum", it.shape_of(step.kept), dtype, step.flops, taken, products))
    return operands[0]


def _rearranged(x: Any, term: str, result: str) -> Any:
    """Axes permuted, or walked together where a letter repeats (a diagonal)."""
    sizes = dict(zip(term, x.shape, strict=True))
    steps = dict.fromkeys(term, 0)
    for c, step in zip(term, x.strides or row_major(x.shape), strict=True):
        steps[c] += step
    return bare(tuple([sizes[c] for c in result]), x.dtype, tuple([steps[c] for c in result]), x.memory)
