"""Which shapes fit, and what to say where they do not: operation, shapes, axis at fault, likely remedy."""

from __future__ import annotations

import operator
from itertools import combinations
from typing import Any

from adjoint.arrays.dispatch import Shape
from adjoint.errors import ShapeError


def count_of(n: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    >>> count_of(1, "axis", "axes"), count_of(2, "entry", "entries")
    ('1 axis', '2 entries')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


# Axes


def axis_in(name: str, axis: Any, shape: Shape, ndim: int | None = None) -> int:
    """The axis counted from the front."""
    n = len(shape) if ndim is None else ndim
    place = operator.index(axis)
    if not -n <= place < n:
        remedy = f"use {-n} to {n - 1}" if n else "a scalar has none"
        whose = shape if ndim is None else f"the result, {shape} with a new axis"
        raise ShapeError(f"{name}: axis {axis} is out of range for {whose}: {remedy}.")
    return place % n


def axes_in(name: str, axis: Any, shape: Shape) -> tuple[int, ...]:
    """The axes counted from the front; all of them for None."""
    if axis is None:
        return tuple(range(len(shape)))
    if not isinstance(axis, (tuple, list)):
        return (axis_in(name, axis, shape),)
    axes = tuple([axis_in(name, a, shape) for a in axis])
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{name}: axes {tuple(axis)} name one axis of {shape} twice: name each once.")
    return axes


def reduced(name: str, shape: Shape, axis: Any, keepdims: bool = False, identity: bool = True) -> Shape:
    """The shape that is left when the axes are reduced."""
    gone = axes_in(name, axis, shape)
    if not identity:
        for a in gone:
            if shape[a] == 0:
                raise ShapeError(f"{name}: axis {a} of {shape} is empty, and the {name} of nothing is not defined.")
    if keepdims:
        return tuple([1 if a in gone else n for a, n in enumerate(shape)])
    return tuple([n for a, n in enumerate(shape) if a not in gone])


# Broadcasting


def broadcast(name: str, *shapes: Shape) -> Shape:
    """The common shape: aligned from the right, sizes equal or 1.

    >>> broadcast("add", (4, 1), (3,))
    (4, 3)
    """
    if len(set(shapes)) == 1:
        return shapes[0]
    common: list[int] = []
    for axis in range(-1, -max(map(len, shapes)) - 1, -1):
        sizes = [s[axis] for s in shapes if len(s) >= -axis]
        wide = [n for n in sizes if n != 1]
        if any(n != wide[0] for n in wide):
            listed = " and ".join(map(str, shapes)) if len(shapes) == 2 else ", ".join(map(str, shapes))
            clash = " against ".join(map(str, dict.fromkeys(wide)))
            raise ShapeError(
                f"{name}: {listed} do not broadcast: axis {axis} is {clash}; aligned from the right, sizes must be "
                f"equal or 1.{_broadcast_remedy(*shapes) if len(shapes) == 2 else ''}"
            )
        common.append(wide[0] if wide else 1)
    return tuple(reversed(common))


def fits(shape: Shape, into: Shape) -> bool:
    """Whether `shape` broadcasts to exactly `into`."""
    return len(shape) <= len(into) and all(m in (n, 1) for m, n in zip(reversed(shape), reversed(into), strict=False))


def _broadcast_remedy(x: Shape, y: Shape) -> str:
    if len(x) == len(y) > 1 and fits((*y[:-2], y[-1], y[-2]), x):
        return f" Transpose the right operand: {(*y[:-2], y[-1], y[-2])}."
    if len(x) == len(y) > 1 and fits((*x[:-2], x[-1], x[-2]), y):
        return f" Transpose the left operand: {(*x[:-2], x[-1], x[-2])}."
    small, large, symbol = (x, y, "x") if len(x) < len(y) else (y, x, "y")
    return axis_remedy(small, large, symbol)


def axis_remedy(small: Shape, large: Shape, symbol: str, leading: bool = False) -> str:
    """Where a new axis would make the smaller shape fit the larger; broadcasting adds `leading` ones itself."""
    for places in combinations(range(len(large)), len(small)) if len(small) < len(large) else ():
        if all(large[place] == n for place, n in zip(places, small, strict=True)):
            first = places[0] if places and not leading else 0
            shape = tuple([large[a] if a in places else 1 for a in range(first, len(large))])
            index = ", ".join([":" if a in places else "None" for a in range(first, len(large))])
            return f" Add an axis: {symbol}[{index}] has shape {shape}."
    return ""


def broadcast_to(shape: Shape, target: Shape) -> None:
    """Raise unless `shape` broadcasts to `target`."""
    if fits(shape, target):
        return
    if len(shape) > len(target):
        raise ShapeError(
            f"broadcast_to: {shape} has {count_of(len(shape), 'axis', 'axes')}, {target} only "
            f"{len(target)}: broadcasting adds axes and removes none; reshape or sum first."
        )
    axis = next(a for a in range(-1, -len(shape) - 1, -1) if shape[a] not in (target[a], 1))
    raise ShapeError(
        f"broadcast_to: {shape} does not fit {target}: axis {axis} is {shape[axis]} against {target[axis]}; "
        f"aligned from the right, sizes must be equal or 1.{axis_remedy(shape, target, 'x')}"
    )


# Products


def matmul(x: Shape, y: Shape, name: str = "matmul") -> Shape:
    """(…, n, k) by (…, k, m) gives (…, n, m).

    >>> matmul((5, 2, 3), (3, 4)), matmul((3,), (3,))
    ((5, 2, 4), ())
    """
    if not x or not y:
        raise ShapeError(f"{name}: {x} @ {y}: a scalar has no axis to sum over; multiply by it instead.")
    row = -2 if len(y) > 1 else -1
    if x[-1] != y[row]:
        raise ShapeError(
            f"{name}: {x} @ {y}: inner dimensions differ, axis -1 of the left is {x[-1]}, axis {row} of the right is "
            f"{y[row]}.{_matmul_remedy(x, y)}"
        )
    try:
        batch = broadcast(name, x[:-2], y[:-2])
    except ShapeError:
        axis = next(a for a in range(-3, -min(len(x), len(y)) - 1, -1) if x[a] != y[a] and 1 not in (x[a], y[a]))
        raise ShapeError(
            f"{name}: {x} @ {y}: batch axes do not broadcast, axis {axis} is {x[axis]} against {y[axis]}; before "
            "the last two axes, sizes must be equal or 1."
        ) from None
    return (*batch, *x[-2:-1], *(y[-1:] if len(y) > 1 else ()))


def _matmul_remedy(x: Shape, y: Shape) -> str:
    if len(y) > 1 and x[-1] == y[-1]:
        return f" Transpose the right operand: {(*y[:-2], y[-1], y[-2])}."
    if len(x) > 1 and x[-2] == y[-2 if len(y) > 1 else -1]:
        return f" Transpose the left operand: {(*x[:-2], x[-1], x[-2])}."
    if len(x) > 1 and y[-1] == x[-2]:
        return f" The product exists in the other order: {y} @ {x}."
    return ""
