"""NumPy's convolutions: matrix products with columns that are made a few images at a time and stay in the cache."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from adjoint.arrays import convolutions as plain
from adjoint.arrays.convolution_windows import Pairs, Window, reach, window
from adjoint.arrays.dispatch import Shape
from adjoint.arrays.numpy import winograd as tiles
from adjoint.arrays.numpy.threads import shared

SMALL = 1 << 18  # multiplications below which plain NumPy is as fast as the Numba kernels
MANY = 16  # channels from which Winograd's form of a 3×3 convolution is faster
CACHE = 1 << 19  # bytes of columns that are held at a time


class Plan(NamedTuple):
    """One convolution in three dimensions, those that it lacks of size 1, and what the kernels need to know of it."""

    groups: int
    channels: int
    out: int
    kernel: Shape
    sizes: Shape
    positions: Shape
    stride: Shape
    before: Shape
    dilation: Shape
    padded: Shape

    @property
    def seen(self) -> int:
        """The length of a column, of one group."""
        return self.channels // self.groups * math.prod(self.kernel)

    @property
    def spots(self) -> int:
        """How many positions there are."""
        return math.prod(self.positions)

    @property
    def geometry(self) -> tuple[Shape, Shape, Shape, Shape]:
        """What `gather` and `scatter` are told."""
        return self.kernel, self.positions, self.stride, self.dilation

    def at_once(self, itemsize: int) -> int:
        """How many images' columns fit the cache."""
        return max(1, CACHE // max(self.groups * self.spots * self.seen * itemsize, 1))


def plan(x: Shape, weight: Shape, w: Window, groups: int) -> Plan:
    """x (N, C, *sizes) and the weight (O, C/groups, *kernel)."""
    kernel, sizes, extra = weight[2:], x[2:], 3 - len(w.stride)
    positions = w.positions(sizes, kernel)
    spans = reach(kernel, w.dilation)
    padded = tuple([s * (t - 1) + r for t, s, r in zip(positions, w.stride, spans, strict=True)])
    ones, before = (1,) * extra, tuple([a for a, _ in w.padding])
    return Plan(
        groups, x[1], weight[0], ones + kernel, ones + sizes, ones + positions, ones + w.stride, (0,) * extra + before,
        ones + w.dilation, ones + padded,
    )  # fmt: skip


def fits(n: int, p: Plan, *arrays: Any) -> bool:
    """Whether the kernels serve: enough to do, in up to three dimensions, all in floats or all in doubles."""
    return (
        n * p.out * p.spots * p.seen >= SMALL
        and len(p.kernel) == 3
        and arrays[0].dtype.char in "fd"
        and all(x.dtype == arrays[0].dtype for x in arrays)
    )


def winograd(p: Plan, w: Window) -> bool:
    """Whether this is a 3×3 convolution with enough channels to repay Winograd's transforms."""
    return (
        w.stride == (1, 1)
        and w.dilation == (1, 1)
        and p.groups == 1
        and p.kernel == (1, 3, 3)
        and min(p.channels, p.out) >= MANY
    )


def narrow(p: Plan) -> bool:
    """Whether rows of positions are longer than rows of the kernel, all channels together."""
    return p.groups == 1 and p.channels * p.kernel[2] < p.positions[2]


def of_rows(images: Any, matrix: Any, bias: Any, p: Plan, y: Any) -> None:
    """The convolution of few channels; the bias multiplies a row of ones below the columns."""
    from adjoint.arrays.numpy.convolution_kernels import rows_of

    if bias is not None:
        matrix = np.concatenate([matrix, bias[:, None]], 1)

    def work(start: int, stop: int) -> None:
        step = p.at_once(images.itemsize)
        padded = np.zeros((p.channels, *p.padded), images.dtype)
        columns = np.ones((step, matrix.shape[1], p.spots), images.dtype)
        for a in range(start, stop, step):
            b = min(a + step, stop)
            rows_of(images[a:b], padded, columns, p.before, *p.geometry)
            np.matmul(matrix, columns[: b - a], out=y[a:b])

    shared(work, len(images))


def channels_last(weight: Any, groups: int) -> Any:
    """The weight as one matrix a group whose columns run over the kernel first, then the channels."""
    out, per, *kernel = weight.shape
    return np.moveaxis(weight, 1, -1).reshape(groups, out // groups, math.prod(kernel) * per)


def convolution(
    x: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    w = Window(stride, padding, dilation)
    p = plan(x.shape, weight.shape, w, groups)
    if not fits(len(x), p, x, weight, *(() if bias is None else (bias,))):
        return composed(plain.convolution)(x, weight, bias, *w, groups)
    if winograd(p, w):
        return tiles.convolved(np.ascontiguousarray(x), weight, bias, p.before[1:], p.positions[1:])
    from adjoint.arrays.numpy.convolution_kernels import columns_of

    y = np.empty((len(x), groups, p.out // groups, p.spots), x.dtype)
    images = x.reshape(len(x), p.channels, *p.sizes)
    if narrow(p):
        of_rows(images, weight.reshape(p.out, p.seen), bias, p, y[:, 0])
        return y.reshape(len(x), p.out, *p.positions[3 - len(stride) :])
    matrix = channels_last(weight, groups)

    def work(start: int, stop: int) -> None:
        step = p.at_once(x.itemsize)
        padded = np.zeros((*p.padded, p.channels), x.dtype)
        columns = np.empty((step, groups, p.spots, p.seen), x.dtype)
        for a in range(start, stop, step):
            b = min(a + step, stop)
            columns_of(images[a:b], padded, columns, p.before, *p.geometry)
            np.matmul(matrix, columns[: b - a].mT, out=y[a:b])
            if bias is not None:
                y[a:b] += bias.reshape(groups, -1, 1)

    shared(work, len(x))
    return y.reshape(len(x), p.out, *p.positions[3 - len(stride) :])


def convolution_input(
    u: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    w = Window(stride, padding, dilation)
    sizes = w.sizes(u.shape[2:], weight.shape[2:])
    p = plan((len(u), weight.shape[1] * groups, *sizes), weight.shape, w, groups)
    if not fits(len(u), p, u, weight):
        return composed(plain.convolution_input)(u, weight, bias, *w, groups)
    if winograd(p, w):
        flipped = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
        before = (2 - p.before[1], 2 - p.before[2])
        return tiles.convolved(np.ascontiguousarray(u), flipped, bias, before, p.sizes[1:])
    from adjoint.arrays.numpy.convolution_kernels import images_of

    x = np.empty((len(u), p.channels, *p.sizes), u.dtype)
    rows, matrix = u.reshape(len(u), groups, p.out // groups, p.spots), channels_last(weight, groups)

    def work(start: int, stop: int) -> None:
        step = p.at_once(u.itemsize)
        padded = np.empty((*p.padded, p.channels), u.dtype)
        columns = np.empty((step, groups, p.spots, p.seen), u.dtype)
        for a in range(start, stop, step):
            b = min(a + step, stop)
            np.matmul(rows[a:b].mT, matrix, out=columns[: b - a])
            images_of(columns, padded, x[a:b], p.before, *p.geometry)

    shared(work, len(u))
    x = x.reshape(len(u), p.channels, *sizes)
    return x if bias is None else x + bias.reshape(-1, *(1,) * len(stride))


def convolution_weight(
    x: Any, u: Any, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,), groups: int = 1
) -> Any:
    w = Window(stride, padding, dilation)
    kernel = w.kernel(x.shape[2:], u.shape[2:])
    out, per = u.shape[1], x.shape[1] // groups
    p = plan(x.shape, (out, per, *kernel), w, groups)
    if not fits(len(x), p, x, u):
        return composed(plain.convolution_weight)(x, u, *w, groups)
    if winograd(p, w):
        return tiles.weight_adjoint(np.ascontiguousarray(x), np.ascontiguousarray(u), p.before[1:])
    from adjoint.arrays.numpy.convolution_kernels import columns_of, rows_of

    images, rows = x.reshape(len(x), p.channels, *p.sizes), u.reshape(len(u), groups, out // groups, p.spots)

    few = narrow(p)

    def work(start: int, stop: int) -> Any:
        step = p.at_once(x.itemsize)
        padded = np.zeros((*p.padded, p.channels), x.dtype)
        columns = np.empty((step, groups, p.spots, p.seen), x.dtype)
        if few:
            padded = np.zeros((p.channels, *p.padded), x.dtype)
            columns = columns.reshape(step, groups, p.seen, p.spots)
        products = np.empty((step, groups, out // groups, p.seen), x.dtype)
        total = np.zeros(products.shape[1:], x.dtype)
        for a in range(start, stop, step):
            b = min(a + step, stop)
            if few:
                rows_of(images[a:b], padded, columns[:, 0], p.before, *p.geometry)
            else:
                columns_of(images[a:b], padded, columns, p.before, *p.geometry)
            np.matmul(rows[a:b], columns[: b - a].mT if few else columns[: b - a], out=products[: b - a])
            for product in products[: b - a]:
                total += product
        return total

    found = sum(shared(work, len(x)))
    if few:
        return found.reshape(out, per, *kernel)
    return np.ascontiguousarray(np.moveaxis(found.reshape(out, *kernel, per), -1, 1))


# Columns by themselves: one copy of a view that repeats entries, and one sum for every entry of the kernel


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    kernel = plain.kernel_of("unfold", kernel_size)
    n = len(kernel)
    if x.ndim <= n:
        plain.few_axes("unfold", x.shape, kernel)
    w = window("unfold", x.shape[-n:], kernel, stride, padding, dilation)
    positions = w.positions(x.shape[-n:], kernel)
    x = plain.around(x, w.padding)
    own = x.strides[-n:]
    steps = (
        *[a * d for a, d in zip(own, w.dilation, strict=True)],
        *[a * s for a, s in zip(own, w.stride, strict=True)],
    )
    lead = x.shape[:-n]
    seen = as_strided(x, (*lead, *kernel, *positions), (*x.strides[:-n], *steps), writeable=False)
    return seen.reshape(*lead[:-1], lead[-1] * math.prod(kernel), math.prod(positions))


def fold(u: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    kernel, sizes, w, positions = plain.folded("fold", u.shape, output_size, kernel_size, dilation, padding, stride)
    lead, c = u.shape[:-2], u.shape[-2] // math.prod(kernel)
    full = [n + a + b for n, (a, b) in zip(sizes, w.padding, strict=True)]
    total = np.zeros((*lead, c, *full), u.dtype)
    parts = np.moveaxis(u.reshape(*lead, c, math.prod(kernel), *positions), len(lead) + 1, 0)
    for part, key in zip(parts, plain.looks(kernel, positions, w.stride, w.dilation), strict=True):
        total[(..., *key)] += part
    return plain.around(total, tuple((-a, -b) for a, b in w.padding))


def composed(function: Any) -> Any:
    """The plain composition of a function of the seam."""
    return function.table.composed
