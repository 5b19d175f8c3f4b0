"""How Numba compiles here: for this processor, without the interpreter's lock, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba

OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}  # no divide-by-zero check, which blocks vectors


def kept(compiler: Callable[..., Any], *signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator that compiles, and keeps the result on disk where the cache's folder can be written."""

    def compiled(f: Callable[..., Any]) -> Any:
        try:
            return compiler(*signature, cache=True, **options)(f)
        except RuntimeError:
            return compiler(*signature, **options)(f)

    return compiled


def kernel(f: Callable[..., Any], fastmath: Sequence[str] = ("contract",)) -> Callable[..., Any]:
    """A function on arrays, compiled for every kind of them that it meets."""
    return kept(numba.njit, fastmath=set(fastmath), **OPTIONS)(f)


def summing(f: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` for sums, which may be taken in any order, so that they run on whole vectors."""
    return kernel(f, ("contract", "nsz", "reassoc"))


def job(f: Callable[..., Any]) -> Any:
    """A function (args, part, parts) of three whole numbers, the first a place in memory, that a crew can be given."""
    return kept(numba.cfunc, "void(int64, int64, int64)", error_model="numpy", fastmath={"contract"})(f)
