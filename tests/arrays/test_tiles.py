"""Products of float32 by tiles of bfloat16 are as exact as float32's own, in every layout, and touch nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adjoint.arrays.numpy import amx, gemm, mkl, threads
from tests.patience import HANGS, at_once

pytestmark = pytest.mark.skipif(
    not (amx.here and gemm.faster), reason="this processor has no tiles of bfloat16, or they are not wanted"
)

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
    """Of the error: K + 9 roundings of what the absolute values add up to, and what counts as 0.

    One is for what is left out of each product, K are those of float32's own sums. The five smaller products are
    rounded as well, at most as far, but as often down as up: they stay within the 8.
    """
    x, y = np.abs(x.astype("d")), np.abs(y.astype("d"))
    sums = x @ y + (0 if bias is None else np.abs(bias))
    lost = TINY * (2 * x.sum(1)[:, None] + 2 * y.sum(0) + 16 * x.shape[1])
    return (x.shape[1] + 9) * 2.0**-24 * sums + lost


def assert_exact(got: Any, x: Any, y: Any, bias: Any = None) -> None:
    assert got is not None
    exact = x.astype("d") @ y.astype("d") + (0 if bias is None else bias)
    np.testing.assert_array_less(np.abs(got - exact), bound(x, y, bias))


@pytest.mark.parametrize("where", [(0, 16), (5, 21), (15, 31)])
def test_what_is_left_of_a_tiny_number_does_not_change_its_neighbour(where: tuple[int, int]) -> None:
    """Below 2⁻¹⁰⁹ the last of three parts has more bits than bfloat16 has."""
    x = np.ones((64, 64), "float32")
    y = np.zeros((64, 64), "float32")
    y[where[0]], y[where[1]] = 1, np.array(0x00803F80, np.uint32).view("float32")  # 2⁻¹²⁶ + 1's bits, if read there
    for a, b in ((x, y), (x, np.asfortranarray(y)), (y.T, x), (np.ascontiguousarray(y.T), x)):
        np.testing.assert_array_equal(by_tiles(a, b), np.ones((64, 64)))


@pytest.mark.parametrize("parts", COUNTS)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_a_product_is_as_exact_as_its_roundings(left: str, right: str, parts: int) -> None:
    for n, k, m in ((32, 64, 64), (67, 145, 99)):
        x, y, bias = random(n, k), random(k, m, seed=1), random(m, seed=2)
        a, b = LAYOUTS[left](x), LAYOUTS[right](y)
        assert_exact(by_tiles(a, b, None, parts), x, y)
        assert_exact(by_tiles(a, b, bias, parts), x, y, bias)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (33, 1, 31), (16, 17, 15), (15, 16, 17), (300, 40, 45), (45, 40, 300), (65, 513, 160), (40, 2000, 70)],
)
def test_ragged_shapes(shape: tuple[int, int, int]) -> None:
    """More rows than lie in panels at a time, more columns, longer sums; and fewer than a tile has."""
    n, k, m = shape
    x, y, bias = random(n, k), random(k, m, seed=1), random(m, seed=2)
    for a in (x, np.asfortranarray(x)):
        for b in (y, np.asfortranarray(y)):
            for parts in (1, 3):
                assert_exact(by_tiles(a, b, bias, parts), x, y, bias)


sizes = st.integers(1, 100)
layouts = st.sampled_from(sorted(LAYOUTS))


@given(sizes, st.integers(1, 600), sizes, layouts, layouts, st.sampled_from(COUNTS), st.booleans(), sizes)
def test_any_shape_in_any_layout(
    n: int, k: int, m: int, left: str, right: str, parts: int, biased: bool, seed: int
) -> None:
    x, y, bias = random(n, k, seed=seed), random(k, m, seed=seed + 1), random(m, seed=seed + 2) if biased else None
    assert_exact(by_tiles(LAYOUTS[left](x), LAYOUTS[right](y), bias, parts), x, y, bias)


def test_errors_are_not_larger_than_blass() -> None:
    for k in (64, 300, 768, 2000):
        x, y = random(96, k), random(k, 96, seed=1)
        exact = x.astype("d") @ y.astype("d")
        ours, blas = (np.sqrt(np.mean((z - exact) ** 2)) for z in (by_tiles(x, y), np.matmul(x, y)))
        assert ours < 1.5 * blas


def test_what_is_left_out_is_a_rounding_at_most() -> None:
    """Of all numbers 1 + 2⁻⁸ - 2⁻¹⁷ - 2⁻²³ has the largest rest; its first part adds up exactly."""
    value = np.float32(1 + 2**-8 - 2**-17 - 2**-23)
    for x, y in ((value, value), (value, -value)):
        for k in (1, 16):
            got = by_tiles(np.full((32, k), x), np.full((k, 32), y))
            np.testing.assert_allclose(got, k * float(x) * float(y), rtol=2 * 2.0**-24)


@pytest.mark.parametrize(("k", "below"), [(256, 1 << 8), (1, 1 << 12), (16, 1 << 10), (255, 3)])
def test_whole_numbers_are_multiplied_exactly(k: int, below: int) -> None:
    """As long as all that is added up is below 2²⁴."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(1 - below, below, (70, k)), rng.integers(1 - below, below, (k, 50))
    for b in (y.astype("f"), np.asfortranarray(y.astype("f"))):
        np.testing.assert_array_equal(by_tiles(x.astype("f"), b), x @ y)


