"""Convolutions: two FLOPs a multiply-add, as the matrix product with the columns; making columns takes none."""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays import convolutions as plain
from adjoint.arrays.convolution_windows import Pairs, Window, window
from adjoint.arrays.dispatch import Shape
from adjoint.arrays.shapes.array import made, operand
from adjoint.arrays.shapes.elementwise import promoted


def convolution(
    x: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    """2 · N · O · positions · C/groups · kernel, and 1 an entry of the result for the bias."""
    x, weight, bias = operand(x), operand(weight), operand(bias)
    positions = Window(stride, padding, dilation).positions(x.shape[2:], weight.shape[2:])
    return _made("convolution", (x.shape[0], weight.shape[0], *positions), (x, weight, bias), positions)


def convolution_input(
    u: Any, weight: Any, bias: Any = None, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,),
    groups: int = 1,
) -> Any:  # fmt: skip
    """The products of the convolution that it is the adjoint of, and 1 an entry of the result for the bias."""
    u, weight, bias = operand(u), operand(weight), operand(bias)
    sizes = Window(stride, padding, dilation).sizes(u.shape[2:], weight.shape[2:])
    shape = (u.shape[0], weight.shape[1] * groups, *sizes)
    return _made("convolution_input", shape, (u, weight, bias), u.shape[2:])


def convolution_weight(
    x: Any, u: Any, stride: Shape = (1,), padding: Pairs = ((0, 0),), dilation: Shape = (1,), groups: int = 1
) -> Any:
    """The products of the convolution that it is the adjoint of."""
    x, u = operand(x), operand(u)
    kernel = Window(stride, padding, dilation).kernel(x.shape[2:], u.shape[2:])
    shape = (u.shape[1], x.shape[1] // groups, *kernel)
    products = 2 * x.shape[0] * math.prod(shape) * math.prod(u.shape[2:])
    return made("convolution_weight", shape, promoted(x, u), products, (x, u), products)


def _made(name: str, shape: Shape, operands: tuple[Any, Any, Any], positions: Shape) -> Any:
    first, weight, bias = operands
    products = 2 * shape[0] * math.prod(weight.shape) * math.prod(positions)
    dtype = promoted(first, weight)
    added = 0 if bias is None else math.prod(shape)
    return made(name, shape, dtype, products + added, [x for x in operands if x is not None], products)


def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """A copy of what the window sees."""
    x, kernel = operand(x), plain.kernel_of("unfold", kernel_size)
    n = len(kernel)
    if x.ndim <= n:
        plain.few_axes("unfold", x.shape, kernel)
    *lead, c = x.shape[: x.ndim - n]
    positions = window("unfold", x.shape[-n:], kernel, stride, padding, dilation).positions(x.shape[-n:], kernel)
    return made("unfold", (*lead, c * math.prod(kernel), math.prod(positions)), x.dtype, 0, (x,))


def fold(u: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """1 an entry added."""
    u = operand(u)
    kernel, sizes, *_ = plain.folded("fold", u.shape, output_size, kernel_size, dilation, padding, stride)
    return made("fold", (*u.shape[:-2], u.shape[-2] // math.prod(kernel), *sizes), u.dtype, u.size, (u,))
