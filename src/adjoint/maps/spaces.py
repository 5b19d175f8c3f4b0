"""The spaces that maps act between: a shape, or a tuple of shapes for a product of spaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape

Space = tuple[Any, ...]


def is_product(space: Space) -> TypeGuard[tuple[Shape, ...]]:
    """Whether the space is a product, that is a tuple of shapes.

    >>> is_product((3, 4)), is_product(((3, 4), (3,))), is_product(())
    (False, True, False)
    """
    return bool(space) and isinstance(space[0], tuple)


def factors(space: Space) -> tuple[Shape, ...]:
    """The shapes that a space is made of: itself alone when it is no product."""
    return space if is_product(space) else (space,)


def size(space: Space) -> int:
    """The dimension of the space.

    >>> size((3, 4)), size(((3, 4), (3,))), size(())
    (12, 15, 1)
    """
    return sum(math.prod(shape) for shape in factors(space))


def lead_of(x: Array, shape: Shape) -> Shape:
    """The leading batch axes of an array whose trailing axes are `shape`."""
    full = tuple(x.shape)
    return full[: len(full) - len(shape)]


def ravel(x: Any, space: Space) -> Array:
    """Elements as vectors: trailing axes `space` joined into one of length size(space), batch axes kept."""
    if is_product(space):
        return xp.concatenate([ravel(part, shape) for part, shape in zip(x, space, strict=True)], -1)
    return xp.reshape(x, (*lead_of(x, space), size(space)))


def unravel(v: Array, space: Space) -> Any:
    """Vectors as elements: the inverse of `ravel`."""
    lead = tuple(v.shape)[:-1]
    if not is_product(space):
        return xp.reshape(v, (*lead, *space))
    parts, start = [], 0
    for shape in space:
        stop = start + math.prod(shape)
        parts.append(xp.reshape(v[..., start:stop], (*lead, *shape)))
        start = stop
    return tuple(parts)


def shapes_of(x: Any) -> Space:
    """The shape of an array, or the tuple of shapes of a tuple of arrays."""
    return tuple(shapes_of(part) for part in x) if isinstance(x, (tuple, list)) else tuple(getattr(x, "shape", ()))


def batch_of(x: Any, space: Space) -> Shape | None:
    """The batch axes when x is a batch of elements of the space; None when it is not."""
    shapes = shapes_of(x)
    if is_product(space) != is_product(shapes) and shapes != space:
        return None
    leads = set()
    for given, shape in zip(factors(shapes), factors(space), strict=False):
        cut = len(given) - len(shape)
        if cut < 0 or given[cut:] != tuple(shape):
            return None
        leads.add(given[:cut])
    if len(factors(shapes)) != len(factors(space)) or len(leads) != 1:
        return None
    return leads.pop()


def add(x: Any, y: Any) -> Any:
    """The sum of two elements of one space."""
    if isinstance(x, tuple):
        return tuple(add(a, b) for a, b in zip(x, y, strict=True))
    return x + y


def scaled(c: Any, x: Any) -> Any:
    """c times an element."""
    return tuple(scaled(c, part) for part in x) if isinstance(x, tuple) else c * x


def dot(x: Any, y: Any) -> Any:
    """⟨x, y⟩, the sum of products over all entries of two elements."""
    if isinstance(x, tuple):
        return sum(dot(a, b) for a, b in zip(x, y, strict=True))
    return xp.sum(x * y)


def negative_axes(axes: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Axes counted from the end, so that batch axes in front do not move them."""
    return xp.normalized(axes if axes is None or isinstance(axes, int) else tuple(axes), ndim)
