"""Weights examined one after the other, several at the same time, with a bar; interrupted, what is there is given."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np

from adjoint.arrays.numpy.threads import cores, single
from adjoint.errors import SpectrumError
from adjoint.inspection import remembered, spending
from adjoint.inspection.circuits import all_circuits
from adjoint.inspection.report import Report
from adjoint.inspection.row import Row
from adjoint.inspection.sources import Source, Sources, sources
from adjoint.inspection.weight import Stopped, measured, row, working_bytes
from adjoint.interop.entries import dtype_of

SMALL = 1 << 28  # bytes that may be taken whatever the model's size
Advance = Callable[[float], None]


def report(
    model: Any, jobs: int | None = None, cache: bool = True, progress: bool = True, trust_pickle: bool = False
) -> Report:
    """The report on the weights of a model: see `adjoint.inspect`."""
    if jobs is not None and jobs < 1:
        raise ValueError(f"inspect: jobs is how many weights are examined at the same time, 1 or more, not {jobs}.")
    start = time.perf_counter()
    found = sources(model, trust_pickle)
    where = remembered.folder() if cache else None
    work = Work(found, where)
    with _bar(progress, sum(_cost(x) for x in found.weights)) as advance:
        complete = work.run(jobs or cores(), advance)
    skipped = found.skipped | work.failed
    if not complete:
        skipped |= {x.name: "interrupted before it was examined" for x in found.weights if x.name not in work.rows}
    rows = tuple(work.rows[x.name] for x in found.weights if x.name in work.rows)
    with single():
        circuits = all_circuits(found.heads, jobs or cores()) if complete else ()
    return Report(
        found.name, found.parameters, found.buffers, found.arrays, found.dtypes, rows, skipped, complete,
        time.perf_counter() - start, len(work.known), {x.name: x for x in found.weights},
        circuits=circuits, heads=found.heads, cost=spending.of(found.net),
    )  # fmt: skip


class Work:
    """The weights of a model and what is known of them so far."""

    def __init__(self, found: Sources, where: Any) -> None:
        self.found, self.where = found, where
        self.rows: dict[str, Row] = {}
        self.failed: dict[str, str] = {}
        self.known: set[str] = set()
        self._stop = threading.Event()

    def run(self, jobs: int, advance: Advance) -> bool:
        """Examine all, the costliest first; whether it came to its end.

        Several at the same time, each with a BLAS of one thread, as long as that takes no more memory than twice the
        largest weight, or 256 MiB; those that would take more, alone.
        """
        weights = sorted(self.found.weights, key=_cost, reverse=True)
        allowed = max([SMALL, *(2 * _nbytes(x) for x in weights)])
        together = [x for x in weights if _working(x) * jobs <= allowed]
        alone = [x for x in weights if _working(x) * jobs > allowed]
        try:
            with single():
                for source in alone:
                    self._take(source, self._examine(source), advance)
            if together:
                self._run_together(together, jobs, advance)
        except KeyboardInterrupt:
            return False
        return True

    def _run_together(self, weights: list[Source], jobs: int, advance: Advance) -> None:
        with single(), ThreadPoolExecutor(jobs, "adjoint-inspect") as pool:
            waiting: dict[Future[Any], Source] = {pool.submit(self._examine, x): x for x in weights}
            try:
                while waiting:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        self._take(waiting.pop(future), future.result(), advance)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                for future, source in waiting.items():
                    if not future.cancelled() and future.exception() is None:
                        self._take(source, future.result(), advance)
                raise

    def _take(self, source: Source, found: Row | str, advance: Advance) -> None:
        if isinstance(found, Row):
            self.rows[source.name] = found
        else:
            self.failed[source.name] = found
        advance(_cost(source))

    def _examine(self, source: Source) -> Row | str:
        """The row of a weight, or why there is none."""
        if self._stop.is_set():
            raise Stopped
        array = source.read()
        name = remembered.key(array) if self.where is not None else ""
        known = remembered.recall(self.where, name) if self.where is not None else None
        if known is not None:
            self.known.add(source.name)
            own = {"name": source.name, "kind": source.kind, "dtype": source.dtype, "tied": source.tied}
            return Row.from_dict(known | own)
        try:
            told = measured(array, self._stop.is_set)
        except (np.linalg.LinAlgError, SpectrumError) as error:
            return f"its spectrum could not be computed: {error}"
        result = row(source.name, source.kind, source.shape, source.dtype, told, source.tied)
        if self.where is not None:
            remembered.keep(self.where, name, result)
        return result


def _cost(source: Source) -> float:
    """About the operations of its spectrum."""
    m, n = source.matrix
    k = min(m, n)
    return float(m * n * k + 8 * k**3 + 1000)


def _nbytes(source: Source) -> int:
    m, n = source.matrix
    return m * n * dtype_of(source.dtype).itemsize


def _working(source: Source) -> int:
    return working_bytes(*source.matrix, dtype_of(source.dtype))


@contextmanager
def _bar(shown: bool, total: float) -> Iterator[Advance]:
    """What advances a bar with the time left, on a terminal; it goes when all is examined."""
    if not shown or not sys.stderr.isatty():
        yield lambda cost: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("examining weights"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda cost: bar.advance(task, cost)
