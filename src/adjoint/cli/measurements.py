"""What the machine does, measured in a few seconds: clock, matrix products, memory bandwidth."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from adjoint.costs.measuring import matmul_gflops as matmul_gflops
from adjoint.costs.measuring import seconds as _seconds
from adjoint.costs.measuring import triad_gbs as triad_gbs

from .machine import Facts

CLOCK_MEASURED = "measured: a chain of shifts and exclusive ors, each waiting for the last, at one cycle each"
CLOCK_REPORTED = "as the system reports it, which a virtual machine may get wrong"
PEAK_METHOD = "cores × SIMD lanes × fused multiply-adds a cycle × 2 × clock"
EXCEEDED = (
    "more than 100%: its cores do more a cycle than its model number tells, which a virtual machine may hide, or the "
    "clock was measured while other programs slowed it"
)
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


def library_gflops(dtype: DTypeLike) -> float:
    """Return the GFLOP/s of the library's own products, on as many threads as BLAS has."""
    from adjoint.arrays.numpy.gemm import matmul

    return matmul_gflops(dtype, budget=0.2, matmul=matmul)[0]


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


def peak_gflops(processor: Facts, dtype: DTypeLike, cores: int, ghz: float | None) -> float | None:
    """Return the most the vector units can do, None where their width or clock is not known.

    >>> peak_gflops({"simd_bits": 256, "fma_per_cycle": 2}, "float32", 1, 3.5)
    112.0
    """
    if processor["simd_bits"] is None or ghz is None:
        return None
    lanes = processor["simd_bits"] // (8 * np.dtype(dtype).itemsize)
    return float(cores * lanes * processor["fma_per_cycle"] * 2 * ghz)


def peak_told(processor: Facts) -> str:
    """How `peak_gflops` is found, with the processor's own units.

    >>> peak_told({"simd_bits": 512, "fma_per_cycle": 1})[-43:]
    'reckoned with one 512-bit unit in each core'
    """
    if processor["simd_bits"] is None:
        return PEAK_METHOD
    units = "one {}-bit unit" if processor["fma_per_cycle"] == 1 else f"{processor['fma_per_cycle']} {{}}-bit units"
    return f"{PEAK_METHOD}, reckoned with {units.format(processor['simd_bits'])} in each core"


def triad_bytes(l3_bytes: int, available_bytes: int | None) -> int:
    """Return the size of an array for `triad_gbs`: four times the cache, within 64 to 256 MiB and what is free."""
    size = min(max(4 * l3_bytes, 64 << 20), 256 << 20)
    return size if available_bytes is None else min(size, available_bytes // 8)
