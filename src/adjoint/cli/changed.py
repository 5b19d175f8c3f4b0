"""`adjoint diff`: what training changed, on one screen or as JSON."""

from __future__ import annotations

import os
from dataclasses import replace

import typer
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from adjoint import __version__
from adjoint.cli.adapted import adapters
from adjoint.inspection import diff
from adjoint.inspection.changes import Changes
from adjoint.inspection.changes_screen import screen
from adjoint.lora.files import load


def show(
    console: Console, base: str, tuned: str, as_json: bool = False, every: bool = False, intruders: bool = True,
    trust_pickle: bool = False,
) -> None:  # fmt: skip
    """Print what changed from one model to another, or by an adapter's folder beside the first.

    Raises what `aj.diff`, `aj.open` and `lora.load` raise.
    """
    found = beside(base, tuned, intruders) if adapters(tuned) else diff(base, tuned, intruders, trust_pickle)
    if as_json:
        typer.echo(found.to_json())
        return
    names = [os.path.basename(os.path.normpath(x)) for x in (base, tuned)]
    title = Text(f"adjoint {__version__} · diff {names[0]} → {names[1]}", "bold")
    console.print(Rule(title, align="left", style="dim"))
    console.print(screen(found, every))


def beside(base: str, folder: str, intruders: bool = True) -> Changes:
    """What the adapters of a folder change in a model. Raises what `aj.open` and `lora.load` raise."""
    from adjoint.cli.extracted import network

    found = diff(load(network(base), folder), intruders=intruders)
    names = (os.path.basename(os.path.normpath(x)) for x in (base, folder))
    return replace(found, base=next(names), tuned=next(names))
