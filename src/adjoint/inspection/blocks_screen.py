"""Gradient flow as a person sees it: a line a block."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.blocks import Block
from adjoint.inspection.screen import plain
from adjoint.inspection.table import figures

HEADERS = ("activation", "gradient", "σ₁", "mean σ²", "× typical", "to here", "")


def flow(found: Sequence[Block]) -> Group:
    """Each block: its activation, the gradient at its input, its Jacobian, its growth beside the typical block's."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("block", no_wrap=True)
    for header in HEADERS:
        table.add_column(header, justify="right" if header else "left", no_wrap=True)
    for x in found:
        told = (x.activation, x.gradient_in, x.norm, x.gain, x.factor, x.product)
        cells = ["–" if math.isnan(value) else figures(value) for value in told]
        name = Text(plain(x.name) or "(the network)").append(f" {x.kind}", "dim")
        table.add_row(name, *cells, Text(x.verdict, "bold red"))
    legend = (
        "Medians over the examples. gradient: its norm at the block's input, that of a random unit cotangent at the "
        "output; σ₁, mean σ²: of the block's Jacobian; × typical: growth of a gradient over that of the typical block; "
        "to here: product of the growths from the output."
    )
    return Group(Text("Gradient flow", "bold cyan"), table, Text(legend, "dim"))
