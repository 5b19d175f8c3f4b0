"""What the machine does, measured in a few seconds: clock, matrix products, memory bandwidth."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import DTypeLike

from .machine import Facts

CLOCK_MEASURED = "measured: a chain of shifts and exclusive ors, each waiting for the last, at one cycle each"
CLOCK_REPORTED = "as the system reports it, which a virtual machine may get wrong"
PEAK_METHOD = "cores × SIMD lanes × fused multiply-adds a cycle × 2 × clock"
TRIAD_METHOD = "a = b + s·c by two NumPy calls, five passes over arrays larger than the caches"

CYCLES_PER_ROUND = 6


def spin(x: int, rounds: int) -> int:
    """Shift and exclusive-or `x` round after round: six dependent instructions that no compiler can shorten."""
    for _ in range(rounds):
        x ^= x << 13
        x ^= x >> 7
        x ^= x << 17
    return x


def compiled_spin() -> tuple[Callable[[int, int], int] | None, Facts]:
    """Return `spin` compiled by Numba, and what that told of Numba: its cache, its threads, its threading layer."""
    try:
        import numba
    except ImportError as error:
        return None, {"error": str(error)}
    config: Any = numba.config  # its fields are set when it is loaded
    facts: Facts = {
        "error": None,
        "threads": config.NUMBA_NUM_THREADS,
        "layer": threading_layer(config.THREADING_LAYER),
        "compiles": not config.DISABLE_JIT,
    }
    if not facts["compiles"]:
        return None, facts | {"cache": None}
    try:
        kernel = numba.njit(nogil=True, cache=True)(spin)
        cache = kernel.stats.cache_path
    except RuntimeError:  # no folder to keep compiled code in
        kernel, cache = numba.njit(nogil=True)(spin), None
    return kernel, facts | {"cache": cache}


def threading_layer(wanted: str) -> str:
    """Return the layer that Numba's parallel kernels will run on where `wanted` is Numba's setting."""
    if wanted in {"tbb", "omp", "workqueue"}:
        return wanted
    for name, module in (("tbb", "tbbpool"), ("omp", "omppool")):
        try:
            importlib.import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        return name
    return "workqueue"


def clock_ghz(kernel: Callable[[int, int], int], threads: int, repeats: int = 5) -> float:
    """Return the clock in GHz of the fastest core while `threads` of them work, from its best run."""
    rounds = 2_000_000
    kernel(1, 1)

    def best(_: int) -> float:
        return min(_seconds(lambda: kernel(1, rounds)) for _ in range(repeats))

    with ThreadPoolExecutor(threads) as pool:
        return CYCLES_PER_ROUND * rounds / 1e9 / min(pool.map(best, range(threads)))


def matmul_gflops(dtype: DTypeLike, threads: int | None = None, budget: float = 0.4) -> tuple[float, int]:
    """Return the GFLOP/s of the best square product within `budget` seconds, and its size n: 2n³ operations each."""
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        n = 512
        product = _product(n, dtype)
        while (seconds := _seconds(product)) < 0.05 and n < 4096:
            n *= 2
            product = _product(n, dtype)
        best = min(_seconds(product) for _ in range(max(2, int(budget / seconds))))
    return 2 * n**3 / best / 1e9, n


def _product(n: int, dtype: DTypeLike) -> Callable[[], object]:
    """A product of two n×n matrices, done once already so that its memory is there."""
    a, b = np.random.default_rng(0).random((2, n, n)).astype(dtype)
    product = partial(np.matmul, a, b, np.empty_like(a))
    product()
    return product


def peak_gflops(processor: Facts, dtype: DTypeLike, cores: int, ghz: float | None) -> float | None:
    """Return the most the vector units can do, None where their width or clock is not known.

    >>> peak_gflops({"simd_bits": 256, "fma_per_cycle": 2}, "float32", 1, 3.5)
    112.0
    """
    if processor["simd_bits"] is None or ghz is None:
        return None
    lanes = processor["simd_bits"] // (8 * np.dtype(dtype).itemsize)
    return float(cores * lanes * processor["fma_per_cycle"] * 2 * ghz)


def triad_gbs(array_bytes: int, threads: int, repeats: int = 3) -> float:
    """Return the memory bandwidth in GB/s of a = b + s·c, counting 16 bytes a product and 24 a sum of float64."""
    a, b, c = (np.full(array_bytes // 8, value) for value in (0.0, 1.0, 2.0))
    parts = [slice(len(a) * i // threads, len(a) * (i + 1) // threads) for i in range(threads)]

    def triad(part: slice) -> None:
        np.multiply(c[part], 3.0, out=a[part])
        np.add(a[part], b[part], out=a[part])

    with ThreadPoolExecutor(threads) as pool:
        best = min(_seconds(lambda: list(pool.map(triad, parts))) for _ in range(repeats))
    return 5 * a.nbytes / best / 1e9


def triad_bytes(l3_bytes: int, available_bytes: int | None) -> int:
    """Return the size of an array for `triad_gbs`: four times the cache, within 64 to 256 MiB and what is free."""
    size = min(max(4 * l3_bytes, 64 << 20), 256 << 20)
    return size if available_bytes is None else min(size, available_bytes // 8)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
