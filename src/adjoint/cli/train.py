"""`adjoint train`: a recipe trained on real data, with a checkpoint from which it goes on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from adjoint import __version__
from adjoint.cli.recipes import RECIPES, Recipe
from adjoint.interop.writing import write
from adjoint.nn import count_parameters
from adjoint.nn.module import to
from adjoint.optim import AdamW, cosine
from adjoint.training import Trained, evaluate, fit, save

CHECKPOINT, WEIGHTS, HISTORY = "checkpoint.safetensors", "weights.safetensors", "history.json"


def train(
    console: Console, name: str, data: Path | None, out: Path, epochs: int | None, seed: int, backend: str
) -> tuple[Recipe, Trained]:
    """Train a recipe, tell the console about it, and write checkpoint, weights and history to a folder.

    A run that was interrupted goes on from the folder's checkpoint. Raises OSError where the data are missing or the
    folder cannot be written, CheckpointError where the folder's checkpoint is of another run.
    """
    recipe = RECIPES[name](data, seed)
    out.mkdir(parents=True, exist_ok=True)
    epochs = epochs or recipe.epochs
    steps = epochs * -(-len(recipe.train) // recipe.batch_size)
    console.print(Rule(Text(f"adjoint {__version__} · train {name}", "bold"), align="left", style="dim"))
    console.print(described(recipe, epochs, steps), "")
    began = time.perf_counter()
    run = fit(
        to(recipe.net, backend),
        recipe.train,
        loss=recipe.loss,
        metric=recipe.metric,
        optimizer=partial(AdamW, lr=recipe.lr, weight_decay=0.1),
        schedule=cosine(recipe.lr, steps, warmup=min(100, steps // 10), final=recipe.lr / 10),
        max_norm=1.0,
        epochs=epochs,
        batch_size=recipe.batch_size,
        seed=seed,
        validation=recipe.validation,
        checkpoint=out / CHECKPOINT,
        sample=recipe.sample,
    )
    seconds = time.perf_counter() - began
    tested = None if recipe.test is None else evaluate(run.net, recipe.test, loss=recipe.loss, metric=recipe.metric)
    save(out / WEIGHTS, run.net)
    for file, text in recipe.files.items():
        write(out / file, text.encode())
    figures = {"epochs": [asdict(epoch) for epoch in run.history], "test": tested, "seconds": seconds}
    write(out / HISTORY, json.dumps(figures, indent=1).encode())
    console.print(result(run, tested, seconds))
    console.print(Text(f"written to {out}: {', '.join([CHECKPOINT, WEIGHTS, HISTORY, *recipe.files])}", "dim"))
    return recipe, run


def described(recipe: Recipe, epochs: int, steps: int) -> Table:
    """What is about to be trained, on what."""
    table = Table.grid(padding=(0, 2))
    shape = "×".join(map(str, recipe.train.x.shape[1:]))
    parts = [f"{len(recipe.train):,} to train", f"{len(recipe.validation):,} to watch"]
    if recipe.test is not None:
        parts.append(f"{len(recipe.test):,} to test")
    rows = {
        "network": f"{type(recipe.net).__name__}, {count_parameters(recipe.net):,} parameters",
        "data": f"{recipe.train.name or 'examples'} of {shape}: {', '.join(parts)}",
        "training": f"{epochs} epochs of batches of {recipe.batch_size}: {steps:,} steps of AdamW, lr {recipe.lr:g}",
    }
    for what, told in rows.items():
        table.add_row(Text(what, "dim"), told)
    return table


def result(run: Trained, tested: Any, seconds: float) -> Table:
    """How the training ended."""
    table = Table.grid(padding=(0, 2))
    last = run.history[-1]
    row = partial(_row, table)
    row("validation", last.validation_loss, last.validation_metric)
    if tested is not None:
        row("test", *tested)
    minutes, rest = divmod(seconds, 60.0)
    table.add_row(
        Text("time", "dim"),
        f"{int(minutes)} min {rest:.0f} s, of {sum(e.seconds for e in run.history):.0f} s trained in all",
    )
    return table


def _row(table: Table, what: str, loss: float | None, accuracy: float | None) -> None:
    told = f"loss {loss:.4f} nats"
    table.add_row(Text(what, "dim"), told if accuracy is None else f"{accuracy:.2%} right, {told}")
