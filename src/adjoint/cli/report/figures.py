"""The report's plots: how training went, how right the gradients are, spectra, gradients by depth, costs."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from adjoint.checks import Row
from adjoint.cli.report.axes import logarithmic
from adjoint.cli.report.drawing import BLUE, INK, LINE, MUTED, ORANGE, drawing
from adjoint.costs import LayerCost
from adjoint.inspection import Depth, Layer
from adjoint.training import Epoch

WIDTH = 4.7  # inches, of a plot that fills a column
SMALLEST = 1e-17  # where an error of zero stands on a logarithmic axis


def learning(history: Sequence[Epoch]) -> Markup:
    """The loss on the digits trained on and on those never seen, epoch by epoch."""
    with drawing(WIDTH, 2.7, "Loss by epoch, on the training digits and on the test digits") as made:
        axes = made.axes
        epochs = [epoch.epoch for epoch in history]
        axes.plot(epochs, [epoch.loss for epoch in history], color=BLUE, label="digits it learns from")
        axes.plot(epochs, [epoch.validation_loss or 0 for epoch in history], color=ORANGE, label="digits it never sees")
        logarithmic(axes, "y")
        axes.set_xlabel("epoch")
        axes.set_title("cross-entropy")
        axes.legend(loc="upper right")
    return made.svg


def errors(rows: Sequence[Row]) -> Markup:
    """For every array: both errors as points, the tolerance of each as a tick."""
    with drawing(WIDTH, 0.6 + 0.19 * len(rows), "Errors of the gradient check and their tolerances") as made:
        axes, places = made.axes, range(len(rows))
        for color, label, found, allowed in (
            (BLUE, "dot test", [row.dot for row in rows], [row.dot_tolerance for row in rows]),
            (ORANGE, "differences", [row.error for row in rows], [row.tolerance for row in rows]),
        ):
            axes.plot([max(x, SMALLEST) for x in found], places, "o", color=color, label=label)
            axes.plot(allowed, places, "|", color=color, markersize=8, markeredgewidth=1.6)
        logarithmic(axes, "x", 7)
        axes.set_yticks(places, [row.operand.removeprefix("net.") for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.figure.legend(loc="outside upper right", ncols=2)
    return made.svg


def spectrum(layer: Layer, title: str) -> Markup:
    """The singular values of one layer, over the whole of its input space; what lies beyond the rank is shaded."""
    size = layer.rank + layer.nullity
    with drawing(2.3, 1.75, f"Singular values of {title}") as made:
        axes = made.axes
        if layer.nullity:
            axes.axvspan(layer.rank + 0.5, size + 0.5, color=ORANGE, alpha=0.22, linewidth=0)
        values = layer.svdvals[: layer.rank]
        axes.plot(range(1, len(values) + 1), values, "o-", color=BLUE, markersize=2.2, linewidth=1)
        logarithmic(axes, "y", 4)
        axes.set_ylim(min(0.05, 0.5 * values[-1]) if values else 0.05, max(8.0, 2 * values[0]) if values else 8.0)
        axes.set_xlim(0.5 - 0.02 * size, size + 0.5)
        axes.set_xticks(sorted({1, size} | ({layer.rank} if layer.nullity > 0.1 * size else set())))
        axes.grid(visible=False, axis="x")
        axes.set_title(title)
    return made.svg


def flow(trained: Sequence[Depth], untrained: Sequence[Depth]) -> Markup:
    """The Jacobian's norm from every depth to the output, downwards; the stream is a line, the branches are rings."""
    with drawing(WIDTH, 0.7 + 0.24 * len(trained), "Norm of the Jacobian from each depth to the output") as made:
        axes = made.axes
        for depths, color, label in ((untrained, MUTED, "before training"), (trained, BLUE, "after training")):
            stream = [(k, depth) for k, depth in enumerate(depths) if not depth.level]
            places = [k for k, _ in stream]
            if color == BLUE:
                low, high = [d.low for _, d in stream], [d.high for _, d in stream]
                axes.fill_betweenx(places, low, high, color=BLUE, alpha=0.15, linewidth=0)
            axes.plot([d.norm for _, d in stream], places, "o-", color=color, label=label)
            branch = [(k, depth) for k, depth in enumerate(depths) if depth.level]
            axes.plot([d.norm for _, d in branch], [k for k, _ in branch], "o", color=color, markerfacecolor="none")
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        logarithmic(axes, "x")
        axes.set_yticks(range(len(trained)), [("· " if d.level else "") + located(d) for d in trained])
        axes.set_ylim(len(trained) - 0.5, -0.5)
        axes.figure.legend(loc="outside upper right", ncols=2)
    return made.svg


def located(depth: Depth) -> str:
    """Where a depth is, in a word or two."""
    return f"{depth.name.rpartition('.')[2]} {depth.kind}" if depth.name else "pixels"


def costs(layers: Sequence[LayerCost], batch: int) -> Markup:
    """FLOPs of each layer for one example, forward and backward."""
    with drawing(WIDTH, 0.7 + 0.3 * len(layers), "FLOPs of each layer, forward and backward") as made:
        axes, places = made.axes, range(len(layers))
        forward = [layer.forward.flops / batch / 1e3 for layer in layers]
        backward = [layer.backward.flops / batch / 1e3 for layer in layers]
        axes.barh([k - 0.2 for k in places], forward, 0.36, color=BLUE, label="forward")
        axes.barh([k + 0.2 for k in places], backward, 0.36, color=ORANGE, label="backward")
        axes.set_yticks(places, [f"{layer.name} {layer.kind}" for layer in layers])
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_xlabel("thousand FLOPs a digit")
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_color(LINE)
        axes.figure.legend(loc="outside upper right", ncols=2)
    return made.svg
