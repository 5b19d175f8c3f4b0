"""What networks for images share: the check of their input, the convolution that is normalized, its initial values."""

from __future__ import annotations

from typing import Any

from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.activations import ReLU
from adjoint.nn.convolution import Conv2d
from adjoint.nn.layers import Rng, Sequential
from adjoint.nn.module import Module
from adjoint.nn.normalization import BatchNorm2d


def check_images(name: str, x: Array, channels: int, size: tuple[int, int] | None = None, multiple: int = 1) -> None:
    """Raise `ShapeError` unless x is (N, channels, height, width), of that size or both a multiple of a number.

    >>> import numpy as np
    >>> check_images("ResNet", np.ones((1, 1, 28, 28)), 3)
    Traceback (most recent call last):
        ...
    adjoint.errors.ShapeError: ResNet: images are (N, 3, height, width), not (1, 1, 28, 28).
    """
    shape = tuple(x.shape)
    wanted = f"{size[0]}, {size[1]}" if size else "height, width"
    fits = len(shape) == 4 and shape[1] == channels and (size is None or shape[2:] == size)
    if not fits:
        advice = f": add the batch's axis, x[None] is {(1, *shape)}" if len(shape) == 3 and shape[0] == channels else ""
        raise ShapeError(f"{name}: images are (N, {channels}, {wanted}), not {shape}{advice}.")
    if not shape[2] or not shape[3] or shape[2] % multiple or shape[3] % multiple:
        least = "are not empty" if multiple == 1 else f"are multiples of {multiple}: pad or crop them"
        raise ShapeError(f"{name}: height and width {least}, got {shape[2]} by {shape[3]}.")


def conv_norm(
    inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1, groups: int = 1, activation: Any = ReLU, *,
    dtype: Any = "float32", rng: Rng = None,
) -> Sequential:  # fmt: skip
    """A convolution that keeps the size (up to its stride), batch normalization and, unless None, an activation.

    >>> list(conv_norm(3, 8).state_dict())[:3]
    ['0.weight', '1.weight', '1.bias']
    """
    conv = Conv2d(
        inputs, outputs, kernel_size, stride, kernel_size // 2, groups=groups, bias=False, dtype=dtype, rng=rng
    )
    norm = BatchNorm2d(outputs, dtype=dtype)
    return Sequential(conv, norm) if activation is None else Sequential(conv, norm, activation())


def draw_kernels(net: Module, rng: Rng, dtype: Any) -> None:
    """Draw all kernels anew, normal with variance 2 / fan_out: gradients keep their size through ReLU (He et al. 2015).

    >>> net = conv_norm(3, 8)
    >>> draw_kernels(net, 0, "float32")
    >>> bool(abs(net[0].weight.std() / (2 / 72) ** 0.5 - 1) < 0.1)
    True
    """
    for _, module in net.named_modules():
        if isinstance(module, Conv2d):
            shape = module.weight.shape
            module.weight = init.kaiming_normal(shape, mode="fan_out", nonlinearity="relu", rng=rng, dtype=dtype)
