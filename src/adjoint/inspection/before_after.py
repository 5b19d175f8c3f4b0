"""A picture of what each normalization does: which numbers share their statistics, how they lie before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.maps.flat import to_numpy

COLOURS = ("#3574d6", "#2f9e9e", "#7a5ac8", "#e26222", "#d9a21b", "#c2427f")
INK, MUTED, PALE = "#23262b", "#8a9099", "#e9ebee"
STYLE: Any = {
    "axes.edgecolor": "#c9cdd3",
    "axes.labelcolor": MUTED,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "font.size": 8.5,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Way:
    """A normalization: its title, of what its statistics are, its value, and the group of (example, channel).

    `reach`: how many channels on either side are looked at, too.
    """

    title: str
    of: str
    value: Callable[[Array], Array]
    group: Callable[[np.ndarray, np.ndarray], np.ndarray]
    reach: int = 0


def ways(channels: int, num_groups: int) -> list[Way]:
    """The normalizations pictured, for x (n, C, …)."""
    each = channels // num_groups
    return [
        Way("batch", "of every channel", lambda x: xp.batch_norm(x, training=True), lambda i, c: c),
        Way("layer", "of every example", lambda x: xp.layer_norm(x, ndim=len(x.shape) - 1), lambda i, c: i),
        Way("RMS", "of every example, no mean", lambda x: xp.rms_norm(x, ndim=len(x.shape) - 1), lambda i, c: i),
        Way(
            "group",
            f"of {each} channels of an example",
            lambda x: xp.group_norm(x, num_groups=num_groups),
            lambda i, c: num_groups * i + c // each,
        ),
        Way("instance", "of a channel of an example", xp.instance_norm, lambda i, c: channels * i + c),
        Way(
            "local response",
            "of 5 neighbouring channels",
            lambda x: xp.local_response_norm(x, 5, alpha=1.0),
            lambda i, c: channels * i + c,
            reach=2,
        ),
    ]


def distributions(x: Array, num_groups: int = 2) -> Any:
    """A Matplotlib figure of activations x (n, C, …) before and after each normalization.

    A column is a normalization. Above, every example (row) and channel (column) of x: cells of one colour share their
    statistics. Below, how the numbers in them are distributed, before and after. Up to six groups are shown. Local
    response looks at one position of neighbouring channels, which are tinted.
    Raises `ShapeError` unless x has at least three axes and `num_groups` divides the channels.

    >>> import numpy as np, adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((4, 6, 8, 8))
    >>> figure = aj.inspection.distributions(x)
    >>> [axes.get_title() for axes in figure.axes[:6]]
    ['batch', 'layer', 'RMS', 'group', 'instance', 'local response']
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if len(x.shape) < 3 or x.shape[1] % num_groups:
        raise ShapeError(f"distributions: x is (n, C, …) with {num_groups} groups that divide C, got {tuple(x.shape)}.")
    shown = ways(int(x.shape[1]), num_groups)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.0 * len(shown), 4.6), layout="constrained")
        cells, before, after = figure.subplots(3, len(shown), height_ratios=(1.0, 1.0, 1.0), squeeze=False)
        for column, way in enumerate(shown):
            _column(way, x, cells[column], before[column], after[column])
        told = "Cells of one colour share their statistics; below, how the numbers in them lie, before and after."
        figure.suptitle(told, x=0.01, ha="left", fontsize=8.5, color=MUTED)
        for axes, label in ((cells[0], "examples"), (before[0], "before"), (after[0], "after")):
            axes.set_ylabel(label, color=INK)
        cells[0].set_xlabel("channels")
        for row, low, high in ((before, *_range(to_numpy(x))), (after, -4.0, 4.0)):
            for axes in row:
                axes.set_xlim(low, high)
    return figure


def _range(x: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(x, [0.001, 0.999])
    return float(low), float(high)


def _column(way: Way, x: Array, cells: Any, before: Any, after: Any) -> None:
    n, channels = int(x.shape[0]), int(x.shape[1])
    example, channel = np.indices((n, channels))
    groups = way.group(example, channel)
    chosen = _chosen(groups)
    picture = np.full((n, channels, 3), _rgb(PALE))
    for colour, group in zip(COLOURS, chosen, strict=False):
        for i, c in np.argwhere(groups == group):
            near = slice(max(c - way.reach, 0), c + way.reach + 1)
            picture[i, near] = 0.35 * np.array(_rgb(colour)) + 0.65
            picture[i, c] = _rgb(colour)
    cells.imshow(picture, aspect="auto")
    cells.set_xticks(np.arange(channels + 1) - 0.5, [])
    cells.set_yticks(np.arange(n + 1) - 0.5, [])
    cells.grid(color="white", linewidth=1.5)
    cells.spines["bottom"].set_visible(False)
    cells.set_title(way.title, fontweight="bold", pad=16)
    of = {"ha": "center", "fontsize": 8, "color": MUTED}
    cells.annotate(way.of, (0.5, 1.0), (0, 3), "axes fraction", "offset points", **of)
    for axes, values in ((before, to_numpy(x)), (after, to_numpy(way.value(x)))):
        for colour, group in zip(COLOURS, chosen, strict=False):
            at, density = curve(values[groups == group].ravel())
            axes.fill_between(at, density, color=colour, alpha=0.13, linewidth=0)
            axes.plot(at, density, color=colour, linewidth=1.4)
        axes.set_yticks([])
        axes.set_ylim(bottom=0)


def _chosen(groups: np.ndarray) -> np.ndarray:
    """Up to six groups, spread over all."""
    found = np.unique(groups)
    return found[np.unique(np.linspace(0, len(found) - 1, min(len(found), len(COLOURS))).round().astype(int))]


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5))


def curve(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The density of some numbers, smoothed by a Gaussian kernel: where, and how dense.

    >>> at, density = curve(np.linspace(-1.0, 1.0, 100))
    >>> float(np.trapezoid(density, at)) > 0.98
    True
    """
    from scipy.stats import gaussian_kde

    spread = max(float(values.std()), 1e-6 * (1.0 + float(np.abs(values).max())))
    at = np.linspace(values.min() - spread, values.max() + spread, 200)
    if values.std() == 0.0:
        return at, np.exp(-0.5 * ((at - values.mean()) / spread * 4.0) ** 2)
    return at, gaussian_kde(values)(at)
