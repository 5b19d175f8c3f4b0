"""Work on equal parts of a batch in threads of its own, each with a BLAS of one thread."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_users = 0
_before = 1
_own = threading.local()  # whether this thread has its share of the work already, and is not to share it again


@functools.cache
def blas() -> Any:
    """The controller of NumPy's BLAS; None where threadpoolctl knows none."""
    from threadpoolctl import ThreadpoolController

    found = [x for x in ThreadpoolController().lib_controllers if x.user_api == "blas" and "numpy" in x.filepath]
    return found[0] if found else None


def cores() -> int:
    """How many logical cores this process may run on.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool(workers: int) -> ThreadPoolExecutor:
    """The threads beside the caller's own; a forked process has none of its parent's."""
    return _pool(workers, os.getpid())


@functools.cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "adjoint")


@contextmanager
def single() -> Iterator[int]:
    """One thread for each call of BLAS inside; gives the number that it had, which is how many parts to make."""
    global _users, _before
    library = blas()
    with _lock:
        if not _users:
            _before = library.get_num_threads() if library else 1
            if _before > 1:
                library.set_num_threads(1)
        _users += 1
    try:
        yield _before
    finally:
        with _lock:
            _users -= 1
            if not _users and _before > 1:
                library.set_num_threads(_before)


def shared(work: Callable[[int, int], Any], n: int) -> list[Any]:
    """[work(start, stop), …] on parts of range(n), as many as BLAS has threads, at the same time.

    >>> shared(lambda start, stop: (start, stop), 1)
    [(0, 1)]
    """
    if n == 1 or getattr(_own, "share", False):
        return [work(0, n)]
    with single() as threads:
        count = max(1, min(threads, n))
        ends = [n * i // count for i in range(count + 1)]
        others = [pool(count - 1).submit(work, ends[i], ends[i + 1]) for i in range(1, count)]
        return [work(0, ends[1]), *(x.result() for x in others)]


def together(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """[work(), …] at the same time, each in a thread, and inside each everything in that thread alone.

    >>> together([lambda: 1, lambda: 2])
    [1, 2]
    """
    with single():
        others = [pool(len(works) - 1).submit(_alone, work) for work in works[1:]]
        try:
            first = _alone(works[0])
        finally:
            wait(others)
    return [first, *[x.result() for x in others]]


def _alone(work: Callable[[], Any]) -> Any:
    _own.share = True
    try:
        return work()
    finally:
        _own.share = False


def parts(work: Callable[[int, int], Any], n: int, grain: int) -> None:
    """work(start, stop) on parts of range(n), `grain` each at least, as many as BLAS has threads, at the same time."""
    library = None if getattr(_own, "share", False) else blas()
    count = min(library.get_num_threads() if library else 1, n // grain)
    if count < 2:
        work(0, n)
        return
    ends = [n * i // count for i in range(count + 1)]
    others = [pool(count - 1).submit(work, ends[i], ends[i + 1]) for i in range(1, count)]
    work(0, ends[1])
    for x in others:
        x.result()


def each(work: Callable[[int], None], sizes: Sequence[int], grain: int) -> None:
    """work(k) for every k, the largest first, in as many threads as BLAS has and there are grains to do."""
    library = None if getattr(_own, "share", False) else blas()
    count = min(library.get_num_threads() if library else 1, sum(sizes) // grain, len(sizes))
    waiting = iter(sorted(range(len(sizes)), key=lambda k: -sizes[k]))

    def some() -> None:
        for k in waiting:
            work(k)

    others = [pool(count - 1).submit(some) for _ in range(1, count)]
    some()
    for x in others:
        x.result()
