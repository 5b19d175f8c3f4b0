"""`adjoint lora compare`: five ways to adapt one network to one task, side by side."""

from __future__ import annotations

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adjoint.cli.contests import Contest
from adjoint.data import Rounds
from adjoint.interop.checkpoints import save as save_weights
from adjoint.lora import adapted_layers, compact, disabled, save
from adjoint.lora.methods import METHODS, Prepared, prepare
from adjoint.optim import cosine
from adjoint.training import Trained, evaluate, fit
from adjoint.training.loop import stepping

ROUNDS = 10  # how often a run is measured on the way
TIMED = 9  # steps by which a method is timed
MAX_NORM = 1.0

Measure = tuple[float, float | None]  # loss, and accuracy where there are classes


@dataclass(frozen=True)
class Row:
    """One method: what it costs, and what it comes to, with the learning rate that was best on validation data.

    `memory` are the bytes of the network and what NumPy allocates at most during two steps beside it, as tracemalloc
    sees it; `off` is the old task once more, the adapter switched off; `curve` (steps, loss on validation data).
    """

    method: str
    learning: int
    saved: int
    memory: int
    step: float
    lr: float
    tried: dict[float, float]
    new: Measure
    old: Measure
    off: Measure | None
    curve: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Comparison:
    """All methods, and the network before."""

    told: dict[str, str]
    parameters: int
    steps: int
    batch: int
    rank: int
    seed: int
    before: tuple[Measure, Measure]
    rows: tuple[Row, ...]
    tested: int
    seconds: float

    @property
    def chance(self) -> float:
        """Two standard deviations of a difference between two accuracies, on as many test examples, near the best."""
        best = max(row.new[1] or 0.0 for row in self.rows)
        return float(2.0 * (2.0 * best * (1.0 - best) / self.tested) ** 0.5)


def compare(
    contest: Contest, rank: int, alpha: float, seed: int, methods: tuple[str, ...] = METHODS,
    said: Callable[[str], object] = lambda text: None,
) -> Comparison:  # fmt: skip
    """Adapt the network by each method, with the same seed, steps and order of examples.

    Each is run with every learning rate of the contest; the one with the least loss on validation data counts. `said`
    gets what is done next.
    """
    began = time.perf_counter()
    every = -(-contest.steps // ROUNDS)
    train = Rounds.of(contest.train, every, contest.batch)
    steps = every * ROUNDS

    def ready(method: str, lr: float) -> Prepared:
        return prepare(contest.net, method, rank=rank, alpha=alpha, also=contest.also, steps=steps, lr=lr, rng=seed)

    def run(method: str, lr: float) -> Trained:
        start = ready(method, lr)
        return fit(
            start.net, train, loss=contest.loss, metric=contest.metric, optimizer=start.optimizer,
            penalty=start.penalty, schedule=cosine(lr, steps, warmup=steps // 10, final=lr / 10), max_norm=MAX_NORM,
            epochs=ROUNDS, batch_size=contest.batch, seed=seed, validation=contest.validation, progress=False,
        )  # fmt: skip

    best: dict[str, tuple[float, Trained, dict[float, float]]] = {}
    for method in methods:
        runs = {}
        for lr in contest.rates:
            said(f"{method}, learning rate {lr:g}")
            runs[lr] = run(method, lr)
        tried = {lr: found.history[-1].validation_loss or 0.0 for lr, found in runs.items()}
        lr = min(tried, key=tried.__getitem__)
        best[method] = lr, runs[lr], tried
    said("time and memory of a step")
    prepared = {method: ready(method, lr) for method, (lr, _, _) in best.items()}
    batch = next(train.batches(contest.batch, seed))
    took = timed(contest, prepared, batch)
    rows = []
    for method, (lr, found, tried) in best.items():
        net = found.net
        if method == "adalora":
            compact(net)
        rows.append(
            Row(
                method, prepared[method].learning, bytes_saved(net), memory(contest, ready(method, lr), batch),
                took[method], lr, tried, measured(contest, net, contest.test),
                measured(contest, contest.back(net), contest.old), without(contest, net),
                tuple((e.epoch * every, e.validation_loss or 0.0) for e in found.history),
            )
        )  # fmt: skip
    before = measured(contest, contest.net, contest.test), measured(contest, contest.back(contest.net), contest.old)
    total = prepare(contest.net, "full").learning
    return Comparison(
        contest.told,
        total,
        steps,
        contest.batch,
        rank,
        seed,
        before,
        tuple(rows),
        len(contest.test),
        time.perf_counter() - began,
    )


def measured(contest: Contest, net: Any, data: Any) -> Measure:
    """Loss and accuracy of a network."""
    size = 256 if contest.metric else contest.batch
    return evaluate(net, data, loss=contest.loss, metric=contest.metric, batch_size=size)


def without(contest: Contest, net: Any) -> Measure | None:
    """The old task with the adapter switched off."""
    if not adapted_layers(net):
        return None
    with disabled(net):
        return measured(contest, contest.back(net), contest.old)


def timed(contest: Contest, prepared: dict[str, Prepared], batch: Any) -> dict[str, float]:
    """Seconds of a step, the median of several that alternate."""
    walks = {method: walk(contest, ready, batch) for method, ready in prepared.items()}
    took: dict[str, list[float]] = {method: [] for method in walks}
    for k in range(TIMED + 1):
        for method, steps in walks.items():
            began = time.perf_counter()
            next(steps)
            if k:
                took[method].append(time.perf_counter() - began)
    return {method: statistics.median(times) for method, times in took.items()}


def memory(contest: Contest, ready: Prepared, batch: Any) -> int:
    """The bytes of the network, and what is allocated at most beside it in two steps: gradients, moments, values."""
    held = sum({id(x): x.nbytes for _, x in ready.net.named_arrays()}.values())
    steps = walk(contest, ready, batch)
    tracemalloc.start()
    try:
        next(steps)
        next(steps)
        return int(held + tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def walk(contest: Contest, ready: Prepared, batch: Any) -> Iterator[None]:
    """Step after step on one batch."""
    step = stepping(contest.loss, MAX_NORM, ready.penalty)
    net, optimizer = ready.net, ready.optimizer(ready.net)
    while True:
        net, optimizer, _ = step(net, optimizer, *batch, None)
        yield


def bytes_saved(net: Any) -> int:
    """The bytes of what is to be kept: the adapter's files, or all weights."""
    with tempfile.TemporaryDirectory() as folder:
        if adapted_layers(net):
            save(net, folder)
        else:
            save_weights(Path(folder, "model.safetensors"), net)
        return sum(file.stat().st_size for file in Path(folder).iterdir())
