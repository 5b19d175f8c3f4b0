"""The layers at a sample as a table of text, in 80 columns or more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from adjoint.arrays.dispatch import Shape
from adjoint.inspection.layers import Layer

if TYPE_CHECKING:
    from adjoint.inspection.report import Report


def table(report: Report) -> Table:
    """A row a layer; the last column is the norm of the Jacobian from the layer's output to the network's."""
    result = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    result.add_column("layer", overflow="fold")
    for header in ("map", "params", "rank", "nullity", "hides", "σ₁", "cond", "to output"):
        result.add_column(header, justify="right", no_wrap=True)
    norms = {(depth.name, depth.nth): depth.norm for depth in report.depths}
    for layer in report.layers:
        place = layer.name, layer.nth
        result.add_row(named(layer), *cells(layer), figures(norms[place]) if place in norms else "–")
    if report.network is not None:
        result.add_section()
        result.add_row(Text("network", "bold"), *cells(report.network), "", style="bold")
    return result


def named(layer: Layer) -> Text:
    """A layer's name and its class; of one inside another the last part of its name, indented by its level."""
    from adjoint.inspection.screen import shortened

    own = shortened([layer.name.rpartition(".")[2] if layer.level else layer.name])[0]
    again = f" (call {layer.nth + 1})" if layer.nth else ""
    return Text("  " * layer.level).append(f"{own} ", "dim").append(f"{layer.kind}{again}")


def cells(layer: Layer) -> tuple[str, ...]:
    """The figures of a row."""
    return (
        f"{shape(layer.in_shape)} → {shape(layer.out_shape)}",
        f"{layer.parameters:,}",
        str(layer.rank),
        str(layer.nullity),
        percent(layer.hidden),
        figures(layer.norm),
        figures(layer.cond),
    )


def shape(sizes: Shape) -> str:
    """Sizes with × between them.

    >>> shape((8, 8)), shape(())
    ('8×8', '1')
    """
    return "×".join(map(str, sizes)) or "1"


def percent(share: float) -> str:
    """A share of 1 with one decimal, or a dash for nothing.

    >>> percent(0.123), percent(0.0)
    ('12.3%', '–')
    """
    return f"{100 * share:.1f}%" if share else "–"


def figures(value: float) -> str:
    """Three significant figures.

    >>> figures(0.01234), figures(1234.5), figures(float("inf")), figures(1.2e9)
    ('0.0123', '1,230', '∞', '1.2e+09')
    """
    if math.isinf(value):
        return "∞"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.1e}"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 2
    return f"{round(value, digits):,.{max(0, digits)}f}"
