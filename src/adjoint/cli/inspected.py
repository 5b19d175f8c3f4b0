"""`adjoint inspect`: what is wrong with a model's weights, on one screen or as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from adjoint import __version__, nn
from adjoint.cli.recipes import next_character
from adjoint.errors import ShapeError
from adjoint.inspection import inspect
from adjoint.inspection.passage import Loss
from adjoint.inspection.screen import screen
from adjoint.inspection.unseen import full, missing
from adjoint.inspection.watching import evaluated
from adjoint.interop import open as opened
from adjoint.interop.entries import listed
from adjoint.interop.sections import source_name
from adjoint.interop.weights import Weights


def cross_entropy(scores: Any, target: Any) -> Any:
    """`aj.cross_entropy`, also where the classes are on the last axis, as of language models: target (n, …).

    >>> round(float(cross_entropy(np.zeros((2, 3, 5)), np.ones((2, 3), "int64"))), 4)  # log 5
    1.6094
    """
    shape, places = tuple(scores.shape), tuple(target.shape)
    first = (shape[0], *shape[2:])
    if len(shape) > 2 and places == shape[:-1] != first:
        return next_character(scores, target)
    if len(shape) > 2 and places not in (shape, first):
        raise ShapeError(
            f"scores {shape} go with labels {shape[:-1]} where the classes are on the last axis, as of language "
            f"models, or with {first} where they are on axis 1."
        )
    return nn.CrossEntropyLoss()(scores, target)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "mse": nn.MSELoss()}


def show(
    console: Console,
    source: str,
    as_json: bool = False,
    jobs: int | None = None,
    sort: str | None = None,
    every: bool = False,
    cache: bool = True,
    trust_pickle: bool = False,
    html: Path | None = None,
    sample: Path | None = None,
    loss: str | None = None,
    unseen: str | None = None,
    batch: int | None = None,
    seq: int | None = None,
) -> bool:
    """Print the report on what a source holds; whether it is whole, as it is not where Ctrl-C ended it.

    `html` is where it is written as a page, too; `sample` a file with an array of examples, and with their targets
    where there is a `loss`, one of `LOSSES`; `unseen` a layer of which is shown what it cannot see of them. `batch` and
    `seq` are what the cost is told of. Raises what `aj.open` raises, ValueError for a sample that is none, KeyError for
    a layer that is none, and OSError where `html` cannot be written.
    """
    if html is not None and not html.parent.is_dir():
        raise FileNotFoundError(f"--html {html}: there is no folder {html.parent}.")
    if sample is None and (loss is not None or unseen is not None):
        raise ValueError(f"--{'loss' if loss is not None else 'unseen'} is asked of a sample: add --sample FILE.")
    x = None if sample is None else examples(sample, loss is not None)
    if unseen is not None:
        _known(source, unseen, trust_pickle)
    weighed = None if loss is None else LOSSES[loss]
    report = inspect(source, x, loss=weighed, jobs=jobs, cache=cache, trust_pickle=trust_pickle, batch=batch, seq=seq)
    hidden = None if unseen is None else report.unseen(unseen)
    if html is not None:
        report.to_html(html)
    if as_json:
        told = report.as_dict() | ({} if hidden is None else {"unseen": hidden.as_dict()})
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
        return report.complete
    name = os.path.basename(os.path.normpath(source))
    console.print(Rule(Text(f"adjoint {__version__} · inspect {name}", "bold"), align="left", style="dim"))
    console.print(screen(report, sort, every))
    if hidden is not None:
        console.print("", hidden, sep="\n")
    if report.rows:
        known = [row.name for row in report.rows if row.rank is not None]
        name = next((x.name for x in report.findings if x.name in known), (known or [report.rows[0].name])[0])
        shown = f"aj.inspect({source!r}).layer({name!r}).kernel()"
        console.print("", Text("in Python  ", "dim").append(shown, "default"), soft_wrap=True, sep="\n")
    if html is not None:
        console.print("", Text("page  ", "dim").append(str(html), "default"), soft_wrap=True, sep="\n")
    return report.complete


def _known(source: str, name: str, trust_pickle: bool) -> None:
    """Raise KeyError where a network has no module of that name, before any time is spent on it."""
    net = opened(source, trust_pickle=trust_pickle)
    if isinstance(net, nn.Module):
        names = [source_name(x) for x, _ in evaluated(net).named_modules() if x]
        if full(name, names) is None:
            raise KeyError(missing(name, names))


def examples(path: Path, with_target: bool) -> Any:
    """The array of a .npy file, mapped, or "x" of an .npz file; with a target the pair of its "x" and "target".

    Raises ValueError for a file that is none or lacks one, and for arrays of Python's objects; CheckpointError for an
    archive that is damaged.
    """
    wanted = ("x", "target") if with_target else ("x",)
    if path.suffix.lower() == ".npz":
        held = Weights(path)
        if missing := [name for name in wanted if name not in held]:
            raise ValueError(f"--sample {path}: it has no array {' and no array '.join(missing)}, only {listed(held)}.")
        arrays = tuple(held[name] for name in wanted)
        return arrays if with_target else arrays[0]
    if with_target:
        raise ValueError(f"--sample {path}: a loss needs an .npz file with the arrays x and target.")
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (EOFError, ValueError) as error:
        raise ValueError(f"--sample {path}: not a .npy file with an array of numbers: {error}") from error