@pytest.mark.parametrize(("low", "high"), [(-18, 18), (0, 18), (-38, -1), (-44, -30)])
def test_magnitudes_mixed_by_row_and_column(low: int, high: int) -> None:
    """Down to numbers that float32 itself holds with fewer bits, and those that count as 0."""
    rng = np.random.default_rng(0)
    x = (random(64, 100) * 10.0 ** rng.uniform(low, high, (64, 1))).astype("f")
    y = (random(100, 80, seed=1) * 10.0 ** rng.uniform(-high, -low if -low < 38 else 37, 80)).astype("f")
    assert_exact(by_tiles(x, y), x, y)
    assert_exact(by_tiles(x.T, np.ascontiguousarray(x.T).T), x.T, x)


def test_any_bits_of_a_number_beside_any_other() -> None:
    """Finite numbers of all magnitudes side by side, so that what one leaves behind would show in its neighbour."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, (100, 64), np.uint32)
    x = np.where((bits >> 23 & 0xFF) < 0xBB, bits, 0).view("float32")  # below 2⁶⁰: no sum overflows
    for a, b in ((x, np.ascontiguousarray(x.T)), (x, x.T), (np.asfortranarray(x), x.T)):
        assert_exact(by_tiles(a, b), x, x.T)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's own, of the same product
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4028235e38, -3.4e38])
@pytest.mark.parametrize("other", [0.0, 1.0, -2.5, 1e-42, np.inf])
def test_what_is_not_finite_is_left_to_blas(value: float, other: float) -> None:
    for where in ((0, 0), (129, 200), (64, 16)):
        x, y = random(130, 201), random(201, 260, seed=1)
        x[where], y[where[1], :] = value, other
        for a, b in ((x, y), (np.asfortranarray(x), np.asfortranarray(y)), (y.T, x.T)):
            np.testing.assert_allclose(gemm.product(a, b), np.matmul(a, b), rtol=1e-4, atol=1e-3)


def test_overflow_is_infinity() -> None:
    x = np.full((140, 140), 1e20, "f")
    assert by_tiles(x, x) is None
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(gemm.product(x, x), np.full((140, 140), np.inf))


def test_operands_that_are_one_array() -> None:
    x = random(90, 90)
    for a, b in ((x, x), (x.T, x), (x, x.T), (x[:70], x[20:].T)):
        for parts in (1, 2):
            assert_exact(by_tiles(a, b, None, parts), a, b)


@pytest.mark.parametrize("parts", COUNTS)
def test_nothing_is_written_beside_the_result(parts: int) -> None:
    for n, k, m in ((32, 64, 64), (33, 70, 65), (95, 66, 97), (257, 800, 130)):
        room = np.full(n * m + 2048, 7, "float32")
        x, y = random(n, k), random(k, m, seed=1)
        assert_exact(by_tiles(x, y, None, parts, room[1024:-1024].reshape(n, m)), x, y)
        assert (room[:1024] == 7).all()
        assert (room[-1024:] == 7).all()


BETWEEN_WALLS = """
import ctypes, itertools, mmap
import numpy as np
from adjoint.arrays.numpy import gemm
from adjoint.arrays.numpy.crew import crew

