"""Entries by their positions: gathers, scatters, sorting, one-hot vectors."""

from __future__ import annotations

import math
import operator as python
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.shapes import ShapeArray
from adjoint.errors import ShapeError
from adjoint.interop.onnx.elementwise import whole
from adjoint.interop.onnx.operators import Node, beside, hosted, operator, position, together
from adjoint.ops.define import plain


@operator("Gather")
def gather(node: Node, x: Any, indices: Any) -> Any:
    """The slices of x at indices along an axis."""
    x, indices = placed(x, indices)
    axis = position(node.get("axis", 0), len(x.shape), "Gather")
    bounded("Gather", indices, int(x.shape[axis]))
    return xp.take(x, plain(indices), axis)


def placed(x: Any, indices: Any) -> tuple[Any, Any]:
    """x and its indices on one backend, whichever of them is the file's."""
    if hosted(plain(x)) and not hosted(plain(indices)):
        like = plain(indices)
        x = xp.asarray(like, np.asarray(x)) if not isinstance(x, (int, float)) else x
    elif not hosted(plain(x)):
        indices = beside(plain(x), indices)
    return x, indices


def bounded(op: str, indices: Any, n: int) -> None:
    """Raise where an index that is known lies outside the axis: some backends would clamp it in silence."""
    if hosted(plain(indices)) and np.size(plain(indices)):
        values = np.asarray(plain(indices))
        low, high = int(values.min()), int(values.max())
        if low < -n or high >= n:
            raise IndexError(f"{op}: indices from {low} to {high} reach out of an axis of {n}.")


def counted(indices: Any, n: int) -> Any:
    """Indices, negative ones counted from the end, from the start."""
    indices = plain(indices)
    return xp.where(xp.less(indices, 0), indices + n, indices)


@operator("GatherElements")
def gather_elements(node: Node, x: Any, indices: Any) -> Any:
    """Entries of x picked along an axis, one for every index."""
    x, indices = placed(x, indices)
    axis = position(node.get("axis", 0), len(x.shape), node.op)
    bounded(node.op, indices, int(x.shape[axis]))
    near = xp.getitem(x, tuple(slice(None) if a == axis else slice(n) for a, n in enumerate(indices.shape)))
    return xp.take_along(near, counted(indices, int(x.shape[axis])), axis)


def flattened(indices: Any, sizes: tuple[int, ...]) -> Any:
    """Rows of positions (…, k) in axes of those sizes as positions in them joined."""
    flat = None
    for i, n in enumerate(sizes):
        part = counted(xp.getitem(indices, (..., i)), n)
        flat = part if flat is None else flat * n + part
    return flat


@operator("GatherND")
def gather_nd(node: Node, x: Any, indices: Any) -> Any:
    """The slices of x at rows of positions, of every example where there are batch axes."""
    x, indices = placed(x, indices)
    b, k = node.get("batch_dims", 0), int(indices.shape[-1])
    shape, lead = tuple(x.shape), tuple(indices.shape)
    batch, sizes, rest = shape[:b], shape[b : b + k], shape[b + k :]
    if len(sizes) < k:
        raise ShapeError(f"GatherND: positions of {k} axes, and x has {shape} with {b} batch axes.")
    count = math.prod(sizes)
    flat = xp.reshape(flattened(indices, sizes), (math.prod(batch), -1))
    if b:
        first = np.arange(math.prod(batch))[:, None] * count
        flat = flat + beside(plain(flat), first)
    rows = xp.reshape(x, (math.prod(batch) * count, *rest))
    return xp.reshape(xp.take(rows, xp.reshape(flat, (-1,)), 0), (*lead[:-1], *rest))


# Writing


