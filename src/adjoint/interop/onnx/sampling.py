"""Samples at positions that are data themselves: grids, deformed convolutions, regions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.convolution_windows import reach
from adjoint.interop.onnx.convolutions import geometry
from adjoint.interop.onnx.operators import Node, known, operator, together
from adjoint.ops.define import plain


def reflected(x: Any, low: float, high: float) -> Any:
    """x mirrored at both ends until it lies between them."""
    span = high - low
    if span == 0:
        return 0.0 * x + low
    turn = (x - low) - 2.0 * span * xp.floor((x - low) / (2.0 * span))
    return low + span - xp.abs(turn - span)


def neighbours(x: Any, mode: str) -> list[tuple[Any, Any]]:
    """(entry, weight) of what a sample at x is made of, along one axis; entries are whole numbers in x's dtype."""
    base = xp.floor(plain(x))
    if mode == "nearest":
        return [(xp.round(plain(x)), None)]
    t = x - base
    if mode == "linear":
        return [(base, 1.0 - t), (base + 1.0, t)]
    a = -0.75
    far = [((a * (u + 1.0) - 5.0 * a) * (u + 1.0) + 8.0 * a) * (u + 1.0) - 4.0 * a for u in (t, 1.0 - t)]
    near = [((a + 2.0) * u - (a + 3.0)) * u * u + 1.0 for u in (t, 1.0 - t)]
    return [(base - 1.0, far[0]), (base, near[0]), (base + 1.0, near[1]), (base + 2.0, far[1])]


def sampled(x: Any, at: Sequence[Any], mode: str, padding: str, borders: Sequence[tuple[float, float]]) -> Any:
    """x (n, C, *sizes) at positions (n, p), one array an axis: (n, C, p), differentiable in both."""
    sizes = tuple(int(m) for m in x.shape[2:])
    flat = xp.reshape(x, (*x.shape[:2], math.prod(sizes)))
    total: Any = None
    for corner in itertools.product(*[neighbours(p, mode) for p in at]):
        place: Any = None
        weight: Any = None
        inside: Any = None
        for (entry, share), n, (low, high) in zip(corner, sizes, borders, strict=True):
            if padding == "reflection":
                entry = xp.floor(reflected(entry, low, high) + 1e-4 * (low < 0))
            elif padding == "zeros":
                here = xp.logical_and(xp.greater_equal(entry, 0.0), xp.less(entry, float(n)))
                inside = here if inside is None else xp.logical_and(inside, here)
            index = xp.astype(xp.clip(entry, 0.0, n - 1.0), "int64")
            place = index if place is None else place * n + index
            weight = share if weight is None else weight * share
        value = xp.take_along(flat, xp.expand_dims(place, 1), -1)
        if inside is not None:
            value = xp.where(xp.expand_dims(inside, 1), value, xp.zeros_like(plain(value)))
        value = value if weight is None else value * xp.expand_dims(weight, 1)
        total = value if total is None else total + value
    return total


@operator("GridSample")
def grid_sample(node: Node, x: Any, grid: Any) -> Any:
    """x (n, C, *sizes) at a grid (n, *places, axes) of positions from -1 to 1."""
    x, grid = together(x, grid)
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(node.get("mode", "linear"), node.get("mode", "linear"))
    padding, corners = node.get("padding_mode", "zeros"), node.get("align_corners", 0)
    sizes = tuple(int(m) for m in x.shape[2:])
    n, *places, _ = (int(m) for m in grid.shape)
    if padding not in ("zeros", "border", "reflection") or mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"GridSample: mode {mode!r} with padding_mode {padding!r} is not known.")
    at, borders = [], []
    for a, size in enumerate(sizes):
        p = xp.reshape(xp.getitem(grid, (..., len(sizes) - 1 - a)), (n, math.prod(places)))
        p = (p + 1.0) * (0.5 * (size - 1)) if corners else ((p + 1.0) * float(size) - 1.0) * 0.5
        low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
        p = xp.round(plain(p)) if mode == "nearest" else p
        if padding == "border":
            p = xp.clip(p, 0.0, size - 1.0)
        elif padding == "reflection":
            p = reflected(p, low, high)
        at.append(p)
        borders.append((low, high))
    return xp.reshape(sampled(x, at, mode, padding, borders), (n, int(x.shape[1]), *places))


@operator("AffineGrid", static=(1,))
def affine_grid(node: Node, theta: Any, size: Any) -> Any:
    """The positions, from -1 to 1, that an affine map of each example takes a regular grid to."""
    _, _, *sizes = (int(m) for m in size)
    lines = [
        np.linspace(-1.0, 1.0, m) if node.get("align_corners", 0) else (2.0 * np.arange(m) + 1.0) / m - 1.0
        for m in sizes
    ]
    grid = np.stack([*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(sizes)], -1).reshape(-1, len(sizes) + 1)
    points = xp.asarray(plain(theta), grid.T, theta.dtype)
    moved = xp.swapaxes(xp.matmul(theta, points), -1, -2)
    return xp.reshape(moved, (int(theta.shape[0]), *sizes, len(sizes)))


