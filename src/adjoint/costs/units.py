"""Counts and times as people read them."""

from __future__ import annotations

import math

PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def scaled(x: float) -> str:
    """A count in the unit that suits it.

    >>> scaled(0), scaled(999), scaled(291_648_307_200)
    ('0', '999', '292 G')
    """
    if x < 1000:
        return f"{x:.3g}"
    power = min(int(math.log10(x * 1.0005)) // 3, len(PREFIXES) - 1)
    return f"{x / 1000**power:.3g} {PREFIXES[power]}"


def seconds(x: float) -> str:
    """A time with three figures.

    >>> seconds(0.00123), seconds(2.5), seconds(0.0)
    ('1.23 ms', '2.5 s', '0 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if x >= size:
            return f"{x / size:,.3g} {unit}"
    return f"{x / 1e-9:,.3g} ns" if x else "0 s"
