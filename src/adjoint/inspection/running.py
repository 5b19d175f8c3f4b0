"""Weights examined one after the other, several at the same time, with a bar; interrupted, what is there is given."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.arrays.numpy.threads import cores, single
from adjoint.errors import SpectrumError
from adjoint.inspection import circuits as of_heads
from adjoint.inspection import kernels, remembered, spending
from adjoint.inspection.bar import Advance, bar
from adjoint.inspection.circuits import KINDS, Circuit, circuits
from adjoint.inspection.heads import Heads, circuits_of
from adjoint.inspection.report import Report
from adjoint.inspection.row import Row, plain, restored
from adjoint.inspection.sources import Source, Sources, sources
from adjoint.inspection.storage import errors, load
from adjoint.inspection.weight import Stopped, by_gram, measured, row, working_bytes
from adjoint.maps.spectra.lapack import numpys

if TYPE_CHECKING:
    from adjoint.costs.counting import Cost

SMALL = 1 << 26  # bytes that may be taken whatever the model's size
INTERRUPTED = "interrupted before it was examined"
Part = Source | Heads


def report(
    model: Any, jobs: int | None = None, cache: bool = True, progress: bool = True, trust_pickle: bool = False,
    given: tuple[Any, Any] | None = None, batch: int | None = None, seq: int | None = None,
    sizes: Mapping[str, tuple[int, ...]] | None = None,
) -> Report:  # fmt: skip
    """The report on the weights of a model, its cost that of (network, sample) if `given`: see `adjoint.inspect`.

    `sizes` are those that the layers of kernels, by the name of these, were given.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"inspect: jobs is how many weights are examined at the same time, 1 or more, not {jobs}.")
    start = time.perf_counter()
    found = sources(model, trust_pickle, sizes)
    net, x = given or (found.net, None)
    where = remembered.folder() if cache else None
    work = Work(found, where, lambda: spending.of(net, x, batch, seq))
    with bar("examining weights", progress, sum(map(_cost, work.parts))) as advance:
        complete = work.run(jobs or cores(), advance)
    skipped = found.skipped | work.failed
    if not complete:
        skipped |= {x.name: INTERRUPTED for x in found.weights if x.name not in work.rows}
        skipped |= {circuits_of(name): INTERRUPTED for name in found.heads if name not in work.circuits}
    if given and work.cost is None:
        skipped["(cost)"] = spending.UNCOUNTED if complete else INTERRUPTED
    rows = spending.shared([work.rows[x.name] for x in found.weights if x.name in work.rows], work.cost)
    circuits = tuple(x for name in found.heads for x in work.circuits.get(name, ()))
    return Report(
        found.name, found.parameters, found.buffers, found.arrays, found.dtypes, rows, skipped, complete,
        time.perf_counter() - start, len(work.known), {x.name: x for x in found.weights},
        circuits=circuits, heads=found.heads, cost=work.cost,
    )  # fmt: skip


