"""Where the windows of a pooling lie, one axis at a time: plain integers, checked and tabulated once a geometry."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.errors import ShapeError

Ints = int | Sequence[int]


@dataclass(frozen=True, eq=False)
class Windows:
    """`count` windows along an axis of `size` entries: `kernel` entries, `dilation` apart, every `stride`.

    The first window starts `padding` entries before the axis. With kernel None (adaptive pooling) window i reaches from
    ⌊i · size / count⌋ to ⌈(i + 1) · size / count⌉.
    """

    size: int
    count: int
    kernel: int | None = None
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    ceil_mode: bool = False

    @functools.cached_property
    def spans(self) -> tuple[Any, Any]:
        """First entry, and entry after the last, of every window; those in the padding included."""
        i = np.arange(self.count)
        if self.kernel is None:
            n, count = self.size, max(self.count, 1)
            return i * n // count, -(-(i + 1) * n // count)
        start = i * self.stride - self.padding
        reach = self.dilation * (self.kernel - 1) + 1
        return start, np.minimum(start + reach, self.size + self.padding)

    @functools.cached_property
    def entries(self) -> Any:
        """(count, k): the entries of every window; one that does not exist is its neighbour inside the window."""
        start, stop = self.spans
        k = self.kernel or int((stop - start).max(initial=1))
        entries = start[:, None] + self.dilation * np.arange(k)
        inside = (entries >= 0) & (entries < np.minimum(stop, self.size)[:, None])
        first = np.where(inside, entries, self.size).min(1, initial=self.size)
        last = np.where(inside, entries, -1).max(1, initial=-1)
        if np.any(first > last):
            raise ShapeError(
                f"max pooling: a window of kernel_size {self.kernel} at dilation {self.dilation} has no entry of the "
                f"axis, which has {self.size}, and padding {self.padding} on either side: use less dilation."
            )
        return np.clip(entries, first[:, None], last[:, None])


@functools.lru_cache(4096)
def windows(name: str, size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> Windows:
    """The windows that fit an axis."""
    for what, n, least in (("kernel_size", kernel, 1), ("stride", stride, 1), ("padding", padding, 0)):
        if n < least:
            raise ShapeError(f"{name}: {what} is {least} at least, not {n}.")
    if dilation < 1:
        raise ShapeError(f"{name}: dilation is 1 at least, not {dilation}.")
    reach = dilation * (kernel - 1) + 1
    if padding > kernel // 2:
        raise ShapeError(f"{name}: padding {padding} is more than half of kernel_size {kernel}.")
    count = (size + 2 * padding - reach + (stride - 1) * ceil_mode) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1  # the last window would start in the padding behind
    if count < 1:
        dilated = f" at dilation {dilation}" if dilation > 1 else ""
        raise ShapeError(
            f"{name}: the window, kernel_size {kernel}{dilated}, reaches over {reach} entries, and the axis has {size} "
            f"and padding {padding} on either side: no window fits."
        )
    return Windows(size, count, kernel, stride, padding, dilation, ceil_mode)


@functools.lru_cache(4096)
def adaptive_windows(name: str, size: int, count: int) -> Windows:
    """As many windows as asked for, that cover the axis."""
    if count < 0:
        raise ShapeError(f"{name}: output_size is not negative, got {count}.")
    if size < 1:
        raise ShapeError(f"{name}: an axis without entries cannot be pooled to {count}.")
    return Windows(size, count)


@functools.lru_cache(256)
def flat_entries(windows: tuple[Windows, ...]) -> Any:
    """(windows, entries of each): positions in the flattened axes, in the order of the axes."""
    flat = np.zeros((1, 1), np.int64)
    for w in windows:
        grid = flat[:, None, :, None] * w.size + w.entries[None, :, None, :]
        flat = grid.reshape(flat.shape[0] * w.count, -1)
    return flat.astype(np.int32 if flat.max(initial=0) < 2**31 else np.int64)


def along_axes(name: str, what: str, value: Any, ndim: int) -> tuple[int, ...]:
    """One integer for each of `ndim` axes: a number serves them all."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * ndim
    values = tuple(value)
    if len(values) not in (1, ndim):
        raise ShapeError(f"{name}: {what} is an integer or {ndim} of them, not {value!r}.")
    return tuple(int(n) for n in values) * (ndim // len(values))


def spatial_shape(name: str, x: Any, ndim: int) -> tuple[int, ...]:
    """The last `ndim` axes of x: (channels, …), or a batch of such."""
    shape = tuple(x.shape)
    if len(shape) not in (ndim + 1, ndim + 2):
        axes = ("length", "height, width", "depth, height, width")[ndim - 1]
        raise ShapeError(f"{name}: x is (batch, channels, {axes}) or (channels, {axes}), got {shape}.")
    return shape[-ndim:]


def windows_of(
    name: str, x: Any, ndim: int, kernel: Ints, stride: Ints | None, padding: Ints = 0, dilation: Ints = 1,
    ceil_mode: bool = False,
) -> tuple[Windows, ...]:  # fmt: skip
    """The windows along every pooled axis of x; no stride means the kernel's size."""
    kernels = along_axes(name, "kernel_size", kernel, ndim)
    strides = kernels if stride is None or stride == () else along_axes(name, "stride", stride, ndim)
    pads, steps = along_axes(name, "padding", padding, ndim), along_axes(name, "dilation", dilation, ndim)
    return tuple([
        windows(name, n, k, s, p, d, bool(ceil_mode))
        for n, k, s, p, d in zip(spatial_shape(name, x, ndim), kernels, strides, pads, steps, strict=True)
    ])  # fmt: skip


def adaptive_windows_of(name: str, x: Any, ndim: int, output_size: Any) -> tuple[Windows, ...]:
    """The windows along every pooled axis of x; where the size is None the axis keeps its own."""
    shape = spatial_shape(name, x, ndim)
    wanted = (output_size,) * ndim if output_size is None or isinstance(output_size, (int, np.integer)) else output_size
    if len(wanted) not in (1, ndim):
        raise ShapeError(f"{name}: output_size is an integer, None, or {ndim} of them, not {output_size!r}.")
    sizes = tuple(wanted) * (ndim // len(wanted))
    return tuple([
        adaptive_windows(name, n, n if count is None else int(count)) for n, count in zip(shape, sizes, strict=True)
    ])  # fmt: skip
