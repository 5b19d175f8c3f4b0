"""The columns of the page's tables: what stands above them, what they mean, how their numbers are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from adjoint.inspection.row import Row
from adjoint.inspection.screen import plain
from adjoint.inspection.table import figures


@dataclass(frozen=True)
class Column:
    """One column: the attribute `key` of a record under `header`, explained by `title`; `more` ones are shown on wish.

    >>> row = Row("w", "matrix", (2, 3), "float32", (2, 3), rank=2)
    >>> Column("rank", "rank", "directions that get through").cell(row)
    Cell(text='2', sort='2', number=True)
    """

    key: str
    header: str
    title: str
    more: bool = False
    write: Callable[[Any], str] | None = None

    def cell(self, record: Any) -> Cell:
        """What stands in the column for a record."""
        value = getattr(record, self.key)
        return Cell(self.write(value), sortable(value), is_number(value)) if self.write else cell(value)


@dataclass(frozen=True)
class Cell:
    """A text, what it is sorted by, nothing where it is not known, and whether it is a number."""

    text: str
    sort: str
    number: bool


def is_number(value: Any) -> bool:
    """Whether a value is a number, no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def sortable(value: Any) -> str:
    """A value for the script to sort by: six digits, "Infinity", or nothing where it is not known.

    >>> sortable(1234567.8), sortable(float("nan")), sortable(float("inf")), sortable(True)
    ('1.23457e+06', '', 'Infinity', 'yes')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "Infinity" if value == math.inf else f"{value:.6g}"
    if hasattr(value, "count") and hasattr(value, "first"):
        return str(value.count)
    return plain(str(value))


def cell(value: Any) -> Cell:
    """A value as people read it.

    >>> cell(4000), cell(float("nan")).text, cell((3, 4)).text
    (Cell(text='4,000', sort='4000', number=True), '–', '3×4')
    """
    sort = sortable(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("–", sort, True)
    if isinstance(value, bool):
        return Cell(sort, sort, False)
    if isinstance(value, int):
        return Cell(f"{value:,}", sort, True)
    if isinstance(value, float):
        return Cell(figures(value), sort, True)
    if hasattr(value, "count") and hasattr(value, "first"):  # places of faulty lines
        return Cell(f"{value.count:,}: {value}" if value else "0", sort, True)
    if isinstance(value, tuple):
        if value and all(isinstance(x, int) for x in value):
            return Cell("×".join(map(str, value)), str(math.prod(value)), True)
        return Cell(plain(", ".join(map(str, value))), sort if value else "", False)
    return Cell(plain(str(value)), sort, False)


def share(value: float) -> str:
    """A share of the whole in percent, a dash where it is not known.

    >>> share(0.1234), share(float("nan"))
    ('12.3%', '–')
    """
    return "–" if math.isnan(value) else f"{value:.1%}"


WEIGHTS = (
    Column("name", "weight", "The weight's name in the model."),
    Column("kind", "kind", "What it is by its name and axes: matrix, attention, embedding or kernel.", True),
    Column("shape", "shape", "Its axes as the file has them."),
    Column("dtype", "dtype", "The type of its numbers.", True),
    Column(
        "matrix", "matrix", "Rows × columns m×n: the first axis by all others. Of a convolution, see operator.", True
    ),
    Column("parameters", "parameters", "How many numbers it has: m n.", True),
    Column("rank", "rank", "Directions that get through: how many singular values σ exceed the tolerance."),
    Column("tolerance", "tolerance", "Below it a singular value counts as zero: ½ √(m+n+1) ε σ₁.", True),
    Column("nullity", "nullity", "Dimension of the kernel: n − rank, n the columns of the matrix or operator."),
    Column("lost", "lost", "Directions that the shape allows and the numbers do not: min(m, n), or most, − rank."),
    Column("operator", "operator", "Rows × columns of a convolution on its torus, which rank, σ and k are of.", True),
    Column("allowed", "most", "The largest rank that a kernel's shape and stride allow its convolution.", True),
    Column("torus", "torus", "Sides of the torus that a convolution is examined on, its input going on around.", True),
    Column("sigma_max", "σ₁", "The largest singular value: the most that ‖A x‖/‖x‖ can be."),
    Column("bound", "± σ₁", "How far σ₁ may be off.", True),
    Column("reshaped_norm", "reshaped", "σ₁ of a kernel as the matrix: not the norm of its convolution.", True),
    Column(
        "padded_norm", "σ₁ padded", "What a convolution's σ₁ is at most with zeros around its input, of any size.", True
    ),
    Column("sigma_min", "σ_min", "The smallest of the min(m, n) singular values."),
    Column("bound_min", "± σ_min", "How far σ_min may be off.", True),
    Column("cond", "condition", "σ₁/σ_min: how unevenly it stretches; infinite where directions are lost."),
    Column("stable_rank", "stable rank", "Σσ²/σ₁²: how many directions carry the energy, softly counted."),
    Column("entropy_rank", "entropy rank", "exp H(σ/Σσ), H the entropy (Roy & Vetterli 2007)."),
    Column("k90", "k₉₀", "The fewest singular values that hold 90 % of Σσ²."),
    Column("k99", "k₉₉", "The fewest singular values that hold 99 % of Σσ²."),
    Column("reshaped_k99", "k₉₉ reshaped", "k₉₉ of a kernel as the matrix, the rank that its factors need.", True),
    Column("alpha", "α", "Exponent of the tail of λ = σ²: density ∝ λ^−α (Clauset, Shalizi & Newman 2009)."),
    Column("tail", "tail", "How many values the exponent α was fitted to.", True),
    Column("randomness", "distance", "Kolmogorov distance of σ² to the law of Marchenko and Pastur.", True),
    Column("random", "random", "Whether the spectrum is that of a random matrix: no alarm, but nothing learned shows."),
    Column("nf4_error", "as NF4", "‖Ŵ − W‖/‖W‖ if it were stored in NF4: 4 bits, blocks of 64, scales quantized too."),
    Column(
        "int8_error", "as int8", "‖Ŵ − W‖/‖W‖ if it were stored in int8: a scale and a zero point for each row.", True
    ),
    Column("zero_rows", "zero rows", "Rows of zeros: outputs that are always the same.", True),
    Column("zero_columns", "zero columns", "Columns of zeros: inputs that are never seen.", True),
    Column("repeated_rows", "repeated rows", "Rows that repeat an earlier one.", True),
    Column("repeated_columns", "repeated columns", "Columns that repeat an earlier one.", True),
    Column("nans", "NaN", "Numbers that are not a number.", True),
    Column("infs", "infinite", "Numbers that are infinite.", True),
    Column("method", "method", "How the singular values were found.", True),
    Column("share", "FLOPs", "Its module's share of the FLOPs of the forward pass.", write=share),
    Column("tied", "tied", "Other names of the same numbers, counted once.", True),
)
CURVES = ("spectrum",)  # drawn, not tabled


def columns(known: Sequence[Column], kind: type, without: Sequence[str] = ()) -> tuple[Column, ...]:
    """The known columns of a record, and behind them one for every other field, under its own name."""
    names = [field.name for field in fields(kind)]
    have = {column.key for column in known}
    rest = [Column(name, name.replace("_", " "), f"The field {name}.", True) for name in names if name not in have]
    kept = [column for column in known if column.key in names or hasattr(kind, column.key)]
    return tuple(column for column in (*kept, *rest) if column.key not in without)


def weights() -> tuple[Column, ...]:
    """The columns of the table of all weights."""
    return columns(WEIGHTS, Row, CURVES)
