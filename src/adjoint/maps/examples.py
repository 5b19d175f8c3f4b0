"""The adjoint of a map for every example apart: from one cotangent of a batch, what each example alone sends back.

`each(map, u, examples)` is Aᵀ of the part of u that is the i-th example's, for all i at once, shape (n, *in_shape): the
gradient of a weight before it is summed over the batch (Goodfellow 2015, "Efficient per-example gradient
computations"). Any map has it, at n times the cost of its adjoint; those that layers meet have it written by hand.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import Adjoint, LinearMap
from adjoint.maps.convolution_weighting import ConvolutionWeighting, TransposedWeighting
from adjoint.maps.layout import Broadcast, Take, summed_to
from adjoint.maps.matrices import Dense, Einsum, LeftProduct, RightProduct, Weighting
from adjoint.maps.normalization import Gain
from adjoint.maps.reductions import Reduce


class Examples(NamedTuple):
    """Where an array holds its n examples: along a negative axis, in which `inner` entries of one example follow each
    other before the next one's (1 unless the axis was joined with others)."""

    axis: int
    n: int
    inner: int = 1

    def first(self, x: Array) -> Array:
        """x with the examples on a new first axis; their old axis keeps what else it holds of one example.

        >>> Examples(-1, 2).first(np.array([[1, 2], [3, 4]])).tolist()
        [[[1], [3]], [[2], [4]]]
        """
        shape = tuple(x.shape)
        at = len(shape) + self.axis
        outer = shape[at] // (self.n * self.inner)
        apart = xp.reshape(x, (*shape[:at], outer, self.n, self.inner, *shape[at + 1 :]))
        return xp.reshape(xp.moveaxis(apart, at + 1, 0), (self.n, *shape[:at], outer * self.inner, *shape[at + 1 :]))

    def owners(self, size: int) -> np.ndarray:
        """The example of every entry along the axis."""
        return np.arange(size) // self.inner % self.n

    def scaled(self, x: Array, factors: np.ndarray) -> Array:
        """x, every example times its own factor."""
        column = factors[self.owners(x.shape[self.axis])].reshape(-1, *(1,) * (-self.axis - 1))
        return x * xp.asarray(x, column, x.dtype)

    def embedded(self, x: Array) -> Array:
        """n copies of x, each with zeros for all examples but one: (n, *x.shape)."""
        mine = np.arange(self.n)[:, None] == self.owners(x.shape[self.axis])
        mask = mine.reshape(self.n, *(1,) * (len(x.shape) + self.axis), -1, *(1,) * (-self.axis - 1))
        return xp.where(xp.asarray(x, mask), x, 0.0)


@functools.singledispatch
def each(map: LinearMap, u: Any, examples: Examples) -> Any:
    """The adjoint of every example's part of u apart: (n, *in_shape).

    >>> each(Weighting(np.array([[1.0, 2.0], [3.0, 4.0]]), (1, 2)), np.ones((2, 1)), Examples(-2, 2)).tolist()
    [[[1.0, 2.0]], [[3.0, 4.0]]]
    """
    return plainly(map, u, examples)


def plainly(map: LinearMap, u: Any, examples: Examples) -> Any:
    """For any map: the adjoint of n cotangents that are zero but for one example."""
    return map.adjoint(examples.embedded(u))


def products(left: Array, right: Array) -> Array:
    """Σ over rows of left rightᵀ for every example: (n, …, a) and (n, …, b) to (n, a, b)."""
    n, rows = left.shape[0], math.prod(left.shape[1:-1])
    left, right = (xp.reshape(x, (n, rows, x.shape[-1])) for x in (left, right))
    return left.mT * right if rows == 1 else xp.matmul(left.mT, right)


@each.register
def _weighting(map: Weighting, u: Any, examples: Examples) -> Any:
    if examples.axis == -1:
        return plainly(map, u, examples)
    return products(examples.first(u), examples.first(map.x))


@each.register
def _left(map: LeftProduct, u: Any, examples: Examples) -> Any:
    if len(map.in_shape) > 2 or examples.axis == -1:
        return plainly(map, u, examples)
    return products(examples.first(map.left), examples.first(u))


