"""What is below the table of weights: how its figures were found, and what its columns are of."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from adjoint.inspection.row import Row

if TYPE_CHECKING:
    from adjoint.inspection.report import Report

EXPLAINED = {
    "stable": "Σσ²/σ₁²",
    "k₉₉": "values that hold 99 % of the energy",
    "α": "exponent of the tail of σ²",
    "random": "whether the spectrum is that of a random matrix",
    "FLOPs": "its share of the forward pass's",
}


def legend(report: Report, without: Collection[str] = ()) -> str:
    """How the figures were found, how far they may be off, and what columns are of, but for those left out."""
    known = [row for row in report.rows if row.rank is not None]
    methods = ", ".join(dict.fromkeys(row.method.partition(",")[0] for row in known)) or "none"
    off = max((row.bound / row.sigma_max for row in known if row.sigma_max > 0), default=0.0)
    if all(math.isnan(row.share) for row in report.rows):
        without = (*without, "FLOPs")
    told = [f"{header}: {text}" for header, text in EXPLAINED.items() if header not in without]
    stored = ", ".join(header for header in ("NF4", "int8") if header not in without)
    told += [f"{stored}: ‖Ŵ − W‖/‖W‖ if stored so"] if stored else []
    told += _stored(report.rows) if not stored else []
    kernels = _kernels([row for row in known if row.torus], without)
    return f"All singular values, by {methods}; σ₁ to within {off:.0e} of itself. {'; '.join(told)}.{kernels}"


def _stored(rows: Sequence[Row]) -> list[str]:
    """What 4 and 8 bits would lose at most, where the table has no room for a column."""
    told = []
    for header, field in (("NF4", "nf4_error"), ("int8", "int8_error")):
        known = [(getattr(row, field), row.name) for row in rows if not math.isnan(getattr(row, field))]
        if known:
            error, name = max(known)
            told.append(f"{header} would lose {error:.1%} of ‖W‖" + (f" at most, of {name}" if len(known) > 1 else ""))
    return told


def _kernels(rows: Sequence[Row], without: Collection[str]) -> str:
    """What the figures of convolutions are of, where there are any."""
    if not rows:
        return ""
    sides = ["×".join(map(str, row.torus)) for row in sorted(rows, key=lambda row: math.prod(row.torus))]
    range_of = sides[0] if sides[0] == sides[-1] else f"{sides[0]} to {sides[-1]}"
    beyond = max((row.padded_norm / row.sigma_max - 1.0 for row in rows if row.sigma_max > 0), default=0.0)
    assumed = sum("assumed" in row.method for row in rows)
    which = "all" if assumed == len(rows) else f"{assumed:,} of them"
    more = f"at most {100.0 * beyond:.2g} % more" if beyond <= 1.0 else f"up to {1.0 + beyond:.2g} times as large"
    both = " and ".join(header for header in ("α", "random") if header not in without)
    matrix = f" reshaped: σ₁ of the kernel as a matrix{', which ' + both + ' are of' if both else ''}."
    return (
        f" Convolutions are operators on a torus of {range_of}: rank and k₉₉ count its directions; with zeros around "
        f"the input σ₁ is {more}."
        + ("" if "reshaped" in without else matrix)
        + (f" Stride 1 and one group are assumed for {which}." if assumed else "")
    )
