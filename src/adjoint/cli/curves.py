"""The plot of `adjoint cost`: FLOPs of each component against the length of the sequence, from exact polynomials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adjoint.cli.report.drawing import logarithmic
from adjoint.costs import Growth

STYLE: Any = {"axes.grid": True, "axes.spines.right": False, "axes.spines.top": False, "grid.color": "#dddddd"}
COLOURS = ("#2f6fdf", "#d9731a", "#3a9d5d", "#8a5fc7", "#777777")
FORMATS = (".png", ".svg", ".pdf")


def curves(growth: Growth, title: str, batch: int, longest: int) -> Figure:
    """A figure of the forward pass's FLOPs in products by component, for sequences of 16 to `longest` tokens.

    Where attention overtakes the feed-forward part, by each convention, stands a dotted line.

    >>> import adjoint as aj
    >>> found = aj.cost(aj.models.GPT(11, 64, n_layer=1, n_head=2, n_embd=8), seq=16)
    >>> [line.get_label() for line in curves(found.polynomial("seq"), "toy", 1, 64).axes[0].lines[:2]]
    ['attention projections', 'attention scores']
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    lengths = np.unique(np.geomspace(16, max(longest, 32), 97).round().astype(int)).tolist()
    shown = {name: p for name, p in growth.components.items() if any(p.coefficients)}
    for (name, p), colour in zip(shown.items(), COLOURS, strict=False):
        axes.plot(lengths, [float(p(n)) for n in lengths], color=colour, linewidth=1.8, label=name)
    axes.plot(lengths, [float(growth.forward(n)) for n in lengths], color="#222222", linewidth=1, label="all")
    _crossings(axes, growth, lengths[0], lengths[-1])
    axes.set_xscale("log", base=2)
    ticks = [n for n in (2**k for k in range(4, 40)) if n <= lengths[-1]]
    axes.set_xticks(ticks if len(ticks) < 12 else ticks[::2])
    axes.xaxis.set_major_formatter(lambda n, _: f"{int(n):,}")
    logarithmic(axes, "y")
    axes.set_xlabel(f"tokens in a sequence, batch {batch}")
    axes.set_ylabel("FLOPs in products, forward")
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, fontsize=9)
    return figure


def draw(growth: Growth, path: Path, title: str, batch: int, longest: int) -> None:
    """Write `curves` to a file, PNG, SVG or PDF by its name's end.

    Raises ValueError for another end, OSError where it cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"cost: a plot's name ends in {', '.join(FORMATS)}, not {path.name!r}.")
    curves(growth, title, batch, longest).savefig(path, dpi=150)


def _crossings(axes: Axes, growth: Growth, low: int, high: int) -> None:
    for (convention, at), height in zip(growth.overtakes.items(), (0.03, 0.1), strict=True):
        if at is None or not low <= at <= high:
            continue
        axes.axvline(float(at), color="#999999", linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            f"attention overtakes, {convention}: {float(at):,.0f} ",
            (float(at), height),
            xycoords=("data", "axes fraction"),
            ha="right",
            fontsize=8,
            color="#555555",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
