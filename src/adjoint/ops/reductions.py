"""Reductions: the derivative of each is a weighted sum along its axes."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.reductions import Axis, normalized
from adjoint.maps.base import LinearMap
from adjoint.maps.reductions import CumulativeSum, LogSoftmax, Reduce, Softmax
from adjoint.ops.define import constant, operation
from adjoint.ops.layout import shape_of


def kept(z: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """The reduced value with its axes of size 1, so that it broadcasts with x."""
    if keepdims:
        return z
    shape, axes = shape_of(x), normalized(axis, len(x.shape))
    return xp.reshape(z, tuple(1 if a in axes else shape[a] for a in range(-len(shape), 0)))


def sum_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> LinearMap:
    """Weights 1."""
    return Reduce(None, axis, shape_of(x), keepdims)


def mean_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> LinearMap:
    """Weights 1/n."""
    n = math.prod(x.shape[a] for a in normalized(axis, len(x.shape)))
    return Reduce(1.0 / n if n else math.nan, axis, shape_of(x), keepdims)


def var_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> LinearMap:
    """Weights 2 (x - mean) / (n - correction)."""
    n = math.prod(x.shape[a] for a in normalized(axis, len(x.shape)))
    factor = 2.0 / (n - correction) if n > correction else math.nan
    return Reduce(lambda: factor * (x - xp.mean(x, axis, True)), axis, shape_of(x), keepdims)


def std_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False, correction: float = 0) -> LinearMap:
    """Weights (x - mean) / ((n - correction) std), 0 where std = 0."""
    n = math.prod(x.shape[a] for a in normalized(axis, len(x.shape)))

    def weights() -> Any:
        scale = kept(z, x, axis, keepdims) * (n - correction)
        return (x - xp.mean(x, axis, True)) / xp.where(xp.equal(scale, 0.0), 1.0, scale)

    return Reduce(weights, axis, shape_of(x), keepdims)


def extreme_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> LinearMap:
    """Weights 1 at the extreme entry, shared evenly among equal ones."""

    def weights() -> Any:
        hit = xp.where(xp.equal(x, kept(z, x, axis, keepdims)), xp.ones_like(x), 0.0)
        return hit / xp.sum(hit, axis, True)

    return Reduce(weights, axis, shape_of(x), keepdims)


def prod_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> LinearMap:
    """Weights: the products of all other entries, right where entries are zero too."""
    return Reduce(lambda: others_product(x, axis), axis, shape_of(x), keepdims)


def others_product(x: Any, axis: Axis) -> Any:
    """For every entry the product of the others along the axes, by a doubling scan from either side."""
    shape, axes = shape_of(x), normalized(axis, len(x.shape))
    rest = [a for a in range(-len(shape), 0) if a not in axes]
    order = [a + len(shape) for a in (*rest, *axes)]
    moved = xp.permute(x, order)
    n = math.prod(shape[a] for a in axes)
    flat = xp.reshape(moved, (*(shape[a] for a in rest), n))
    others = running_product(flat, n) * xp.flip(running_product(xp.flip(flat, -1), n), -1)
    back = xp.reshape(others, tuple(shape[a] for a in (*rest, *axes)))
    return xp.permute(back, [order.index(a) for a in range(len(shape))])


def running_product(x: Any, n: int) -> Any:
    """The product of all entries before each one along the last axis (Hillis & Steele's scan)."""
    lead = [(0, 0)] * (len(x.shape) - 1)
    total = xp.pad(x[..., : n - 1], [*lead, (1, 0)], 1.0) if n else x
    step = 1
    while step < n:
        total = total * xp.pad(total[..., : n - step], [*lead, (step, 0)], 1.0)
        step *= 2
    return total


def norm_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> LinearMap:
    """Weights x / ‖x‖, 0 where ‖x‖ = 0."""

    def weights() -> Any:
        size = kept(z, x, axis, keepdims)
        return x / xp.where(xp.equal(size, 0.0), 1.0, size)

    return Reduce(weights, axis, shape_of(x), keepdims)


def logsumexp_rule(z: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> LinearMap:
    """Weights: the softmax."""
    return Reduce(lambda: xp.exp(x - kept(z, x, axis, keepdims)), axis, shape_of(x), keepdims)


sum = operation(xp.sum, sum_rule)
mean = operation(xp.mean, mean_rule)
var = operation(xp.var, var_rule)
std = operation(xp.std, std_rule)
max = operation(xp.max, extreme_rule)
min = operation(xp.min, extreme_rule)
prod = operation(xp.prod, prod_rule)
norm = operation(xp.norm, norm_rule)
logsumexp = operation(xp.logsumexp, logsumexp_rule)
compensated_sum = operation(xp.compensated_sum, lambda z, x, axis=-1: sum_rule(z, x, axis))
cumulative_sum = operation(xp.cumulative_sum, lambda z, x, axis=-1: CumulativeSum(axis, shape_of(x)))
reversed_cumulative_sum = operation(
    xp.reversed_cumulative_sum, lambda z, x, axis=-1: CumulativeSum(axis, shape_of(x)).T
)

for flat in (xp.argmax, xp.argmin, xp.any, xp.all, xp.sort_order):
    constant(flat)

softmax = operation(xp.softmax, lambda z, x, axis=-1: Softmax(z, axis))
log_softmax = operation(xp.log_softmax, lambda z, x, axis=-1: LogSoftmax(lambda: xp.exp(z), axis, shape_of(x)))
