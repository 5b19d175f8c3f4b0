"""The seam's losses: numbers to make small; `reduction` is "mean", "sum" or "none", other options go by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays.activations import log_softmax, softplus
from adjoint.arrays.dispatch import Array, composition, is_floating
from adjoint.arrays.layout import asarray, astype, expand_dims, put_along, reshape, squeeze, take, take_along
from adjoint.arrays.reductions import logsumexp, max, mean, sum
from adjoint.errors import DtypeError, ShapeError

IGNORED = -100  # PyTorch's mark of an entry that is left out


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
    if is_floating(target.dtype):
        raise DtypeError(f"{name}: classes are integers, not {target.dtype}; probabilities have the scores' shape.")
    return axis


def has_probabilities(logits: Array, target: Array, ignore_index: int, label_smoothing: float) -> bool:
    """Whether the targets of a cross-entropy are probabilities; raises where options or dtype do not go with them."""
    if type(label_smoothing) in (int, float) and not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing lies in [0, 1], not {label_smoothing}.")
    if tuple(target.shape) != tuple(logits.shape):
        return False
    if not is_floating(target.dtype):
        raise DtypeError(
            f"cross_entropy: a target of the scores' shape {tuple(logits.shape)} holds probabilities, floating "
            f"numbers, not {target.dtype}; classes have no axis for the classes."
        )
    if ignore_index != IGNORED:
        raise ValueError("cross_entropy: ignore_index goes with classes; give what is left out the probabilities 0.")
    return True


def reduced(losses: Array, reduction: str) -> Array:
    """Losses of single entries reduced to their mean, their sum, or left as they are."""
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f"reduction is 'mean', 'sum' or 'none', not {reduction!r}; weights go by name, weight=….")


def beside(like: Array, values: Any, dtype: Any = None) -> Array:
    """Numbers, or an array, on the backend of `like`, in a dtype."""
    if type(values) in (list, tuple, np.ndarray, int, float):
        return asarray(like, np.asarray(values), dtype)
    return values if dtype is None or values.dtype == dtype else astype(values, dtype)


def weighted(losses: Array, weight: Array | None, reduction: str) -> Array:
    """Losses times their weights, reduced; "mean" divides by the sum of the weights."""
    if weight is None:
        return reduced(losses, reduction)
    weight = beside(losses, weight, losses.dtype)
    alike("weight", weight, losses)
    total = sum(losses * weight) / sum(weight) if reduction == "mean" else None
    return reduced(losses * weight, reduction) if total is None else total


# Classes


def per_class(scores: Array, weight: Any, axis: int) -> Array:
    """The weights of the classes along their axis; raises `ShapeError` unless there is one each."""
    weight, classes = beside(scores, weight, scores.dtype), scores.shape[axis]
    if tuple(weight.shape) != (classes,):
        raise ShapeError(f"the weight has one number for each of the {classes} classes, not {tuple(weight.shape)}.")
    return reshape(weight, tuple(n if a == axis else 1 for a, n in enumerate(scores.shape)))


def per_target(scores: Array, weight: Any, target: Array, axis: int, ignore_index: int) -> Array:
    """How much each entry counts: its class's weight, or 1; 0 where it is left out."""
    counts = pw.not_equal(target, ignore_index)
    if weight is None:
        return astype(counts, scores.dtype)
    weight = reshape(per_class(scores, weight, axis), (-1,))
    return el.where(counts, take(weight, el.where(counts, target, 0)), 0.0)


def share(total: Array) -> Array:
    """1 / total, what an entry is of a mean; NaN where nothing counts."""
    some = pw.not_equal(total, 0.0)
    return el.where(some, 1.0 / el.where(some, total, 1.0), math.nan)


def averaged(losses: Array, total: Array) -> Array:
    """Σ losses / total; NaN, with slope 0, where nothing counts."""
    some = pw.not_equal(total, 0.0)
    return el.where(some, sum(losses) * (1.0 / el.where(some, total, 1.0)), math.nan)


