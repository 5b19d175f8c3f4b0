"""Coarse operations: whole layers and losses whose maps share what the forward pass has computed."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.maps.algebra import Composition
from adjoint.maps.base import LinearMap
from adjoint.maps.elementary import Diagonal
from adjoint.maps.layout import Broadcast
from adjoint.maps.reductions import LogSoftmax, Normalization, Reduce, Softmax
from adjoint.ops.define import coarse, operation, plain
from adjoint.ops.layout import shape_of

softmax = operation(xp.softmax, lambda z, x, axis=-1: Softmax(z, axis))
log_softmax = operation(xp.log_softmax, lambda z, x, axis=-1: LogSoftmax(lambda: xp.exp(z), axis, shape_of(x)))


def normalized(x: Any, weight: Any, bias: Any, ndim: int, eps: float, centre: bool) -> Any:
    """The value and the maps of layer normalization, or of RMS normalization."""
    normal, scale = xp.normalize_moments(x, ndim, eps, centre)
    in_x: LinearMap = Normalization(normal, scale, ndim, centre)
    if weight is None:
        z, in_weight = normal, None
    else:
        z = normal * weight
        in_x = Composition([Diagonal(weight), in_x])
        in_weight = Composition([Diagonal(normal), Broadcast(shape_of(weight), shape_of(normal))])
    if bias is None:
        return z, (in_x, in_weight)
    return z + bias, (in_x, in_weight, Broadcast(shape_of(bias), shape_of(normal)))


@coarse(xp.layer_norm)
def layer_norm(x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 1e-5) -> Any:
    """A scaled projection in x."""
    return normalized(x, weight, bias, ndim, eps, True)


@coarse(xp.rms_norm)
def rms_norm(x: Any, weight: Any = None, ndim: int = 1, eps: float = 1e-6) -> Any:
    """A scaled projection in x."""
    return normalized(x, weight, None, ndim, eps, False)


@coarse(xp.cross_entropy)
def cross_entropy(logits: Any, target: Any, reduction: str = "mean") -> Any:
    """Weights softmax - target in the logits; in target probabilities, -log softmax."""
    shape = shape_of(logits)
    axis = 1 if len(shape) > 1 else 0
    count = math.prod(shape[:axis] + shape[axis + 1 :])
    factor = (1.0 / count if count else math.nan) if reduction == "mean" else 1.0
    axes = axis if reduction == "none" else None
    if shape_of(target) == shape:
        z = xp.cross_entropy(logits, target, reduction)
        residual = lambda: factor * (xp.softmax(logits, axis) * xp.sum(target, axis, True) - target)  # noqa: E731
        scores = lambda: -factor * xp.log_softmax(logits, axis)  # noqa: E731
        return z, (Reduce(residual, axes, shape), Reduce(scores, axes, shape))
    target = plain(target)
    xp.class_axis("cross_entropy", logits, target)
    losses, difference = xp.softmax_residual(logits, target, axis)
    weights = lambda: difference if factor == 1.0 else factor * difference  # noqa: E731
    return xp.reduced(losses, reduction), (Reduce(weights, axes, shape), None)
