"""What training changed, as a person sees it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.changes import Change, Changes
from adjoint.inspection.screen import Fitted, plain, shortened
from adjoint.inspection.table import figures, percent, shape

SHOWN = 24  # weights in the table
TOLD = 3  # of them in sentences
HEADERS = ("matrix", "ΔW/W", "σ₁", "rank", "r", "k₉₀", "random", "intruders", "turned")
LEFT_OUT = ("σ₁", "random", "matrix", "intruders")  # columns, first, if too long a line
LEGEND = {
    "ΔW/W": "‖ΔW‖_F over ‖W‖_F",
    "σ₁": "ΔW's largest singular value",
    "rank": "singular values of ΔW above what rounding leaves",
    "r": "of its adapters",
    "k₉₀": "values that hold 90 % of its energy",
    "random": "k₉₀ of a random matrix of that shape",
    "intruders": "of the ten leading singular vectors, those near to none of the base's (|cos| < 0.6)",
    "turned": "the largest angle of W's image or kernel to that before",
}


def screen(found: Changes, every: bool = False) -> Group:
    """The verdict, the weights that changed the most, and what was not compared and why."""
    heading = Table.grid(padding=(0, 2))
    heading.add_row(Text("base", "dim"), Text(plain(found.base), "bold"))
    heading.add_row(Text("tuned", "dim"), Text(plain(found.tuned), "bold"))
    full = [x for x in found.moved if not x.low_rank]
    heading.add_row(Text("verdict", "dim"), Text(plain(found.verdict), "yellow" if full else "green"))
    reasons: dict[str, list[str]] = {}
    for name, why in found.skipped.items():
        reasons.setdefault(why, []).append(name)
    for k, (why, names) in enumerate(reasons.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        heading.add_row(Text("left out" if not k else "", "dim"), Text(f"{plain(names[0])}{more}: {why}"))
    moved = found.moved
    if not moved:
        return Group(heading)
    shown = moved if every else moved[:SHOWN]
    absent = [] if any(x.adapter is not None for x in shown) else ["r"]
    names = shortened([x.name for x in shown])

    def made(without: Collection[str]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
        table.add_column("weight", no_wrap=True)
        headers = [header for header in HEADERS if header not in (*without, *absent)]
        for header in headers:
            table.add_column(header, justify="right", no_wrap=True)
        for name, x in zip(names, shown, strict=True):
            cells = dict(zip(HEADERS, _cells(x), strict=True))
            table.add_row(Text(name, "" if x.low_rank else "yellow"), *(cells[header] for header in headers))
        return table

    rest = [Text(f"… and {len(moved) - len(shown)} more", "dim")] if len(moved) > len(shown) else []
    details = [f"{plain(x.name)}: {x.told}" for x in full[:TOLD]]
    details += [f"{plain(x.name)}: {x.turned}" for x in sorted(moved, key=_angle, reverse=True)[:TOLD] if x.turned]

    def below(without: Collection[str]) -> list[Any]:
        told = [f"{header}: {text}" for header, text in LEGEND.items() if header not in (*without, *absent)]
        return [*rest, "", *map(Text, details), "", Text(f"{'; '.join(told)}.", "dim")]

    return Group(heading, "", Fitted(made, LEFT_OUT, below))


def _cells(x: Change) -> tuple[str, ...]:
    """The figures of a line, one for each of `HEADERS`."""
    intruders = "–" if x.intruders is None else str(x.intruders)
    return (
        shape(x.matrix), percent(x.relative), figures(x.sigma), f"{x.rank:,}", f"{x.adapter or '–'}", f"{x.k90:,}",
        f"{x.random90:,}", intruders, _turned(x),
    )  # fmt: skip


def _angle(x: Change) -> float:
    return -1.0 if x.turning is None else max(x.turning.image, x.turning.kernel)


def _turned(x: Change) -> str:
    return "–" if _angle(x) <= 0.0 else f"{_angle(x):.3g}°"
