"""`adjoint inspect`: what is wrong with a model's weights, on one screen or as JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from adjoint import __version__
from adjoint.inspection import inspect
from adjoint.inspection.screen import screen


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
) -> bool:
    """Print the report on what a source holds; whether it is whole, as it is not where Ctrl-C ended it.

    `html` is where it is written as a page, too; `sample` a file with an array of examples. Raises what `aj.open`
    raises, ValueError for a sample that is none, and OSError where `html` cannot be written.
    """
    if html is not None and not html.parent.is_dir():
        raise FileNotFoundError(f"--html {html}: there is no folder {html.parent}.")
    x = None if sample is None else examples(sample)
    report = inspect(source, x, jobs=jobs, cache=cache, trust_pickle=trust_pickle)
    if html is not None:
        report.to_html(html)
    if as_json:
        typer.echo(report.to_json())
        return report.complete
    name = os.path.basename(os.path.normpath(source))
    console.print(Rule(Text(f"adjoint {__version__} · inspect {name}", "bold"), align="left", style="dim"))
    console.print(screen(report, sort, every))
    if report.rows:
        known = [row.name for row in report.rows if row.rank is not None]
        name = next((x.name for x in report.findings if x.name in known), (known or [report.rows[0].name])[0])
        shown = f"aj.inspect({source!r}).layer({name!r}).kernel()"
        console.print("", Text("in Python  ", "dim").append(shown, "default"), soft_wrap=True, sep="\n")
    if html is not None:
        console.print("", Text("page  ", "dim").append(str(html), "default"), soft_wrap=True, sep="\n")
    return report.complete


def examples(path: Path) -> Any:
    """The array of a .npy file, mapped; ValueError for a file that is none, and for arrays of Python's objects."""
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (EOFError, ValueError) as error:
        raise ValueError(f"--sample {path}: not a .npy file with an array of numbers: {error}") from error
