"""The page's figures: a spectrum a weight, costs by component and against length, gradients block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from adjoint.costs.components import Component
from adjoint.costs.growth import Growth
from adjoint.costs.units import scaled
from adjoint.inspection.html.drawing import Log, box, line, power, svg, table, text
from adjoint.inspection.row import Row
from adjoint.inspection.screen import plain
from adjoint.inspection.table import figures

DEEPEST = 1e-8  # the lowest a spectrum is drawn
COLOURS = 8  # in style.css: .c0 to .c7
BLOCKS = 40  # that the strip shows; its file has all
LENGTHS = 48  # points of a cost curve


@dataclass(frozen=True)
class Figure:
    """A drawing with the name of its files and its numbers as comma-separated values."""

    name: str
    svg: Markup
    csv: str


def edges(row: Row) -> tuple[float, float] | None:
    """(lowest, highest) singular value of a large random matrix of the row's size and energy, by Marchenko and Pastur.

    s (√max(m, n) ∓ √min(m, n)) with s² = Σσ²/(m n); None where the row was not compared to one, or is a convolution's.

    >>> import numpy as np, adjoint as aj
    >>> x = np.random.default_rng(0).standard_normal((400, 100))
    >>> [round(edge) for edge in edges(aj.inspect({"w": x}, cache=False).rows[0])]
    [10, 30]
    """
    if math.isnan(row.randomness) or row.torus or not row.sigma_max > 0:
        return None
    entry = row.sigma_max * math.sqrt(row.stable_rank / row.parameters)
    short, long = (math.sqrt(n) for n in sorted(row.matrix))
    return entry * (long - short), entry * (long + short)


def floor(rows: Sequence[Row]) -> float:
    """The lowest σ/σ₁ that the spectra show, a power of ten: all share it, so that their shapes can be compared.

    Nine of ten weights fit above it; what lies below is drawn at the bottom.
    """
    kept = [row.spectrum[-1][1] / row.sigma_max for row in rows if row.sigma_max > 0 and not row.lost and row.spectrum]
    kept = sorted(x for x in kept if x > 0)
    low = kept[len(kept) // 10] if kept else 1e-3
    return min(max(10.0 ** math.floor(math.log10(low)), DEEPEST), 1e-3)


def spectrum(row: Row, low: float, name: str) -> Figure:
    """The singular values of a weight against their place, both axes logarithmic, σ₁ at the top."""
    k = row.most
    x, y = Log(1.0, max(float(k), 1.0), 4, 172), Log(low, 1.0, 92, 6)
    parts = [line([(4, y(10.0**d)), (172, y(10.0**d))], "grid") for d in y.decades()]
    if row.lost and row.rank is not None:
        start = x(row.rank + 0.5) if row.rank else 4.0
        parts.append(box(start, 6, 172 - start, 86, "lost"))
    scale = row.sigma_max or 1.0
    edge = edges(row)
    if edge is not None:
        parts += [line([(4, y(e / scale)), (172, y(e / scale))], "edge") for e in edge if low < e / scale < 1.1]
    if row.k90:
        parts.append(line([(x(row.k90), 6), (x(row.k90), 92)], "mark"))
    points = [(x(float(i)), y(value / scale)) for i, value in row.spectrum]
    parts.append(line(points if len(points) > 1 else [(4, points[0][1]), (8, points[0][1])], "curve"))
    told = f"σ₁ {figures(row.sigma_max)}" + (f" · k₉₀ {row.k90:,}" if row.k90 else "")
    parts += [text(4, 104, "1", "tick"), text(172, 104, f"{k:,}", "tick", "end"), text(88, 104, told, "tick", "middle")]
    label = f"Singular values of {plain(row.name)}: from {figures(row.sigma_max)} to {figures(row.sigma_min)}"
    return Figure(name, svg(176, 107, label, parts), table(("k", "sigma"), *row.spectrum))


def components(found: Sequence[Component], name: str = "cost-by-component") -> Figure:
    """FLOPs of each component, forward and backward."""
    most = max((part.forward.flops + part.backward.flops for part in found), default=0) or 1
    parts: list[Markup] = []
    for i, part in enumerate(found):
        top, scale = 26 + 26 * i, 420 / most
        forward, backward = part.forward.flops * scale, part.backward.flops * scale
        total = part.forward.flops + part.backward.flops
        parts += [
            text(150, top + 12, part.name, "name", "end"),
            box(160, top, forward, 16, "c0"),
            box(160 + forward, top, backward, 16, "c0 pale"),
            text(166 + forward + backward, top + 12, scaled(total), "tick"),
        ]
    parts += [box(160, 6, 10, 10, "c0"), text(175, 15, "forward", "tick")]
    parts += [box(230, 6, 10, 10, "c0 pale"), text(245, 15, "backward", "tick")]
    lines = [(c.name, c.forward.flops, c.forward.matmul_flops // 2, c.forward.bytes, c.backward.flops) for c in found]
    head = ("component", "forward FLOPs", "forward multiply-adds", "forward bytes", "backward FLOPs")
    return Figure(name, svg(660, 32 + 26 * len(found), "FLOPs by component", parts), table(head, *lines))


def growing(growth: Growth, longest: int, name: str = "cost-against-length") -> Figure:
    """Forward FLOPs in matrix products of each component against the length of the sequence, and where they cross."""
    meeting = {told: float(n) for told, n in growth.overtakes.items() if n is not None}
    most = max([float(longest), 1024.0, *(2.0 * n for n in meeting.values())])
    lengths = sorted({max(1, round(most ** (i / (LENGTHS - 1)))) for i in range(LENGTHS)})
    found = {part: [float(p(n)) for n in lengths] for part, p in growth.components.items() if any(p.coefficients)}
    values = [v for curve in found.values() for v in curve if v > 0]
    if not values:
        return Figure(name, svg(10, 10, "no cost", []), table(("length",)))
    x, y = Log(1.0, most, 46, 500), Log(10.0 ** math.floor(math.log10(min(values))), max(values), 280, 12)
    parts = [line([(46, y(10.0**d)), (500, y(10.0**d))], "grid") for d in y.decades()]
    step = max(1, len(y.decades()) // 7)
    parts += [text(41, y(10.0**d) + 3.5, power(d), "tick", "end") for d in y.decades()[::step]]
    parts += [text(x(10.0**d), 296, power(d), "tick", "middle") for d in x.decades()]
    parts.append(text(500, 312, "tokens", "tick", "end"))
    for i, (told, n) in enumerate(sorted(meeting.items(), key=lambda pair: -pair[1])):
        parts.append(line([(x(n), 12), (x(n), 280)], "edge"))
        place, anchor = (x(n) + 4, "start") if i == 0 else (x(n) - 4, "end")
        parts.append(text(place, 274, f"{told}: {n:,.0f}", "tick", anchor))
    places = _apart({part: y(curve[-1]) for part, curve in found.items()}, 13.0)
    for i, (part, curve) in enumerate(found.items()):
        points = [(x(float(n)), y(v)) for n, v in zip(lengths, curve, strict=True) if v > 0]
        parts.append(line(points, f"curve c{i % COLOURS}"))
        parts.append(text(506, places[part] + 3.5, part, f"name c{i % COLOURS}"))
    told = svg(660, 316, "Cost of each component against the length of the sequence", parts)
    lines = [(n, *(round(curve[i]) for curve in found.values())) for i, n in enumerate(lengths)]
    return Figure(name, told, table(("tokens", *found), *lines))


def _apart(places: Mapping[str, float], least: float) -> dict[str, float]:
    """Places on a line moved apart, downwards, so that labels there do not cover each other."""
    found: dict[str, float] = {}
    last = -math.inf
    for name, place in sorted(places.items(), key=lambda pair: pair[1]):
        last = max(place, last + least)
        found[name] = last
    return found


def strip(
    names: Sequence[str], norms: Sequence[float], factors: Sequence[float], told: Sequence[bool],
    name: str = "gradient-flow",
) -> Figure:  # fmt: skip
    """How far each block's growth of gradients is from the typical one, a factor of it, the farthest first.

    `told` says which blocks the verdict names; `norms`, their σ₁, stand beside.
    """
    off = [_decades(x) for x in factors]
    order = sorted(range(len(names)), key=lambda i: (not told[i], -abs(off[i])))
    reach = max([1.0, *(float(math.ceil(min(abs(x), 6.0))) for x in off)])
    shown = order[:BLOCKS]
    height = 28 + 20 * len(shown)
    parts: list[Markup] = [text(262, 14, "σ₁", "tick", "end")]
    for d in range(-int(reach), int(reach) + 1):
        place = 450 + 160 * d / reach
        parts.append(line([(place, 20), (place, height)], "axis" if d == 0 else "grid"))
        parts.append(text(place, 14, f"×{power(d)}" if d else "typical", "tick", "middle"))
    for i, k in enumerate(shown):
        top, wide = 26 + 20 * i, 160 * min(max(off[k], -reach), reach) / reach
        parts.append(text(200, top + 11, _ending(plain(names[k]), 30), "name", "end"))
        parts.append(text(262, top + 11, figures(norms[k]) if not math.isnan(norms[k]) else "–", "tick", "end"))
        parts.append(box(450 + min(wide, 0.0), top, max(abs(wide), 1.5), 13, "alarm" if told[k] else "c0"))
    lines = [(names[k], norms[k], factors[k]) for k in order]
    drawn = svg(620, height + 4, "Gradient flow: each block's growth of gradients against the typical one", parts)
    return Figure(name, drawn, table(("block", "sigma_max", "factor"), *lines))


def _decades(factor: float) -> float:
    if math.isnan(factor):
        return 0.0
    return math.log10(factor) if 0 < factor < math.inf else math.copysign(9.0, factor - 1.0)


def _ending(name: str, most: int) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"