class Work:
    """The weights and attentions of a model, what is known of them so far, and what the model costs, once counted."""

    def __init__(self, found: Sources, where: Any, count: Callable[[], Cost | None] = lambda: None) -> None:
        self.parts: list[Part] = [*found.weights, *found.heads.values()]
        self.count = count
        self.cost: Cost | None = None
        self.where = where
        self.rows: dict[str, Row] = {}
        self.circuits: dict[str, list[Circuit]] = {}
        self.failed: dict[str, str] = {}
        self.known: set[str] = set()
        self.unstored: dict[str, str] = {}  # rows without their errors in fewer bits, and how they are remembered
        self._stop = threading.Event()

    def run(self, jobs: int, advance: Advance) -> bool:
        """Examine all, the costliest first; whether it came to its end.

        Several at the same time, each with a BLAS of one thread, as long as that takes no more memory than twice the
        largest weight, or 64 MiB; those that would take more, alone. What is the interpreter's work, to count the cost
        and to load Numba, is done while their threads are in BLAS; what needs Numba comes last.
        """
        parts = sorted(self.parts, key=_cost, reverse=True)
        allowed = max([SMALL, *(2 * _nbytes(x) for x in parts if isinstance(x, Source))])
        together = [x for x in parts if _working(x) * jobs <= allowed]
        alone = [x for x in parts if _working(x) * jobs > allowed]
        try:
            if alone or not together:
                self.cost = self.count()
            with single():
                for part in alone:
                    self._take(part, self._examine(part), advance)
                    if isinstance(part, Source) and part.name in self.unstored:
                        self.rows[part.name] = self._stored(part)
            if together:
                self._run_together(together, jobs, advance, count=not alone)
        except KeyboardInterrupt:
            return False
        return True

    def _run_together(self, parts: list[Part], jobs: int, advance: Advance, count: bool) -> None:
        with single(), _scipy(parts), _polite(), ThreadPoolExecutor(jobs, "adjoint-inspect") as pool:
            waiting: dict[Future[Any], Part] = {}
            loaded = False
            try:
                for part in parts:
                    waiting[pool.submit(self._examine, part)] = part
                if count:
                    self.cost = self.count()
                while waiting:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        part = waiting[future]
                        self._take(part, future.result(), advance)
                        if isinstance(part, Source) and part.name in self.unstored:
                            waiting[pool.submit(self._stored, part)] = part
                            loaded = loaded or load(part.matrix)
                        del waiting[future]
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                for future, part in waiting.items():
                    if not future.cancelled() and future.exception() is None:
                        self._take(part, future.result(), advance)
                raise

    def _take(self, part: Part, found: Row | list[Circuit] | str, advance: Advance) -> None:
        """Keep what was found of a part; again where it is told more, as a row with its errors."""
        seen = part.name in self.rows or part.name in self.circuits
        if isinstance(found, Row):
            self.rows[part.name] = found
        elif isinstance(found, str):
            self.failed[circuits_of(part.name) if isinstance(part, Heads) else part.name] = found
        else:
            self.circuits[part.name] = found
        if not seen:
            advance(_cost(part))

    def _examine(self, part: Part) -> Row | list[Circuit] | str:
        """The row of a weight or the circuits of an attention, or why there are none."""
        if self._stop.is_set():
            raise Stopped
        try:
            return self._circuits(part) if isinstance(part, Heads) else self._row(part)
        except (np.linalg.LinAlgError, SpectrumError) as error:
            return f"its spectrum could not be computed: {error}"

    def _row(self, source: Source) -> Row:
        array, sliding = source.read(), source.sliding
        key = "" if self.where is None else remembered.key(array, how=repr(sliding) if sliding else "")
        own = {"name": source.name, "kind": source.kind, "dtype": source.dtype, "tied": source.tied, "share": None}
        if self.where is not None:
            known = remembered.recall(self.where, key, lambda told: Row.from_dict(told | own))
            if known is not None:
                self.known.add(source.name)
                return known
        stop = self._stop.is_set
        told = kernels.measured_kernel(array, sliding, stop) if sliding else measured(array, stop)
        result = row(source.name, source.kind, source.shape, source.dtype, told, source.tied)
        if "sigma_max" in told:
            self.unstored[source.name] = key
        elif self.where is not None:
            remembered.keep(self.where, key, result.as_dict())
        return result

    def _stored(self, source: Source) -> Row:
        """The row of a weight with what it would lose in fewer bits."""
        if self._stop.is_set():
            raise Stopped
        lost = errors(source.read())
        result = replace(self.rows[source.name], nf4_error=lost["nf4_error"], int8_error=lost["int8_error"])
        key = self.unstored.pop(source.name)
        if self.where is not None:
            remembered.keep(self.where, key, result.as_dict())
        return result

    def _circuits(self, heads: Heads) -> list[Circuit]:
        if self.where is None:
            return circuits(heads)
        key = remembered.key(*heads.read(), how=f"circuits of {heads.count} heads, {heads.groups} groups")

        def made(told: Any) -> list[Circuit]:
            own = {kind: {"name": heads.name, "left_out": heads.left_out[kind]} for kind in KINDS}
            return [restored(Circuit, x | own[x["kind"]]) for x in told]

        found = remembered.recall(self.where, key, made)
        if found is None:
            found = circuits(heads)
            remembered.keep(self.where, key, plain(found))
        return found


def _cost(part: Part) -> float:
    """About the operations of its spectra."""
    if isinstance(part, Heads):
        return of_heads.cost(part) + 1000.0
    m, n = part.matrix
    k = min(m, n)
    kernel = kernels.work(kernels.symbol(part.shape, part.sliding)) if part.sliding else 0.0
    return float(m * n * k + 8 * k**3 + 1000) + kernel


def _working(part: Part) -> int:
    """About the memory it takes beside the weights."""
    if isinstance(part, Heads):
        return of_heads.working_bytes(part)
    kernel = kernels.working_bytes(part.shape, part.sliding) if part.sliding else 0
    m, n = part.matrix
    stored = 2 * m * n  # its codes, of which pieces are compared with it
    return max(kernel, stored, working_bytes(m, n, part.numbers))


def _nbytes(source: Source) -> int:
    m, n = source.matrix
    return m * n * source.numbers.itemsize


_counting = threading.Lock()
_guests, _interval = 0, 0.005


@contextmanager
def _polite() -> Iterator[None]:
    """Threads give each other the interpreter sooner: one that loads Numba would keep another from its next product."""
    global _guests, _interval
    with _counting:
        if not _guests:
            _interval = sys.getswitchinterval()
        _guests += 1
        sys.setswitchinterval(min(_interval, 1e-4))
    try:
        yield
    finally:
        with _counting:
            _guests -= 1
            if not _guests:
                sys.setswitchinterval(_interval)


def _scipy(parts: list[Part]) -> AbstractContextManager[Any]:
    """One thread for SciPy's BLAS, too, where it is going to be called; it is not imported for nothing."""
    grams = [x for x in parts if isinstance(x, Source) and by_gram(*x.matrix, x.numbers)]
    if not any(x.sliding or numpys() is None for x in grams):
        return nullcontext()
    import_module("scipy.linalg")  # its BLAS is found only where it is loaded
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")
