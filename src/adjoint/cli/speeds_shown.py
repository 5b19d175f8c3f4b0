"""What `adjoint doctor --curves` shows: a table for each comparison, and all of them as one plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Group
from rich.text import Text

from adjoint.cli.curves import COLOURS, FORMATS, STYLE
from adjoint.cli.report.axes import logarithmic
from adjoint.cli.speeds import CLAIMED, Speeds
from adjoint.cli.tables import columns
from adjoint.costs.units import seconds


def tables(found: Speeds) -> Group:
    """A table for each comparison, and below it what it tells."""
    products = columns("product of two n×n matrices", "Python loop", "NumPy", "times faster")
    for p in found.products:
        products.add_row(f"n = {p.n}", seconds(p.loop), seconds(p.product), f"{p.ratio:,.0f}")
    batches = columns("one linear layer, batch of", "measured", "an example", "at least", "bound by")
    for b in found.batches:
        batches.add_row(f"{b.batch}", seconds(b.seconds), seconds(b.seconds / b.batch), seconds(b.least), b.bound)
    passes = columns("a network", "forward", "backward", "ratio", "by FLOPs")
    for x in found.passes:
        passes.add_row(x.network, seconds(x.forward), seconds(x.backward), f"{x.ratio:.2f}", f"{x.counted:.2f}")
    parts: list[Any] = [products, "", batches, Text(claim(found), "dim"), "", passes, ""]
    if not found.devices:
        return Group(*parts, Text("processor against GPU: no GPU that PyTorch can use", "dim"))
    devices = columns(f"a training step, PyTorch; GPU: {found.gpu}", "processor", "GPU", "times faster")
    for d in found.devices:
        devices.add_row(d.network, seconds(d.cpu), seconds(d.gpu), f"{d.ratio:.2f}")
    return Group(*parts, devices)


def claim(found: Speeds) -> str:
    """What the curve of the batch says of "a batch of 256 takes roughly the time of 1"."""
    first, last = found.batches[0], max((b for b in found.batches if b.batch <= CLAIMED), key=lambda b: b.batch)
    times, most = last.seconds / first.seconds, found.free
    until = "all of these" if found.crossing is None else f"batches below {found.crossing}"
    larger = next((b.batch for b in found.batches if b.batch > first.batch), None)
    if most > first.batch:
        long = f" Up to a batch of {most} it takes less than twice as long."
    else:
        long = "" if larger is None else f" Already a batch of {larger} takes twice as long or more."
    return (
        f"A batch of {last.batch} takes {times:.3g} times as long as one of {first.batch}.{long} By the roofline "
        f"memory bounds {until}: reading the weights takes the time there, however many examples share it."
    )


def figure(found: Speeds) -> Figure:
    """A panel for each comparison."""
    count = 3 + bool(found.devices)
    with mpl.rc_context(STYLE):
        result = Figure(figsize=(4.4 * count, 3.9), layout="constrained")
        FigureCanvasAgg(result)
        grid = result.subplots(1, count)
    _lines(grid[0], [p.n for p in found.products], {
        "Python loop": [p.loop for p in found.products], "NumPy": [p.product for p in found.products],
    }, "product of two n×n matrices", "n")  # fmt: skip
    at = [b.batch for b in found.batches]
    _lines(grid[1], at, {
        "measured": [b.seconds for b in found.batches], "at least, by the roofline": [b.least for b in found.batches],
        "as if computing were free": [found.batches[0].seconds] * len(at),
    }, "one linear layer", "batch")  # fmt: skip
    names = [x.network.replace(", ", "\n") for x in found.passes]
    _bars(grid[2], names, {
        "measured": [x.ratio for x in found.passes], "by FLOPs": [x.counted for x in found.passes],
    }, "backward pass over forward pass")  # fmt: skip
    if found.devices:
        _bars(grid[3], names, {found.gpu: [d.ratio for d in found.devices]}, "processor's time over GPU's")
    return result


def draw(found: Speeds, path: Path) -> None:
    """Write the plot, PNG, SVG or PDF by its name's end; OSError where it cannot be written."""
    figure(found).savefig(path, dpi=150)


def check(path: Path) -> None:
    """Raise ValueError for a file that is no plot, FileNotFoundError where its folder is missing."""
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"doctor: a plot's name ends in {', '.join(FORMATS)}, not {path.name!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--plot {path}: there is no folder {path.parent}.")


def _lines(axes: Axes, at: Sequence[int], lines: dict[str, list[float]], title: str, along: str) -> None:
    for (label, values), colour in zip(lines.items(), (*COLOURS[:2], "#999999"), strict=False):
        dashed = values.count(values[0]) == len(values) > 1
        axes.plot(at, values, "--" if dashed else "o-", color=colour, markersize=3.5, linewidth=1.4, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(at) if len(at) < 12 else list(at)[::2])
    axes.xaxis.set_major_formatter(lambda n, _: f"{int(n):,}")
    logarithmic(axes, "y", 7)
    _named(axes, title)
    axes.set_xlabel(along)
    axes.set_ylabel("seconds")


def _bars(axes: Axes, names: list[str], bars: dict[str, list[float]], title: str) -> None:
    at, width = np.arange(len(names)), 0.8 / len(bars)
    for k, ((label, values), colour) in enumerate(zip(bars.items(), COLOURS, strict=False)):
        axes.bar(at + (k - (len(bars) - 1) / 2) * width, values, 0.9 * width, color=colour, label=label)
    axes.set_xticks(at, names, fontsize=8)
    axes.grid(False, axis="x")
    axes.set_axisbelow(True)
    axes.set_ylim(top=1.25 * max(max(values) for values in bars.values()))
    _named(axes, title)


def _named(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
