"""The compiled loops, by topic: loaded when first needed, for importing Numba takes longer than small arrays do."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any


@functools.cache
def of(topic: str) -> Any:
    """The module of a topic's kernels; asking again takes a fraction of what an import statement does.

    >>> of("update").__name__
    'adjoint.arrays.numpy.update_kernels'
    """
    return import_module(f"adjoint.arrays.numpy.{topic}_kernels")
