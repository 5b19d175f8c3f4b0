"""Parts of an SVG that stands in the page: its colours are the page's, so it is right in light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Log:
    """A logarithmic axis: `low` is drawn at `start`, `high` at `end`; what lies beyond is drawn at the nearer one.

    >>> axis = Log(1.0, 100.0, 0.0, 50.0)
    >>> axis(10.0), axis(0.0), axis(1e9), axis.decades()
    (25.0, 0.0, 50.0, [0, 1, 2])
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high <= self.low:
            return self.start
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def decades(self) -> list[int]:
        """The powers of ten on it."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return list(range(first, last + 1))


def power(exponent: int) -> str:
    """A power of ten as people write it.

    >>> power(-3), power(0), power(2)
    ('10⁻³', '1', '100')
    """
    return f"{10**exponent}" if 0 <= exponent <= 2 else f"10{str(exponent).translate(SUPERSCRIPTS)}"


def path(points: Iterable[tuple[float, float]]) -> str:
    """A line through points, for the attribute d."""
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def text(x: float, y: float, told: str, kind: str = "", anchor: str = "") -> Markup:
    """A text that begins, or by `anchor` ends or has its middle, at a point."""
    place = Markup(' text-anchor="{}"').format(anchor) if anchor else ""
    return Markup('<text x="{}" y="{}"{}{}>{}</text>').format(_number(x), _number(y), _of(kind), place, told)


def line(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A line of the style `kind`."""
    return Markup('<path d="{}"{}/>').format(path(points), _of(kind))


def box(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    """A filled rectangle."""
    sizes = [_number(v) for v in (x, y, max(width, 0.0), height)]
    return Markup('<rect x="{}" y="{}" width="{}" height="{}"{}/>').format(*sizes, _of(kind))


def svg(width: float, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    """The element; `label` says what it shows to who cannot see it.

    >>> svg(10, 5, "a <line>", [line([(0, 0), (10, 5)], "curve")])
    Markup('<svg role="img" aria-label="a &lt;line&gt;" viewBox="0 0 10 5"><path d="M0 0L10 5" class="curve"/></svg>')
    """
    head = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}">').format(label, _number(width), _number(height))
    return head + Markup("").join(parts) + Markup("</svg>")


def table(*lines: Sequence[object]) -> str:
    """Lines of comma-separated values.

    >>> table(("k", "σ"), (1, 0.5))
    'k,σ\\n1,0.5'
    """
    return "\n".join(",".join(_quoted(x) for x in line) for line in lines)


def _quoted(value: object) -> str:
    told = f"{value:.6g}" if isinstance(value, float) else str(value)
    if isinstance(value, str) and told[:1] in tuple("=+-@\t\r"):  # a spreadsheet would compute it
        told = f"'{told}"
    return f'"{told.replace(chr(34), chr(34) * 2)}"' if set(told) & set(',"\n\r') else told


def _number(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _of(kind: str) -> Markup:
    return Markup(' class="{}"').format(escape(kind)) if kind else Markup("")