PAGE, protect, kept = mmap.PAGESIZE, ctypes.CDLL(None).mprotect, []
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

def walled(x, first):
    "A copy that begins where a page may be read, or ends where the next may not be."
    size = -(-x.nbytes // PAGE) * PAGE
    pages = np.frombuffer(mmap.mmap(-1, size + 2 * PAGE), np.uint8)
    for wall in (0, size + PAGE):
        assert protect(pages.ctypes.data + wall, PAGE, 0) == 0
    start = PAGE if first else PAGE + size - x.nbytes
    out = pages[start:start + x.nbytes].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out

way = gemm.by_tiles(1, crew(1))
for n, k, m in ((64, 64, 64), (33, 65, 70), (47, 80, 49), (32, 800, 31), (290, 90, 140), (5, 3, 7)):
    rng = np.random.default_rng(0)
    x, y, b = (rng.standard_normal(s, "float32") for s in ((n, k), (k, m), m))
    exact = x.astype("d") @ y + b
    for first, left, right in itertools.product((True, False), range(3), range(3)):
        a, c = (
            (walled(z, first), walled(z.T.copy(), first).T, walled(np.concatenate([z, z], 1), first)[:, z.shape[1]:])[i]
            for z, i in ((x, left), (y, right))
        )
        out = walled(np.zeros((n, m), "f"), first)
        assert way(a, c, walled(b, first), out)
        assert np.abs(out - exact).max() < 1e-3, (n, k, m, first, left, right)
"""


def test_nothing_is_read_beside_the_operands() -> None:
    subprocess.run([sys.executable, "-c", BETWEEN_WALLS], check=True, timeout=HANGS)


def test_several_threads_at_once() -> None:
    pairs = [(random(96, 200, seed=i), random(200, 96, seed=i + 9)) for i in range(4)]
    wrong: list[Any] = []

    def work(x: Any, y: Any) -> None:
        limit, exact = bound(x, y), x.astype("d") @ y.astype("d")
        wrong.extend(i for i in range(200) if not (np.abs(by_tiles(x, y, None, 2) - exact) < limit).all())

    at_once(work, pairs)
    assert not wrong


FORKED = """
import os
import numpy as np
from adjoint.arrays.numpy import gemm
x = np.random.default_rng(0).standard_normal((256, 256), "float32")
expected = gemm.product(x, x)
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(gemm.product(x, x), expected) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_multiplies_as_well() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=HANGS)


AT_ONCE = """
import os
import numpy as np
from adjoint.arrays.numpy import gemm
x, y = np.random.default_rng(0).standard_normal((2, 192, 192), "float32")
expected = gemm.product(x, x), gemm.product(y, y)
child = os.fork()
own, wanted = (x, expected[0]) if child else (y, expected[1])
wrong = sum(not np.array_equal(gemm.product(own, own), wanted) for _ in range(1500))
if not child:
    os._exit(min(wrong, 1))
raise SystemExit(min(wrong, 1) or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_and_its_parent_multiply_at_once() -> None:
    """The place for panels, which was there before, is then each process's own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", AT_ONCE], check=True, timeout=HANGS, env=environment)


def test_large_products_are_made_of_tiles_and_small_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def ways(parts: int, kind: Any, tiled: bool) -> tuple[()]:
        asked.append(tiled)
        return ()

    monkeypatch.setattr(gemm, "ways", ways)
    monkeypatch.setattr(threads, "at_hand", lambda: 1)
    for x in (random(200, 200), random(80, 80), random(200, 200).astype("d")):
        gemm.product(x, x)
    assert asked == ([True] if mkl.path is None else [True, False, False])
