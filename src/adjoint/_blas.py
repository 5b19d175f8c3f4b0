"""Asks OpenBLAS for the kernels that fit the processor, and not to keep it busy; imported before NumPy is.

The OpenBLAS in NumPy's wheel can fall back to its Haswell (AVX2) kernels on processors with AVX-512 that it does not
know by name, at half their speed. Its threads wait for the next product in a loop, a tenth of a second by default, on
cores that other kernels could use. It reads `OPENBLAS_CORETYPE` and `OPENBLAS_THREAD_TIMEOUT` once, when it is loaded.
`ADJOINT_BLAS=default` leaves both to OpenBLAS, and all products to it (see `adjoint.arrays.numpy.gemm`).
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` and `collections` would cost more than all else here
    from collections.abc import Container, Mapping

KERNELS = "SkylakeX"
WAITING = "20"  # 2²⁰ cycles, a third of a millisecond
NEEDED = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"})


def processor_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """Return the features that Linux lists for the first processor; none where it does not say."""
    try:
        with open(path, "rb") as lines:
            # Stop at the first processor: the kernel writes this file as it is read, slowly where there are many.
            return frozenset(next((line for line in lines if line.startswith(b"flags")), b"").decode().split())
    except OSError:
        return frozenset()


def choose(
    system: str, machine: str, environ: Mapping[str, str], loaded: Container[str], flags: frozenset[str]
) -> tuple[str | None, str]:
    """Return the kernels to ask for, None to leave OpenBLAS alone, and the reason in words."""
    if system != "linux" or machine != "x86_64":
        return None, "only on Linux, x86-64"
    if environ.get("ADJOINT_BLAS") == "default":
        return None, "ADJOINT_BLAS=default"
    if "OPENBLAS_CORETYPE" in environ:
        return None, f"OPENBLAS_CORETYPE={environ['OPENBLAS_CORETYPE']} was set already"
    if not flags >= NEEDED:
        return None, "no AVX-512"
    if "numpy" in loaded:
        return None, "NumPy was loaded before adjoint"
    return KERNELS, "AVX-512"


coretype, reason = choose(
    sys.platform,
    os.uname().machine if hasattr(os, "uname") else "",
    os.environ,
    sys.modules,
    processor_flags() if sys.platform == "linux" else frozenset(),
)
if coretype is not None:
    os.environ["OPENBLAS_CORETYPE"] = coretype


def may_wait_less(system: str, environ: Mapping[str, str], loaded: Container[str]) -> bool:
    """Whether to ask OpenBLAS's threads to wait only shortly: what a person has set stands."""
    asked = environ.get("ADJOINT_BLAS") == "default" or "OPENBLAS_THREAD_TIMEOUT" in environ
    return system == "linux" and not asked and "numpy" not in loaded


if may_wait_less(sys.platform, os.environ, sys.modules):
    os.environ["OPENBLAS_THREAD_TIMEOUT"] = WAITING
