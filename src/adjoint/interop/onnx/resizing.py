"""Resize and Upsample: one sparse matrix an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import is_floating
from adjoint.arrays.resampling_taps import Taps
from adjoint.errors import ShapeError
from adjoint.interop.onnx.operators import Node, integers, operator, position


def coordinates(mode: str, size: int, count: int, scale: float, roi: tuple[float, float]) -> Any:
    """Where in an axis of `size` entries each of `count` samples stands."""
    i = np.arange(count)
    whole = scale * size
    match mode:
        case "align_corners":
            return i * (size - 1) / (whole - 1) if whole != 1 else i * 0.0
        case "asymmetric":
            return i / scale
        case "tf_crop_and_resize":
            start, end = roi
            if whole == 1:
                return np.full(count, 0.5 * (start + end) * (size - 1))
            return i * (end - start) * (size - 1) / (whole - 1) + start * (size - 1)
        case "tf_half_pixel_for_nn":
            return (i + 0.5) / scale
        case "pytorch_half_pixel":
            return (i + 0.5) / scale - 0.5 if whole > 1 else i * 0.0
        case "half_pixel_symmetric":
            return size / 2 * (1 - count / whole) + (i + 0.5) / scale - 0.5
        case "half_pixel":
            return (i + 0.5) / scale - 0.5
    raise ValueError(f"Resize: coordinate_transformation_mode {mode!r} is not known.")


def nearest(at: Any, mode: str) -> Any:
    """The entry nearest to a position."""
    match mode:
        case "round_prefer_floor":
            return np.ceil(at - 0.5)
        case "round_prefer_ceil":
            return np.floor(at + 0.5)
        case "floor":
            return np.floor(at)
        case "ceil":
            return np.ceil(at)
    raise ValueError(f"Resize: nearest_mode {mode!r} is not known.")


def kernel(mode: str, t: Any, a: float) -> Any:
    """The weight of an entry at a distance."""
    t = np.abs(t)
    if mode == "linear":
        return np.maximum(1.0 - t, 0.0)
    near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    far = ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    return np.where(t <= 1.0, near, np.where(t < 2.0, far, 0.0))


def taps_of(node: Node, size: int, count: int, scale: float, roi: tuple[float, float]) -> tuple[Taps, Any]:
    """The matrix of an axis, and which of its samples stand outside of it."""
    default = "half_pixel" if node.opset >= 11 else "asymmetric"
    where = node.get("coordinate_transformation_mode", default)
    at = coordinates(where, size, count, scale, roi)
    outside = (at < 0) | (at > size - 1) if where == "tf_crop_and_resize" else np.zeros(count, bool)
    mode = node.get("mode", "nearest")
    if mode == "nearest":
        chosen = nearest(at, node.get("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor"))
        return Taps(np.clip(chosen, 0, size - 1)[:, None], np.ones((count, 1)), size), outside
    if mode not in ("linear", "cubic"):
        raise ValueError(f"{node.op}: mode is nearest, linear or cubic, not {mode!r}.")
    shrink = min(scale, 1.0) if node.get("antialias", 0) else 1.0
    reach = int(np.ceil((1.0 if mode == "linear" else 2.0) / shrink))
    entries = np.floor(at)[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel(mode, (entries - at[:, None]) * shrink, node.get("cubic_coeff_a", -0.75))
    if node.get("exclude_outside", 0):
        weights = np.where((entries < 0) | (entries >= size), 0.0, weights)
    if node.get("exclude_outside", 0) or shrink < 1.0:
        weights = weights / weights.sum(1, keepdims=True)
    return Taps(np.clip(entries, 0, size - 1), weights, size), outside


def policy(name: str, scales: list[float], sizes: list[int], axes: list[int], shape: Any) -> tuple[Any, Any]:
    """(scales, sizes) that keep the aspect ratio where the node says so."""
    if name == "stretch":
        return scales, sizes
    one = (min if name == "not_larger" else max)(scales)
    return [one] * len(axes), [int(one * shape[a] + 0.5) for a in axes]


@operator("Resize", "Upsample", static=(1, 2, 3))
def resize(node: Node, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None) -> Any:
    """x resampled along its axes by scales or to sizes: nearest, linear or cubic."""
    if node.opset < 11:
        roi, scales = None, node.get("scales") if roi is None else roi
    ndim = len(x.shape)
    axes = [position(a, ndim, node.op) for a in integers(node.get("axes"), range(ndim)) or []]
    factors: list[float] = []
    if sizes is not None and np.size(sizes):
        counts = integers(sizes) or []
        if len(counts) == len(axes):
            factors = [m / x.shape[a] for m, a in zip(counts, axes, strict=True)]
            factors, counts = policy(node.get("keep_aspect_ratio_policy", "stretch"), factors, counts, axes, x.shape)
    else:
        factors = [float(f) for f in np.ravel(scales)] if scales is not None else []
        counts = [int(np.floor(f * x.shape[a])) for f, a in zip(factors, axes, strict=False)]
    if len(counts) != len(axes):
        raise ShapeError(f"{node.op}: {len(counts)} sizes or scales for {len(axes)} axes of {tuple(x.shape)}.")
    if min(counts, default=1) < 1 or min(x.shape, default=1) < 1:
        raise ShapeError(f"{node.op}: {tuple(x.shape)} cannot be resized to {counts} along the axes {axes}.")
    window = np.zeros(0) if roi is None else np.ravel(roi)
    each = [Taps(np.arange(int(n))[:, None], np.ones((int(n), 1)), int(n)) for n in x.shape]
    beyond = np.zeros((1,) * ndim, bool)
    for i, a in enumerate(axes):
        span = (float(window[i]), float(window[i + len(axes)])) if len(window) == 2 * len(axes) else (0.0, 1.0)
        size = int(x.shape[a])
        if factors[i] == 1.0 and counts[i] == size and span == (0.0, 1.0):
            continue
        each[a], outside = taps_of(node, size, counts[i], factors[i], span)
        beyond = beyond | outside.reshape((-1,) + (1,) * (ndim - a - 1))
    y = resampled(x, each)
    if not beyond.any():
        return y
    fill = node.get("extrapolation_value", 0.0)
    outside = xp.asarray(y, np.broadcast_to(beyond, tuple(y.shape)))
    return xp.where(outside, xp.full(y, tuple(y.shape), fill), y)


def resampled(x: Any, taps: list[Taps]) -> Any:
    """x under the matrices of its axes; integers are rounded towards zero."""
    if is_floating(x.dtype) or all(t.selects for t in taps):
        return xp.resample(x, tuple(taps))
    return xp.astype(xp.resample(xp.astype(x, "float64"), tuple(taps)), x.dtype)
