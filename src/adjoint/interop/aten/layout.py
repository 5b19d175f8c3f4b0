"""The same entries in another arrangement: shapes, axes, parts, padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import Array
from adjoint.arrays.torch_layout import sliding
from adjoint.interop.aten.promotion import cast, name_of, promoted
from adjoint.ops.define import plain
from adjoint.transforms import stop_gradient

Entry = Callable[..., Any]


def before(x: Array, dim: int) -> tuple[slice, ...]:
    """The part of a key that leaves the axes in front of `dim` whole."""
    return (slice(None),) * (dim % len(x.shape))


def itself(self: Array) -> Array:
    """The operand."""
    return self


def _permute(self: Array, dims: Sequence[int]) -> Array:
    n = len(self.shape)
    return xp.permute(self, tuple(a % n for a in dims)) if n else self


def _transpose(self: Array, dim0: int, dim1: int) -> Array:
    return xp.swapaxes(self, dim0, dim1) if self.shape else self


def _expand(self: Array, size: Sequence[int], implicit: bool = False) -> Array:
    own = (1,) * (len(size) - len(self.shape)) + tuple(self.shape)
    shape = tuple(old if n == -1 else n for n, old in zip(size, own, strict=True))
    return self if shape == tuple(self.shape) else xp.broadcast_to(self, shape)


def _squeeze(self: Array, dim: Any = None) -> Array:
    return xp.squeeze(self, tuple(dim) if isinstance(dim, (list, tuple)) else dim) if self.shape else self


def _slice(self: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return xp.getitem(self, (*before(self, dim), slice(start, end, step)))


def _select(self: Array, dim: int, index: int) -> Array:
    return xp.getitem(self, (*before(self, dim), index))


def _split(self: Array, split_size: Any, dim: int = 0) -> tuple[Array, ...]:
    n = self.shape[dim]
    if isinstance(split_size, int):
        return tuple(xp.split(self, list(range(split_size, n, split_size)) if split_size else [], dim))
    return tuple(xp.split(self, np.cumsum(split_size)[:-1].tolist(), dim)) if len(split_size) else ()


def _tensor_split(self: Array, at: Any, dim: int = 0) -> tuple[Array, ...]:
    n = self.shape[dim]
    if isinstance(at, int):
        sizes = [n // at + (i < n % at) for i in range(at)]
        at = np.cumsum(sizes)[:-1].tolist()
    bounds = [slice(a, b) for a, b in zip([0, *at], [*at, n], strict=True)]
    return tuple(xp.getitem(self, (*before(self, dim), bound)) for bound in bounds)


def _cat(tensors: Sequence[Array], dim: int = 0) -> Array:
    """Empty vectors are passed over, as PyTorch has it."""
    kept = [x for x in tensors if tuple(x.shape) != (0,)] or list(tensors[:1])
    return xp.concatenate(list(promoted(*kept)), dim)


def _repeat(self: Array, repeats: Sequence[int]) -> Array:
    return xp.tile(self, tuple(repeats)) if repeats else self


def _repeat_interleave(self: Array, repeats: Any, dim: int | None = None, output_size: Any = None) -> Array:
    if not isinstance(repeats, int):
        from adjoint.interop.aten.promotion import concrete

        repeats = concrete(repeats, "repeat_interleave").tolist()
    return names.repeated(self, repeats, dim)


def _constant_pad(self: Array, pad: Sequence[int], value: Any = 0) -> Array:
    """Pairs from the last axis on; negative ones cut."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (len(self.shape) - len(pairs)) + pairs
    longer = [(max(a, 0), max(b, 0)) for a, b in pairs]
    x = xp.pad(self, longer, value) if any(map(any, longer)) else self
    return _cut(x, pairs)


def _padding(mode: str) -> Entry:
    """Padding by the array's own entries; `mode` as NumPy calls it."""

    def entry(self: Array, padding: Sequence[int]) -> Array:
        pairs = list(zip(padding[::2], padding[1::2], strict=True))[::-1]
        pairs = [(0, 0)] * (len(self.shape) - len(pairs)) + pairs
        x = names.padded(self, [(max(a, 0), max(b, 0)) for a, b in pairs], mode, 0.0)
        return _cut(x, pairs)

    return entry


def _cut(x: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """x without the entries that negative padding leaves out."""
    if all(min(pair) >= 0 for pair in pairs):
        return x
    return xp.getitem(x, tuple(slice(max(-a, 0), n + min(b, 0)) for (a, b), n in zip(pairs, x.shape, strict=True)))


def _pad(self: Array, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Array:
    if mode == "constant":
        return _constant_pad(self, pad, value or 0)
    return _padding({"replicate": "edge", "circular": "wrap"}.get(mode, mode))(self, pad)


def _as_strided(self: Array, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Array:
    """Of an array in row-major order: entries gathered by their places in memory."""
    place = np.asarray(storage_offset or 0)
    for n, step in zip(size, stride, strict=True):
        place = place[..., None] + step * np.arange(n)
    flat = xp.reshape(self, (-1,))
    return xp.take(flat, xp.asarray(plain(flat), place), 0)


def _roll(self: Array, shifts: Any, dims: Any = None) -> Array:
    return names.rolled(self, shifts if isinstance(shifts, int) else tuple(shifts), dims or None)


def _triangle(f: Entry) -> Entry:
    def entry(self: Array, diagonal: int = 0) -> Array:
        if name_of(self.dtype) != "bool":
            return f(self, diagonal)
        return cast(f(cast(self, "int32"), diagonal), "bool")

    return entry


def _diag_embed(self: Array, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    return names.moveaxis(names.diagonal_matrices(self, offset), (-2, -1), (dim1, dim2))


def _unbind(self: Array, dim: int = 0) -> tuple[Array, ...]:
    return tuple(_select(self, dim, i) for i in range(self.shape[dim]))


def _scattered(self: Array, src: Array, key: tuple[Any, ...]) -> Array:
    """self with src written at a basic key."""
    shape = tuple(self.shape)
    there = np.zeros(shape, bool)
    there[key] = True
    placed = xp.put(xp.broadcast_to(cast(src, name_of(self.dtype)), there[key].shape), key, shape)
    return xp.where(xp.asarray(plain(self), there), placed, self)


def _slice_scatter(
    self: Array, src: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    first, last, step = slice(start, end, step).indices(self.shape[dim])
    if step != 1:
        return _scattered(self, src, (*before(self, dim), slice(first, last, step)))
    last, src = max(first, last), cast(src, name_of(self.dtype))
    parts = [_slice(self, dim, 0, first), src, _slice(self, dim, last)]
    parts = [part for part in parts if part.shape[dim]]
    return xp.concatenate(parts, dim) if len(parts) > 1 else parts[0] if parts else self


def _select_scatter(self: Array, src: Array, dim: int, index: int) -> Array:
    index = index % self.shape[dim]
    return _slice_scatter(self, xp.expand_dims(src, dim), dim, index, index + 1)


def _diagonal_scatter(self: Array, src: Array, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    matrix = names.moveaxis(self, (dim1, dim2), (-2, -1))
    rows, columns = matrix.shape[-2:]
    there = np.eye(rows, columns, offset, dtype=bool)
    place = np.where(there, np.minimum(np.arange(rows)[:, None], np.arange(columns)[None, :]), 0)
    spread = xp.take(cast(src, name_of(self.dtype)), xp.asarray(plain(self), place), -1 % len(src.shape))
    written = xp.where(xp.asarray(plain(self), there), spread, matrix)
    return names.moveaxis(written, (-2, -1), (dim1, dim2))


def _pixel_shuffle(self: Array, upscale_factor: int) -> Array:
    return xp.pixel_shuffle(self, upscale_factor)


LAYOUT: dict[str, Entry] = {
    **dict.fromkeys(("alias", "lift_fresh", "lift_fresh_copy", "lift", "contiguous", "clone"), itself),
    "detach": stop_gradient,
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy", "_reshape_alias"),
                    lambda self, size, *_: xp.reshape(self, tuple(size))),
    "view_as": lambda self, other: xp.reshape(self, tuple(other.shape)),
    "flatten": lambda self, start_dim=0, end_dim=-1: xp.flatten(self, start_dim, end_dim),
    "unflatten": lambda self, dim, sizes: xp.reshape(
        self, (*self.shape[: dim % len(self.shape)], *sizes, *self.shape[dim % len(self.shape) + 1 :])
    ),
    "permute": _permute,
    "transpose": _transpose,
    "swapaxes": _transpose,
    "t": lambda self: xp.swapaxes(self, 0, 1) if len(self.shape) == 2 else self,
    "numpy_T": lambda self: xp.permute(self, tuple(range(len(self.shape)))[::-1]),
    "mT": lambda self: xp.swapaxes(self, -1, -2),
    "movedim": names.moveaxis,
    "expand": _expand,
    "expand_as": lambda self, other: xp.broadcast_to(self, tuple(other.shape)),
    "broadcast_to": lambda self, size: xp.broadcast_to(self, tuple(size)),
    "squeeze": _squeeze,
    "unsqueeze": lambda self, dim: xp.expand_dims(self, dim),
    "slice": _slice,
    "select": _select,
    "narrow": lambda self, dim, start, length: _slice(self, dim, start, start + length),
    "split": _split,
    "split_with_sizes": _split,
    "unsafe_split": _split,
    "unsafe_split_with_sizes": _split,
    "chunk": lambda self, chunks, dim=0: _split(self, max(-(-self.shape[dim] // chunks), 1), dim),
    "unsafe_chunk": lambda self, chunks, dim=0: _split(self, max(-(-self.shape[dim] // chunks), 1), dim),
    "tensor_split": _tensor_split,
    "unbind": _unbind,
    "cat": _cat,
    "concat": _cat,
    "stack": lambda tensors, dim=0: xp.stack(list(promoted(*tensors)), dim),
    "repeat": _repeat,
    "tile": _repeat,
    "repeat_interleave": _repeat_interleave,
    "constant_pad_nd": _constant_pad,
    "pad": _pad,
    **{f"reflection_pad{n}d": _padding("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _padding("edge") for n in (1, 2, 3)},
    "_pad_circular": _padding("wrap"),
    "as_strided": _as_strided,
    "unfold": lambda self, dimension, size, step: (
        sliding(self, dimension, size, step) if self.shape else xp.reshape(self, (1,))
    ),
    "flip": lambda self, dims: xp.flip(self, tuple(dims)) if len(dims) and self.shape else self,
    "roll": _roll,
    "rot90": lambda self, k=1, dims=(0, 1): _rotated(self, k % 4, dims),
    "tril": _triangle(xp.tril),
    "triu": _triangle(xp.triu),
    "diagonal": lambda self, offset=0, dim1=0, dim2=1: names.diagonal(self, offset, dim1, dim2),
    "diag_embed": _diag_embed,
    "diag": lambda self, diagonal=0: names.diag(self, diagonal),
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
    "diagonal_scatter": _diagonal_scatter,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": lambda self, downscale_factor: xp.pixel_unshuffle(self, downscale_factor),
    "channel_shuffle": lambda self, groups: xp.channel_shuffle(self, groups),
    "native_channel_shuffle": lambda self, groups: xp.channel_shuffle(self, groups),
    "sym_size": lambda self, dim: self.shape[dim],
    "sym_numel": lambda self: math.prod(self.shape),
    "sym_stride": lambda self, dim: math.prod(self.shape[dim % len(self.shape) + 1 :]),
}  # fmt: skip


def _rotated(x: Array, k: int, dims: Sequence[int]) -> Array:
    first, second = dims
    turned = xp.flip(x, first) if k == 2 else x
    if k == 2:
        return xp.flip(turned, second)
    if k == 1:
        return xp.swapaxes(xp.flip(x, second), first, second)
    return xp.flip(xp.swapaxes(x, first, second), second) if k == 3 else x
