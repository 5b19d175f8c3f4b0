"""How fast this machine multiplies matrices and moves memory, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import threadpoolctl
from numpy.typing import DTypeLike


def matmul_gflops(
    dtype: DTypeLike, threads: int | None = None, budget: float = 0.4, matmul: Callable[..., object] = np.matmul
) -> tuple[float, int]:
    """Return the GFLOP/s of the best square product within `budget` seconds, and its size n: 2n³ operations each.

    By NumPy's BLAS; by `adjoint.arrays.numpy.gemm.matmul` it is what the library reaches.
    """
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        n = 512
        product = _product(n, dtype, matmul)
        while (took := seconds(product)) < 0.05 and n < 4096:
            n *= 2
            product = _product(n, dtype, matmul)
        best = min(seconds(product) for _ in range(max(2, int(budget / took))))
    return 2 * n**3 / best / 1e9, n


def _product(n: int, dtype: DTypeLike, matmul: Callable[..., object]) -> Callable[[], object]:
    """A product of two n×n matrices, done once already so that its code and its memory are there."""
    a, b = np.random.default_rng(0).random((2, n, n)).astype(dtype)
    product = partial(matmul, a, b)
    product()
    return product


def triad_gbs(array_bytes: int, threads: int, repeats: int = 3) -> float:
    """Return the memory bandwidth in GB/s of a = b + s·c, counting 16 bytes a product and 24 a sum of float64."""
    a, b, c = (np.full(array_bytes // 8, value) for value in (0.0, 1.0, 2.0))
    parts = [slice(len(a) * i // threads, len(a) * (i + 1) // threads) for i in range(threads)]

    def triad(part: slice) -> None:
        np.multiply(c[part], 3.0, out=a[part])
        np.add(a[part], b[part], out=a[part])

    with ThreadPoolExecutor(threads) as pool:
        best = min(seconds(lambda: list(pool.map(triad, parts))) for _ in range(repeats))
    return 5 * a.nbytes / best / 1e9


def seconds(work: Callable[[], object]) -> float:
    """What a call takes.

    >>> seconds(lambda: None) < 1
    True
    """
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
