"""`adjoint diff`: what training changed, on one screen or as JSON."""

from __future__ import annotations

import os

import typer
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from adjoint import __version__
from adjoint.inspection import diff
from adjoint.inspection.changes_screen import screen


def show(
    console: Console, base: str, tuned: str, as_json: bool = False, every: bool = False, intruders: bool = True,
    trust_pickle: bool = False,
) -> None:  # fmt: skip
    """Print what changed from one model to another. Raises what `aj.diff` and `aj.open` raise."""
    found = diff(base, tuned, intruders, trust_pickle)
    if as_json:
        typer.echo(found.to_json())
        return
    names = [os.path.basename(os.path.normpath(x)) for x in (base, tuned)]
    title = Text(f"adjoint {__version__} · diff {names[0]} → {names[1]}", "bold")
    console.print(Rule(title, align="left", style="dim"))
    console.print(screen(found, every))
