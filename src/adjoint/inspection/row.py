"""What is known of one weight: the record that stands behind a row of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
UNKNOWN = math.nan


@dataclass(frozen=True)
class Places:
    """How many rows or columns are at fault, and where the first of them are.

    >>> str(Places(3, (4, 7, 9))), str(Places(9, (0, 1, 2, 3, 4))), bool(Places())
    ('4, 7, 9', '0, 1, 2, 3, 4, …', False)
    """

    count: int = 0
    first: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return ", ".join(map(str, self.first)) + (", …" if self.count > len(self.first) else "")


@dataclass(frozen=True)
class Row:
    """One weight, read as the matrix (rows, columns) of its first axis by all others, or as a convolution.

    `rank` counts the singular values above `tolerance` (see `adjoint.inspection.weight.tolerance`), `nullity` is
    columns - rank, `lost` min(rows, columns) - rank. `sigma_max` and `sigma_min` are the largest and the smallest of
    the min(rows, columns) values, `bound` and `bound_min` how far they may be off, `cond` is infinite where directions
    are lost. `stable_rank` is Σσ²/σ₁², `entropy_rank` exp H(σ/Σσ) (Roy & Vetterli 2007), `k90` and `k99` are the fewest
    values that hold 90 and 99 % of Σσ². `alpha` is the exponent of the tail of the σ² (see
    `adjoint.inspection.tails.power_law`), fitted to `tail` values. `randomness` is the distance to the Marchenko-Pastur
    law (see `adjoint.inspection.tails.marchenko_pastur`), `random` whether it is that of a random matrix. NaN stands
    for what cannot be told. Where there are `nans` or `infs`, no spectrum is computed. `spectrum` has up to 64 pairs
    (k, σ_k) of the curve to six digits, k from 1 to min(rows, columns), spaced evenly in log k. `nf4_error` and
    `int8_error` are ‖Ŵ - W‖/‖W‖ (Frobenius) if it were stored so: see `adjoint.inspection.storage.errors`.
    `share` is that of the forward pass's FLOPs in its module, where these are counted.

    **A convolution** is judged as an operator: `rank` to `k99`, `spectrum`, `method` and the bounds are of the map
    `operator` (rows, columns) on a torus, that is with an input of the sides `torus` that goes on at its other side,
    for which the kernel's symbol has all singular values. `lost` is counted from `most`, the rank that the kernel's
    shape and stride allow. With zeros around an input of any size, σ₁ is at most `padded_norm`. `alpha` to `random` and
    the faulty rows and columns are those of the kernel's numbers as the matrix `matrix`, as low-rank factors take it;
    `reshaped_norm`, which is often taken for the convolution's norm, and `reshaped_k99` are that matrix's σ₁ and k₉₉.

    >>> import numpy as np, adjoint as aj
    >>> row = aj.inspect({"w": np.diag([3.0, 2.0, 0.0])}, cache=False).rows[0]
    >>> row.rank, row.lost, row.sigma_max, row.zero_rows.first
    (2, 1, 3.0, (2,))
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    matrix: tuple[int, int]
    rank: int | None = None
    tolerance: float = UNKNOWN
    sigma_max: float = UNKNOWN
    sigma_min: float = UNKNOWN
    cond: float = UNKNOWN
    stable_rank: float = UNKNOWN
    entropy_rank: float = UNKNOWN
    k90: int | None = None
    k99: int | None = None
    alpha: float = UNKNOWN
    tail: int = 0
    randomness: float = UNKNOWN
    random: bool = False
    zero_rows: Places = Places()
    zero_columns: Places = Places()
    repeated_rows: Places = Places()
    repeated_columns: Places = Places()
    nans: int = 0
    infs: int = 0
    method: str = "none"
    bound: float = UNKNOWN
    bound_min: float = UNKNOWN
    tied: tuple[str, ...] = ()
    spectrum: tuple[tuple[int, float], ...] = ()
    operator: tuple[int, ...] = ()
    allowed: int | None = None
    torus: tuple[int, ...] = ()
    padded_norm: float = UNKNOWN
    reshaped_norm: float = UNKNOWN
    reshaped_k99: int | None = None
    nf4_error: float = UNKNOWN
    int8_error: float = UNKNOWN
    share: float = UNKNOWN

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return self.matrix[0] * self.matrix[1]

    @property
    def nullity(self) -> int | None:
        """Dimensions of the kernel of the matrix, or of the convolution: columns - rank."""
        return None if self.rank is None else (self.operator or self.matrix)[1] - self.rank

    @property
    def most(self) -> int:
        """The largest rank that the shape allows: min(rows, columns), less where a kernel skips entries."""
        return min(self.matrix) if self.allowed is None else self.allowed

    @property
    def lost(self) -> int | None:
        """Directions that the shape allows and the numbers do not: most - rank."""
        return None if self.rank is None else self.most - self.rank

    @property
    def factors(self) -> int | None:
        """The rank of low-rank factors of the matrix that hold 99 % of its energy."""
        return self.reshaped_k99 if self.torus else self.k99

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and texts; what cannot be told is None, an infinite number "inf"."""
        own = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        return {**own, "parameters": self.parameters, "nullity": self.nullity, "lost": self.lost}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Row:
        """The row that `as_dict` told; KeyError, TypeError or ValueError where it is none."""
        return restored(cls, told)


def restored(kind: type[T], told: Mapping[str, Any]) -> T:
    """The record of some kind that `plain` made plain; KeyError, TypeError or ValueError where it is none."""
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        value, typed = told[field.name], str(field.type)
        if typed == "float":
            values[field.name] = UNKNOWN if value is None else float(value)
        elif typed == "Places":
            values[field.name] = Places(int(value["count"]), tuple(map(int, value["first"])))
        elif typed in ("int", "int | None"):
            values[field.name] = None if value is None and typed != "int" else int(value)
        elif typed == "bool":
            values[field.name] = bool(value)
        elif typed == "str":
            values[field.name] = str(value)
        elif field.name == "spectrum":
            values[field.name] = tuple((int(k), float(x)) for k, x in value)
        else:
            values[field.name] = tuple(value)
    return kind(**values)


def plain(value: Any) -> Any:
    """A record or a part of it as JSON has it: None for NaN, "inf" for what is infinite, lists for tuples.

    >>> plain((math.nan, math.inf, Places(1, (2,))))
    [None, 'inf', {'count': 1, 'first': [2]}]
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, float):
        return None if math.isnan(value) else "inf" if value == math.inf else "-inf" if value == -math.inf else value
    return [plain(x) for x in value] if isinstance(value, (list, tuple)) else value
