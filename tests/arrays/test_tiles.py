"""Products of float32 by tiles of bfloat16 are as exact as float32's own, in every layout, and touch nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adjoint.arrays.numpy import amx, gemm

pytestmark = pytest.mark.skipif(not amx.here, reason="this processor has no tiles of bfloat16, or they are not wanted")

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "rows": lambda x: x,
    "columns": lambda x: np.asfortranarray(x),
    "part of rows": lambda x: np.concatenate([x, x, x], 1)[:, x.shape[1] : 2 * x.shape[1]],
    "part of columns": lambda x: np.concatenate([x, x, x], 0).T[:, x.shape[0] : 2 * x.shape[0]].T,
    "4 bytes after a line": lambda x: after(x, 4),
    "60 bytes after a line": lambda x: after(x, 60),
    "read only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}
COUNTS = (1, 2, 3, 5)
TINY = 2.0**-126  # what is smaller counts as 0


def after(x: Any, distance: int) -> Any:
    """A copy that begins so many bytes after a multiple of 64."""
    room = np.zeros(x.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + distance
    out: Any = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, "float32")


def by_tiles(x: Any, y: Any, bias: Any = None, parts: int = 1, out: Any = None) -> Any:
    """x @ y + bias by tiles, whatever its size; None where BLAS is to make it."""
    from adjoint.arrays.numpy.crew import crew

    out = np.full((len(x), y.shape[1]), np.nan, "float32") if out is None else out
    return out if gemm.by_tiles(parts, crew(parts))(x, y, np.empty(0, "f") if bias is None else bias, out) else None


def bound(x: Any, y: Any, bias: Any = None) -> Any:
    """Of the error: what is left out of each product, a rounding of what each sum adds up to, numbers that count as 0.

    Six products in float32 for each of K, in whatever order, are K + 8 roundings: the five smaller ones add up to no
    more than 2⁻⁸ of the first.
    """
    x, y = np.abs(x.astype("d")), np.abs(y.astype("d"))
    sums = x @ y + (0 if bias is None else np.abs(bias))
    lost = TINY * (2 * x.sum(1)[:, None] + 2 * y.sum(0) + 16 * x.shape[1])
    return ((x.shape[1] + 8) * 2.0**-24 + 2.0**-26) * sums + lost


def assert_exact(got: Any, x: Any, y: Any, bias: Any = None) -> None:
    assert got is not None
    exact = x.astype("d") @ y.astype("d") + (0 if bias is None else bias)
    np.testing.assert_array_less(np.abs(got - exact), bound(x, y, bias) + 1e-300)


@pytest.mark.parametrize("where", [(0, 16), (5, 21), (15, 31)])
def test_what_is_left_of_a_tiny_number_does_not_change_its_neighbour(where: tuple[int, int]) -> None:
    """Below 2⁻¹⁰⁹ the last of three parts has more bits than bfloat16 has."""
    x = np.ones((64, 64), "float32")
    y = np.zeros((64, 64), "float32")
    y[where[0]], y[where[1]] = 1, np.array(0x00803F80, np.uint32).view("float32")  # 2⁻¹²⁶ + 1's bits, if read there
    for a, b in ((x, y), (x, np.asfortranarray(y)), (y.T, x), (np.ascontiguousarray(y.T), x)):
        np.testing.assert_array_equal(by_tiles(a, b), np.ones((64, 64)))
