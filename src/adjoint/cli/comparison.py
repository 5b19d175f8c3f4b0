"""`adjoint lora compare`: five ways to adapt one network to one task, side by side."""

from __future__ import annotations

import math
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
from adjoint.nn.module import count_parameters
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

    Of `parameters`, those of the adapters among them, `learning` learn; `share` is the quotient, as PEFT tells it.
    `memory` are the bytes of the network and what NumPy allocates at most during two steps beside it, as tracemalloc
    sees it; `off` is the old task once more, the adapter switched off; `curve` (steps, loss on validation data).
    """

    method: str
    learning: int
    parameters: int
    share: float
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
    """All methods, and the network before, of `parameters`."""

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


@dataclass(frozen=True)
class Trial:
    """What is the same for all methods: the task, the seed, the steps and the order of the examples."""

    contest: Contest
    rank: int
    alpha: float
    seed: int

    @property
    def train(self) -> Rounds:
        """The examples, in rounds after which a run is measured."""
        return Rounds.of(self.contest.train, -(-self.contest.steps // ROUNDS), self.contest.batch)

    @property
    def steps(self) -> int:
        """Of each run."""
        return ROUNDS * self.train.every

    def ready(self, method: str, lr: float) -> Prepared:
        """The network before a run."""
        return prepare(
            self.contest.net, method, rank=self.rank, alpha=self.alpha, also=self.contest.also, steps=self.steps,
            lr=lr, rng=self.seed,
        )  # fmt: skip

    def run(self, method: str, lr: float) -> Trained | None:
        """A run; None where the loss or a weight is not finite in the end."""
        contest, start = self.contest, self.ready(method, lr)
        try:
            return fit(
                start.net, self.train, loss=contest.loss, metric=contest.metric, optimizer=start.optimizer,
                penalty=start.penalty, schedule=cosine(lr, self.steps, warmup=self.steps // 10, final=lr / 10),
                max_norm=MAX_NORM, epochs=ROUNDS, batch_size=contest.batch, seed=self.seed,
                validation=contest.validation, progress=False,
            )  # fmt: skip
        except FloatingPointError:
            return None


@dataclass(frozen=True)
class Best:
    """The best run of a method, and the losses on validation data of all rates, infinite where one diverged."""

    lr: float
    run: Trained
    tried: dict[float, float]


def compare(
    contest: Contest, rank: int, alpha: float, seed: int, methods: tuple[str, ...] = METHODS,
    said: Callable[[str], object] = lambda text: None,
) -> Comparison:  # fmt: skip
    """Adapt the network by each method, with the same seed, steps and order of examples.

    Each is run with every learning rate of the contest; the one with the least loss on validation data counts. `said`
    gets what is done next. Raises FloatingPointError where a method diverges at all rates.
    """
    began = time.perf_counter()
    trial = Trial(contest, rank, alpha, seed)
    found = {method: best(trial, method, said) for method in methods}
    said("time and memory of a step")
    batch = next(trial.train.batches(contest.batch, seed))
    took = timed(contest, {method: trial.ready(method, x.lr) for method, x in found.items()}, batch)
    rows = tuple(row(trial, method, x, took[method], batch) for method, x in found.items())
    before = measured(contest, contest.net, contest.test), measured(contest, contest.back(contest.net), contest.old)
    return Comparison(
        told=contest.told,
        parameters=trial.ready("full", 0.0).learning,
        steps=trial.steps,
        batch=contest.batch,
        rank=rank,
        seed=seed,
        before=before,
        rows=rows,
        tested=len(contest.test),
        seconds=time.perf_counter() - began,
    )


def best(trial: Trial, method: str, said: Callable[[str], object]) -> Best:
    """Run a method with every learning rate."""
    runs: dict[float, Trained] = {}
    tried = {}
    for lr in trial.contest.rates:
        said(f"{method}, learning rate {lr:g}")
        run = trial.run(method, lr)
        tried[lr] = math.inf if run is None else run.history[-1].validation_loss or 0.0
        if run is not None:
            runs[lr] = run
    if not runs:
        rates = ", ".join(f"{lr:g}" for lr in tried)
        raise FloatingPointError(f"lora compare: {method} diverges at all learning rates: {rates}.")
    lr = min(runs, key=tried.__getitem__)
    return Best(lr, runs[lr], tried)


def row(trial: Trial, method: str, found: Best, step: float, batch: Any) -> Row:
    """All figures of a method."""
    contest, net = trial.contest, found.run.net
    before = trial.ready(method, found.lr)
    every = count_parameters(before.net)
    if method == "adalora":
        compact(net)
    return Row(
        method=method,
        learning=before.learning,
        parameters=every,
        share=before.learning / every,
        saved=bytes_saved(net),
        memory=memory(contest, before, batch),
        step=step,
        lr=found.lr,
        tried=found.tried,
        new=measured(contest, net, contest.test),
        old=measured(contest, contest.back(net), contest.old),
        off=without(contest, net),
        curve=tuple((e.epoch * trial.train.every, e.validation_loss or 0.0) for e in found.run.history),
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
