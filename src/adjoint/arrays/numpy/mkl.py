"""Intel's MKL for products, where it is installed and the processor Intel's.

Its kernels run 10 to 20 % faster there than OpenBLAS's on operands that are not in the cache. `pip install
'adjoint[mkl]'` brings it; `ADJOINT_BLAS=default` leaves all products to NumPy's BLAS.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import Any

SEQUENTIAL = 1  # MKL's own number


def library(prefix: str = sys.prefix) -> Path | None:
    """Where pip puts MKL; None where it is not, or not to be used."""
    if sys.platform != "linux" or os.environ.get("ADJOINT_BLAS") == "default" or not intel():
        return None
    found = next(iter(sorted(Path(prefix, "lib").glob("libmkl_rt.so*"))), None)
    return None if found and in_use(found) else found


def in_use(path: Path) -> bool:
    """Whether the library is loaded already: then it is NumPy's own, whose threads are not to be taken away."""
    try:
        ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    return True


def intel(path: str = "/proc/cpuinfo") -> bool:
    """Whether the processor is Intel's."""
    try:
        with open(path, "rb") as lines:
            return any(b"GenuineIntel" in line for line, _ in zip(lines, range(8), strict=False))
    except OSError:
        return False


path = library()


@functools.cache
def loaded() -> Any:
    """The library, whose calls stay in the thread that makes them."""
    mkl = ctypes.CDLL(str(path))
    mkl.MKL_Set_Threading_Layer(SEQUENTIAL)
    return mkl


def place(name: str) -> int:
    """The address of one of its functions."""
    return ctypes.cast(getattr(loaded(), name), ctypes.c_void_p).value or 0
