"""Numba kernels of losses on rows of logits: exponentials written once, long sums in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays.numpy.attention_kernels import largest
from adjoint.arrays.numpy.exponential import exponential
from adjoint.arrays.numpy.kernels import kernel, summing

BLOCK = 4096  # entries that are summed in their own precision
ZERO: Any = np.float32(0.0)  # of no dtype that another one would be widened to


@summing
def _exponentials(x, top, out):  # type: ignore[no-untyped-def]
    """out = e^(x - top), and their sum."""
    total = 0.0
    for start in range(0, x.size, BLOCK):
        block, made = x[start : start + BLOCK], out[start : start + BLOCK]
        part = ZERO
        for j in range(block.size):
            e = exponential(block[j] - top)
            made[j] = e
            part += e
        total += part
    return total


@kernel
def softmax(x, p, lse):  # type: ignore[no-untyped-def]
    """p = softmax(x) of each row, and its log-sum of exponentials."""
    rows, n = x.shape
    room = np.empty(1, x.dtype)  # a number in x's dtype
    for i in range(rows):
        row, out = x[i], p[i]
        top = largest(row, row[0])
        total = _exponentials(row, top, out)
        room[0] = 1.0 / total
        share = room[0]
        for j in range(n):
            out[j] *= share
        lse[i] = top + math.log(total)
