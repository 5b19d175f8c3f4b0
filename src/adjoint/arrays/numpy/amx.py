"""Intel's AMX: whether this processor multiplies tiles of bfloat16 numbers, and Linux lets this process do so.

A process has to ask before the first tile is loaded. `ADJOINT_BLAS=default` leaves all products to NumPy's BLAS.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

ARCH_PRCTL, REQUEST, TILES = 158, 0x1023, 18  # Linux's numbers: the call, its question, the tiles' numbers


def flagged(path: str = "/proc/cpuinfo") -> bool:
    """Whether the processor has what is needed.

    >>> flagged("/nowhere")
    False
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            found = next((set(line.split()) for line in lines if line.startswith("flags")), set[str]())
    except OSError:
        return False
    return {"amx_tile", "amx_bf16", "avx512f"} <= found


def wanted() -> bool:
    """Whether products are to be made of tiles, if the processor has them."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and os.environ.get("ADJOINT_BLAS") != "default"


def granted() -> bool:
    """Whether the system lets this process use them; asks it."""
    call = ctypes.CDLL(None).syscall
    return bool(call(ARCH_PRCTL, REQUEST, TILES) == 0)


here = wanted() and flagged() and granted()
