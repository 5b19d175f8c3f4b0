"""Matplotlib's figures as SVG that is part of a page: its colours are the page's, in the light and in the dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from markupsafe import Markup

# Colours that stand for the variables of page.css.
INK, MUTED, LINE, BLUE, ORANGE = (f"#00000{i}" for i in range(1, 6))
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", BLUE: "--blue", ORANGE: "--orange"}

STYLE = {
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "adjoint",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


class Drawing:
    """A figure of one plot; `svg` is what goes into the page once it is drawn."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.figure = Figure(figsize=(width, height), layout="constrained")
        self.canvas = FigureCanvasSVG(self.figure)
        self.axes: Axes = self.figure.add_subplot()
        self.label = label

    @property
    def svg(self) -> Markup:
        """The figure as an element whose width is the page's business."""
        file = io.StringIO()
        self.figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        text = file.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
        size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
        ...
        return Markup(text)
