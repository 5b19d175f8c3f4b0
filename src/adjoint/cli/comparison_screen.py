"""`adjoint lora compare` on one screen, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import typer
from rich.console import Console, Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from adjoint import __version__
from adjoint.cli.comparison import Comparison, Measure, compare
from adjoint.cli.contests import digits, text
from adjoint.costs.units import scaled, seconds
from adjoint.inspection.row import plain


def show(
    task: str, data: Path | None, model: Path | None, rank: int, alpha: float, steps: int | None, seed: int,
    as_json: bool, plot: Path | None,
) -> Comparison:  # fmt: skip
    """Compare, and print the table or JSON. Raises OSError and DataError for data that are missing or unsuitable."""
    drawing = import_module("adjoint.cli.comparison_plot") if plot else None  # it takes Matplotlib
    if drawing is not None:
        drawing.check(plot)  # before minutes have passed
    if task == "digits" and model is not None:
        raise ValueError("lora compare: --model is for --task text.")
    told = Console(stderr=True)
    with told.status("the old task"):
        contest = digits(data, steps, seed) if task == "digits" else text(data, model, steps, seed)
    with told.status("") as status:
        found = compare(contest, rank, alpha, seed, said=status.update)
    if as_json:
        typer.echo(json.dumps(plain(found), indent=2))
    else:
        console = Console()
        console.print(Rule(Text(f"adjoint {__version__} · lora compare", "bold"), align="left", style="dim"))
        console.print(screen(found))
    if drawing is not None:
        drawing.draw(found, plot)
    return found


def screen(found: Comparison) -> Group:
    """The network, the two tasks, a line for each method, and what is to be read off."""
    about = Table.grid(padding=(0, 2))
    for what, told in {**found.told, "training": _training(found)}.items():
        about.add_row(Text(what, "dim"), told)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("method")
    for name in ("learns", "of all", "to keep", "memory", "a step", "lr", "new", "old", "off"):
        table.add_column(name, justify="right")
    table.add_row("before", *[""] * 6, _told(found.before[0]), _told(found.before[1]), style="dim")
    for row in found.rows:
        table.add_row(
            row.method, f"{row.learning:,}", f"{row.share:.1%}", f"{scaled(row.saved)}B",
            f"{scaled(row.memory)}B", seconds(row.step), f"{row.lr:g}", _told(row.new), _told(row.old),
            "" if row.off is None else _told(row.off),
        )  # fmt: skip
    return Group(about, "", table, "", *(Text(note, "dim") for note in notes(found)))


def notes(found: Comparison) -> Iterator[str]:
    """What the columns mean, and what chance alone may do."""
    classes = found.before[0][1] is not None
    yield (
        "new, old task: "
        + ("right answers on" if classes else "loss in nats a token on")
        + " examples held out; off: old task, adapter switched off."
    )
    first = "; of adalora at first: it gives ranks up" if any(row.method == "adalora" for row in found.rows) else ""
    yield f"of all: the share of all parameters that learns, adapters among them, as PEFT counts{first}."
    yield "to keep: bytes of the adapter's files, or of all weights. a step: median of steps that alternate."
    yield "memory: weights, and the most that NumPy allocates in a step beside them (tracemalloc)."
    yield (
        f"lr: the best of {', '.join(f'{lr:g}' for lr in found.rows[0].tried)} on other examples; seed and "
        "order are the same for all."
    )
    if classes:
        yield f"One seed: differences of less than {found.chance:.1%} on the new task may be chance."
    if edges := [row.method for row in found.rows if row.lr == max(row.tried)]:
        yield f"The best rate of {', '.join(edges)} is the largest tried: a larger one may be better."


def _training(found: Comparison) -> str:
    return f"{found.steps} steps of AdamW, batches of {found.batch}; rank {found.rank}; seed {found.seed}"


def _told(measure: Measure) -> str:
    loss, right = measure
    return f"{loss:.3f}" if right is None else f"{right:.1%}"
