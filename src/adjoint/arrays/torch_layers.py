"""PyTorch's layers and losses by their names, each with its own signature, in the seam's functions."""

from __future__ import annotations

import functools
import math
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import Array
from adjoint.arrays.numpy_names import Entry, same
from adjoint.errors import BackendError, ShapeError


def _attention(
    query: Array, key: Array, value: Array, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Array:  # fmt: skip
    if dropout_p > 0.0:
        raise BackendError(
            "torch.nn.functional.scaled_dot_product_attention draws its dropout out of sight of a traced program: use "
            "aj.scaled_dot_product_attention(…, dropout_key=key)."
        )
    return xp.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale, enable_gqa)


def _dropout(input: Array, p: float = 0.5, training: bool = True) -> Array:
    if training and p > 0.0:
        raise BackendError(
            "torch.nn.functional.dropout draws its mask out of sight of a traced program: use aj.nn.Dropout."
        )
    return input


def _trailing(name: str, x: Array, shape: Any) -> int:
    """How many axes the shape has, which must be x's last ones."""
    shape = tuple(shape)
    if not shape or tuple(x.shape)[-len(shape) :] != shape:
        raise ShapeError(f"{name}: normalized_shape {shape} must be the last axes of the input {tuple(x.shape)}.")
    return len(shape)


