"""The seam's losses of margins and distances: scores that should differ by a margin, embeddings near or far."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays.activations import relu, softplus
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.layout import astype, expand_dims, ones_like, put_along, reshape, take, take_along
from adjoint.arrays.losses import alike, binary_cross_entropy_with_logits, class_axis, floating, per_class, reduced
from adjoint.arrays.reductions import cumulative_sum, mean, sum


@composition
def hinge_loss(x: Array, target: Array, /, reduction: str = "mean") -> Array:
    """max(0, 1 - t x) with t = ±1.

    >>> import numpy as np, adjoint as aj
    >>> aj.hinge_loss(np.array([0.5, 2.0, 2.0]), np.array([1.0, 1.0, -1.0]), reduction="none").tolist()
    [0.5, 0.0, 3.0]
    """
    target = alike("hinge_loss", x, target)
    return reduced(relu(1.0 - target * x), reduction)


@composition
def soft_margin_loss(x: Array, target: Array, /, reduction: str = "mean") -> Array:
    """log(1 + exp(-t x)) with t = ±1.

    >>> import numpy as np, adjoint as aj
    >>> aj.soft_margin_loss(np.array([0.0, 2.0]), np.array([1.0, -1.0]), reduction="none").tolist()
    [0.6931, 2.1269]
    """
    target = alike("soft_margin_loss", x, target)
    return reduced(softplus(-target * x), reduction)


@composition
def hinge_embedding_loss(x: Array, target: Array, /, reduction: str = "mean", margin: float = 1.0) -> Array:
    """A distance x where t = 1, max(0, margin - x) where t = -1.

    >>> import numpy as np, adjoint as aj
    >>> aj.hinge_embedding_loss(np.array([0.2, 0.3]), np.array([1.0, -1.0]), reduction="none").tolist()
    [0.2, 0.7]
    """
    near = el.where(pw.not_equal(target, -1), x, 0.0)
    return reduced(near + el.where(pw.not_equal(target, 1), relu(margin - x), 0.0), reduction)


@composition
def margin_ranking_loss(x1: Array, x2: Array, target: Array, /, reduction: str = "mean", margin: float = 0.0) -> Array:
    """max(0, margin - t (x₁ - x₂)): x₁ should be larger where t = 1, smaller where t = -1; shapes broadcast.

    >>> import numpy as np, adjoint as aj
    >>> aj.margin_ranking_loss(np.array([1.0, 1.0]), np.array([3.0, 0.0]), np.ones(2), reduction="none").tolist()
    [2.0, 0.0]
    """
    return reduced(relu(margin - floating(x1, target) * (x1 - x2)), reduction)


@composition
def cosine_embedding_loss(
    x1: Array, x2: Array, target: Array, /, reduction: str = "mean", margin: float = 0.0
) -> Array:
    """1 - cos where t = 1, max(0, cos - margin) where t = -1; cos of x₁ and x₂ along the last axis.

    x₁, x₂ (n, d) or (d,), target (n,) or (). A zero vector is at right angles with all.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([[1.0, 0.0], [0.6, 0.8]])
    >>> aj.cosine_embedding_loss(x, x[:1], np.array([-1.0, 1.0]), reduction="none").tolist()
    [1.0, 0.4]
    """
    tiny = 1e-12  # PyTorch's, added to the squared norms
    squares = (sum(el.square(x1), -1) + tiny) * (sum(el.square(x2), -1) + tiny)
    cos = sum(x1 * x2, -1) / el.sqrt(squares)
    near, far = 1.0 - cos, relu(cos - margin)
    return reduced(el.where(pw.equal(target, 1), near, 0.0) + el.where(pw.equal(target, -1), far, 0.0), reduction)


@composition
def pairwise_distance(x: Array, y: Array, /, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Array:
    """‖x - y + eps‖ₚ along the last axis; eps keeps the slope finite where x = y.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.pairwise_distance(np.array([3.0, 4.0]), np.zeros(2), eps=0.0))
    5.0
    """
    d = el.abs(x - y + eps)
    return sum(d, -1, keepdims) if p == 1 else sum(d**p, -1, keepdims) ** (1.0 / p)


@composition
def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    /,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
) -> Array:
    """max(0, ‖a - p‖ - ‖a - n‖ + margin): the positive nearer than the negative (Schroff et al. 2015).

    With `swap` ‖p - n‖ counts where it is less than ‖a - n‖ (Balntas et al. 2016). All (n, d) or (d,); distances are
    those of `pairwise_distance`.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.triplet_margin_loss(np.zeros(2), np.array([3.0, 4.0]), np.array([6.0, 8.0]), margin=6.0))
    1.0
    """
    distance = partial(pairwise_distance, p=p, eps=eps)
    return triplet_margin_with_distance_loss(anchor, positive, negative, reduction, distance, margin, swap)


@composition
def triplet_margin_with_distance_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    /,
    reduction: str = "mean",
    distance_function: Callable[[Array, Array], Array] | None = None,
    margin: float = 1.0,
    swap: bool = False,
) -> Array:
    """`triplet_margin_loss` with another distance, a function of two arrays; None is `pairwise_distance`.

    >>> import numpy as np, adjoint as aj
    >>> a, p, n = np.zeros(2), np.array([3.0, 4.0]), np.array([6.0, 8.0])
    >>> manhattan = lambda x, y: aj.sum(aj.abs(x - y), -1)
    >>> float(aj.triplet_margin_with_distance_loss(a, p, n, distance_function=manhattan, margin=8.0))
    1.0
    """
    if type(margin) in (int, float) and not margin > 0:
        raise ValueError(f"triplet_margin_loss: margin is positive, not {margin}.")
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = el.minimum(far, distance(positive, negative))
    return reduced(relu(near - far + margin), reduction)


@composition
def multi_margin_loss(
    x: Array, target: Array, /, reduction: str = "mean", p: int = 1, margin: float = 1.0, weight: Any = None
) -> Array:
    """Σᵢ max(0, margin - x[t] + x[i])ᵖ w[t] / C over the classes i ≠ t; x (n, C) or (C,), target (n,) or ().

    >>> import numpy as np, adjoint as aj
    >>> float(aj.multi_margin_loss(np.array([0.5, 1.0, 0.0]), np.array(0)))
    0.6667
    """
    x = x if x.shape else reshape(x, (1,))
    target = reshape(target, ()) if len(x.shape) == 1 and tuple(target.shape) == (1,) else target
    axis = class_axis("multi_margin_loss", x, target)
    place = expand_dims(target, axis)
    gaps = relu(margin - take_along(x, place, axis) + x)
    gaps = gaps if p == 1 else gaps**p
    if weight is not None:
        gaps = gaps * take(reshape(per_class(x, weight, axis), (-1,)), place)
    others = 1.0 - put_along(take_along(ones_like(x), place, axis), place, axis, x.shape[axis])
    return reduced(sum(gaps * others, axis) * (1.0 / x.shape[axis]), reduction)


@composition
def multilabel_margin_loss(x: Array, target: Array, /, reduction: str = "mean") -> Array:
    """Σⱼ Σᵢ max(0, 1 - x[tⱼ] + x[i]) / C, j over the targets up to the first negative one, i over the other classes.

    x and target (n, C) or (C,); each row of the target lists classes, then -1.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.multilabel_margin_loss(np.array([0.1, 0.2, 0.4, 0.8]), np.array([3, 0, -1, 1])))
    0.85
    """
    alike("multilabel_margin_loss", x, target)
    x, target = (a if a.shape else reshape(a, (1,)) for a in (x, target))
    listed = pw.equal(cumulative_sum(astype(pw.less(target, 0), "int64"), -1), 0)
    place = el.where(listed, target, 0)
    counts = astype(listed, x.dtype)
    others = astype(pw.equal(put_along(counts, place, -1, x.shape[-1]), 0.0), x.dtype)
    gaps = relu(1.0 - expand_dims(take_along(x, place, -1), -1) + expand_dims(x, -2))
    losses = sum(gaps * expand_dims(counts, -1) * expand_dims(others, -2), (-2, -1)) * (1.0 / x.shape[-1])
    return reduced(losses, reduction)


@composition
def multilabel_soft_margin_loss(x: Array, target: Array, /, reduction: str = "mean", weight: Any = None) -> Array:
    """`binary_cross_entropy_with_logits`, averaged over the classes, the last axis; `weight` (C,) multiplies them.

    >>> import numpy as np, adjoint as aj
    >>> aj.multilabel_soft_margin_loss(np.zeros((1, 3)), np.array([[1.0, 0.0, 1.0]]), reduction="none").tolist()
    [0.6931]
    """
    losses = binary_cross_entropy_with_logits(x, target, "none", weight=weight)
    return reduced(mean(losses, -1), reduction)
