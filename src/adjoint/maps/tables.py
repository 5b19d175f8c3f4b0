"""Maps between products of spaces: a table of maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.maps.base import LinearMap, kept
from adjoint.maps.combinations import first_array
from adjoint.maps.elementary import Zero
from adjoint.maps.spaces import Space, is_product
from adjoint.maps.spaces import add as add_elements


class Block(LinearMap):
    """A table of maps between product spaces: row i gives output i, the sum over j of A_ij x_j; None is zero.

    With one row the output is a plain space, with one column the input is.

    >>> import numpy as np, adjoint as aj
    >>> A, B = aj.Dense(np.ones((2, 3))), aj.Dense(np.ones((2, 4)))
    >>> aj.block([[A, B]])
    [Dense, Dense]: ((3,), (4,)) → (2,)
    """

    __slots__ = ("product_in", "product_out", "rows")

    def __init__(
        self,
        rows: Sequence[Sequence[LinearMap | None]],
        product_in: bool | None = None,
        product_out: bool | None = None,
    ) -> None:
        self.rows = complete(rows)
        self.product_in = len(self.rows[0]) > 1 if product_in is None else product_in
        self.product_out = len(self.rows) > 1 if product_out is None else product_out

    @property
    def in_shape(self) -> Space:
        """The input spaces of the columns."""
        spaces = tuple(m.in_shape for m in self.rows[0])
        return spaces if self.product_in else spaces[0]

    @property
    def out_shape(self) -> Space:
        """The output spaces of the rows."""
        spaces = tuple(row[0].out_shape for row in self.rows)
        return spaces if self.product_out else spaces[0]

    def apply(self, v: Any) -> Any:
        """Every row's sum."""
        parts = v if self.product_in else (v,)
        out = tuple(_dot([m.apply for m in row], row, parts) for row in self.rows)
        return out if self.product_out else out[0]

    def adjoint(self, u: Any) -> Any:
        """Every column's sum."""
        parts = u if self.product_out else (u,)
        columns = list(zip(*self.rows, strict=True))
        out = tuple(_dot([m.adjoint for m in column], column, parts) for column in columns)
        return out if self.product_in else out[0]

    @property
    def T(self) -> LinearMap:
        """The transposed table of adjoints."""
        turned = [[m.T for m in column] for column in zip(*self.rows, strict=True)]
        return kept(Block(turned, self.product_out, self.product_in), self)

    def array(self) -> Array | None:
        """An array of one of the maps."""
        return first_array([m for row in self.rows for m in row])

    def describe(self) -> str:
        """The table, rows separated by semicolons."""
        return "[" + "; ".join(", ".join(m.describe() for m in row) for row in self.rows) + "]"


def _dot(directions: list[Any], maps: Sequence[LinearMap], parts: Sequence[Any]) -> Any:
    chosen = [f(x) for f, m, x in zip(directions, maps, parts, strict=True) if not isinstance(m, Zero)]
    if not chosen:
        return directions[0](parts[0])
    total = chosen[0]
    for part in chosen[1:]:
        total = add_elements(total, part)
    return total


def complete(rows: Sequence[Sequence[LinearMap | None]]) -> tuple[tuple[LinearMap, ...], ...]:
    """The table with zero maps for None; every row must agree on its output space, every column on its input."""
    width = {len(row) for row in rows}
    if len(width) != 1 or width == {0}:
        raise ShapeError(f"block: every row needs the same number of maps, got rows of {[len(r) for r in rows]}.")
    columns = list(zip(*rows, strict=True))
    ins = [_common("column", j, [m.in_shape for m in column if m is not None]) for j, column in enumerate(columns)]
    outs = [_common("row", i, [m.out_shape for m in row if m is not None]) for i, row in enumerate(rows)]
    return tuple(
        tuple(Zero(ins[j], outs[i]) if m is None else m for j, m in enumerate(row)) for i, row in enumerate(rows)
    )


def _common(what: str, i: int, spaces: list[Space]) -> Space:
    if not spaces:
        raise ShapeError(f"block: {what} {i} has only None, so its space is unknown; use aj.Zero(in_shape, out_shape).")
    if len(set(spaces)) > 1:
        raise ShapeError(f"block: {what} {i} mixes the spaces {sorted(set(spaces), key=str)}.")
    if is_product(spaces[0]):
        raise ShapeError(f"block: {what} {i} is a product of spaces already; block maps between plain spaces.")
    return spaces[0]
