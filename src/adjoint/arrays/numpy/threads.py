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


class _Own(threading.local):
    share = False  # whether a thread has its share of the work already, and is not to share it again
    room: Any = None  # its place for the panels of a product, and for how many threads that is
    parts = 0


own = _Own()
restless: list[Callable[[], None]] = []  # what sends threads to sleep that keep a core to themselves for a while


@functools.cache
def blas() -> Any:
    """The controller of NumPy's BLAS; None where threadpoolctl knows none."""
    from threadpoolctl import ThreadpoolController

    found = [x for x in ThreadpoolController().lib_controllers if x.user_api == "blas" and "numpy" in x.filepath]
    return found[0] if found else None


@functools.cache
def setting() -> tuple[Callable[[], int], Callable[[int], Any]]:
    """How the number of threads of NumPy's BLAS is read, and set: OpenBLAS's own functions, which any thread may call.

    threadpoolctl lets only the first thread that sets it set it again.
    """
    library = blas()
    if library is None:
        return lambda: 1, lambda n: None
    for form in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
        if hasattr(library.dynlib, form.format("get")):
            return getattr(library.dynlib, form.format("get")), getattr(library.dynlib, form.format("set"))
    return library.get_num_threads, library.set_num_threads


def cores() -> int:
    """How many logical cores this process may run on.

    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def alone() -> bool:
    """Whether this thread has its share of the work already, and is not to share it again."""
    return own.share


def at_hand() -> int:
    """How many threads work of this one may have: as many as BLAS has, one where it has its share already.

    >>> together([at_hand, at_hand])
    [1, 1]
    """
    return 1 if own.share else setting()[0]()


def rest() -> None:
    """Leave the cores to work that is going to have threads of another kind."""
    for sleep in restless:
        sleep()


def pool(workers: int) -> ThreadPoolExecutor:
    """The threads beside the caller's own; a forked process has none of its parent's."""
    rest()
    return _pool(workers, os.getpid())


@functools.cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "adjoint")


@contextmanager
def single() -> Iterator[int]:
    """One thread for each call of BLAS inside; gives the number that it had, which is how many parts to make."""
    global _users, _before
    get, set = setting()
    mine = False
    try:
        with _lock:
            if not _users:
                _before = get()
            _users += 1
            mine = True
            if _before > 1:
                set(1)
        yield _before
    finally:
        if mine:
            with _lock:
                _users -= 1
                if not _users and _before > 1:
                    set(_before)


def _forked() -> None:
    """A forked process has none of its parent's threads, nor what these had taken."""
    global _users, _lock
    _lock = threading.Lock()
    if _users and _before > 1:
        setting()[1](_before)
    _users = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def shared(work: Callable[[int, int], Any], n: int) -> list[Any]:
    """[work(start, stop), …] on parts of range(n), as many as BLAS has threads, at the same time.

    >>> shared(lambda start, stop: (start, stop), 1)
    [(0, 1)]
    """
    if n == 1 or alone():
        return [work(0, n)]
    with single() as threads:
        count = max(1, min(threads, n))
        ends = [n * i // count for i in range(count + 1)]
        others = [pool(count - 1).submit(work, ends[i], ends[i + 1]) for i in range(1, count)]
        try:
            first = work(0, ends[1])
        finally:
            wait(others)
    return [first, *[x.result() for x in others]]


def together(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """[work(), …] at the same time, each in a thread, and inside each everything in that thread alone.

    >>> together([lambda: 1, lambda: 2])
    [1, 2]
    """
    if alone():
        return [work() for work in works]
    with single():
        others = [pool(len(works) - 1).submit(_alone, work) for work in works[1:]]
        try:
            first = _alone(works[0])
        finally:
            wait(others)
    return [first, *[x.result() for x in others]]


def _alone(work: Callable[[], Any]) -> Any:
    own.share = True
    try:
        return work()
    finally:
        own.share = False


def parts(work: Callable[[int, int], Any], n: int, grain: int) -> None:
    """work(start, stop) on parts of range(n), `grain` each at least, as many as BLAS has threads, at the same time."""
    count = min(at_hand(), n // grain)
    if count < 2:
        work(0, n)
        return
    ends = [n * i // count for i in range(count + 1)]
    others = [pool(count - 1).submit(work, ends[i], ends[i + 1]) for i in range(1, count)]
    try:
        work(0, ends[1])
    finally:
        wait(others)
    for x in others:
        x.result()
