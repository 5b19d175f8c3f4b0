"""Matplotlib's figures as SVG that is part of a page: colours and letters are the page's, in the light and the dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Colours that stand for the variables of page.css.
INK, MUTED, LINE, BLUE, ORANGE = "#000001", "#000002", "#000003", "#000004", "#000005"
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", BLUE: "--blue", ORANGE: "--orange"}

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "adjoint",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}
NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))


class Drawing:
    """A figure with one plot, `axes`; `svg` is the element for the page, empty until the drawing is done."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.svg = Markup()


@contextmanager
def drawing(width: float, height: float, label: str) -> Iterator[Drawing]:
    """A drawing of so many inches; `label` says what it shows to who cannot see it.

    >>> with drawing(2, 1, "a line") as d:
    ...     _ = d.axes.plot([1, 2, 3], color=BLUE)
    >>> str(d.svg)[:59], "var(--blue)" in d.svg
    ('<svg role="img" aria-label="a line" viewBox="0 0 144.0 72.0', True)
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        made = Drawing(figure.add_subplot())
        yield made
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=NOTHING)
    made.svg = element(file.getvalue(), label, 72.0 * width, 72.0 * height)


def element(text: str, label: str, width: float, height: float) -> Markup:
    """Matplotlib's file without what only a file needs: prolog, fixed size, fonts, names that no one refers to."""
    text = re.sub(r".*?<svg.*?>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"| font-family: [^;"]*;|\n', "", text)
    text = re.sub(r"(?<=\d\.\d\d)\d+", "", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    head = f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width:.1f} {height:.1f}">'
    return Markup(head + re.sub(r" {2,}", " ", text))