@operator("DeformConv")
def deform_conv(node: Node, x: Any, weight: Any, offset: Any, bias: Any = None, mask: Any = None) -> Any:
    """A convolution whose kernel's entries are moved by offsets, and weighed by a mask, at every position."""
    x, weight, offset, bias, mask = together(x, weight, offset, bias, mask)
    kernel = tuple(int(k) for k in weight.shape[2:])
    ndim, k = len(kernel), math.prod(kernel)
    strides, dilations = geometry(node, ndim)
    pads = node.get("pads") or [0] * 2 * ndim
    n, c, *sizes = (int(m) for m in x.shape)
    out, groups, parts = int(weight.shape[0]), node.get("group", 1), node.get("offset_group", 1)
    spans = reach(kernel, dilations)
    counts = [(m + pads[a] + pads[a + ndim] - spans[a]) // strides[a] + 1 for a, m in enumerate(sizes)]
    p = math.prod(counts)
    moves = xp.reshape(offset, (n * parts, k, ndim, p))
    at = []
    for a in range(ndim):
        taps: Any = np.arange(kernel[a]) * dilations[a] - pads[a]
        taps = np.broadcast_to(taps.reshape((-1,) + (1,) * (ndim - a - 1)), kernel).reshape(k, 1)
        steps: Any = np.arange(counts[a]) * strides[a]
        steps = np.broadcast_to(steps.reshape((-1,) + (1,) * (ndim - a - 1)), counts).reshape(1, p)
        fixed = xp.asarray(plain(x), (taps + steps)[None], x.dtype)
        at.append(xp.reshape(moves[:, :, a] + fixed, (n * parts, k * p)))
    images = xp.reshape(x, (n * parts, c // parts, *sizes))
    seen = xp.reshape(sampled(images, at, "linear", "zeros", [(0.0, 0.0)] * ndim), (n, parts, c // parts, k, p))
    if mask is not None:
        seen = seen * xp.reshape(mask, (n, parts, 1, k, p))
    columns = xp.reshape(seen, (n, groups, c // groups * k, p))
    y = xp.reshape(xp.matmul(xp.reshape(weight, (groups, out // groups, -1)), columns), (n, out, *counts))
    return y if bias is None else y + xp.reshape(bias, (out, *(1,) * ndim))


@operator("RoiAlign", static=(2,))
def roi_align(node: Node, x: Any, rois: Any, batch: Any) -> Any:
    """The mean, or the maximum, of samples in every bin of regions (x₁, y₁, x₂, y₂) of examples."""
    x, rois = together(x, rois)
    high, wide = node.get("output_height", 1), node.get("output_width", 1)
    ratio, scale = node.get("sampling_ratio", 0), node.get("spatial_scale", 1.0)
    half = node.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 16 else "output_half_pixel")
    shift = 0.5 if half == "half_pixel" else 0.0
    sizes = tuple(int(m) for m in x.shape[2:])
    found = []
    for r in range(int(rois.shape[0])):
        box = rois[r] * scale - shift
        at = []
        for low, up, count in ((box[1], box[3], high), (box[0], box[2], wide)):
            length = up - low if shift else xp.maximum(up - low, 1.0)
            each = ratio or int(np.ceil(float(known(length, "RoiAlign: rois")) / count))
            grid = (np.arange(count)[:, None] + (np.arange(each) + 0.5) / each).reshape(-1)
            at.append((low + length * xp.asarray(plain(x), grid / count, x.dtype), each))
        (ys, sy), (xs, sx) = at
        rows = xp.reshape(xp.broadcast_to(ys[:, None], (high * sy, wide * sx)), (1, -1))
        cols = xp.reshape(xp.broadcast_to(xs[None, :], (high * sy, wide * sx)), (1, -1))
        image = x[int(batch[r]) : int(batch[r]) + 1]
        y = region(image, [rows, cols], sizes, (high, sy, wide, sx), node.get("mode", "avg"))
        found.append(y)
    return xp.concatenate(found, 0)


def region(image: Any, at: list[Any], sizes: tuple[int, ...], bins: tuple[int, int, int, int], mode: str) -> Any:
    """The bins of one region; samples far outside count as 0, those near the edge as the edge's."""
    far = None
    for p, m in zip(at, sizes, strict=True):
        out = xp.logical_or(xp.less(p, -1.0), xp.greater(p, float(m)))
        far = out if far is None else xp.logical_or(far, out)
    near = [xp.clip(p, 0.0, m - 1.0) for p, m in zip(at, sizes, strict=True)]
    high, sy, wide, sx = bins
    if mode == "max":
        values = largest(image, near)
        values = xp.where(xp.expand_dims(far, 1), xp.zeros_like(plain(values)), values)
        return xp.max(xp.reshape(values, (1, -1, high, sy, wide, sx)), (3, 5))
    values = sampled(image, near, "linear", "border", [(0.0, 0.0)] * 2)
    values = xp.where(xp.expand_dims(far, 1), xp.zeros_like(plain(values)), values)
    return xp.mean(xp.reshape(values, (1, -1, high, sy, wide, sx)), (3, 5))


def largest(image: Any, at: list[Any]) -> Any:
    """The largest of the four weighted entries around a sample, as ONNX's maximum has it."""
    flat = xp.reshape(image, (*image.shape[:2], -1))
    best: Any = None
    for (y, wy), (x, wx) in itertools.product(*[neighbours(p, "linear") for p in at]):
        rows, cols = (
            xp.astype(xp.clip(e, 0.0, int(n) - 1.0), "int64") for e, n in zip((y, x), image.shape[2:], strict=True)
        )
        place = xp.expand_dims(rows * int(image.shape[3]) + cols, 1)
        value = xp.take_along(flat, place, -1) * xp.expand_dims(wy * wx, 1)
        best = value if best is None else xp.maximum(best, value)
    return best
