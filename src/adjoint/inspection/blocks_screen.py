"""Gradient flow as a person sees it: a line a block."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.blocks import Block
from adjoint.inspection.screen import Fitted, plain, shortened
from adjoint.inspection.table import figures

HEADERS = ("activation", "gradient", "σ₁", "mean σ²", "× typical", "to here")
LEFT_OUT = ("mean σ²", "activation", "to here")  # first, if too long a line


def flow(found: Sequence[Block], cotangent: str) -> Group:
    """Each block: its activation, the gradient at its input, its Jacobian, its growth beside the typical block's.

    `cotangent` says what is sent back.
    """
    names = shortened([x.name for x in found])

    def made(without: Collection[str]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
        table.add_column("block", overflow="fold")
        headers = [header for header in HEADERS if header not in without]
        for header in headers:
            table.add_column(header, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for name, x in zip(names, found, strict=True):
            told = (x.activation, x.gradient_in, x.norm, x.gain, x.factor, x.product)
            cells = {h: "–" if math.isnan(value) else figures(value) for h, value in zip(HEADERS, told, strict=True)}
            again = f" (call {x.nth + 1})" if x.nth else ""
            label = Text(name or "(the network)").append(f" {plain(x.kind)}{again}", "dim")
            table.add_row(label, *(cells[header] for header in headers), Text(x.verdict, "bold red"))
        return table

    explained = {
        "activation": "√(mean y²) of the block's output y",
        "gradient": f"its norm at the block's input, that of {cotangent}",
        "σ₁": f"of the block's Jacobian, {off(found)}",
        "mean σ²": "of its squared singular values",
        "× typical": "growth of a gradient over that of the typical block",
        "to here": "product of the growths from the output",
    }

    def legend(without: Collection[str]) -> list[Text]:
        told = "; ".join(f"{header}: {text}" for header, text in explained.items() if header not in without)
        return [Text(f"Medians over the examples{few(found)}. {told}.", "dim")]

    return Group(Text("Gradient flow", "bold cyan"), Fitted(made, LEFT_OUT, legend))


def off(found: Sequence[Block]) -> str:
    """How far σ₁ may be off.

    >>> off([Block("a", "Block", 1.0, 1.0, 1.0, norm=2.0, bound=0.05), Block("b", "Block", 1.0, 1.0, 1.0)])
    'to 2.5 %'
    """
    share = max((x.bound / x.norm for x in found if x.norm > 0), default=0.0)
    return f"to {100 * max(share, 1e-4):.2g} %"


def few(found: Sequence[Block]) -> str:
    """At how many of the examples the Jacobians of large blocks were probed; "" where at all.

    >>> few([Block("a", "Block", 1.0, 1.0, 1.0, examples=2, of=4)])
    '; of σ₁ and growth over the first 2 of 4'
    """
    fewest = min(found, key=lambda x: x.examples / x.of, default=None)
    if fewest is None or fewest.examples >= fewest.of:
        return ""
    return f"; of σ₁ and growth over the first {fewest.examples} of {fewest.of}"
