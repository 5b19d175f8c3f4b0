"""Freed memory kept for the arrays of the next step.

A training step makes the same arrays every time. The C library gives large blocks back to the system as soon as they
are freed, and gets them again page by page, each page zeroed: in a step of a small GPT 10,000 page faults. Told to keep
some, it has none. Set `ADJOINT_MALLOC=default` to leave the C library as it is; only glibc is asked.
"""

from __future__ import annotations

import ctypes
import os
import sys

KEPT = 256 << 20  # bytes at the heap's end that are kept
LARGEST = 1 << 30  # bytes of the largest block that comes from the heap
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # mallopt's parameters
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep() -> bool:
    """Ask glibc to keep freed memory; whether it was asked. What a person has set in the environment stands."""
    if sys.platform != "linux" or os.environ.get("ADJOINT_MALLOC") == "default" or any(x in os.environ for x in OWN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, KEPT) and mallopt(TOP_PAD, KEPT // 8))