@composition
def cross_entropy(
    logits: Array,
    target: Array,
    /,
    reduction: str = "mean",
    weight: Array | None = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
) -> Array:
    """-log softmax(logits)[target] in nats, classes on axis 1 (axis 0 of a single example), as PyTorch's.

    logits (n, C, …) or (C,); target integers (n, …) or (), or probabilities of the logits' shape. `reduction` is
    "mean" over the examples, "sum", or "none": one loss each. A loss has the gradient softmax - target in its logits.
    `weight` (C,) multiplies the classes' losses, and a mean over integers divides by the weights met; entries equal to
    `ignore_index` are left out; `label_smoothing` ε mixes the target with ε/C for every class. Raises `ShapeError`
    where the target fits neither way, and IndexError on NumPy for other negative classes and those that are too large.

    >>> import numpy as np, adjoint as aj
    >>> logits, target = np.array([[0.0, 0.0]]), np.array([1])
    >>> float(aj.cross_entropy(logits, target)), aj.grad(aj.cross_entropy)(logits, target).tolist()
    (0.6931, [[0.5, -0.5]])
    >>> float(aj.cross_entropy(np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([1, -100])))
    0.6931
    """
    shape = tuple(logits.shape)
    axis = 1 if len(shape) > 1 else 0
    log_p = log_softmax(logits, axis)
    each = log_p if weight is None else log_p * per_class(logits, weight, axis)
    if has_probabilities(logits, target, ignore_index, label_smoothing):
        losses = -sum(each * smoothed(target, label_smoothing, shape[axis]), axis)
        if reduction == "mean":
            return sum(losses) * (1.0 / math.prod(losses.shape) if losses.shape else 1.0)
        return reduced(losses, reduction)
    if not label_smoothing:
        return nll_loss(log_p, target, reduction, weight=weight, ignore_index=ignore_index)
    class_axis("cross_entropy", logits, target)
    counts = pw.not_equal(target, ignore_index)
    spread = el.where(counts, -mean(each, axis), 0.0)
    chosen = nll_loss(log_p, target, "none", weight=weight, ignore_index=ignore_index)
    losses = (1.0 - label_smoothing) * chosen + label_smoothing * spread
    if reduction == "mean":
        return averaged(losses, sum(per_target(log_p, weight, target, axis, ignore_index)))
    return reduced(losses, reduction)


def smoothed(target: Array, label_smoothing: float, classes: int) -> Array:
    """Probabilities mixed with equal ones."""
    return (1.0 - label_smoothing) * target + label_smoothing / classes if label_smoothing else target


@composition
def surprisal(logits: Array, target: Array, /, axis: int, ignore_index: int = IGNORED) -> Any:
    """(-log p[target], max x, Σ e^(x - max), 1 / how many count), p = softmax(x) of the logits x along the axis.

    target integers without that axis, which the maxima and sums keep; losses are 0 where the target is `ignore_index`.
    """
    counts = pw.not_equal(target, ignore_index)
    place = expand_dims(el.where(counts, target, 0), axis)
    lse, top = logsumexp(logits, axis, True), max(logits, axis, True)
    losses = squeeze(lse - take_along(logits, place, axis), axis)
    return el.where(counts, losses, 0.0), top, el.exp(lse - top), share(sum(astype(counts, logits.dtype)))


@composition
def softmax_difference(
    logits: Array, target: Array, top: Array, total: Array, factor: Array | float, /, axis: int,
    ignore_index: int = IGNORED,
) -> Array:  # fmt: skip
    """f (e^(x - top) / total - onehot), which is f (softmax - onehot) for what `surprisal` gave of the logits x.

    The factor f is a number, or one for each target; where that is `ignore_index` it counts as 0.
    """
    counts = pw.not_equal(target, ignore_index)
    place = expand_dims(el.where(counts, target, 0), axis)
    factors = astype(expand_dims(el.where(counts, factor, 0.0), axis), logits.dtype)
    return el.exp(logits - top) * (factors / total) - put_along(factors, place, axis, logits.shape[axis])


@composition
def nll_loss(
    log_p: Array,
    target: Array,
    /,
    reduction: str = "mean",
    weight: Array | None = None,
    ignore_index: int = IGNORED,
) -> Array:
    """-log_p[target], classes on axis 1 (axis 0 of a single example); target integers without that axis.

    `weight`, `ignore_index` and what is raised as for `cross_entropy`.

    >>> import numpy as np, adjoint as aj
    >>> aj.nll_loss(np.log([[0.25, 0.75], [0.5, 0.5]]), np.array([1, 0]), reduction="none").tolist()
    [0.2877, 0.6931]
    """
    axis = class_axis("nll_loss", log_p, target)
    counts = pw.not_equal(target, ignore_index)
    place = expand_dims(el.where(counts, target, 0), axis)
    losses = el.where(counts, -squeeze(take_along(log_p, place, axis), axis), 0.0)
    if weight is None and reduction != "mean":
        return reduced(losses, reduction)
    scale = per_target(log_p, weight, target, axis, ignore_index)
    losses = losses * scale
    return averaged(losses, sum(scale)) if reduction == "mean" else reduced(losses, reduction)


