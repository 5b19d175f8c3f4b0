"""Losses of classes on NumPy: integers pick entries directly, negative ones are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import losses
from adjoint.arrays.numpy import kernels
from adjoint.arrays.numpy.normalization import GRAIN, in_parts
from adjoint.arrays.numpy.updates import composed

COMPILED = 1 << 9  # logits from which the kernels are worth their loading: a call takes a fifth of what NumPy's take
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


def cross_entropy(
    logits: Any, target: Any, reduction: str = "mean", weight: Any = None, ignore_index: int = losses.IGNORED,
    label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    if weight is not None or label_smoothing or getattr(target, "shape", None) == logits.shape:
        plain = composed(losses.cross_entropy)
        return plain(logits, target, reduction, weight, ignore_index, label_smoothing)
    axis = losses.class_axis("cross_entropy", logits, target)
    each, _, _, share = surprisal(logits, target, axis, ignore_index)
    return _sum(each, None) * share if reduction == "mean" else losses.reduced(each, reduction)


def surprisal(logits: Any, target: Any, axis: int, ignore_index: int = losses.IGNORED) -> Any:
    x, t = _rows(logits, axis), _classes(target)
    if _serves(x):
        n, dtype = len(x), x.dtype
        each, tops, totals = np.empty(n, dtype), np.empty(n, dtype), np.empty(n, dtype)
        count = _surprisal((x, t, each, tops, totals), ignore_index)
        if count < 0:
            counted("cross_entropy", target, x.shape[1], ignore_index)  # which raises
    else:
        counts = counted("cross_entropy", t, x.shape[1], ignore_index)
        tops = _max(x, 1)
        totals = _sum(np.exp(x - tops[:, None]), 1)
        place, count = (t, len(t)) if counts is None else (np.where(counts, t, 0), int(_sum(counts, None)))
        each = np.log(totals) - (x[np.arange(len(t)), place] - tops)
        if counts is not None:
            each[~counts] = 0.0
    kept = (*target.shape[:axis], 1, *target.shape[axis:]) if axis >= 0 else (*target.shape, 1)
    share = x.dtype.type(1.0 / count if count else math.nan)
    return each.reshape(target.shape), tops.reshape(kept), totals.reshape(kept), share


def _surprisal(rows: Any, ignored: int) -> int:
    """The kernel on the rows, large ones in several threads: how many count, less than 0 where a target is no class."""
    kernel = kernels.of("loss").surprisal
    if rows[0].size < GRAIN:
        return int(kernel(*rows, ignored))
    found: list[int] = []
    in_parts(lambda *part: found.append(kernel(*part, ignored)), rows)
    return sum(found) if min(found) >= 0 else -1


def softmax_difference(
    logits: Any, target: Any, top: Any, total: Any, factor: Any, axis: int, ignore_index: int = losses.IGNORED
) -> Any:
    x, t = _rows(logits, axis), _classes(target)
    factors = np.empty(target.shape, x.dtype)
    factors[...] = factor
    factors, tops, totals = factors.reshape(-1), top.reshape(-1), total.reshape(-1)
    if _serves(x) and tops.dtype == totals.dtype == x.dtype:
        out = np.empty_like(x)
        rows, kernel = (x, t, tops, totals, factors, out), kernels.of("loss").difference
        if x.size < GRAIN:
            kernel(*rows, ignore_index)
        else:
            in_parts(kernel, rows, ignore_index)
    else:
        counts = t != ignore_index
        factors = np.where(counts, factors, 0.0).astype(x.dtype, copy=False)
        out = np.exp(x - tops[:, None]) * (factors / totals)[:, None]
        out[np.arange(len(t)), np.where(counts, t, 0)] -= factors
    return out.reshape(logits.shape) if logits.ndim < 3 else np.moveaxis(out.reshape(*target.shape, -1), -1, axis)


def _rows(x: Any, axis: int) -> Any:
    """x (…, C, …) with a row for each example, side by side in memory."""
    if x.ndim != 2 or axis == 0:
        x = np.moveaxis(x, axis, -1)
        x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    return np.ascontiguousarray(x)


def _classes(target: Any) -> Any:
    return np.ascontiguousarray(target.reshape(-1), np.int64)


def _serves(x: Any) -> bool:
    """Whether the kernels take these rows."""
    return type(x) is np.ndarray and x.size >= COMPILED and x.dtype.char in "fd"


def gaussian_nll_loss(x: Any, target: Any, var: Any, *args: Any, **options: Any) -> Any:
    if np.any(np.less(var, 0)):
        raise ValueError("gaussian_nll_loss: var has negative entries; a variance has none: take its square, or exp.")
    return composed(losses.gaussian_nll_loss)(x, target, var, *args, **options)
