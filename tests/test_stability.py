"""Sums that lose less, and memory bought with time: measured, counted, and against exact arithmetic."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray, count

EPS = 2.0**-23


@pytest.mark.covers("N10")
@given(hnp.arrays("float32", st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32)))
def test_compensated_sum_is_nearly_exact(x: np.ndarray) -> None:
    """|error| ≤ 2u |Σx| + O(n u²) Σ|x| (Kahan 1965; Neumaier 1974), whatever cancels."""
    exact, size = math.fsum(x.tolist()), math.fsum(np.abs(x).tolist())
    assert abs(float(aj.compensated_sum(x)) - exact) <= EPS * abs(exact) + len(x) ** 2 * EPS**2 * size


@pytest.mark.covers("N10")
def test_what_compensation_and_pairs_remove() -> None:
    """A million tenths in float32: one after the other they are off by 1 %, in pairs by 1e-6, compensated by less."""
    x = np.full(1_000_000, 0.1, "float32")
    exact = math.fsum(x.tolist())
    one_by_one = abs(float(np.cumsum(x)[-1]) - exact) / exact
    pairwise = abs(float(aj.sum(x)) - exact) / exact
    compensated = abs(float(aj.compensated_sum(x)) - exact) / exact
    assert one_by_one > 5e-3
    assert pairwise < math.log2(x.size) * EPS
    assert compensated <= EPS
    np.testing.assert_array_equal(aj.grad(aj.compensated_sum)(x), np.ones_like(x))


WIDTH, DEPTH, ROWS = 32, 24, 512


def weights() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype("float32") for _ in range(DEPTH)]


def part(x: Any, ws: Any) -> Any:
    for w in ws:
        x = aj.gelu(aj.linear(x, w), "tanh")
    return x


def plain(ws: Any, x: Any) -> Any:
    return aj.mean(part(x, ws) ** 2)


def saving(ws: Any, x: Any) -> Any:
    """Every four layers are kept, those between made again."""
    for k in range(0, DEPTH, 4):
        x = aj.checkpoint(part)(x, ws[k : k + 4])
    return aj.mean(x**2)


def peak(f: Callable[..., Any]) -> int:
    ws, x = weights(), np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype("float32")
    aj.grad(f)(ws, x)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        aj.grad(f)(ws, x)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.covers("N11")
def test_checkpointing_pays_memory_with_a_second_forward_pass() -> None:
    ws, x = weights(), np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype("float32")
    for a, b in zip(aj.grad(saving)(ws, x), aj.grad(plain)(ws, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=8 * EPS * float(np.abs(b).max()))
    with count() as without:
        aj.grad(plain)([ShapeArray(w.shape, w.dtype) for w in ws], ShapeArray(x.shape, x.dtype))
    with count() as with_it:
        aj.grad(saving)([ShapeArray(w.shape, w.dtype) for w in ws], ShapeArray(x.shape, x.dtype))
    product = 2 * ROWS * WIDTH**2
    assert without.matmul_flops == (3 * DEPTH - 1) * product
    assert with_it.matmul_flops == without.matmul_flops + DEPTH * product
    measured, saved = peak(plain), peak(saving)
    assert saved < 0.55 * measured
    assert with_it.peak_bytes < 0.55 * without.peak_bytes
