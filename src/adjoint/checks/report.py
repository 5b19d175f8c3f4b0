"""What a check found, as numbers and as a table of plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adjoint.arrays.dispatch import Shape
from adjoint.errors import DerivativeError


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the Jacobian, ∂(an output's entry)/∂(an operand's entry): what the map and what differences say."""

    operand: str
    output: str
    derivative: float
    difference: float

    def __str__(self) -> str:
        return f"∂{self.output}/∂{self.operand} is {self.derivative:.9g} here, {self.difference:.9g} by differences"


@dataclass(frozen=True, slots=True)
class Row:
    """What was found for one operand.

    `dot` is the largest |⟨J v, u⟩ - ⟨v, Jᵀ u⟩| over the random v and u tried, in parts of ‖J v‖‖u‖; `error` the largest
    |J v - differences|, where it is largest beside its tolerance, `dense` the same for the columns of J.dense() (None
    where that would be large); both in parts of the largest entry of J v. Each with its tolerance.
    """

    operand: str
    shape: Shape
    dot: float = math.nan
    dot_tolerance: float = math.nan
    error: float = math.nan
    tolerance: float = math.nan
    dense: float | None = None
    worst: Entry | None = None
    kinks: int = 0
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the derivative."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class Report:
    """What `aj.check` found: a row for every operand, and how it was checked; true when all is right.

    >>> import numpy as np, adjoint as aj
    >>> aj.check(lambda x: x * aj.stop_gradient(x), np.array([2.0])).findings
    ('x: ∂value[0]/∂x[0] is 2 here, 4 by differences',)
    """

    function: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every row is."""
        return all(row.ok for row in self.rows)

    @property
    def findings(self) -> tuple[str, ...]:
        """What is wrong, operand by operand."""
        return tuple(finding for row in self.rows for finding in row.findings)

    def __bool__(self) -> bool:
        return self.ok

    def raise_if_wrong(self) -> None:
        """Raise `DerivativeError` with the report as its message unless all is right."""
        if not self.ok:
            raise DerivativeError(str(self))

    def __str__(self) -> str:
        wrong = sum(not row.ok for row in self.rows)
        verdict = f"WRONG in {wrong} of {len(self.rows)} operands" if wrong else "right"
        lines = [f"derivative of {self.function}: {verdict}", "", *table(HEAD, [cells(row) for row in self.rows])]
        notes = [note for row in self.rows for note in row.notes]
        if self.findings:
            lines += ["", *(f"✗ {finding}" for finding in self.findings)]
        if notes or self.notes:
            lines += ["", *(f"· {note}" for note in (*notes, *self.notes))]
        return "\n".join(lines)

    __repr__ = __str__


HEAD = ("", "operand", "shape", "dot test", "tolerance", "differences", "tolerance", "largest disagreement at")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    place = f"∂{row.worst.output}/∂{row.worst.operand}" if row.worst else ""
    errors = [f"{e:.1e}" if e == e else "-" for e in (row.dot, row.dot_tolerance, row.error, row.tolerance)]
    return ("✓" if row.ok else "✗", row.operand, str(row.shape), *errors, place)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with aligned columns: numbers to the right.

    >>> table(("a", "b"), [("xyz", "1.0"), ("x", "10.0")])
    ['a       b', 'xyz   1.0', 'x    10.0']
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    numeric = [all(cell[:1].isdigit() or cell == "-" for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for line in (head, *rows):
        padded = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines
