"""PyTorch's functions of layout by their names, each with its own signature, in the seam's functions."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import Array
from adjoint.arrays.numpy_names import Entry, many, some
from adjoint.errors import ShapeError


def _parts(x: Array, sizes: Any, dim: int = 0) -> tuple[Array, ...]:
    n = x.shape[dim]
    ends = range(sizes, n, sizes) if isinstance(sizes, int) else np.cumsum(sizes)[:-1].tolist()
    return tuple(xp.split(x, list(ends), dim))


def _before(x: Array, dim: int) -> tuple[slice, ...]:
    return (slice(None),) * xp.positive("indexing", dim, len(x.shape))


def _narrow(x: Array, dim: int, start: Any, length: int) -> Array:
    lead, n = _before(x, dim), x.shape[dim]
    start = operator.index(start)
    start += n if start < 0 else 0
    if not (0 <= start <= n and 0 <= length <= n - start):
        raise ShapeError(f"narrow: {length} entries from {start} on do not lie in axis {dim} of {tuple(x.shape)}.")
    return xp.getitem(x, (*lead, slice(start, start + length)))


def _unflatten(input: Array, dim: int, sizes: Any) -> Array:
    shape, dim = tuple(input.shape), dim % len(input.shape)
    return xp.reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


def _gather(x: Array, dim: int, index: Array) -> Array:
    kept = tuple(slice(None) if a == dim % len(x.shape) else slice(0, n) for a, n in enumerate(index.shape))
    return xp.take_along(xp.getitem(x, kept), index, dim)


def _pad(input: Array, pad: Any, mode: str = "constant", value: Any = None) -> Array:
    """`F.pad`: pairs from the last axis on; negative ones cut, before a cyclic axis is made longer, else after."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (len(input.shape) - len(pairs)) + pairs
    shape = tuple(input.shape)
    for axis, (n, pair) in enumerate(zip(shape, pairs, strict=True)):
        if any(pair) and (max(pair) > {"reflect": n - 1, "circular": n}.get(mode, math.inf) or n + sum(pair) < 0):
            raise ShapeError(f"pad: axis {axis} of {shape} has {n} entries, too few for {pair} of {mode!r}.")
    x = _cut(input, pairs) if mode == "circular" else input
    longer = [(max(a, 0), max(b, 0)) for a, b in pairs]
    x = names.padded(x, longer, {"replicate": "edge", "circular": "wrap"}.get(mode, mode), value or 0.0)
    return x if mode == "circular" else _cut(x, pairs)


def _cut(x: Array, pairs: Any) -> Array:
    if all(min(pair) >= 0 for pair in pairs):
        return x
    return xp.getitem(x, tuple(slice(max(-a, 0), n + min(b, 0)) for (a, b), n in zip(pairs, x.shape, strict=True)))


def square(name: str, x: Array, most: int, least: int = 0) -> Array:
    """A matrix, or what has `least` to `most` axes; raises ShapeError for anything else."""
    if not least <= len(x.shape) <= most:
        raise ShapeError(f"{name}: a matrix has two axes, not {tuple(x.shape)}.")
    return x


def _take_along(input: Array, indices: Array, dim: int | None = None) -> Array:
    if dim is None:
        return xp.take_along(names.ravel(input), xp.reshape(indices, (-1,)), 0)
    return xp.take_along(input, indices, dim)


def _each(f: Entry) -> Entry:
    """f of one array, or of each of several."""
    return lambda *tensors: (
        f(tensors[0])
        if len(tensors) == 1 and not isinstance(tensors[0], (list, tuple))
        else tuple(f(x) for x in (tensors[0] if len(tensors) == 1 else tensors))
    )


def _diag_embed(input: Array, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    return names.moveaxis(names.diagonal_matrices(input, offset), (-2, -1), (dim1, dim2))


def sliding(x: Array, dimension: int, size: int, step: int) -> Array:
    """`Tensor.unfold`: an axis as its overlapping parts, whose own axis comes last."""
    starts = np.arange(0, x.shape[dimension] - size + 1, step)
    parts = xp.take(x, starts[:, None] + np.arange(size), dimension)
    return xp.moveaxis(parts, dimension % len(x.shape) + 1, -1)


LAYOUT: dict[str, Entry] = {
    "reshape": lambda input, shape: xp.reshape(input, many(shape)),
    "flatten": lambda input, start_dim=0, end_dim=-1: xp.flatten(input, start_dim, end_dim),
    "ravel": names.ravel,
    "unflatten": _unflatten,
    "squeeze": lambda input, dim=None: xp.squeeze(input, some(dim)),
    "unsqueeze": lambda input, dim: xp.expand_dims(input, dim),
    "transpose": lambda input, dim0, dim1: xp.swapaxes(input, dim0, dim1),
    "swapaxes": lambda input, axis0, axis1: xp.swapaxes(input, axis0, axis1),
    "swapdims": lambda input, dim0, dim1: xp.swapaxes(input, dim0, dim1),
    "t": lambda input: xp.permute(square("t", input, 2), tuple(reversed(range(len(input.shape))))),
    "adjoint": lambda input: xp.swapaxes(input, -1, -2),
    "permute": lambda input, dims: xp.permute(input, many(dims)),
    "moveaxis": names.moveaxis,
    "movedim": names.moveaxis,
    "broadcast_to": lambda input, size: xp.broadcast_to(input, many(size)),
    "atleast_1d": _each(names.at_least(1)),
    "atleast_2d": _each(names.at_least(2)),
    "cat": lambda tensors, dim=0: xp.concatenate(tensors, dim),
    "concat": lambda tensors, dim=0: xp.concatenate(tensors, dim),
    "concatenate": lambda tensors, dim=0: xp.concatenate(tensors, dim),
    "stack": lambda tensors, dim=0: xp.stack(tensors, dim),
    "vstack": names.NUMPY["vstack"],
    "hstack": names.hstack,
    "column_stack": names.NUMPY["column_stack"],
    "split": _parts,
    "split_with_sizes": _parts,
    "chunk": lambda input, chunks, dim=0: _parts(input, -(-input.shape[dim] // chunks), dim),
    "unbind": lambda input, dim=0: tuple(xp.squeeze(part, dim) for part in _parts(input, 1, dim)),
    "select": lambda input, dim, index: xp.getitem(input, (*_before(input, dim), index)),
    "narrow": _narrow,
    "pad": _pad,
    "tile": lambda input, dims: xp.tile(input, many(dims)),
    "repeat_interleave": lambda input, repeats, dim=None, *, output_size=None: names.repeated(input, repeats, dim),
    "flip": lambda input, dims: xp.flip(input, many(dims)),
    "fliplr": lambda input: xp.flip(input, 1),
    "flipud": lambda input: xp.flip(input, 0),
    "roll": lambda input, shifts, dims=None: names.rolled(input, shifts, dims),
    "diff": lambda input, n=1, dim=-1, prepend=None, append=None: names.diff(input, n, dim, prepend, append),
    "tril": lambda input, diagonal=0: xp.tril(input, diagonal),
    "triu": lambda input, diagonal=0: xp.triu(input, diagonal),
    "diag": lambda input, diagonal=0: names.diag(input, diagonal),
    "diag_embed": _diag_embed,
    "diagonal": lambda input, offset=0, dim1=0, dim2=1: names.diagonal(input, offset, dim1, dim2),
    "linalg_diagonal": lambda A, *, offset=0, dim1=-2, dim2=-1: names.diagonal(A, offset, dim1, dim2),
    "trace": lambda input: xp.sum(xp.diagonal(square("trace", input, 2, 2)), -1),
    "index_select": lambda input, dim, index: xp.take(input, index, dim),
    "gather": _gather,
    "take_along_dim": _take_along,
    "clone": lambda input: input,
}
