"""Attention circuits as a person sees them: the heads that stand out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from adjoint.inspection.circuits import Circuit
from adjoint.inspection.screen import plain
from adjoint.inspection.table import figures

SHOWN = 3  # of a kind, by each of: the largest σ₁, the fewest directions
COLUMNS = ("head", "circuit", "rank", "σ₁", "stable", "k₉₀", "k₉₉", "copies")


def circuits(found: Sequence[Circuit]) -> Group:
    """The circuits that lack directions, then of each kind those of the largest σ₁ and of the fewest directions."""
    chosen = _chosen(found)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("attention", overflow="fold")
    for header in COLUMNS:
        table.add_column(header, justify="right", no_wrap=True)
    for x in chosen:
        rank = "–" if x.rank is None else f"{x.rank} of {x.most}"
        style = "red" if x.rank is None or x.rank < min(x.most, *x.shape) else ""
        told = (
            [figures(x.sigma_max), figures(x.stable_rank), f"{x.k90}", f"{x.k99}"] if x.rank is not None else ["–"] * 4
        )
        copies = "–" if x.kind == "QK" or math.isnan(x.positive) else f"{x.positive:+.2f}"
        table.add_row(Text(plain(x.name) or "(the model)", style), f"{x.head}", x.kind, rank, *told, copies)
    heads = len(found) // 2
    left = ", ".join(dict.fromkeys(text for x in found for text in x.left_out))
    legend = (
        f"{len(chosen)} of the {len(found)} circuits of {heads} heads: those that lack directions, then of each kind "
        f"the {SHOWN} of the largest σ₁ and the {SHOWN} of the smallest stable rank. QK: W_Qᵀ W_K, what a head looks "
        "for; OV: W_O W_V, what it moves. "
        f"copies: Σ Re λ / Σ|λ|, +1 where the OV gives back what it reads. Left out: {left}."
    )
    return Group(Text("Attention circuits", "bold cyan"), table, Text(legend, "dim"))


def _chosen(found: Sequence[Circuit]) -> list[Circuit]:
    faulty = [x for x in found if x.rank is None or x.rank < min(x.most, *x.shape)][:SHOWN]
    chosen = {(x.name, x.head, x.kind): x for x in faulty}
    for kind in ("QK", "OV"):
        known = [x for x in found if x.kind == kind and x.rank is not None]
        for ordered in (sorted(known, key=lambda x: -x.sigma_max), sorted(known, key=lambda x: x.stable_rank)):
            chosen |= {(x.name, x.head, x.kind): x for x in ordered[:SHOWN]}
    return list(chosen.values())
