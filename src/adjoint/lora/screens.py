"""What `extract` found, as a person sees it."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.screen import plain, shortened
from adjoint.inspection.table import figures, shape
from adjoint.lora.extracting import Extraction

SHOWN = 24  # layers in a table


def extraction(found: Extraction, every: bool = False) -> Group:
    """Totals, what is stored whole or not at all, and a line a layer, those that lose the most first."""
    heading = Table.grid(padding=(0, 2))
    count = len(found.layers)
    heading.add_row(Text("adapter", "dim"), f"{found.parameters:,} parameters for {count} layer{'s' * (count != 1)}")
    if count:
        heading.add_row(
            Text("holds", "dim"),
            Text(f"{found.kept:.2%} of the energy ‖ΔW‖²; what is left out is ‖ΔW - BA‖ = {figures(found.error)}, the "
                 f"least that these ranks allow{_within(found)}"),
        )  # fmt: skip
    if found.biases:
        heading.add_row(Text("biases", "dim"), f"{len(found.biases)} stored beside the adapters")
    for label, told in (("whole", found.whole), ("not stored", found.lost)):
        for k, (why, names) in enumerate(grouped(told).items()):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            heading.add_row(
                Text(label if not k else "", "dim"),
                Text(f"{plain(names[0])}{more}: {why}", "yellow" if label == "not stored" else ""),
            )
    if found.tied:
        heading.add_row(
            Text("tied", "dim"),
            Text(f"{', '.join(map(plain, found.tied))}: both have an adapter. Use it beside the base model; PEFT's "
                 "merge_and_unload would add both to the one weight"),
        )  # fmt: skip
    if not count:
        return Group(heading)
    rows = sorted(found.layers, key=lambda x: -x.error)
    shown = rows if every else rows[:SHOWN]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("layer", overflow="fold")
    for header in ("matrix", "rank", "parameters", "‖ΔW‖", "error", "holds"):
        table.add_column(header, justify="right", no_wrap=True)
    names = shortened([x.name for x in shown])
    if every or len(set(names)) < len(names):  # cut, they would look alike
        names = [plain(x.name) for x in shown]
    for name, x in zip(names, shown, strict=True):
        table.add_row(
            name, shape(x.matrix), f"{x.rank:,}", f"{x.parameters:,}", figures(x.norm), figures(x.error),
            f"{x.kept:.2%}",
        )  # fmt: skip
    parts: list[Any] = [heading, "", table]
    if len(rows) > len(shown):
        parts.append(Text(f"… and {len(rows) - len(shown)} more, with smaller errors", "dim"))
    return Group(*parts)


def _within(found: Extraction) -> str:
    """How near to the least the error is known to be, where Gram matrices served."""
    bound = math.sqrt(sum(x.bound**2 for x in found.layers))
    return f", its square to within {bound**2:.1e}" if bound else ""


def grouped(told: Any) -> dict[str, list[str]]:
    """Names by what is told of them.

    >>> grouped({"a": "x", "b": "y", "c": "x"})
    {'x': ['a', 'c'], 'y': ['b']}
    """
    result: dict[str, list[str]] = {}
    for name, why in told.items():
        result.setdefault(why, []).append(name)
    return result
