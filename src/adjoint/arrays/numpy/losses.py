"""Losses of classes on NumPy: integers pick entries directly, negative ones are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import losses
from adjoint.arrays.numpy.normalization import LEAST, in_parts, serves
from adjoint.arrays.numpy.updates import composed

_sum: Any = np.add.reduce
_max: Any = np.maximum.reduce
_min: Any = np.minimum.reduce


def counted(name: str, target: Any, classes: int, ignore_index: int) -> Any:
    """Where a class counts, None where all do; raises for a negative one, which NumPy would count from the end."""
    if not target.size:
        return None
    least, most = _min(target, None), _max(target, None)
    if least >= 0 and most < classes and ignore_index < 0:
        return None
    counts = target != ignore_index
    if most >= classes and np.any(wrong := counts & (target >= classes)):
        raise IndexError(
            f"{name}: there is no class {target[wrong].max()}: the scores have {classes} classes, which count from 0; "
            f"ignore_index={ignore_index} marks what is to be left out."
        )
    if least < 0 and np.any(wrong := counts & (target < 0)):
        raise IndexError(
            f"{name}: class {target[wrong].min()} is negative: classes count from 0; ignore_index={ignore_index} marks "
            "what is to be left out."
        )
    return None if counts.all() else counts


def nll_loss(log_p: Any, target: Any, reduction: str = "mean", weight: Any = None, ignore_index: int = -100) -> Any:
    axis = losses.class_axis("nll_loss", log_p, target)
    counts = counted("nll_loss", target, log_p.shape[axis], ignore_index)
    if counts is not None or weight is not None:
        return composed(losses.nll_loss)(log_p, target, reduction, weight=weight, ignore_index=ignore_index)
    picked = np.take_along_axis(log_p, np.expand_dims(target, axis), axis)
    return losses.reduced(-np.squeeze(picked, axis), reduction)


def softmax_residual(logits: Any, target: Any, axis: int, ignore_index: int = -100) -> Any:
    counts = counted("cross_entropy", target, logits.shape[axis], ignore_index)
    if counts is not None:
        return composed(losses.softmax_residual)(logits, target, axis, ignore_index)
    p, lse = _softmax(logits, axis)
    share = p.dtype.type(1.0 / target.size if target.size else math.nan)
    if len(logits.shape) == 2:
        rows = np.arange(len(target))
        each = lse[:, 0] - logits[rows, target]
        p[rows, target] -= 1
        return each, p, share
    place = np.expand_dims(target, axis)
    each = np.squeeze(lse - np.take_along_axis(logits, place, axis), axis)
    np.put_along_axis(p, place, np.take_along_axis(p, place, axis) - 1, axis)
    return each, p, share


def _softmax(logits: Any, axis: int) -> tuple[Any, Any]:
    """softmax(x) and log Σ eˣ along an axis, which is kept."""
    if logits.ndim == 2 and axis in (1, -1) and serves(logits) and logits.shape[1] >= LEAST:
        from adjoint.arrays.numpy import loss_kernels as kernels

        p, lse = np.empty_like(logits), np.empty(len(logits), logits.dtype)
        in_parts(kernels.softmax, (logits, p, lse))
        return p, lse[:, None]
    top = _max(logits, axis, None, None, True)
    p = np.exp(logits - top)
    total = _sum(p, axis, None, None, True)
    p /= total
    lse = np.log(total)
    lse += top
    return p, lse


def gaussian_nll_loss(x: Any, target: Any, var: Any, *args: Any, **options: Any) -> Any:
    if np.any(np.less(var, 0)):
        raise ValueError("gaussian_nll_loss: var has negative entries; a variance has none: take its square, or exp.")
    return composed(losses.gaussian_nll_loss)(x, target, var, *args, **options)
