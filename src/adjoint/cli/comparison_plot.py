"""The plot of `adjoint lora compare`: how each method learns, and what it remembers."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adjoint.cli.comparison import Comparison, Measure
from adjoint.cli.curves import COLOURS, FORMATS, STYLE


def check(path: Path) -> None:
    """Raise ValueError for a name that ends in none of .png, .svg, .pdf."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"lora compare: a plot's name ends in {', '.join(FORMATS)}, not {path.name!r}.")


def draw(found: Comparison, path: Path) -> None:
    """Write the plot: loss on the way by method, and what is remembered beside what is learned."""
    figure(found).savefig(path, dpi=150)


def figure(found: Comparison) -> Figure:
    """The plot."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(9.6, 4.2), layout="constrained")
        FigureCanvasAgg(drawn)
        left, right = drawn.subplots(1, 2)
    for row, colour in zip(found.rows, COLOURS, strict=False):
        left.plot(*zip(*row.curve, strict=True), color=colour, linewidth=1.8, label=f"{row.method}, lr {row.lr:g}")
        share = f"{row.method}, {row.share:.1%}"
        at = [_figure_of(row.new)], [_figure_of(row.old)]
        right.scatter(*at, color=colour, s=50, zorder=3, alpha=0.8, label=share)
    left.set_xlabel("steps")
    left.set_ylabel("loss, validation data of the new task")
    left.set_title(found.told["new task"], loc="left", fontsize=9)
    left.legend(frameon=False, fontsize=9)
    right.axhline(_figure_of(found.before[1]), color="#999999", linewidth=1, linestyle=(0, (1, 2)))
    right.annotate("before", (0.01, _figure_of(found.before[1])), xycoords=("axes fraction", "data"), fontsize=8,
                   va="bottom", color="#555555")  # fmt: skip
    unit = "loss (less is better)" if found.before[0][1] is None else "right, %"
    right.set_xlabel(f"new task: {unit}")
    right.set_ylabel(f"old task: {unit}")
    right.set_title("learned and remembered, by the share of the numbers that learn", loc="left", fontsize=9)
    right.margins(x=0.15, y=0.15)
    right.legend(frameon=False, fontsize=9)
    return drawn


def _figure_of(measure: Measure) -> float:
    loss, accuracy = measure
    return loss if accuracy is None else 100 * accuracy
