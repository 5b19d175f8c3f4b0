"""The plots of `adjoint cost`: FLOPs of each component by length, from exact polynomials; several sizes compared."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from adjoint.cli.report.axes import logarithmic
from adjoint.cli.times import predicted
from adjoint.costs import Cost, Growth

STYLE: Any = {"axes.grid": True, "axes.spines.right": False, "axes.spines.top": False, "grid.color": "#dddddd"}
COLOURS = ("#2f6fdf", "#d9731a", "#3a9d5d", "#8a5fc7", "#777777")
MEMORY = "GB of memory, peak of training"
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


def swept(found: Sequence[Cost], title: str) -> Figure:
    """A panel each for FLOPs, the peak of training's memory, and the least time of a step where that is known.

    Against the length of the sequences, a line a batch; where there is one length, against the batch.

    >>> import adjoint as aj
    >>> net = aj.models.GPT(11, 64, n_layer=1, n_head=2, n_embd=8)
    >>> figure = swept(aj.costs.sweep(net, batch=(1, 2), seq=(16, 32, 64)), "toy")
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['batch 1', 'batch 2']
    """
    sizes = [(one.inputs[0][0], one.inputs[0][-1]) for one in found]
    along = 1 if len({t for _, t in sizes}) > 1 else 0
    times = [predicted(one) for one in found]
    panels: dict[str, list[float]] = {
        "FLOPs in products, forward": [one.forward.matmul_flops for one in found],
        MEMORY: [one.memory.training / 1e9 for one in found],
    }
    if not any(isinstance(x, str) for x in times):
        panels["seconds of a step, at least"] = [x.training for x in times if not isinstance(x, str)]
    checked = [x / 1e9 for one in found if (x := one.memory.training_checkpointed) is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.9 * len(panels), 3.9), layout="constrained")
        FigureCanvasAgg(figure)
        each = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, values) in zip(each, panels.items(), strict=True):
        _lines(axes, sizes, values, along)
        if label == MEMORY and len(checked) == len(found):
            _lines(axes, sizes, checked, along, "checkpointed")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda n, _: f"{int(n):,}")
        axes.set_xlabel("tokens in a sequence" if along else "batch")
        axes.set_title(label, loc="left", fontsize=10)
        if label == MEMORY:
            axes.set_ylim(0, 1.3 * max(values))  # room for the legend
        else:
            logarithmic(axes, "y", 7)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _lines(axes: Axes, sizes: Sequence[tuple[int, int]], values: Sequence[float], along: int, what: str = "") -> None:
    """A line for each size that does not vary along the axis; dashed and named where it is `what`."""
    others = list(dict.fromkeys(size[1 - along] for size in sizes))
    for other, colour in zip(others, itertools.cycle(COLOURS), strict=False):
        points = sorted((s[along], y) for s, y in zip(sizes, values, strict=True) if s[1 - along] == other)
        label = ", ".join(x for x in (f"batch {other:,}" if along else "", what) if x) or "as it is"
        axes.plot(*zip(*points, strict=True), "o--" if what else "o-", color=colour, markersize=3.5, label=label)


def check(found: Sequence[Cost], path: Path) -> None:
    """Raise ValueError for a file that is no plot, and for images of one batch, which have no length to vary."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"cost: a plot's name ends in {', '.join(FORMATS)}, not {path.name!r}.")
    if len(found) == 1 and len(found[0].inputs[0]) != 2:
        raise ValueError("cost: a network that takes images: there is no length of a sequence to plot against.")


def draw(found: Sequence[Cost], path: Path, name: str) -> None:
    """Write a plot to a file, PNG, SVG or PDF by its name's end: `swept` of several sizes, `curves` of one.

    Raises OSError where it cannot be written.
    """
    if len(found) > 1:
        figure = swept(found, f"{name}: what it costs")
    else:
        growth = found[0].polynomial("seq")
        crossings = [float(at) for at in growth.overtakes.values() if at is not None]
        longest = round(4 * max([4096.0, *crossings]))
        figure = curves(growth, f"{name}: what a sequence costs", found[0].inputs[0][0], longest)
    figure.savefig(path, dpi=150)


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
