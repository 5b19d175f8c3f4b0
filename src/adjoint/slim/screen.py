"""What `factorize` did, as a person sees it."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.costs.units import scaled
from adjoint.inspection.screen import shortened
from adjoint.inspection.table import figures, percent
from adjoint.slim.record import Factorization, Standing

KINDS = {"linear": "two linear", "channels": "fewer channels", "separable": "rows, then columns", "": "stays"}


def screen(found: Factorization) -> Group:
    """Totals before and after, and a line a layer."""
    heading = Table.grid(padding=(0, 2))
    count = len(found.replaced)
    heading.add_row(Text("replaced", "dim"), f"{count} of {len(found.layers)} layers by pairs of low rank")
    a, b = found.before, found.after
    share = f", {b.parameters / a.parameters:.1%}" if a.parameters else ""
    heading.add_row(Text("parameters", "dim"), f"{a.parameters:,} → {b.parameters:,}{share}")
    if a.score is not None and b.score is not None:
        heading.add_row(Text("score", "dim"), f"{figures(a.score)} → {figures(b.score)}")
        heading.add_row(Text("evaluated in", "dim"), f"{_seconds(a)} → {_seconds(b)}")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("layer", no_wrap=True)
    table.add_column("becomes", no_wrap=True)
    for header in ("rank", "of", "error", "parameters", "→", "FLOPs", "→"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, x in zip(shortened([x.name or "itself" for x in found.layers]), found.layers, strict=True):
        flops = ("–", "–") if x.flops is None else tuple(map(scaled, x.flops))
        cells: list[Any] = [KINDS[x.kind], f"{x.rank:,}" if x.kind else "–", f"{x.most:,}", percent(x.error)]
        table.add_row(name, *cells, *(f"{n:,}" for n in x.parameters), *flops, style="" if x.kind else "dim")
    what = "of the outputs on the sample" if found.sampled else "‖W - W'‖ over ‖W‖, of the weights: no sample was given"
    return Group(heading, "", table, "", Text(f"error: {what}", "dim"))


def _seconds(x: Standing) -> str:
    return f"{figures(1e3 * (x.seconds or 0.0))} ms"
