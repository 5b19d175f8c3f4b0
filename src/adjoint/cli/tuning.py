"""`adjoint lora train`: a model adapted to a text or to labelled examples, with a file from which it goes on."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from adjoint import __version__
from adjoint.cli.adapted import lines, uses
from adjoint.cli.door import RUN, STATE, check
from adjoint.cli.extracted import network
from adjoint.cli.opened import hints
from adjoint.cli.tasks import Task, task
from adjoint.costs.units import scaled, seconds
from adjoint.data import Dataset, Rounds
from adjoint.inspection import diff
from adjoint.interop.checkpoints import save as save_weights
from adjoint.interop.writing import write
from adjoint.lora import adapted_layers, compact, save
from adjoint.lora.methods import Prepared, prepare
from adjoint.lora.targets import HEADS
from adjoint.nn.module import count_parameters
from adjoint.optim import cosine
from adjoint.training import Trained, evaluate, fit

ROUNDS = 10  # how often a run that is counted in steps is measured at most
BACKWARD = 3  # a step takes as long as so many forward passes
RATES = {"full": 1e-4}  # of adapters ten times as much, as is usual
RATE = 1e-3
JUDGED = 20_000_000  # parameters up to which the spectra of all changes take seconds


@dataclass(frozen=True)
class Options:
    """What is trained, how, and where it is written."""

    model: Path
    data: Path
    out: Path
    method: str = "lora"
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()
    lr: float | None = None
    steps: int | None = None
    epochs: int | None = None
    batch: int = 8
    seq: int = 128
    share: float = 0.1
    seed: int = 0
    resume: bool = False

    @property
    def rate(self) -> float:
        """The learning rate at its height."""
        return RATES.get(self.method, RATE) if self.lr is None else self.lr

    @property
    def state(self) -> Path:
        """The file from which an interrupted run goes on."""
        return self.out / STATE


@dataclass(frozen=True)
class Tuned:
    """A model that was adapted: loss and accuracy on examples held out, before (of qlora quantized) and after.

    Of `parameters`, those of the adapters among them, `learning` learn.
    """

    net: Any
    before: tuple[float, float | None]
    after: tuple[float, float | None]
    learning: int
    parameters: int
    written: int
    seconds: float
    verdict: str
    run: Trained


def tune(console: Console, options: Options) -> Tuned:
    """Adapt a model, tell the console about it, and write the adapter (or all weights, for "full") to a folder.

    A run that is interrupted leaves its state in the folder, from which one with `resume` goes on to the same weights.
    Raises OSError and DataError for missing or unsuitable data, CheckpointError for a model or state that is damaged or
    of another run, ValueError for options that do not fit the model, and what `door.check` raises for the folder;
    nothing is written then.
    """
    if options.steps is not None and options.epochs is not None:
        raise ValueError("lora train: --steps or --epochs, not both.")
    check(options.out, options.model, options.resume)
    net = network(str(options.model)).to(dtype="float32")
    found = task(net, options.model, options.data, options.seq, options.share, options.seed)
    train, epochs, steps = planned(found.train, len(found.validation), options)
    ready = readied(net, found, options, steps)
    console.print(Rule(Text(f"adjoint {__version__} · lora train", "bold"), align="left", style="dim"))
    total = count_parameters(net)
    console.print(described(options, found, ready, total, train, epochs, steps), "")
    batch = min(options.batch, len(train))
    before = evaluate(found.taking(ready.net), found.validation, loss=found.loss, metric=found.metric, batch_size=batch)
    began = time.perf_counter()
    run = fit(
        found.taking(ready.net),
        train,
        loss=found.loss,
        metric=found.metric,
        optimizer=ready.optimizer,
        penalty=ready.penalty,
        schedule=cosine(options.rate, steps, warmup=min(100, steps // 10), final=options.rate / 10),
        max_norm=1.0,
        epochs=epochs,
        batch_size=batch,
        seed=options.seed,
        validation=found.validation,
        checkpoint=options.state,
    )
    last = run.history[-1]
    assert last.validation_loss is not None
    tuned = found.bare(run.net)
    if options.method == "adalora":
        compact(tuned)
    written = sum(file.stat().st_size for file in saved(tuned, options))
    result = Tuned(
        tuned, before, (last.validation_loss, last.validation_metric), ready.learning, count_parameters(ready.net),
        written, time.perf_counter() - began, judged(net, tuned), run,
    )  # fmt: skip
    figures = {
        "steps": steps,
        "epochs": [asdict(epoch) for epoch in run.history],
        "before": before,
        "after": result.after,
    }
    told = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    write(options.out / RUN, json.dumps({"options": told, **figures}, indent=1).encode())
    options.state.unlink()
    console.print(ended(result, found, options), "")
    console.print(usage(result, options), soft_wrap=True)  # whole, so that it can be copied
    return result


def planned(train: Dataset, held_out: int, options: Options) -> tuple[Dataset, int, int]:
    """(what to learn from, epochs or rounds, steps in all); rounds so few that measuring takes no longer than steps."""
    batch = min(options.batch, len(train))
    if options.steps is None:
        epochs = options.epochs or 3
        return train, epochs, epochs * -(-len(train) // batch)
    rounds = max(1, min(ROUNDS, options.steps, BACKWARD * options.steps * batch // held_out))
    every = -(-options.steps // rounds)
    return Rounds.of(train, every, batch), rounds, rounds * every


def readied(net: Any, found: Task, options: Options, steps: int) -> Prepared:
    """The network with what is to learn: beside adapters the head of a classifier, which is new to these classes."""
    heads = tuple(_heads(net)) if found.metric is not None and options.method != "full" else ()
    return prepare(
        net, options.method, rank=options.rank, alpha=options.alpha, targets=options.targets or None, also=heads,
        steps=steps, lr=options.rate, rng=options.seed,
    )  # fmt: skip


def _heads(net: Any) -> Iterator[str]:
    return (name for name, module in net.named_modules() if name in HEADS)


def saved(net: Any, options: Options) -> list[Path]:
    """Write the adapter, or of full fine-tuning the whole model; the files."""
    if adapted_layers(net):
        save(net, options.out, base=str(options.model))
        return [options.out / name for name in ("adapter_model.safetensors", "adapter_config.json")]
    source = options.model if options.model.is_dir() else options.model.parent
    weights = options.out / "model.safetensors"
    save_weights(weights, net)
    for file in source.iterdir():  # what belongs to the model besides its weights
        if file.name == "config.json" or file.name.startswith("tok"):
            shutil.copyfile(file, options.out / file.name)
    return [weights]


def judged(net: Any, tuned: Any) -> str:
    """Whether the changes are of low rank, in a sentence; none of a model so large that it takes long."""
    if count_parameters(net) > JUDGED:
        return ""
    found = diff(tuned, intruders=False) if adapted_layers(tuned) else diff(net, tuned, intruders=False)
    return found.verdict


# What is told


def described(
    options: Options, found: Task, ready: Prepared, total: int, train: Dataset, epochs: int, steps: int
) -> Table:
    """What is about to be trained, on what."""
    kind = "blocks of {} tokens" if found.metric is None else "examples of {}"
    shape = kind.format("×".join(map(str, found.train.x.shape[1:])))
    how = "" if options.method == "full" else f", rank {options.rank}, alpha {options.alpha:g}"
    penalized = "" if ready.penalty is None else ", loss with penalty"
    return _grid(
        {
            "model": f"{options.model}: {total:,} parameters",
            "data": f"{options.data}: {shape}, {len(found.train):,} to learn from, {len(found.validation):,} held out",
            "method": f"{options.method}{how}: {_share(ready.learning, count_parameters(ready.net))} learn",
            "training": f"{steps:,} steps in {epochs} {train.unit}s, batches of {min(options.batch, len(train))}, "
            f"AdamW, lr {options.rate:g}{penalized}",
        }
    )


def ended(result: Tuned, found: Task, options: Options) -> Table:
    """What came of it."""
    unit = "token" if found.metric is None else "example"
    rows = {"held out": f"loss {result.before[0]:.4f} before, {result.after[0]:.4f} after (nats a {unit})"}
    if result.after[0] > result.before[0]:
        rows["worse"] = (
            f"the loss rose: the learning rate is likely too large; try --lr {options.rate / 10:g} in another folder"
        )
    if result.before[1] is not None and result.after[1] is not None:
        rows["right"] = f"{result.before[1]:.1%} before, {result.after[1]:.1%} after"
    rows |= {
        "learned": _share(result.learning, result.parameters),
        "written": f"{scaled(result.written)}B to {options.out}",
        "time": f"{seconds(result.seconds)}",
        "change": result.verdict or f"adjoint diff {options.model} {options.out} tells whether low rank was enough",
    }
    return _grid(rows)


def usage(result: Tuned, options: Options) -> Text:
    """How the result is used."""
    if options.method == "full":
        return hints(result.net, str(options.out))
    return lines(uses(str(options.model), str(options.out), hasattr(result.net, "generate")))


def _share(learning: int, total: int) -> str:
    return f"{learning:,} of {total:,} parameters ({learning / total:.2%})"


def _grid(rows: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for what, told in rows.items():
        table.add_row(Text(what, "dim"), told)
    return table
