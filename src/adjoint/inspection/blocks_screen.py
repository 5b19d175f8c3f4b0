"""Gradient flow as a person sees it: a line a block."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.blocks import Block
from adjoint.inspection.screen import plain, shortened
from adjoint.inspection.table import figures

HEADERS = ("activation", "gradient", "σ₁", "mean σ²", "× typical", "to here", "")


def flow(found: Sequence[Block], cotangent: str) -> Group:
    """Each block: its activation, the gradient at its input, its Jacobian, its growth beside the typical block's.

    `cotangent` says what is sent back.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("block", overflow="fold")
    for header in HEADERS:
        table.add_column(header, justify="right" if header else "left", no_wrap=True)
    for name, x in zip(shortened([x.name for x in found]), found, strict=True):
        told = (x.activation, x.gradient_in, x.norm, x.gain, x.factor, x.product)
        cells = ["–" if math.isnan(value) else figures(value) for value in told]
        again = f" (call {x.nth + 1})" if x.nth else ""
        label = Text(name or "(the network)").append(f" {plain(x.kind)}{again}", "dim")
        table.add_row(label, *cells, Text(x.verdict, "bold red"))
    legend = (
        f"Medians over the examples. gradient: its norm at the block's input, that of {cotangent}; σ₁, mean σ²: of the "
        "block's Jacobian; × typical: growth of a gradient over that of the typical block; "
        "to here: product of the growths from the output."
    )
    return Group(Text("Gradient flow", "bold cyan"), table, Text(legend, "dim"))
