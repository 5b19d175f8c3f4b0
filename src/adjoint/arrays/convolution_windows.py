"""Where a kernel stands as it slides: its steps, the zeros around, how often it fits; what to say where it does not."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from adjoint.arrays.dispatch import Array, Shape
from adjoint.errors import ShapeError

Sizes = int | Sequence[int]
Pairs = tuple[tuple[int, int], ...]
FORMS = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)", 3: "(N, C, D, H, W) or (C, D, H, W)"}


def each(name: str, what: str, value: Any, ndim: int, least: int = 1) -> Shape:
    """A number for every axis: one for all of them, or a sequence of `ndim`; raises ValueError below `least`.

    >>> each("conv2d", "stride", 2, 2), each("conv2d", "stride", (1, 2), 2)
    ((2, 2), (1, 2))
    """
    try:
        numbers = tuple(map(operator.index, value)) if hasattr(value, "__len__") else (operator.index(value),) * ndim
    except TypeError:
        raise ValueError(f"{name}: {what} is a whole number, or {ndim} of them, not {value!r}.") from None
    numbers *= ndim if len(numbers) == 1 else 1
    if len(numbers) != ndim or min(numbers, default=0) < least:
        raise ValueError(f"{name}: {what} is a whole number ≥ {least}, or {ndim} of them, not {value!r}.")
    return numbers


def reach(kernel: Shape, dilation: Shape) -> Shape:
    """How many entries a kernel spans on each axis: d (k - 1) + 1.

    >>> reach((3, 3), (1, 2))
    (3, 5)
    """
    return tuple([d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)])


class Window(NamedTuple):
    """How a kernel slides: `stride` and `dilation` an axis, `padding` zeros (before, after) an axis.

    The padding is exact: size + before + after = stride · (positions - 1) + reach. Entries at the end that no position
    reaches are left out, which makes `after` negative.
    """

    stride: Shape
    padding: Pairs
    dilation: Shape

    def positions(self, sizes: Shape, kernel: Shape) -> Shape:
        """How often the kernel fits."""
        axes = zip(sizes, self.stride, reach(kernel, self.dilation), self.padding, strict=True)
        return tuple([(n + before + after - r) // s + 1 for n, s, r, (before, after) in axes])

    def sizes(self, positions: Shape, kernel: Shape) -> Shape:
        """The size of the array that the kernel slides over, by how often it fits."""
        axes = zip(positions, self.stride, reach(kernel, self.dilation), self.padding, strict=True)
        return tuple([s * (t - 1) + r - before - after for t, s, r, (before, after) in axes])

    def kernel(self, sizes: Shape, positions: Shape) -> Shape:
        """The kernel's size, by that of the array and how often it fits."""
        axes = zip(sizes, positions, *self, strict=True)
        return tuple([(n + before + after - s * (t - 1) - 1) // d + 1 for n, t, s, (before, after), d in axes])


def window(name: str, sizes: Shape, kernel: Shape, stride: Any, padding: Any, dilation: Any) -> Window:
    """The window of PyTorch's options: `padding` numbers, (before, after) pairs, "same" or "valid".

    Raises `ShapeError` where the kernel is larger than the padded array, ValueError for options that mean nothing.

    >>> window("conv1d", (8,), (3,), 2, 1, 1)
    Window(stride=(2,), padding=((1, 0),), dilation=(1,))
    """
    stride, padding, dilation = (hashable(x) for x in (stride, padding, dilation))
    return _window(name, tuple(sizes), tuple(kernel), stride, padding, dilation)


def hashable(x: Any) -> Any:
    """Lists as tuples."""
    return tuple(map(hashable, x)) if isinstance(x, (list, tuple)) else x


@functools.lru_cache(maxsize=4096)
def _window(name: str, sizes: Shape, kernel: Shape, stride: Any, padding: Any, dilation: Any) -> Window:
    ndim = len(kernel)
    stride, dilation = each(name, "stride", stride, ndim), each(name, "dilation", dilation, ndim)
    spans = reach(kernel, dilation)
    pairs = zeros_around(name, padding, stride, spans)
    padded = tuple(n + a + b for n, (a, b) in zip(sizes, pairs, strict=True))
    if any(n < r for n, r in zip(padded, spans, strict=True)):
        dilated = f", dilated to {spans}," if spans != kernel else ""
        around = f" padded to {padded}" if padded != sizes else ""
        raise ShapeError(
            f"{name}: the kernel {kernel}{dilated} is larger than the input {sizes}{around}: take a smaller kernel, or "
            "more padding."
        )
    exact = tuple((a, b - (n - r) % s) for (a, b), n, r, s in zip(pairs, padded, spans, stride, strict=True))
    return Window(stride, exact, dilation)


def zeros_around(name: str, padding: Any, stride: Shape, spans: Shape) -> Pairs:
    """The zeros (before, after) each axis; "same" puts the odd one after, as PyTorch does."""
    if padding == "valid":
        return ((0, 0),) * len(spans)
    if padding == "same":
        if max(stride) > 1:
            raise ValueError(f"{name}: padding='same' needs stride 1, not {stride}: give the padding in numbers.")
        return tuple([((r - 1) // 2, r // 2) for r in spans])
    if isinstance(padding, str):
        raise ValueError(f"{name}: padding is 'same', 'valid', a number or {len(spans)} of them, not {padding!r}.")
    if isinstance(padding, tuple) and padding and isinstance(padding[0], tuple):
        return tuple([(int(a), int(b)) for a, b in padding])
    return tuple([(p, p) for p in each(name, "padding", padding, len(spans), 0)])


def transposed_window(
    name: str, positions: Shape, kernel: Shape, stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> Window:
    """The window that a transposed convolution slides over its output; `output_padding` adds entries at the end.

    >>> transposed_window("conv_transpose1d", (4,), (3,), 2, 1, 1, 1)
    Window(stride=(2,), padding=((1, 0),), dilation=(1,))
    """
    stride, padding, output_padding, dilation = (hashable(x) for x in (stride, padding, output_padding, dilation))
    return _transposed(name, tuple(positions), tuple(kernel), stride, padding, output_padding, dilation)


@functools.lru_cache(maxsize=4096)
def _transposed(
    name: str, positions: Shape, kernel: Shape, stride: Any, padding: Any, output_padding: Any, dilation: Any
) -> Window:
    ndim = len(kernel)
    stride, dilation = each(name, "stride", stride, ndim), each(name, "dilation", dilation, ndim)
    padding = each(name, "padding", padding, ndim, 0)
    output_padding = each(name, "output_padding", output_padding, ndim, 0)
    for s, d, more in zip(stride, dilation, output_padding, strict=True):
        if more >= max(s, d):
            raise ValueError(
                f"{name}: output_padding {output_padding} must be smaller than stride {stride} or dilation {dilation}: "
                "it only chooses among the sizes that a convolution takes to the same one."
            )
    found = Window(stride, tuple((p, p - more) for p, more in zip(padding, output_padding, strict=True)), dilation)
    sizes = found.sizes(positions, kernel)
    if min(sizes, default=1) < 1:
        raise ShapeError(f"{name}: the output would have the sizes {sizes}: less padding, or more output_padding.")
    return found


# Which shapes fit


def fitting(
    name: str, ndim: int, x: Array, weight: Array, bias: Array | None, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> tuple[bool, Window]:  # fmt: skip
    """Whether x has a batch axis, and the window of PyTorch's options; raises where anything does not fit."""
    shape, of_weight = tuple(x.shape), tuple(weight.shape)
    many = batched(name, ndim, shape, of_weight)
    channels(name, shape[-ndim - 1 :], of_weight, None if bias is None else tuple(bias.shape), groups)
    return many, window(name, shape[-ndim:], of_weight[2:], stride, padding, dilation)


def fitting_transposed(
    name: str, ndim: int, x: Array, weight: Array, bias: Array | None, stride: Any, padding: Any, output_padding: Any,
    dilation: Any, groups: int,
) -> tuple[bool, Window]:  # fmt: skip
    """The same of a transposed convolution: the window that slides over its output."""
    shape, of_weight = tuple(x.shape), tuple(weight.shape)
    many = batched(name, ndim, shape, of_weight)
    channels(name, shape[-ndim - 1 :], of_weight, None if bias is None else tuple(bias.shape), groups, True)
    return many, transposed_window(name, shape[-ndim:], of_weight[2:], stride, padding, output_padding, dilation)


def batched(name: str, ndim: int, x: Shape, weight: Shape) -> bool:
    """Whether x has a batch axis; raises unless x and the weight have as many axes as the convolution needs."""
    if len(weight) != ndim + 2:
        raise ShapeError(
            f"{name}: the weight has {ndim + 2} axes, two of channels and the {ndim} of the kernel, got {weight}."
        )
    if len(x) not in (ndim + 1, ndim + 2):
        form = FORMS.get(ndim, "(N, C, *sizes) or (C, *sizes)")
        raise ShapeError(f"{name}: the input is {form}, {ndim + 2} or {ndim + 1} axes, got {x}.")
    return len(x) == ndim + 2


@functools.lru_cache(maxsize=4096)
def channels(name: str, x: Shape, weight: Shape, bias: Shape | None, groups: Any, transposed: bool = False) -> None:
    """Raise unless the channels of x (C, *sizes), weight (out, in/groups, *kernel) and bias fit.

    The weight of a transposed convolution is (in, out/groups, *kernel), as PyTorch's.
    """
    n = x[0]
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"{name}: groups is a whole number ≥ 1, not {groups!r}.")
    if n % groups or weight[0] % groups:
        what = f"{n} input channels" if n % groups else f"{weight[0]} channels on axis 0 of the weight {weight}"
        raise ShapeError(f"{name}: groups={groups} does not divide the {what}: every group takes an equal share.")
    form = "(in, out/groups, *kernel)" if transposed else "(out, in/groups, *kernel)"
    expected = weight[0] if transposed else weight[1] * groups
    if n != expected:
        axis = -len(x)
        last = f" Channels come before the sizes: aj.moveaxis(x, -1, {axis})." if x[-1] == expected else ""
        raise ShapeError(
            f"{name}: the input has {n} channels on axis {axis}, the weight {form} = {weight} with groups={groups} "
            f"takes {expected}.{last}"
        )
    out = weight[1] * groups if transposed else weight[0]
    if bias is not None and bias != (out,):
        raise ShapeError(f"{name}: the bias has one number for each of the {out} output channels, not shape {bias}.")
