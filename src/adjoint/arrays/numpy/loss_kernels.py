"""Numba kernels of cross-entropy on rows of logits: softmax is never kept, long sums are in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays.numpy.attention_kernels import largest
from adjoint.arrays.numpy.compiling import kernel, summing
from adjoint.arrays.numpy.exponential import exponential

BLOCK = 4096  # entries that are summed in their own precision
ZERO: Any = np.float32(0.0)  # of no dtype that another one would be widened to


@summing
def _exponentials(x, top):  # type: ignore[no-untyped-def]
    """The sum of e^(x - top)."""
    total = 0.0
    for start in range(0, x.size, BLOCK):
        block = x[start : start + BLOCK]
        part = ZERO
        for j in range(block.size):
            part += exponential(block[j] - top)
        total += part
    return total


@kernel
def surprisal(x, target, losses, tops, totals, ignored):  # type: ignore[no-untyped-def]
    """-log softmax(x)[target] of each row, its largest entry and Σ e^(x - top).

    Gives how many rows count; -1 where a target is no class. Of rows that do not count the sums are not made.
    """
    rows, n = x.shape
    counting = 0
    for i in range(rows):
        t = target[i]
        if t == ignored:
            losses[i] = tops[i] = 0.0
            totals[i] = 1.0
            continue
        if t < 0 or t >= n:
            return -1
        row = x[i]
        top = largest(row, row[0])
        total = _exponentials(row, top)
        losses[i] = math.log(total) - (row[t] - top)
        tops[i] = top
        totals[i] = total
        counting += 1
    return counting


@kernel
def difference(x, target, tops, totals, factors, out, ignored):  # type: ignore[no-untyped-def]
    """Rows of a factor times softmax(x) - onehot(target); 0 where the target is ignored."""
    rows, n = x.shape
    for i in range(rows):
        row, made, top = x[i], out[i], tops[i]
        if target[i] == ignored:
            made[:] = 0.0
            continue
        share = factors[i] / totals[i]
        for j in range(n):
            made[j] = exponential(row[j] - top) * share
        made[target[i]] -= factors[i]
