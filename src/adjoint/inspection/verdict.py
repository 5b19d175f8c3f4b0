"""The verdict on a network in three lines: what is lost, what could be left out, what LoRA would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adjoint.inspection.findings import near_by_chance
from adjoint.inspection.row import Row

LORA_RANK = 8
COMPRESSIBLE, NOT_COMPRESSIBLE = 0.5, 0.8
LORA_SHARE = 0.1


class Line(NamedTuple):
    """A question, its answer, the number behind it, and the sentence."""

    question: str
    answer: str
    number: float
    told: str


def verdict(rows: Sequence[Row], parameters: int) -> tuple[Line, Line, Line]:
    """Three lines on all weights with a spectrum.

    `information`: the share of directions that are lost although the shapes allow them. `compression`: the share of
    numbers that factors of rank k₉₉ take, those that hold 99 % of each weight's energy (a weight is kept where factors
    take more). `lora`: the share of the parameters that adapters of rank 8 on every matrix would train.

    >>> import adjoint as aj
    >>> [line.answer for line in aj.inspect(aj.nn.Linear(512, 512, rng=0), cache=False).verdict]
    ['kept', 'no', 'fit']
    """
    known = [row for row in rows if row.rank is not None]
    return _information(rows, known), _compression(known), _lora(known, parameters)


def _information(rows: Sequence[Row], known: Sequence[Row]) -> Line:
    broken = [row for row in rows if row.nans or row.infs]
    lossy = [row for row in known if row.lost and not near_by_chance(row)]
    lost, all = sum(row.lost or 0 for row in lossy), sum(row.most for row in known)
    share = lost / all if all else 0.0
    if broken:
        hold = "1 weight holds" if len(broken) == 1 else f"{len(broken)} weights hold"
        text = f"{hold} numbers that are not finite: {broken[0].name}" + (" and others" if len(broken) > 1 else "")
        text += f"; {lost:,} directions are lost in others" if lost else ""
        return Line("information", "broken", share, text)
    if not known:
        return Line("information", "unknown", 0.0, "no weight has a spectrum")
    if not lossy:
        whose = "the one weight keeps" if len(known) == 1 else f"all {len(known)} weights keep"
        return Line("information", "kept", 0.0, f"{whose} every direction that the shape allows: full rank")
    names = lossy[0].name + (f" and {len(lossy) - 1} more" if len(lossy) > 1 else "")
    text = f"{lost:,} of {all:,} directions ({100 * share:.2g} %) are lost, in {names}"
    return Line("information", "lost", share, text)


def _compression(known: Sequence[Row]) -> Line:
    full = sum(row.parameters for row in known)
    if not full:
        return Line("compression", "unknown", 1.0, "no weight has a spectrum")
    kept = sum(min(row.parameters, (row.factors or 0) * sum(row.matrix)) for row in known)
    share = kept / full
    answer = "yes" if share <= COMPRESSIBLE else "partly" if share <= NOT_COMPRESSIBLE else "no"
    text = f"low-rank factors with 99 % of each weight's energy take {100 * share:.3g} % of its numbers"
    return Line("compression", answer, share, text)


def _lora(known: Sequence[Row], parameters: int) -> Line:
    fit = [row for row in known if row.kind in ("matrix", "attention") and min(row.matrix) > LORA_RANK]
    if not fit or not parameters:
        return Line("lora", "unfit", 1.0, f"no matrix has more than {LORA_RANK} rows and columns")
    share = LORA_RANK * sum(sum(row.matrix) for row in fit) / parameters
    on = _count(len(fit), "matrix", "matrices")
    text = f"rank {LORA_RANK} on {on} trains {100 * share:.3g} % of the parameters"
    if share > LORA_SHARE:
        return Line("lora", "unfit", share, text + ": too many to save much")
    return Line("lora", "fit", share, text + "; which rank a task needs, the weights alone do not tell")


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
