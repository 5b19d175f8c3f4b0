"""What the page's template needs, gathered from a report."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adjoint import __version__
from adjoint.costs import Cost, Growth
from adjoint.inspection.html import figures as drawn
from adjoint.inspection.html import sections
from adjoint.inspection.html.columns import Cell, Column, weights
from adjoint.inspection.html.drawing import power
from adjoint.inspection.html.sections import Section
from adjoint.inspection.legend import legend
from adjoint.inspection.report import Report
from adjoint.inspection.screen import QUESTIONS, plain, shortened
from adjoint.interop.weights import bytes_told

GOOD = ("kept", "fit", "yes")
BAD = ("lost", "broken")


@dataclass(frozen=True)
class Line:
    """A line of a table: its number, how grave what is at fault is, and its cells."""

    number: int
    gravity: float
    cells: tuple[Cell, ...]


def render(report: Report) -> str:
    """The report as one page of HTML; a section only where there is something to tell.

    >>> import numpy as np, adjoint as aj
    >>> page = render(aj.inspect({"<script>": np.eye(3)}, cache=False))
    >>> "&lt;script&gt;" in page, "<th" in page
    (True, True)
    """
    gravity = {found.name: found.gravity for found in report.findings}
    heads = weights()
    low = drawn.floor(report.rows)
    short = shortened([row.name for row in report.rows])
    spectra = [
        (i, row, short[i], drawn.spectrum(row, low, f"spectrum-{i}"))
        for i, row in enumerate(report.rows)
        if row.spectrum
    ]
    script = _asset("script.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            version=__version__,
            columns=heads,
            lines=[Line(i, gravity.get(row.name, 0.0), _cells(heads, row)) for i, row in enumerate(report.rows)],
            places={row.name: i for i, row in enumerate(report.rows)},
            reasons=_reasons(report),
            spectra=spectra,
            **_sections(report),
            low=power(round(math.log10(low))),
            legend=legend(report),
            style=Markup(_asset("style.css")),
            script=Markup(script),
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            questions=QUESTIONS,
            tone=lambda answer: "good" if answer in GOOD else "bad" if answer in BAD else "fair",
        )
    )


def _sections(report: Report) -> dict[str, Section | None]:
    """What the report has beside its weights, None where it has none of it."""
    counted, blocks, heads = report.cost, report.flow, report.circuits
    growth = _growth(counted) if counted is not None else None
    return {
        "cost": sections.cost(counted) if counted is not None else None,
        "growth": sections.growing(growth) if growth is not None else None,
        "flow": sections.flow(blocks, report.sample.cotangent if report.sample else "") if blocks else None,
        "circuits": sections.circuits(heads) if heads else None,
    }


def _growth(counted: Cost) -> Growth | None:
    """How the cost grows with the sequence; None for what has none, and where no polynomial of degree 2 tells it."""
    try:
        return counted.polynomial("seq")
    except ValueError:
        return None


def _cells(heads: Sequence[Column], record: Any) -> tuple[Cell, ...]:
    return tuple(column.cell(record) for column in heads)


def _reasons(report: Report) -> list[tuple[str, list[str]]]:
    """Why what has no row has none, and what that is."""
    found: dict[str, list[str]] = {}
    for name, why in report.skipped.items():
        tied = why.startswith("tied:")
        told = f"{plain(name)} ({plain(why[6:])})" if tied else plain(name)
        found.setdefault("tied, counted once" if tied else plain(why), []).append(told)
    return list(found.items())


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("adjoint.inspection.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"plain": plain, "bytes_told": bytes_told}
    return made


@cache
def _asset(name: str) -> str:
    return files("adjoint.inspection.html").joinpath(name).read_text(encoding="utf-8")
