"""`adjoint lora`: low-rank adaptation from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="lora",
    help="Low-rank adaptation: extract an adapter from a fine-tuned model.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MODEL = "a folder as Hugging Face lays them out, with config.json"


@app.command("extract")
def _extract(
    base: Annotated[str, typer.Argument(help=f"The model before: {MODEL}.", metavar="BASE")],
    tuned: Annotated[str, typer.Argument(help="The model after.", metavar="TUNED")],
    to: Annotated[Path, typer.Option(help="Folder for the adapter; made where it is missing.", metavar="FOLDER")],
    rank: Annotated[int | None, typer.Option(min=1, help="Of every layer's adapter.")] = None,
    energy: Annotated[float | None, typer.Option(help="Else the share of each layer's ‖ΔW‖² to keep.")] = None,
    every: Annotated[bool, typer.Option("--all", help="A line for every layer.")] = False,
) -> None:
    """Write the best adapter for what fine-tuning changed, as PEFT reads it, and tell what it leaves out."""
    from rich.console import Console

    from adjoint.cli.extracted import extracted

    with mendable():
        extracted(Console(), base, tuned, to, rank, energy, every)


@contextmanager
def mendable() -> Iterator[None]:
    """What the user can mend is told in one line, with exit status 1."""
    try:
        yield
    except (TypeError, ValueError) as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
