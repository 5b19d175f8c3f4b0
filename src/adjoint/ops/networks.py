"""Coarse operations: whole layers and losses whose maps share what the forward pass has computed."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.maps.elementary import Diagonal
from adjoint.maps.layout import Broadcast
from adjoint.maps.algebra import Composition
from adjoint.maps.reductions import LogSoftmax, Normalization, Reduce, Softmax
from adjoint.ops.define import coarse, operation, plain
from adjoint.ops.layout import shape_of

softmax = operation(xp.softmax, lambda z, x, axis=-1: Softmax(z, axis))
log_softmax = operation(xp.log_softmax, lambda z, x, axis=-1: LogSoftmax(lambda: xp.exp(z), axis, shape_of(x)))


def normalized(x: Any, weight: Any, bias: Any, ndim: int, eps: float, centre: bool) -> Any:
    """The value and the maps of layer normalization, or of RMS normalization."""
    normal, scale = xp.normalize_moments(x, ndim, eps, centre)
    in_x = Normalization(normal, scale, ndim, centre)
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
    """Weights softmax - target in the logits, -log softmax in target probabilities."""
    z = xp.cross_entropy(logits, target, reduction)
    target = plain(target) if shape_of(target) != shape_of(logits) else target
    shape = shape_of(logits)
    axis = 1 if len(shape) > 1 else 0
    n = math.prod(shape) // shape[axis] if math.prod(shape) else 0
    factor = (1.0 / n if n else math.nan) if reduction == "mean" else 1.0

    def residual() -> Any:
        p = xp.softmax(logits, axis)
        if shape_of(target) == shape:
            return factor * (p * xp.sum(target, axis, True) - target)
        hot = xp.put_along(xp.full(p, shape_of(xp.expand_dims(target, axis)), 1.0), xp.expand_dims(target, axis), axis, shape[axis])
        return factor * (p - hot)

    axes = axis if reduction == "none" else None
    in_logits = Reduce(residual, axes, shape)
    in_target = Reduce(lambda: -factor * xp.log_softmax(logits, axis), axes, shape)
    return z, (in_logits, in_target if shape_of(target) == shape else None)


