"""Losses: weights on their scores, computed together with the value."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.maps.reductions import Reduce
from adjoint.ops.define import coarse, plain
from adjoint.ops.layout import shape_of


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