@each.register
def _right(map: RightProduct, u: Any, examples: Examples) -> Any:
    if len(map.in_shape) > 2 or examples.axis > -3 or len(map.right.shape) < -examples.axis:
        return plainly(map, u, examples)
    product = xp.matmul(examples.first(u), examples.first(map.right).mT)
    return xp.sum(product, tuple(range(1, len(product.shape) - 2)))


@each.register
def _dense(map: Dense, u: Any, examples: Examples) -> Any:
    if examples.axis != -1 or len(u.shape) > 1 or examples.n != u.shape[0]:
        return plainly(map, u, examples)
    return xp.expand_dims(u, -1) * map.weight


@each.register
def _einsum(map: Einsum, u: Any, examples: Examples) -> Any:
    inputs, output = map.spec.split("->")
    terms, own = inputs.split(","), output[examples.axis]
    free = terms[map.place]
    if examples.n != u.shape[examples.axis] or own in free or len(set(free)) < len(free):
        return plainly(map, u, examples)
    held = [t for i, t in enumerate(terms) if i != map.place]
    known = [c for c in free if any(c in t for t in (output, *held))]
    found = xp.einsum(
        f"{','.join([output, *held])}->{own}{''.join(known)}", u, *[x for x in map.others if x is not None]
    )
    kept = tuple(n if c in known else 1 for c, n in zip(free, map.in_shape, strict=True))
    return xp.broadcast_to(xp.reshape(found, (examples.n, *kept)), (examples.n, *map.in_shape))


@each.register
def _broadcast(map: Broadcast, u: Any, examples: Examples) -> Any:
    apart = examples.first(u)
    return summed_to(apart, tuple(apart.shape)[1:], map.in_shape)


@each.register
def _adjoint(map: Adjoint, u: Any, examples: Examples) -> Any:
    inner = map.map
    if not isinstance(inner, Reduce) or len(u.shape) > len(map.out_shape) or examples.axis not in inner.axes:
        return plainly(map, u, examples)
    apart = examples.first(u if inner.w is None else inner.w * u)
    return xp.reshape(xp.sum(apart, inner.axes), (examples.n, *map.in_shape))


@each.register
def _gain(map: Gain, u: Any, examples: Examples) -> Any:
    apart = examples.first(u * xp.normalized_entries(map.x, map.mu, map.scale))
    return xp.reshape(xp.sum(apart, map.axes), (examples.n, *map.in_shape))


@each.register
def _take(map: Take, u: Any, examples: Examples) -> Any:
    shape, count, size = map.in_shape, len(map.indices.shape), map.in_shape[0]
    if map.axis != -len(shape) or examples.axis + len(u.shape) >= count:
        return plainly(map, u, examples)
    n, inner = examples.n, math.prod(shape[1:])
    indices = Examples(examples.axis + len(shape) - 1, n, examples.inner).first(map.indices)
    indices = xp.where(xp.less(indices, 0), indices + size, indices)
    places = xp.reshape(indices, (n, -1)) + xp.asarray(indices, size * np.arange(n)[:, None])
    rows = xp.reshape(examples.first(u), (-1, inner) if inner else (math.prod(places.shape), 0))
    return xp.reshape(xp.segment_sum(rows, xp.reshape(places, (-1,)), n * size), (n, *shape))


@each.register
def _convolution(map: ConvolutionWeighting, u: Any, examples: Examples) -> Any:
    if examples.axis != -len(u.shape):
        return plainly(map, u, examples)
    return correlated(map.x, u, map, examples)


@each.register
def _transposed(map: TransposedWeighting, u: Any, examples: Examples) -> Any:
    if examples.axis != -len(u.shape):
        return plainly(map, u, examples)
    return correlated(u, map.u, map, examples)


def correlated(x: Array, u: Array, map: ConvolutionWeighting | TransposedWeighting, examples: Examples) -> Array:
    """x correlated with u for every example: the examples are groups of channels in one convolution."""
    n, shape = examples.n, map.in_shape
    found = xp.convolution_weight(grouped(x, examples), grouped(u, examples), *map.window, n * map.groups)
    return xp.reshape(found, (n, *shape))


def grouped(x: Array, examples: Examples) -> Array:
    """(N, C, …) with the examples beside each other as channels: (N/n, n C, …)."""
    apart = xp.swapaxes(examples.first(x), 0, 1)
    shape: Shape = tuple(apart.shape)
    return xp.reshape(apart, (shape[0], shape[1] * shape[2], *shape[3:]))