def _rms_norm(input: Array, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Array:
    return xp.rms_norm(input, weight, _trailing("rms_norm", input, normalized_shape), eps)


def _towards(running: Any, value: Array, momentum: float) -> None:
    """Move running statistics in place, as PyTorch does."""
    from adjoint.ops.define import plain

    if running is not None:
        running[...] = (1.0 - momentum) * running + momentum * plain(value)


def _batch_norm(
    input: Array, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    if not training:
        return xp.batch_norm(input, running_mean, running_var, weight, bias, False, eps)
    y, mean, var = xp.normalize_batch(input, weight, bias, eps)
    n = math.prod(input.shape) // input.shape[1] if math.prod(input.shape) else 0
    if n:
        _towards(running_mean, mean, momentum)
        _towards(running_var, var * (n / (n - 1)), momentum)
    return y


def _instance_norm(
    input: Array, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    if not use_input_stats:
        return xp.instance_norm(input, running_mean, running_var, weight, bias, False, eps)
    y, mean, var = xp.normalize_instances(input, weight, bias, eps)
    n = math.prod(input.shape[2:])
    if n > 1:
        _towards(running_mean, xp.mean(mean, 0), momentum)
        _towards(running_var, xp.mean(var, 0) * (n / (n - 1)), momentum)
    return y


def _loss(loss: Entry) -> Entry:
    return lambda input, target, *, reduction="mean": loss(input, target, reduction)


def _weighted(loss: Entry) -> Entry:
    return lambda input, target, *, reduction="mean", weight=None: loss(input, target, reduction, weight)


def _triplet_margin_loss(
    anchor: Array, positive: Array, negative: Array, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, *, reduction: str = "mean",
) -> Array:  # fmt: skip
    return xp.triplet_margin_loss(anchor, positive, negative, reduction, margin, p, eps, swap)


def _triplet_margin_with_distance_loss(
    anchor: Array, positive: Array, negative: Array, *, distance_function: Entry | None = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Array:  # fmt: skip
    return xp.triplet_margin_with_distance_loss(anchor, positive, negative, reduction, distance_function, margin, swap)


def _ctc_loss(
    log_probs: Array, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:  # fmt: skip
    return xp.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)


LAYERS: dict[str, Entry] = {
    "softmax": lambda input, dim: xp.softmax(input, dim),
    "log_softmax": lambda input, dim: xp.log_softmax(input, dim),
    "layer_norm": lambda input, normalized_shape, weight=None, bias=None, eps=1e-5: xp.layer_norm(
        input, weight, bias, _trailing("layer_norm", input, normalized_shape), eps
    ),
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": lambda input, num_groups, weight=None, bias=None, eps=1e-5: xp.group_norm(
        input, weight, bias, num_groups, eps
    ),
    "local_response_norm": lambda input, size, alpha=1e-4, beta=0.75, k=1.0: xp.local_response_norm(
        input, size, alpha, beta, k
    ),
    "normalize": lambda input, p=2.0, dim=1, eps=1e-12: xp.divide(
        input, xp.maximum(names.vector_norm(input, p, dim, True), eps)
    ),
    "cosine_similarity": lambda x1, x2, dim=1, eps=1e-8: xp.cosine_similarity(x1, x2, dim, eps),
    **same(
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d max_pool1d "
        "max_pool2d max_pool3d max_unpool1d max_unpool2d max_unpool3d lp_pool1d lp_pool2d lp_pool3d interpolate "
        "pixel_shuffle pixel_unshuffle channel_shuffle adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"
    ),
    **{
        f"{name}{n}d_with_indices": functools.partial(getattr(xp, f"{name}{n}d"), return_indices=True)
        for name in ("max_pool", "adaptive_max_pool")
        for n in (1, 2, 3)
    },
    "dropout": _dropout,
    "cross_entropy": lambda input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0: (
        xp.cross_entropy(input, target, reduction, weight, ignore_index, label_smoothing)
    ),
    "nll_loss": lambda input, target, weight=None, *, ignore_index=-100, reduction="mean": xp.nll_loss(
        input, target, reduction, weight, ignore_index
    ),
    "mse_loss": _weighted(xp.mse_loss),
    "l1_loss": _weighted(xp.l1_loss),
    "binary_cross_entropy": lambda input, target, weight=None, *, reduction="mean": xp.binary_cross_entropy(
        input, target, reduction, weight
    ),
    "binary_cross_entropy_with_logits": lambda input, target, weight=None, *, reduction="mean", pos_weight=None: (
        xp.binary_cross_entropy_with_logits(input, target, reduction, weight, pos_weight)
    ),
    "kl_div": lambda input, target, *, reduction="mean", log_target=False: xp.kl_div(
        input, target, reduction, log_target
    ),
    "huber_loss": lambda input, target, reduction="mean", delta=1.0, weight=None: xp.huber_loss(
        input, target, reduction, delta, weight
    ),
    "smooth_l1_loss": lambda input, target, *, reduction="mean", beta=1.0: xp.smooth_l1_loss(
        input, target, reduction, beta
    ),
    "poisson_nll_loss": lambda input, target, log_input=True, full=False, *, eps=1e-8, reduction="mean": (
        xp.poisson_nll_loss(input, target, reduction, log_input, full, eps)
    ),
    "gaussian_nll_loss": lambda input, target, var, full=False, eps=1e-6, reduction="mean": xp.gaussian_nll_loss(
        input, target, var, reduction, full, eps
    ),
    "soft_margin_loss": _loss(xp.soft_margin_loss),
    "hinge_embedding_loss": lambda input, target, margin=1.0, *, reduction="mean": xp.hinge_embedding_loss(
        input, target, reduction, margin
    ),
    "margin_ranking_loss": lambda input1, input2, target, margin=0.0, *, reduction="mean": xp.margin_ranking_loss(
        input1, input2, target, reduction, margin
    ),
    "cosine_embedding_loss": lambda input1, input2, target, margin=0.0, *, reduction="mean": xp.cosine_embedding_loss(
        input1, input2, target, reduction, margin
    ),
    "pairwise_distance": lambda x1, x2, p=2.0, eps=1e-6, keepdim=False: xp.pairwise_distance(x1, x2, p, eps, keepdim),
    "triplet_margin_loss": _triplet_margin_loss,
    "triplet_margin_with_distance_loss": _triplet_margin_with_distance_loss,
    "multi_margin_loss": lambda input, target, p=1, margin=1.0, weight=None, *, reduction="mean": xp.multi_margin_loss(
        input, target, reduction, p, margin, weight
    ),
    "multilabel_margin_loss": _loss(xp.multilabel_margin_loss),
    "multilabel_soft_margin_loss": lambda input, target, weight=None, *, reduction="mean": (
        xp.multilabel_soft_margin_loss(input, target, reduction, weight)
    ),
    "ctc_loss": _ctc_loss,
}
