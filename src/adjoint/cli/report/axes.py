"""Logarithmic axes by which a plot can be read, whatever it spans."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor, log10, sqrt
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

LEAST = 3  # ticks by which an axis can be read
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Decades(LogLocator):
    """Where the ticks of a logarithmic axis stand: at powers of ten, or closer where fewer than three are in view.

    Closer is at 1 and 3 times each power, then at 1, 2 and 5 times, then at even steps. An axis reaches at least from a
    number to twice it, so that no noise looks like a change.

    >>> Decades(7).tick_values(130.0, 260.0)
    [140.0, 160.0, 180.0, 200.0, 220.0, 240.0, 260.0]
    """

    def __init__(self, most: int) -> None:
        super().__init__(numticks=most)
        self.most = most

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks between two positive numbers."""
        powers = [10.0**k for k in range(floor(log10(vmin)), ceil(log10(vmax)) + 1)]
        for times in ((1,), (1, 3), (1, 2, 5)):
            ticks = within([p * t for p in powers for t in times], vmin, vmax)
            if len(ticks) >= LEAST:
                return ticks[:: -(-len(ticks) // self.most)] if times == (1,) else ticks
        return within(MaxNLocator(7, steps=[1, 2, 4, 5, 10]).tick_values(vmin, vmax), vmin, vmax)

    def nonsingular(self, vmin: float, vmax: float) -> tuple[float, float]:
        """The ends of an axis that shows all between two numbers."""
        low, high = super().nonsingular(vmin, vmax)
        wider = max(1.0, sqrt(2 * low / high))
        return low / wider, high * wider


def within(ticks: Iterable[float], low: float, high: float) -> list[float]:
    """Those between two numbers, ends included but for rounding."""
    return [float(x) for x in ticks if low * (1 - 1e-12) <= x <= high * (1 + 1e-12)]


def logarithmic(axes: Axes, which: Literal["x", "y"], most: int = 5) -> None:
    """Make one axis logarithmic, its numbers written plainly: powers of ten, at most so many, or closer (`Decades`).

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> _ = axes.plot([2e8, 6e9])
    >>> logarithmic(axes, "y")
    >>> [power(y, 2) for y in axes.get_yticks()]
    ['3·10⁸', '10⁹', '3·10⁹']
    """
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(Decades(most))
    axis.set_minor_locator(NullLocator())
    axes.autoscale_view()
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value, 2)))


def power(value: float, decimals: int = 0) -> str:
    """A number as people write it on an axis.

    >>> power(1e-7), power(0.1), power(100.0), power(1.23e-8, 1)
    ('10⁻⁷', '0.1', '100', '1.2·10⁻⁸')
    """
    if value == 0 or 0.01 <= value <= 1000:
        return f"{value:g}"
    digits, exponent = f"{value:.{decimals}e}".split("e")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{'' if digits == '1' else f'{digits}·'}10{str(int(exponent)).translate(SUPERSCRIPTS)}"
