"""What is wrong with the weights of a network, the worst first, in plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from adjoint.inspection.blocks import Block
from adjoint.inspection.row import Row

PEERS = 3  # weights of one shape and role that are compared among themselves
BESIDE_PEERS = 5.0  # times their median σ₁, above or below which a weight stands out
BESIDE_OTHERS = 100.0  # the same among weights of other shapes
LARGE = 32  # the shorter side from which on few directions are strange
FEW = 0.05  # share of the directions that hold 99 % of the energy


class Finding(NamedTuple):
    """Something at fault with a weight: how grave, from 1 (worth a look) to 4 (unusable), and what."""

    name: str
    gravity: float
    told: str


def findings(rows: Sequence[Row]) -> list[Finding]:
    """All that is at fault, the gravest first.

    Numbers that are not finite; zeros; directions that the rank lacks; rows or columns of zeros or that repeat others;
    a σ₁ five times above or below the median of three or more weights of the same shape and role, or where there are
    fewer, a hundred times that of all; 99 % of the energy in a twentieth of the directions.

    >>> import numpy as np, adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((40, 40))
    >>> x[:, 7] = 0.0
    >>> [found.told for found in aj.inspect({"w": x}, cache=False).findings]
    ['1 of 40 directions is lost (rank 39); 1 column is zeros: 7']
    """
    scale = _scales(rows)
    found = [Finding(row.name, *_judged(row, scale.get(row.name))) for row in rows]
    return sorted((x for x in found if x.told), key=lambda x: -x.gravity)


def _judged(row: Row, scale: tuple[float, str] | None) -> tuple[float, str]:
    if row.nans or row.infs:
        parts = [f"{n:,} {what}" for n, what in ((row.nans, "NaN"), (row.infs, "infinite")) if n]
        return 4.0, f"{' and '.join(parts)} among {row.parameters:,} numbers: no spectrum was computed"
    if row.rank is None:
        return 0.0, ""
    if row.sigma_max == 0.0:
        return 3.5, "all zeros: nothing passes"
    told: list[tuple[float, str]] = []
    if row.lost and not near_by_chance(row):
        most = row.most
        verb = "is" if row.lost == 1 else "are"
        told.append((2.0 + row.lost / most, f"{row.lost:,} of {most:,} directions {verb} lost (rank {row.rank:,})"))
    if scale is not None:
        from adjoint.inspection.table import figures  # Rich is loaded only where something is told

        ratio, whom = scale
        far = f"{figures(ratio)} times" if ratio > 1 else f"1/{figures(1 / ratio)} of"
        told.append((2.0 + min(abs(math.log10(ratio)), 9.0) / 10.0, f"σ₁ {row.sigma_max:.3g} is {far} {whom}"))
    told += _lines(row)
    if row.k99 is not None and not row.lost and min(row.matrix) >= LARGE and row.k99 <= FEW * row.most:
        held = f"{row.k99:,} of {row.most:,} directions hold 99 % of the energy"
        told.append((1.0 + 0.5 / row.k99, held))
    return max((gravity for gravity, _ in told), default=0.0), "; ".join(text for _, text in told)


def flowing(blocks: Sequence[Block]) -> list[Finding]:
    """The blocks that gradients meet something at fault in, as `adjoint.inspection.flow_by_block` judges them.

    >>> [found.told for found in flowing([Block("h.1", "Block", 1.0, 9.0, 1.0, factor=9.0, verdict="explodes")])]
    ['gradients explode in it: they grow 9.00 times as much as in the typical block']
    """
    from adjoint.inspection.table import figures

    typical = "the typical block"
    told = {
        "explodes": lambda x: f"gradients explode in it: they grow {figures(x.factor)} times as much as in {typical}",
        "vanishes": lambda x: f"gradients vanish in it: they grow 1/{figures(1 / x.factor)} as much as in {typical}",
        "saturated": lambda x: f"{x.saturated:.0%} of its sigmoids and tanhs are saturated: hardly any gradient passes",
        "dead": lambda x: f"{x.dead:.0%} of its ReLUs are zero at all examples: no gradient passes them",
    }  # fmt: skip
    return [
        Finding(x.name, 2.0 + (min(abs(math.log10(x.factor)), 9.0) / 10.0 if x.factor > 0 else 0.9), told[x.verdict](x))
        for x in blocks
        if x.verdict
    ]


def near_by_chance(row: Row) -> bool:
    """Whether a single direction is below the tolerance in what else is a random matrix, as may happen to one.

    σ_min of a random n×n matrix is below t times the size of its entries with a probability of about √n t. What
    rounding leaves of a direction that is not there is about the spacing of float32 times that size; 32 times that is
    where chance ends here.
    """
    zeros = row.zero_rows or row.zero_columns or row.repeated_rows or row.repeated_columns
    if row.lost != 1 or not row.random or zeros:
        return False
    entries = row.sigma_max * math.sqrt(row.stable_rank / row.parameters)
    if row.torus:  # σ₁ of the random matrix that the kernel is
        entries = row.reshaped_norm / sum(map(math.sqrt, row.matrix))
    return row.sigma_min > max(32.0 * 2.0**-23 * entries, row.bound_min)


def _lines(row: Row) -> list[tuple[float, str]]:
    """Rows and columns of zeros, and repeated ones."""
    told = []
    for places, what, size in (
        (row.zero_rows, "row", row.matrix[0]),
        (row.zero_columns, "column", row.matrix[1]),
    ):
        if places and not (row.kind == "embedding" and what == "row" and places.count == 1):  # padding
            verb = f"{what} is" if places.count == 1 else f"{what}s are"
            told.append((1.5 + places.count / size / 2, f"{places.count:,} {verb} zeros: {places}"))
    for places, what, size in (
        (row.repeated_rows, "row", row.matrix[0]),
        (row.repeated_columns, "column", row.matrix[1]),
    ):
        if places:
            verb = f"{what} repeats another" if places.count == 1 else f"{what}s repeat others"
            told.append((1.5 + places.count / size / 2, f"{places.count:,} {verb}: {places}"))
    return told


def _scales(rows: Sequence[Row]) -> dict[str, tuple[float, str]]:
    """By name (σ₁ over a median, whose that is) where σ₁ stands out."""
    known = [row for row in rows if row.rank is not None and row.sigma_max > 0]
    roles: dict[object, list[Row]] = {}
    for row in known:
        roles.setdefault(_role(row), []).append(row)
    matrices = [row for row in known if row.kind != "embedding"]
    among = "all {} weights" if len(matrices) == len(known) else "all {} weights but embeddings"
    found: dict[str, tuple[float, str]] = {}
    for row in known:
        others, limit, whom = roles[_role(row)], BESIDE_PEERS, "the {} weights like it"
        if len(others) < PEERS and row.kind != "embedding":
            others, limit, whom = matrices, BESIDE_OTHERS, among
        if len(others) >= PEERS:
            ratio = row.sigma_max / float(np.median([x.sigma_max for x in others]))
            if not 1.0 / limit < ratio < limit:
                found[row.name] = ratio, f"the median of {whom.format(len(others))}"
    return found


def _role(row: Row) -> tuple[object, ...]:
    """What weights of one role have in common: shape, and the name but for numbers."""
    return row.shape, re.sub(r"\d+", "", row.name)
