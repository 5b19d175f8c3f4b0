"""The seam's losses: numbers to make small; `reduction` is "mean", "sum" or "none"."""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays import elementwise as el
from adjoint.arrays.activations import log_softmax, relu, softmax, softplus
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.layout import expand_dims, full, put_along, squeeze, take_along
from adjoint.arrays.reductions import logsumexp, mean, sum
from adjoint.errors import ShapeError


def class_axis(name: str, scores: Array, target: Array) -> int:
    """The axis of the classes, 1 (0 of a single example); raises `ShapeError` unless target has the others."""
    axis = 1 if len(scores.shape) > 1 else 0
    shape = tuple(scores.shape)
    expected = shape[:axis] + shape[axis + 1 :]
    if tuple(target.shape) != expected:
        raise ShapeError(
            f"{name}: scores {shape} have classes on axis {axis}, so the target's shape is {expected}, not "
            f"{tuple(target.shape)}; move the classes there with aj.moveaxis, or flatten both."
        )
    return axis


def reduced(losses: Array, reduction: str) -> Array:
    """Losses of single entries reduced to their mean, their sum, or left as they are."""
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}.")


@composition
def cross_entropy(logits: Array, target: Array, /, reduction: str = "mean") -> Array:
    """-log softmax(logits)[target] in nats, classes on axis 1 (axis 0 of a single example), as PyTorch's.

    logits (n, C, …) or (C,); target integers (n, …) or (), or probabilities of the logits' shape. `reduction` is
    "mean" over the examples, "sum", or "none": one loss each. A loss has the gradient softmax - target in its logits.
    Raises `ShapeError` where the target fits neither way.

    >>> import numpy as np, adjoint as aj
    >>> logits, target = np.array([[0.0, 0.0]]), np.array([1])
    >>> float(aj.cross_entropy(logits, target)), aj.grad(aj.cross_entropy)(logits, target).tolist()
    (0.6931, [[0.5, -0.5]])
    """
    axis = 1 if len(logits.shape) > 1 else 0
    log_p = log_softmax(logits, axis)
    if tuple(target.shape) == tuple(logits.shape):
        losses = -sum(log_p * target, axis)
        if reduction == "mean":
            return sum(losses) * (1.0 / math.prod(losses.shape) if losses.shape else 1.0)
        return reduced(losses, reduction)
    return nll_loss(log_p, target, reduction)


@composition
def softmax_residual(logits: Array, target: Array, /, axis: int) -> Any:
    """(-log p[target], p - onehot(target)), p = softmax(logits) along the axis; target integers without that axis."""
    p = softmax(logits, axis)
    place = expand_dims(target, axis)
    losses = logsumexp(logits, axis) - squeeze(take_along(logits, place, axis), axis)
    return losses, p - put_along(full(p, tuple(place.shape), 1.0), place, axis, p.shape[axis])


@composition
def nll_loss(log_p: Array, target: Array, /, reduction: str = "mean") -> Array:
    """-log_p[target], classes on axis 1 (axis 0 of a single example); target integers without that axis.

    >>> import numpy as np, adjoint as aj
    >>> aj.nll_loss(np.log([[0.25, 0.75], [0.5, 0.5]]), np.array([1, 0]), reduction="none").tolist()
    [0.2877, 0.6931]
    """
    axis = class_axis("nll_loss", log_p, target)
    return reduced(-squeeze(take_along(log_p, expand_dims(target, axis), axis), axis), reduction)


def _alike(name: str, x: Array, y: Array) -> None:
    if tuple(x.shape) != tuple(y.shape):
        raise ShapeError(
            f"{name}: prediction {tuple(x.shape)} and target {tuple(y.shape)} differ; broadcasting them would average "
            "over pairs that do not belong together: reshape one to the other."
        )


@composition
def mse_loss(x: Array, target: Array, /, reduction: str = "mean") -> Array:
    """(x - target)², averaged, summed or left as it is ("none") as `reduction` says.

    Raises `ShapeError` unless x and target have one shape, as all losses of such pairs do.

    >>> import numpy as np, adjoint as aj
    >>> x, target = np.array([1.0, 5.0]), np.array([1.0, 2.0])
    >>> float(aj.mse_loss(x, target)), aj.mse_loss(x, target, "none").tolist()
    (4.5, [0.0, 9.0])
    """
    _alike("mse_loss", x, target)
    return reduced(el.square(x - target), reduction)


