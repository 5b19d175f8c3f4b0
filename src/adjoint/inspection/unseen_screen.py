"""What a layer cannot see of a sample, as a person sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.screen import plain
from adjoint.inspection.table import figures

if TYPE_CHECKING:
    from adjoint.inspection.unseen import Unseen

SHOWN = 8  # directions
LARGEST = 3  # inputs of a direction


def screen(found: Unseen) -> Group:
    """A sentence, the directions that are lost, the sample's own directions and how much of them is seen."""
    out, size = found.shape
    heading = Text(f"What {plain(found.name)} ({found.kind}) cannot see of the sample", "bold cyan")
    rows = f"{found.rows:,} {found.of}{'es' if found.of.endswith('h') else 's'} of {size:,} numbers"
    told = (
        f"{share(found.share)} of the energy of {rows} is lost: the matrix ({out:,}×{size:,}) has rank "
        f"{found.rank:,} and sends {found.nullity:,} of {size:,} directions to zero (σ ≤ {found.tolerance:.2g}, "
        f"σ₁ {figures(found.norm)})."
    )
    parts: list[object] = [heading, Text(told)]
    if len(found.directions):
        parts += ["", _lost(found)]
    parts += ["", _principal(found)]
    return Group(*parts)  # type: ignore[arg-type]


def _lost(found: Unseen) -> Table:
    table = _table("lost direction", "energy", "together", "largest at")
    together = np.cumsum(found.energies)
    for k, direction in enumerate(found.directions[:SHOWN]):
        at = ", ".join(str(i) for i in np.argsort(-np.abs(direction))[:LARGEST])
        table.add_row(str(k + 1), share(found.energies[k]), share(together[k]), at)
    _more(table, len(found.directions))
    return table


def _principal(found: Unseen) -> Table:
    table = _table("principal direction", "energy", "gain", "unseen", "largest at")
    for k, direction in enumerate(found.principal[:SHOWN]):
        at = ", ".join(str(i) for i in np.argsort(-np.abs(direction))[:LARGEST])
        table.add_row(str(k + 1), share(found.spread[k]), figures(found.gains[k]), share(found.hidden[k]), at)
    _more(table, len(found.principal))
    return table


def _table(first: str, *headers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column(first, no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _more(table: Table, count: int) -> None:
    if count > SHOWN:
        table.add_row(Text(f"… and {count - SHOWN:,} more", "dim"))


def share(x: float) -> str:
    """A share of 1 as percent, to three figures.

    >>> share(0.12345), share(0.0), share(1e-6)
    ('12.3 %', '0 %', '0.0001 %')
    """
    return f"{100 * x:.3g} %" if x == 0 or x >= 1e-6 else f"{100 * x:.0e} %"
