"""Losses: weights on their scores, computed together with the value."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.losses import IGNORED, smoothed
from adjoint.maps.elementary import Identity
from adjoint.maps.reductions import Reduce, Surprisal
from adjoint.ops.define import coarse, operation, plain
from adjoint.ops.layout import shape_of

floored = operation(xp.floored, lambda z, x, least: Identity(shape_of(x)))


@coarse(xp.cross_entropy)
def cross_entropy(
    logits: Any,
    target: Any,
    reduction: str = "mean",
    weight: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
) -> Any:
    """Weights softmax - target in the logits; in target probabilities, -log softmax."""
    shape = shape_of(logits)
    axis = 1 if len(shape) > 1 else 0
    axes = axis if reduction == "none" else None
    if xp.has_probabilities(logits, target, ignore_index, label_smoothing):
        z = xp.cross_entropy(logits, target, reduction, weight=weight, label_smoothing=label_smoothing)
        count = math.prod(shape[:axis] + shape[axis + 1 :])
        factor = (1.0 / count if count else math.nan) if reduction == "mean" else 1.0
        costs = 1.0 if weight is None else xp.per_class(logits, weight, axis)

        def residual() -> Any:
            q = costs * smoothed(target, label_smoothing, shape[axis])
            return factor * (xp.softmax(logits, axis) * xp.sum(q, axis, True) - q)

        scores = lambda: -factor * (1.0 - label_smoothing) * costs * xp.log_softmax(logits, axis)  # noqa: E731
        return z, (Reduce(residual, axes, shape), Reduce(scores, axes, shape))
    target = plain(target)
    xp.class_axis("cross_entropy", logits, target)
    losses, top, total, share = xp.surprisal(logits, target, axis, ignore_index)
    costs = 1.0
    if weight is not None:
        costs = xp.per_target(logits, weight, target, axis, ignore_index)
        losses, share = losses * costs, xp.share(xp.sum(costs))
    at = (logits, target, top, total, axis, ignore_index)
    if label_smoothing:
        losses, difference = _smoothed(losses, at, weight, costs, label_smoothing)
    scale: Any = 1.0
    if reduction == "mean":
        z = xp.sum(losses) * share
        uneven = weight is not None or label_smoothing
        scale = xp.where(xp.isnan(share), 0.0, share) if uneven else share  # 0 where nothing counts
    else:
        z = xp.reduced(losses, reduction)
    map = Reduce(lambda: scale * difference, axes, shape) if label_smoothing else Surprisal(*at, scale * costs, axes)
    return as_like(z, logits), (map, None)


def as_like(z: Any, x: Any) -> Any:
    """z in x's dtype: what backward needs of half precision is more exact."""
    return z if z.dtype == x.dtype else xp.astype(z, x.dtype)


def _smoothed(losses: Any, at: Any, weight: Any, costs: Any, smoothing: float) -> Any:
    """Losses of smoothed labels, and their weights on the logits."""
    logits, target, top, total, axis, ignored = at
    shape = shape_of(logits)
    difference = xp.softmax_difference(logits, target, top, total, costs, axis, ignored)
    log_p, counts = xp.log_softmax(logits, axis), xp.not_equal(target, ignored)
    each = xp.ones_like(logits) if weight is None else xp.per_class(logits, weight, axis)
    each = xp.broadcast_to(each * (smoothing / shape[axis]), shape)
    spread = xp.softmax(logits, axis) * xp.sum(each, axis, True) - each
    losses = (1.0 - smoothing) * losses + xp.where(counts, -xp.sum(each * log_p, axis), 0.0)
    return losses, (1.0 - smoothing) * difference + xp.where(xp.expand_dims(counts, axis), spread, 0.0)


@coarse(xp.ctc_loss)
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """Weights -(how probable it is that a place on the way to the target has this symbol at this time)."""
    losses, difference, factor = xp.ctc_residual(
        log_probs, targets=targets, input_lengths=input_lengths, target_lengths=target_lengths, blank=blank,
        zero_infinity=zero_infinity,
    )  # fmt: skip
    axes = (-3, -1) if reduction == "none" and len(log_probs.shape) == 3 else None
    if reduction != "mean":
        return xp.reduced(losses, reduction), (Reduce(difference, axes, shape_of(log_probs)),)
    weights = lambda: difference * (factor[:, None] if factor.shape else factor)  # noqa: E731
    return xp.sum(losses * factor), (Reduce(weights, axes, shape_of(log_probs)),)
