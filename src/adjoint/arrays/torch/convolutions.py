"""PyTorch's convolutions: one operator for all dimensions, its backward for both adjoints."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from adjoint.arrays import convolutions as plain
from adjoint.arrays.convolution_windows import Pairs, Window, window
from adjoint.arrays.dispatch import Shape


def zeros_of(w: Window) -> Shape:
    """The zeros on either side that give the same positions, (-1,) where there are none.

    PyTorch leaves out by itself what no position reaches: fewer entries than a stride.
    """
    alike = all(a >= 0 and 0 <= a - b < s for (a, b), s in zip(w.padding, w.stride, strict=True))
    return tuple([a for a, _ in w.padding]) if alike else (-1,)


def convolution(
    x: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    if not weight.shape[0]:  # which PyTorch refuses
        return plain.convolution.table.composed(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[attr-defined]
    none = (0,) * len(stride)
    zeros = zeros_of(Window(stride, padding, dilation))
    if zeros == (-1,):
        x, zeros = plain.around(x, padding), none
    return torch.ops.aten.convolution(x, weight, bias, stride, zeros, dilation, False, none, groups)


def convolution_input(
    u: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    w, none = Window(stride, padding, dilation), (0,) * len(stride)
    sizes, zeros = w.sizes(tuple(u.shape[2:]), tuple(weight.shape[2:])), zeros_of(w)
    inside = zeros != (-1,)
    if not inside:
        sizes, zeros = tuple(n + a + b for n, (a, b) in zip(sizes, padding, strict=True)), none
    like = u.new_empty(1).expand(u.shape[0], weight.shape[1] * groups, *sizes)
    x = torch.ops.aten.convolution_backward(
        u, like, weight, None, stride, zeros, dilation, False, none, groups, [True, False, False]
    )[0]
    if not inside:
        x = plain.around(x, tuple((-a, -b) for a, b in padding))
    return x if bias is None else x + bias.view(-1, *(1,) * len(stride))


def convolution_weight(
    x: Any, u: Any, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,), groups: int = 1
) -> Any:
    if not u.shape[1]:  # which PyTorch refuses
        return plain.convolution_weight.table.composed(x, u, stride, padding, dilation, groups)  # type: ignore[attr-defined]
    w, none = Window(stride, padding, dilation), (0,) * len(stride)
    kernel = w.kernel(tuple(x.shape[2:]), tuple(u.shape[2:]))
    zeros = zeros_of(w)
    if zeros == (-1,):
        x, zeros = plain.around(x, padding), none
    like = u.new_empty(1).expand(u.shape[1], x.shape[1] // groups, *kernel)
    return torch.ops.aten.convolution_backward(
        u, x, like, None, stride, zeros, dilation, False, none, groups, [False, True, False]
    )[1]


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    kernel = plain.kernel_of("unfold", kernel_size)
    if len(kernel) == 2 and x.ndim in (3, 4):
        w = window("unfold", tuple(x.shape[-2:]), kernel, stride, padding, dilation)
        if zeros_of(w) != (-1,) and x.numel():
            return F.unfold(x, kernel, w.dilation, zeros_of(w), w.stride)
    return plain.unfold.table.composed(x, kernel_size, dilation, padding, stride)  # type: ignore[attr-defined]


def fold(u: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    kernel, sizes, w, _ = plain.folded("fold", tuple(u.shape), output_size, kernel_size, dilation, padding, stride)
    if len(kernel) == 2 and u.ndim in (2, 3) and zeros_of(w) != (-1,) and u.numel():
        return F.fold(u, sizes, kernel, w.dilation, zeros_of(w), w.stride)
    return plain.fold.table.composed(u, output_size, kernel_size, dilation, padding, stride)  # type: ignore[attr-defined]
