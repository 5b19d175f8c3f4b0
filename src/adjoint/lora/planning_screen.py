"""What `plan` found, as a person sees it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.costs.units import seconds
from adjoint.inspection.screen import plain, shortened
from adjoint.inspection.table import figures, percent, shape
from adjoint.interop.weights import bytes_told
from adjoint.lora.planning import Plan, Planned

SHOWN = 24  # layers in the table


def screen(found: Plan, every: bool = False) -> Group:
    """Totals, a line a layer, and the block to paste."""
    heading = Table.grid(padding=(0, 2))
    heading.add_row(
        Text("learns", "dim"),
        f"{found.parameters:,} of {found.whole + found.parameters:,} parameters, "
        f"{found.parameters / (found.whole + found.parameters):.3%}; the budget was {found.budget:,}",
    )
    source = "the loss's gradients on the sample" if found.sampled else "the weights' spectra: a heuristic, no --sample"
    heading.add_row(Text("by", "dim"), source)
    if found.memory is not None and found.full is not None and found.activations is not None:
        given = ", ".join(shape(s) for s in found.given)
        heading.add_row(
            Text("memory", "dim"),
            f"{bytes_told(found.memory)} with AdamW, {bytes_told(found.activations)} of it activations; "
            f"{bytes_told(found.full)} to train all; a step on {given}",
        )
    if found.seconds is not None:
        heading.add_row(Text("a step", "dim"), f"{seconds(found.seconds)} at least, on this machine's roofline")
    left = [x.name for x in found.layers if not x.rank]
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        heading.add_row(Text("left out", "dim"), Text(f"{plain(left[0])}{more}: other layers gain more a parameter"))
    return Group(heading, "", _table(found, every), "", Text(found.block, overflow="fold"))


def _table(found: Plan, every: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("layer", no_wrap=True)
    for header in ("matrix", "rank", "parameters", "holds of ‖G‖²" if found.sampled else "effective rank of W"):
        table.add_column(header, justify="right", no_wrap=True)
    rows = [x for x in found.layers if x.rank]
    if len(rows) > SHOWN and not every:
        return _grouped(table, rows, found.sampled)
    for name, x in zip(shortened([x.name for x in rows]), rows, strict=True):
        table.add_row(name, shape(x.matrix), f"{x.rank:,}", f"{x.parameters:,}", _weight(x.weight, found.sampled))
    return table


def _grouped(table: Table, rows: list[Planned], sampled: bool) -> Table:
    """A line for all layers of one name and size, with the least and the most of each figure."""
    groups: dict[Any, list[Planned]] = defaultdict(list)
    for x in rows:
        groups[x.name.rpartition(".")[2], x.matrix].append(x)
    for (name, size), alike in groups.items():
        ranks, weights = [x.rank for x in alike], [x.weight for x in alike]
        told = [f"{plain(name)} ({len(alike)})", shape(size), _span(f"{min(ranks):,}", f"{max(ranks):,}")]
        held = _span(_weight(min(weights), sampled), _weight(max(weights), sampled))
        table.add_row(*told, f"{sum(x.parameters for x in alike):,}", held)
    return table


def _span(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def _weight(x: float, sampled: bool) -> str:
    return percent(x) if sampled else figures(x)
