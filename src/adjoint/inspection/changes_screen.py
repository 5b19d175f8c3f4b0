"""What training changed, as a person sees it."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.changes import Change, Changes
from adjoint.inspection.screen import plain, shortened
from adjoint.inspection.table import figures, percent, shape

SHOWN = 24  # weights in the table
TOLD = 3  # of them in sentences
LEGEND = (
    "ΔW/W: ‖ΔW‖_F over ‖W‖_F; rank: singular values of ΔW above what rounding leaves; k₉₀: values that hold 90 % of "
    "its energy, random: of a random matrix of that shape; intruders: of the ten leading singular vectors, those near "
    "to none of the base's (|cos| < 0.6); turned: the largest angle of W's image or kernel to that before."
)


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
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("weight", no_wrap=True)
    adapters = any(x.adapter is not None for x in shown)
    headers = ["matrix", "ΔW/W", "σ₁", "rank", *(["r"] if adapters else []), "k₉₀", "random", "intruders", "turned"]
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for name, x in zip(shortened([x.name for x in shown]), shown, strict=True):
        table.add_row(
            Text(name, "" if x.low_rank else "yellow"), shape(x.matrix), percent(x.relative), figures(x.sigma),
            f"{x.rank:,}", *([f"{x.adapter or '–'}"] if adapters else []), f"{x.k90:,}", f"{x.random90:,}",
            "–" if x.intruders is None else str(x.intruders), _turned(x),
        )  # fmt: skip
    parts: list[Any] = [heading, "", table]
    if len(moved) > len(shown):
        parts.append(Text(f"… and {len(moved) - len(shown)} more", "dim"))
    details = [f"{plain(x.name)}: {x.told}" for x in full[:TOLD]]
    details += [f"{plain(x.name)}: {x.turned}" for x in sorted(moved, key=_angle, reverse=True)[:TOLD] if x.turned]
    legend = LEGEND + (" r: of its adapters." if adapters else "")
    return Group(*parts, "", *map(Text, details), "", Text(legend, "dim"))


def _angle(x: Change) -> float:
    return -1.0 if x.turning is None else max(x.turning.image, x.turning.kernel)


def _turned(x: Change) -> str:
    return "–" if _angle(x) <= 0.0 else f"{_angle(x):.3g}°"
