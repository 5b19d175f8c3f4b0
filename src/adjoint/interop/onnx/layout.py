"""The same numbers in another arrangement: shapes, axes, joining, cutting, padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.errors import ShapeError
from adjoint.interop.onnx.operators import Node, hosted, integers, known, operator, position, together
from adjoint.ops.define import plain


@operator("Reshape", static=(1,))
def reshape(node: Node, x: Any, shape: Any) -> Any:
    """x in another shape: 0 keeps an axis (unless `allowzero`), -1 is what is left."""
    sizes = integers(shape) or []
    if not node.get("allowzero", 0):
        if any(n == 0 and a >= len(x.shape) for a, n in enumerate(sizes)):
            raise ShapeError(f"Reshape: {tuple(sizes)} keeps an axis that {tuple(x.shape)} does not have.")
        sizes = [x.shape[a] if n == 0 else n for a, n in enumerate(sizes)]
    if sizes.count(-1) == 1:
        rest = math.prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = math.prod(x.shape) // rest if rest else 0
    return xp.reshape(x, tuple(sizes))


@operator("Flatten")
def flatten(node: Node, x: Any) -> Any:
    """x as a matrix: the axes before `axis` joined, and the others."""
    shape = tuple(x.shape)
    axis = node.get("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return xp.reshape(x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


@operator("Transpose")
def transpose(node: Node, x: Any) -> Any:
    """The axes in another order, reversed unless given."""
    return xp.permute(x, tuple(node.get("perm", range(len(x.shape))[::-1])))


@operator("Squeeze", static=(1,))
def squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    """x without the named axes of size 1, or without all of them; names are an attribute before version 13."""
    named = integers(node.get("axes") if axes is None else axes)
    if named is None:
        return xp.squeeze(x)
    gone = {position(a, len(x.shape), "Squeeze") for a in named}
    if wrong := [a for a in gone if x.shape[a] != 1]:
        raise ShapeError(f"Squeeze: axis {wrong[0]} of {tuple(x.shape)} has not size 1.")
    return xp.reshape(x, tuple(n for a, n in enumerate(x.shape) if a not in gone))


@operator("Unsqueeze", static=(1,))
def unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    """x with axes of size 1 at the named positions of the result."""
    named = integers(node.get("axes") if axes is None else axes) or []
    ndim = len(x.shape) + len(named)
    new = {position(a, ndim, "Unsqueeze") for a in named}
    if len(new) != len(named):
        raise ShapeError(f"Unsqueeze: the axes {named} name one twice.")
    old = iter(x.shape)
    return xp.reshape(x, tuple(1 if a in new else next(old) for a in range(ndim)))


@operator("Shape")
def shape(node: Node, x: Any) -> Any:
    """The sizes of the axes from `start` to `end`."""
    return np.array(tuple(x.shape)[node.get("start", 0) : node.get("end", None)], np.int64)


@operator("Size")
def size(node: Node, x: Any) -> Any:
    """The number of entries."""
    return np.array(math.prod(x.shape), np.int64)


@operator("Concat")
def concat(node: Node, *xs: Any) -> Any:
    """Arrays one after the other along an axis."""
    return xp.concatenate(list(together(*xs)), node.get("axis", 1))


@operator("Split", static=(1,))
def split(node: Node, x: Any, sizes: Any = None) -> Any:
    """x cut along an axis into parts of the sizes given, or of equal ones, the last smaller if need be."""
    axis = position(node.get("axis", 0), len(x.shape), "Split")
    n = int(x.shape[axis])
    parts = integers(node.get("split") if sizes is None else sizes)
    if parts is None:
        count = node.get("num_outputs") or node.count
        each = -(-n // count)
        parts = [max(min(each, n - i * each), 0) for i in range(count)]
    if sum(parts) != n or min(parts, default=0) < 0:
        raise ShapeError(f"Split: parts {parts} are not the {n} entries of axis {axis} of {tuple(x.shape)}.")
    ends = np.cumsum(parts).tolist()
    lead = (slice(None),) * axis
    return tuple(xp.getitem(x, (*lead, slice(end - k, end))) for k, end in zip(parts, ends, strict=True))


@operator("Slice", static=(1, 2, 3, 4))
def slice_(node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    """x from starts to ends in steps along the axes; all of them attributes before version 10."""
    first = integers(node.get("starts") if starts is None else starts) or []
    last = integers(node.get("ends") if ends is None else ends) or []
    along = integers(node.get("axes") if axes is None else axes, range(len(first))) or []
    by = integers(steps, [1] * len(first)) or []
    key = [slice(None)] * len(x.shape)
    for a, b, axis, step in zip(first, last, along, by, strict=True):
        axis = position(axis, len(x.shape), "Slice")
        begin, end, step = slice(a, b, step).indices(int(x.shape[axis]))
        key[axis] = slice(begin, None if end < 0 else end, step)
    return xp.getitem(x, tuple(key))


@operator("Expand", static=(1,))
def expand(node: Node, x: Any, shape: Any) -> Any:
    """x repeated along axes, both shapes broadcast with each other."""
    return xp.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), tuple(integers(shape) or ())))


@operator("Tile", static=(1,))
def tile(node: Node, x: Any, repeats: Any) -> Any:
    """x repeated as a whole along every axis."""
    return xp.tile(x, tuple(integers(repeats) or ()))


@operator("Pad", static=(1, 3), fixed=(2,))
def pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    """x with entries before and after its axes: a constant, or its own, reflected, repeated or cyclic."""
    ndim = len(x.shape)
    widths = integers(node.get("pads") if pads is None else pads) or []
    named = [position(a, ndim, "Pad") for a in integers(axes, range(ndim)) or []]
    if len(widths) != 2 * len(named):
        raise ShapeError(f"Pad: {len(widths)} widths for {len(named)} axes of {tuple(x.shape)}: two an axis.")
    pairs = [(0, 0)] * ndim
    for i, a in enumerate(named):
        pairs[a] = (widths[i], widths[i + len(named)])
    mode = node.get("mode", "constant")
    if mode != "constant":
        return gathered(x, pairs, mode)
    x = xp.getitem(x, tuple(
        slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, pairs, strict=True)
    )) if min(map(min, pairs), default=0) < 0 else x  # fmt: skip
    fill = node.get("value", 0.0) if value is None else value
    grown = [(max(a, 0), max(b, 0)) for a, b in pairs]
    if not max(map(max, grown), default=0):
        return x
    if hosted(fill):
        return xp.pad(x, grown, np.asarray(fill).reshape(()).item())
    inside = xp.pad(xp.full(plain(x), tuple(x.shape), 1, "bool"), grown, False)
    return xp.where(inside, xp.pad(x, grown), together(x, xp.reshape(fill, ()))[1])


MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def gathered(x: Any, pairs: list[tuple[int, int]], mode: str) -> Any:
    """Padding with entries of x itself, axis by axis."""
    if mode not in MODES:
        raise ValueError(f"Pad: mode is constant, {', '.join(MODES)}, not {mode!r}.")
    for axis, (before, after) in enumerate(pairs):
        if (before, after) != (0, 0):
            n = int(x.shape[axis])
            if n == 0:
                raise ShapeError(f"Pad: axis {axis} of {tuple(x.shape)} has no entry to repeat.")
            own = np.arange(n)[max(-before, 0) : n - max(-after, 0)]
            x = xp.take(x, np.pad(own, (max(before, 0), max(after, 0)), mode=mode), axis)  # type: ignore[call-overload]
    return x


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Any) -> Any:
    """Blocks of channels as blocks of pixels, (n, C b², H, W) to (n, C, H b, W b)."""
    n, c, h, w = x.shape
    b = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        parts = xp.permute(xp.reshape(x, (n, c // (b * b), b, b, h, w)), (0, 1, 4, 2, 5, 3))
    else:
        parts = xp.permute(xp.reshape(x, (n, b, b, c // (b * b), h, w)), (0, 3, 4, 1, 5, 2))
    return xp.reshape(parts, (n, c // (b * b), h * b, w * b))


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Any) -> Any:
    """Blocks of pixels as channels, (n, C, H b, W b) to (n, C b², H, W)."""
    n, c, h, w = x.shape
    b = node.get("blocksize")
    order = (0, 1, 3, 5, 2, 4) if node.get("mode", "DCR") == "CRD" else (0, 3, 5, 1, 2, 4)
    parts = xp.permute(xp.reshape(x, (n, c, h // b, b, w // b, b)), order)
    return xp.reshape(parts, (n, c * b * b, h // b, w // b))


@operator("Trilu", static=(1,))
def trilu(node: Node, x: Any, k: Any = None) -> Any:
    """The triangle of the last two axes on one side of the k-th diagonal."""
    k = 0 if k is None else int(k)
    return (xp.triu if node.get("upper", 1) else xp.tril)(x, k)


@operator("ReverseSequence", static=(1,))
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    """The first entries of every sequence, as many as its length, in reversed order."""
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    steps = np.arange(int(x.shape[time]))
    long = np.asarray(lengths)[:, None]
    order = np.where(steps < long, long - 1 - steps, steps)
    order = order if batch < time else order.T
    order = order.reshape(*order.shape, *(1,) * (len(x.shape) - 2))
    order = np.broadcast_to(order, tuple(x.shape))
    return xp.take_along(x, together(x, order)[1], time)


@operator("CenterCropPad", static=(1,))
def center_crop_pad(node: Node, x: Any, shape: Any) -> Any:
    """x cut, or padded with zeros, to a shape, evenly on both sides."""
    axes = [position(a, len(x.shape), node.op) for a in integers(node.get("axes"), range(len(x.shape))) or []]
    key, grown = [slice(None)] * len(x.shape), [(0, 0)] * len(x.shape)
    for a, m in zip(axes, integers(shape) or [], strict=True):
        n = int(x.shape[a])
        if m < n:
            key[a] = slice((n - m) // 2, (n - m) // 2 + m)
        else:
            grown[a] = ((m - n) // 2, (m - n) - (m - n) // 2)
    return xp.pad(xp.getitem(x, tuple(key)), grown)


@operator("Col2Im", static=(1, 2))
def col2im(node: Node, x: Any, image: Any, block: Any) -> Any:
    """Columns (n, C ∏block, positions) added into place, (n, C, *image)."""
    kernel = integers(block) or []
    n = len(kernel)
    pads = integers(node.get("pads"), [0] * 2 * n) or []
    pairs = tuple(zip(pads[:n], pads[n:], strict=True))
    strides, dilations = (tuple(node.get(name) or [1] * n) for name in ("strides", "dilations"))
    return xp.fold(x, tuple(integers(image) or ()), tuple(kernel), dilations, pairs, strides)


@operator("NonZero")
def non_zero(node: Node, x: Any) -> Any:
    """The positions of entries that are not 0, one row an axis: their number is known from values alone."""
    return np.array(np.nonzero(known(x, "NonZero: x")), np.int64)


@operator("Compress", static=(1,))
def compress(node: Node, x: Any, condition: Any) -> Any:
    """The slices of x where the condition holds."""
    kept = np.flatnonzero(condition)
    axis = node.get("axis")
    return xp.take(xp.reshape(x, (-1,)) if axis is None else x, kept, 0 if axis is None else axis)


@operator("Unique")
def unique(node: Node, x: Any) -> Any:
    """The distinct entries (or slices) of x, where each occurs first, which each is, and how often it occurs."""
    axis = node.get("axis")
    values = known(x, "Unique: x")
    _, first, inverse, counts = np.unique(values, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not node.get("sorted", 1):
        order = np.argsort(first, kind="stable")
        rank = np.argsort(order, kind="stable")
        first, inverse, counts = first[order], rank[inverse], counts[order]
    distinct = xp.take(xp.reshape(x, (-1,)) if axis is None else x, first, 0 if axis is None else axis)
    return (distinct, *(a.astype(np.int64) for a in (first, inverse, counts)))
