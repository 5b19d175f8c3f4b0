"""Counting: what the functions of the seam cost while they run on arrays that only have shapes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Spent(NamedTuple):
    """What the calls of one function cost together."""

    calls: int
    flops: int
    bytes: int


class Tally:
    """What the program inside a `with count() as tally:` costs.

    `flops`: floating-point operations by each function's convention (see `adjoint.arrays.shapes`).
    `matmul_flops`: those of matrix products and convolutions only, two a multiply-add, as published figures count.
    `bytes`: read and written by each function, views free. `live_bytes`: memory of arrays made inside that is still
    alive; `peak_bytes`: the most of it at any moment. What was there before the `with` is in neither.
    `by_function`: calls, flops and bytes by name; `products`: matmul_flops by name, of those that have any.
    """

    __slots__ = ("by_function", "bytes", "flops", "live_bytes", "matmul_flops", "peak_bytes", "products")

    def __init__(self) -> None:
        self.flops = self.matmul_flops = self.bytes = self.live_bytes = self.peak_bytes = 0
        self.by_function: dict[str, Spent] = {}
        self.products: dict[str, int] = {}

    def __repr__(self) -> str:
        return (
            f"Tally(flops={self.flops:,}, matmul_flops={self.matmul_flops:,}, "
            f"bytes={self.bytes:,}, peak_bytes={self.peak_bytes:,})"
        )

    def add(self, name: str, flops: int, matmul_flops: int, moved: int) -> None:
        """Enter one call of a function."""
        self.flops += flops
        self.matmul_flops += matmul_flops
        self.bytes += moved
        calls, before, moved_before = self.by_function.get(name, (0, 0, 0))
        self.by_function[name] = Spent(calls + 1, before + flops, moved_before + moved)
        if matmul_flops:
            self.products[name] = self.products.get(name, 0) + matmul_flops


class _Active(threading.local):
    tallies: tuple[Tally, ...] = ()


ACTIVE = _Active()


class Memory:
    """Memory that an array and its views share: it counts as alive until the last of them is gone."""

    __slots__ = ("nbytes", "tallies")

    def __init__(self, nbytes: int, tallies: tuple[Tally, ...]) -> None:
        self.nbytes = nbytes
        self.tallies = tallies
        for tally in tallies:
            tally.live_bytes += nbytes
            if tally.live_bytes > tally.peak_bytes:
                tally.peak_bytes = tally.live_bytes

    def __del__(self) -> None:
        for tally in self.tallies:
            tally.live_bytes -= self.nbytes


def claim(nbytes: int) -> Memory | None:
    """Memory for a new array, entered in the tallies of this thread; None when nobody counts."""
    return Memory(nbytes, ACTIVE.tallies) if ACTIVE.tallies else None


@contextmanager
def count() -> Iterator[Tally]:
    """Count what the functions of this thread cost on arrays that only have shapes; an outer `count` counts it too.

    >>> from adjoint.arrays import matmul
    >>> from adjoint.arrays.shapes import ShapeArray
    >>> x, w = ShapeArray((256, 512), "float32"), ShapeArray((512, 1024), "float32")
    >>> with count() as tally:
    ...     y = matmul(x, w)
    >>> tally.matmul_flops, tally.bytes, tally.peak_bytes
    (268435456, 3670016, 1048576)
    """
    yield from _counting(ACTIVE.tallies)


@contextmanager
def count_apart() -> Iterator[Tally]:
    """Count without entering anything in the tallies outside."""
    yield from _counting(())


def _counting(outer: tuple[Tally, ...]) -> Iterator[Tally]:
    before, tally = ACTIVE.tallies, Tally()
    ACTIVE.tallies = (*outer, tally)
    try:
        yield tally
    finally:
        ACTIVE.tallies = before