# Pairs of one shape


def alike(name: str, x: Array, y: Array) -> Array:
    """y, integers as floating numbers like x's; raises `ShapeError` unless both have one shape."""
    if tuple(x.shape) != tuple(y.shape):
        raise ShapeError(
            f"{name}: prediction {tuple(x.shape)} and target {tuple(y.shape)} differ; broadcasting them would average "
            "over pairs that do not belong together: reshape one to the other."
        )
    return floating(x, y)


def floating(x: Array, y: Array) -> Array:
    """y, or its integers as floating numbers like x's."""
    return y if is_floating(y.dtype) else astype(y, x.dtype)


@composition
def mse_loss(x: Array, target: Array, /, reduction: str = "mean", weight: Array | None = None) -> Array:
    """(x - target)², averaged, summed or left as it is ("none") as `reduction` says.

    With a `weight` for each entry a mean divides by the weights' sum. Raises `ShapeError` unless x and target have one
    shape, as all losses of such pairs do.

    >>> import numpy as np, adjoint as aj
    >>> x, target = np.array([1.0, 5.0]), np.array([1.0, 2.0])
    >>> float(aj.mse_loss(x, target)), aj.mse_loss(x, target, "none").tolist()
    (4.5, [0.0, 9.0])
    """
    target = alike("mse_loss", x, target)
    return weighted(el.square(x - target), weight, reduction)


@composition
def l1_loss(x: Array, target: Array, /, reduction: str = "mean", weight: Array | None = None) -> Array:
    """|x - target|; `weight` as for `mse_loss`.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.l1_loss(np.array([1.0, 5.0]), np.array([1.0, 2.0])))
    1.5
    """
    target = alike("l1_loss", x, target)
    return weighted(el.abs(x - target), weight, reduction)


def check_delta(delta: Any) -> None:
    """Raise TypeError or ValueError unless `huber_loss` can take delta."""
    if isinstance(delta, complex):
        raise TypeError(f"huber_loss: delta is a real number, not {delta}.")
    if type(delta) in (int, float) and not delta > 0:
        raise ValueError(f"huber_loss: delta is positive, not {delta}; for |d| use l1_loss.")