@operator("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    """x with updates written, or combined, at positions along an axis."""
    x, updates = together(x, updates)
    x, indices = placed(x, indices)
    axis = position(node.get("axis", 0), len(x.shape), node.op)
    n = int(x.shape[axis])
    bounded(node.op, indices, n)
    indices = counted(indices, n)
    outside = [(0, 0 if a == axis else m - k) for a, (m, k) in enumerate(zip(x.shape, indices.shape, strict=True))]
    how = node.get("reduction", "none")
    if how == "add":
        return x + xp.pad(xp.put_along(updates, indices, axis, n), outside)
    lead = (slice(None),) * axis
    for t in range(int(indices.shape[axis])):  # one at a time, for positions may repeat
        key = (*lead, slice(t, t + 1))
        at, u = xp.getitem(indices, key), xp.getitem(updates, key)
        new = xp.pad(xp.put_along(u, at, axis, n), outside)
        hit = xp.pad(xp.put_along(xp.ones_like(plain(u)), at, axis, n), outside)
        x = combined(how, x, new, hit)
    return x


def combined(how: str, x: Any, new: Any, hit: Any) -> Any:
    """x where nothing is hit; the new value, or both combined, where it is."""
    functions = {"add": xp.add, "mul": xp.multiply, "max": xp.maximum, "min": xp.minimum}
    if how != "none":
        new = functions[how](x, new)
    return xp.where(xp.not_equal(hit, 0), new, x)


@operator("ScatterND")
def scatter_nd(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    """x with slices written, or combined, at rows of positions."""
    x, updates = together(x, updates)
    x, indices = placed(x, indices)
    shape, k = tuple(x.shape), int(indices.shape[-1])
    sizes, rest = shape[:k], shape[k:]
    many, width = math.prod(sizes), math.prod(rest)
    at = xp.reshape(flattened(indices, sizes), (-1,)) if k else np.zeros(math.prod(indices.shape[:-1]), np.int64)
    bounded(node.op, at, many)
    rows, u = xp.reshape(x, (many, width)), xp.reshape(updates, (-1, width))
    how = node.get("reduction", "none")
    if how == "add":
        return xp.reshape(rows + xp.segment_sum(u, at, many), shape)
    if how == "none" and distinct(at):
        hit = xp.segment_sum(xp.ones_like(plain(u)[:, :1]), at, many)
        return xp.reshape(xp.where(xp.not_equal(hit, 0), xp.segment_sum(u, at, many), rows), shape)
    for t in range(int(u.shape[0])):
        here, one = xp.getitem(at, slice(t, t + 1)), xp.getitem(u, slice(t, t + 1))
        hit = xp.segment_sum(xp.ones_like(plain(one)[:, :1]), here, many)
        rows = combined(how, rows, xp.segment_sum(one, here, many), hit)
    return xp.reshape(rows, shape)


def distinct(indices: Any) -> bool:
    """Whether no position repeats; as ONNX demands where this is not known."""
    values = plain(indices)
    return not isinstance(values, np.ndarray) or len(np.unique(values)) == len(values)


@operator("TensorScatter")
def tensor_scatter(node: Node, past: Any, update: Any, write: Any = None) -> Any:
    """A cache with an update written from each example's position on."""
    past, update = together(past, update)
    axis = position(node.get("axis", -2), len(past.shape), node.op)
    n, steps = int(past.shape[axis]), int(update.shape[axis])
    batch = int(past.shape[0])
    start = np.zeros(batch, np.int64) if write is None else write
    past, start = placed(past, start)
    places = xp.reshape(start, (batch, 1)) + beside(plain(start), np.arange(steps))
    places = whole(python.mod, places, n) if node.get("mode", "linear") == "circular" else places
    shape = [1] * len(past.shape)
    shape[0], shape[axis] = batch, steps
    at = xp.broadcast_to(xp.reshape(places, tuple(shape)), tuple(update.shape))
    hit = xp.put_along(xp.ones_like(plain(update)), at, axis, n)
    return xp.where(xp.not_equal(hit, 0), xp.put_along(update, at, axis, n), past)


# Order


def ascending(x: Any, axis: int) -> Any:
    """The positions that sort x along an axis, equal entries in their order."""
    value = xp.moveaxis(plain(x), axis, -1)
    if isinstance(value, ShapeArray):
        order: Any = ShapeArray(value.shape, "int64")
    else:
        order = value.argsort(stable=True)
    return xp.moveaxis(order, -1, axis)


@operator("TopK", static=(1,))
def top_k(node: Node, x: Any, k: Any = None) -> Any:
    """The k largest (or smallest) entries along an axis and their positions; of equal ones the first."""
    axis = position(node.get("axis", -1), len(x.shape), "TopK")
    count = node.get("k") if k is None else int(np.reshape(k, ()))
    n = int(x.shape[axis])
    if not 0 <= count <= n:
        raise ShapeError(f"TopK: {count} of the {n} entries of axis {axis} of {tuple(x.shape)}.")
    if node.get("largest", 1):
        order = n - 1 - xp.flip(ascending(xp.flip(plain(x), axis), axis), axis)
    else:
        order = ascending(x, axis)
    order = xp.getitem(order, (*(slice(None),) * axis, slice(count)))
    return xp.take_along(x, order, axis), order


@operator("OneHot", static=(1,), fixed=(2,))
def one_hot(node: Node, indices: Any, depth: Any, values: Any) -> Any:
    """The second value at every index along a new axis of size `depth`, the first elsewhere."""
    n = int(np.reshape(depth, ()))
    indices = plain(indices)
    axis = node.get("axis", -1) % (len(indices.shape) + 1)
    at = xp.expand_dims(indices % n if "float" not in str(indices.dtype) else indices - n * xp.floor(indices / n), axis)
    inside = xp.expand_dims(xp.logical_and(xp.less(indices, n), xp.greater_equal(indices, -n)), axis)
    places = np.arange(n, dtype=np.int64).reshape((-1,) + (1,) * (len(indices.shape) - axis))
    hit = xp.logical_and(xp.equal(*together(at, places)), inside)
    values, _ = placed(values, indices)
    off, on = xp.getitem(values, 0), xp.getitem(values, 1)
    return xp.where(hit, on, off)


@operator("NonMaxSuppression", static=(0, 1, 2, 3, 4))
def non_max_suppression(
    node: Node, boxes: Any, scores: Any, most: Any = None, overlap: Any = None, least: Any = None
) -> Any:
    """Boxes by falling score, without those that overlap a better one of their class too much."""
    limit = 0 if most is None else int(np.reshape(most, ()))
    share = 0.0 if overlap is None else float(np.reshape(overlap, ()))
    bound = -math.inf if least is None else float(np.reshape(least, ()))
    chosen: list[tuple[int, int, int]] = []
    for b, sides in enumerate(corners(boxes, node.get("center_point_box", 0))):
        for c, row in enumerate(scores[b]):
            kept: list[int] = []
            for i in np.argsort(-row, kind="stable"):
                if row[i] > bound and len(kept) < limit and all(shared(sides[i], sides[j]) <= share for j in kept):
                    kept.append(int(i))
            chosen += [(b, c, i) for i in kept]
    return np.array(chosen, np.int64).reshape(-1, 3)


def corners(boxes: Any, centred: int) -> Any:
    """Boxes as (low y, low x, high y, high x)."""
    if centred:
        x, y, w, h = (boxes[..., i] for i in range(4))
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    a, b = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], -1)


def shared(a: Any, b: Any) -> float:
    """The area that two boxes share, of that which they cover together."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0)
    common = float(sides.prod())
    both = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - common
    return common / both if both > 0 else 0.0