@composition
def l1_loss(x: Array, target: Array, /, reduction: str = "mean") -> Array:
    """|x - target|.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.l1_loss(np.array([1.0, 5.0]), np.array([1.0, 2.0])))
    1.5
    """
    _alike("l1_loss", x, target)
    return reduced(el.abs(x - target), reduction)


@composition
def huber_loss(x: Array, target: Array, /, reduction: str = "mean", delta: float = 1.0) -> Array:
    """½ d² where |d| = |x - target| < δ, δ (|d| - ½ δ) elsewhere (Huber 1964).

    >>> import numpy as np, adjoint as aj
    >>> aj.huber_loss(np.array([0.5, 3.0]), np.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    _alike("huber_loss", x, target)
    d = x - target
    size = el.abs(d)
    return reduced(el.where(el.less(size, delta), 0.5 * el.square(d), delta * (size - 0.5 * delta)), reduction)


@composition
def smooth_l1_loss(x: Array, target: Array, /, reduction: str = "mean", beta: float = 1.0) -> Array:
    """`huber_loss` with δ = β, divided by β; `l1_loss` for β = 0 (Girshick 2015).

    >>> import numpy as np, adjoint as aj
    >>> aj.smooth_l1_loss(np.array([0.5, 3.0]), np.zeros(2), reduction="none", beta=2.0).tolist()
    [0.0625, 2.0]
    """
    if beta == 0.0:
        return l1_loss(x, target, reduction)
    return huber_loss(x, target, reduction, beta) * (1.0 / beta)


@composition
def binary_cross_entropy(p: Array, target: Array, /, reduction: str = "mean") -> Array:
    """-(t log p + (1 - t) log(1 - p)), the logarithms bounded below by -100 as PyTorch's; there their slope is 0.

    >>> import numpy as np, adjoint as aj
    >>> aj.binary_cross_entropy(np.array([0.5, 0.25]), np.array([1.0, 0.0]), reduction="none").tolist()
    [0.6931, 0.2877]
    """
    _alike("binary_cross_entropy", p, target)
    some, rest = el.not_equal(p, 0.0), el.not_equal(p, 1.0)  # the logarithm of 0 would warn, and its slope give NaN
    yes = el.where(some, el.maximum(el.log(el.where(some, p, 1.0)), -100.0), -100.0)
    no = el.where(rest, el.maximum(el.log1p(-el.where(rest, p, 0.0)), -100.0), -100.0)
    return reduced(-(target * yes + (1.0 - target) * no), reduction)


@composition
def binary_cross_entropy_with_logits(x: Array, target: Array, /, reduction: str = "mean") -> Array:
    """`binary_cross_entropy` of σ(x), without overflow: softplus(x) - t x, with slope σ(x) - t.

    >>> import numpy as np, adjoint as aj
    >>> x, target = np.array([0.0, -1000.0]), np.array([1.0, 1.0])
    >>> aj.binary_cross_entropy_with_logits(x, target, reduction="none").tolist()
    [0.6931, 1000.0]
    """
    _alike("binary_cross_entropy_with_logits", x, target)
    return reduced(softplus(x) - target * x, reduction)


@composition
def kl_div(log_q: Array, p: Array, /, reduction: str = "mean") -> Array:
    """p (log p - log_q), with 0 log 0 = 0: their sum is the divergence KL(p ‖ q), in nats.

    Log-probabilities come first, as PyTorch's; reduction "batchmean" divides the sum by n, the size of axis 0.

    >>> import numpy as np, adjoint as aj
    >>> log_q, p = np.log([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    >>> float(aj.kl_div(log_q, p, reduction="batchmean"))
    0.6931
    """
    _alike("kl_div", log_q, p)
    positive = el.greater(p, 0.0)
    entropy = el.where(positive, p * el.log(el.where(positive, p, 1.0)), 0.0)
    losses = entropy - p * log_q
    if reduction == "batchmean":
        return sum(losses) * (1.0 / log_q.shape[0])
    return reduced(losses, reduction)


@composition
def hinge_loss(x: Array, target: Array, /, reduction: str = "mean") -> Array:
    """max(0, 1 - t x) with t = ±1.

    >>> import numpy as np, adjoint as aj
    >>> aj.hinge_loss(np.array([0.5, 2.0, 2.0]), np.array([1.0, 1.0, -1.0]), reduction="none").tolist()
    [0.5, 0.0, 3.0]
    """
    _alike("hinge_loss", x, target)
    return reduced(relu(1.0 - target * x), reduction)