@composition
def huber_loss(
    x: Array, target: Array, /, reduction: str = "mean", delta: float = 1.0, weight: Array | None = None
) -> Array:
    """½ d² where |d| = |x - target| < δ, δ (|d| - ½ δ) elsewhere (Huber 1964); `weight` as for `mse_loss`.

    >>> import numpy as np, adjoint as aj
    >>> aj.huber_loss(np.array([0.5, 3.0]), np.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    target = alike("huber_loss", x, target)
    check_delta(delta)
    d = x - target
    size = el.abs(d)
    losses = el.where(pw.less(size, delta), 0.5 * el.square(d), delta * (size - 0.5 * delta))
    return weighted(losses, weight, reduction)


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
def binary_cross_entropy(p: Array, target: Array, /, reduction: str = "mean", weight: Array | None = None) -> Array:
    """-(t log p + (1 - t) log(1 - p)), the logarithms bounded below by -100 as PyTorch's; there their slope is 0.

    `weight`, of a shape that broadcasts to p's, multiplies the losses; a mean is over the entries all the same.

    >>> import numpy as np, adjoint as aj
    >>> aj.binary_cross_entropy(np.array([0.5, 0.25]), np.array([1.0, 0.0]), reduction="none").tolist()
    [0.6931, 0.2877]
    """
    target = alike("binary_cross_entropy", p, target)
    some, rest = (
        pw.not_equal(p, 0.0),
        pw.not_equal(p, 1.0),
    )  # the logarithm of 0 would warn, and its slope give NaN
    yes = el.where(some, el.maximum(el.log(el.where(some, p, 1.0)), -100.0), -100.0)
    no = el.where(rest, el.maximum(el.log1p(-el.where(rest, p, 0.0)), -100.0), -100.0)
    losses = -(target * yes + (1.0 - target) * no)
    return reduced(losses if weight is None else losses * beside(losses, weight, losses.dtype), reduction)


@composition
def binary_cross_entropy_with_logits(
    x: Array,
    target: Array,
    /,
    reduction: str = "mean",
    weight: Array | None = None,
    pos_weight: Array | None = None,
) -> Array:
    """`binary_cross_entropy` of σ(x), without overflow: softplus(x) - t x, with slope σ(x) - t.

    `pos_weight`, of a shape that broadcasts to x's, multiplies what t = 1 costs: it trades precision for recall.

    >>> import numpy as np, adjoint as aj
    >>> x, target = np.array([0.0, -1000.0]), np.array([1.0, 1.0])
    >>> aj.binary_cross_entropy_with_logits(x, target, reduction="none").tolist()
    [0.6931, 1000.0]
    """
    target = alike("binary_cross_entropy_with_logits", x, target)
    if pos_weight is None:
        losses = softplus(x) - target * x
    else:
        pos_weight = beside(x, pos_weight, x.dtype)
        losses = (1.0 - target) * x + (1.0 + (pos_weight - 1.0) * target) * softplus(-x)
    return reduced(losses if weight is None else losses * beside(losses, weight, losses.dtype), reduction)


@composition
def kl_div(log_q: Array, p: Array, /, reduction: str = "mean", log_target: bool = False) -> Array:
    """p (log p - log_q), with 0 log 0 = 0: their sum is the divergence KL(p ‖ q), in nats.

    Log-probabilities come first, as PyTorch's, and second, too, with `log_target`; reduction "batchmean" divides the
    sum by n, the size of axis 0.

    >>> import numpy as np, adjoint as aj
    >>> log_q, p = np.log([[0.5, 0.5]]), np.array([[1.0, 0.0]])
    >>> float(aj.kl_div(log_q, p, reduction="batchmean"))
    0.6931
    """
    p = alike("kl_div", log_q, p)
    if log_target:
        losses = el.exp(p) * (p - log_q)
    else:
        some = pw.not_equal(p, 0.0)
        losses = el.where(some, p * el.log(el.where(some, p, 1.0)), 0.0) - p * log_q
    if reduction == "batchmean":
        return sum(losses) * (1.0 / (log_q.shape[0] if log_q.shape else 1))
    return reduced(losses, reduction)


@composition
def poisson_nll_loss(
    x: Array,
    target: Array,
    /,
    reduction: str = "mean",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Array:
    """λ - t log λ, -log of Poisson's probability of t but for log t!, which `full` adds by Stirling's formula.

    λ = eˣ, or x itself without `log_input`, then with eps added in the logarithm. Stirling's t log t - t + ½ log 2πt is
    for t > 1.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.poisson_nll_loss(np.array([0.0, 1.0]), np.array([3.0, 0.0])))
    1.8591
    """
    target = alike("poisson_nll_loss", x, target)
    losses = el.exp(x) - target * x if log_input else x - target * el.log(x + eps)
    if full:
        many = pw.greater(target, 1.0)
        t = el.where(many, target, 1.0)
        losses = losses + el.where(many, t * el.log(t) - t + 0.5 * el.log(2.0 * math.pi * t), 0.0)
    return reduced(losses, reduction)


@composition
def floored(x: Array, /, least: float) -> Array:
    """max(x, least) with slope 1, also below, so that descent leads out of there."""
    return el.maximum(x, least)


@composition
def gaussian_nll_loss(
    x: Array, target: Array, var: Array, /, reduction: str = "mean", full: bool = False, eps: float = 1e-6
) -> Array:
    """½ (log v + (x - t)²/v), -log of the normal density but for ½ log 2π, which `full` adds (Nix & Weigend 1994).

    v is `var`, at least eps: of x's shape, or one number for an axis (the last one may be left out), or for all. Below
    eps its slope is that at eps, as PyTorch's. Raises `ShapeError` for another shape.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.gaussian_nll_loss(np.array([1.0, 3.0]), np.array([1.0, 1.0]), np.array([1.0, 4.0])))
    0.5966
    """
    target = alike("gaussian_nll_loss", x, target)
    var = beside(x, var, x.dtype) if type(var) in (int, float) else var
    shape, given = tuple(x.shape), tuple(var.shape)
    if given == shape[:-1] and given:
        var = expand_dims(var, -1)
    elif given and given not in [shape, *((*shape[:a], 1, *shape[a + 1 :]) for a in range(len(shape)))]:
        raise ShapeError(f"gaussian_nll_loss: var {given} fits no x {shape}: {shape}, or 1 for one of its axes.")
    v = floored(var, eps)
    losses = 0.5 * (el.log(v) + el.square(x - target) / v)
    return reduced(losses + 0.5 * math.log(2.0 * math.pi) if full else losses, reduction)
