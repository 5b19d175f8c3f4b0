"""Convolutional layers with PyTorch's names, arguments, parameter names and initial distributions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.convolution_windows import Pairs, Sizes, each, reach, transposed_window, zeros_around
from adjoint.arrays.dispatch import Array, Shape
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.layers import Rng
from adjoint.nn.module import Module

MODES = ("zeros", "circular", "reflect", "replicate")


class Convolutional(Module):
    """What all convolutions have: weight and bias, both starting uniform in ±1/√fan_in, as PyTorch's."""

    ndim: ClassVar[int]

    def _fill(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes, padding: Any, dilation: Sizes,
        groups: int, bias: bool, padding_mode: str, dtype: Any, rng: Rng, transposed: bool = False,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        sizes: dict[str, Any] = {"in_channels": in_channels, "out_channels": out_channels}
        for what, n in sizes.items():
            if not isinstance(n, (int, np.integer)) or n < 1:
                raise ValueError(f"{name}: {what} is a number of channels, not {n!r}.")
            if groups < 1 or n % groups:
                raise ValueError(f"{name}: groups={groups!r} does not divide {what}={n} into equal shares.")
        if padding_mode not in MODES:
            raise ValueError(f"{name}: padding_mode is one of {MODES}, not {padding_mode!r}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = each(name, "kernel_size", kernel_size, self.ndim)
        self.stride = each(name, "stride", stride, self.ndim)
        self.dilation = each(name, "dilation", dilation, self.ndim)
        zeros_around(name, _tuple(padding), self.stride, reach(self.kernel_size, self.dilation))
        self.padding = padding if isinstance(padding, str) else each(name, "padding", padding, self.ndim, 0)
        self.groups = groups
        self.padding_mode = padding_mode
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (first, second // groups, *self.kernel_size)
        bound = init.fan_in_bound(math.prod(shape[1:]))
        self.weight: Array = init.uniform(shape, bound, rng := init.generator(rng), dtype)
        self.bias: Array | None = init.uniform((out_channels,), bound, rng, dtype) if bias else None


def _tuple(x: Any) -> Any:
    return tuple(x) if isinstance(x, list) else x


def extended(name: str, x: Array, padding: Pairs, mode: str) -> Array:
    """x with its last axes extended (before, after) by its own entries: "circular", "reflect" or "replicate".

    >>> import numpy as np
    >>> [extended("", np.array([1, 2, 3]), ((1, 2),), mode).tolist() for mode in ("circular", "reflect", "replicate")]
    [[3, 1, 2, 3, 1, 2], [2, 1, 2, 3, 2, 1], [1, 1, 2, 3, 3, 3]]
    """
    for axis, (before, after) in zip(range(-len(padding), 0), padding, strict=True):
        n = x.shape[axis]
        most = {"circular": n, "reflect": n - 1, "replicate": math.inf if n else 0}[mode]
        if max(before, after) > most:
            raise ShapeError(
                f"{name}: padding_mode={mode!r} extends axis {axis} of {tuple(x.shape)} by at most {most} entries, not "
                f"{(before, after)}: use less padding."
            )
        if before or after:
            places = np.arange(-before, n + after)
            if mode == "circular":
                places %= n
            elif mode == "reflect":
                places = n - 1 - abs(n - 1 - abs(places))
            else:
                places = places.clip(0, n - 1)
            x = xp.take(x, places, axis)
    return x


class Conv(Convolutional):
    """What plain convolutions have beside that: the input extended by its own entries where `padding_mode` says so."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes | str = 0,
        dilation: Sizes = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:  # fmt: skip
        self._fill(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, dtype, rng
        )

    def __call__(self, x: Array) -> Array:
        """The convolution of x."""
        padding: Any = self.padding
        if self.padding_mode != "zeros" and padding not in ("valid", (0,) * self.ndim):
            pairs = zeros_around(type(self).__name__, padding, self.stride, reach(self.kernel_size, self.dilation))
            x, padding = extended(type(self).__name__, x, pairs, self.padding_mode), 0
        conv = (xp.conv1d, xp.conv2d, xp.conv3d)[self.ndim - 1]
        return conv(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(Conv):
    """Convolution along one axis: x (N, in_channels, L) or (in_channels, L), weight (out, in/groups, K), bias (out,).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Conv1d(3, 8, 5, padding="same", rng=0)(np.ones((2, 3, 16), "float32")).shape
    (2, 8, 16)
    """

    ndim = 1


class Conv2d(Conv):
    """Convolution of images: x (N, in_channels, H, W) or without N, weight (out, in/groups, K, K'), bias (out,).

    `groups=in_channels` makes it depthwise. Its Jacobian is a `Convolution`.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.Conv2d(1, 4, 3, padding=1, rng=0)
    >>> aj.jacobian(net, np.ones((1, 8, 8), "float32"))
    Convolution: (1, 8, 8) → (4, 8, 8)
    """

    ndim = 2


class Conv3d(Conv):
    """Convolution of volumes or videos: x (N, in_channels, D, H, W) or without N, weight (out, in/groups, K, K', K'').

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Conv3d(1, 4, 3, padding=1, rng=0)(np.ones((2, 1, 4, 5, 6), "float32")).shape
    (2, 4, 4, 5, 6)
    """

    ndim = 3


class ConvTranspose(Convolutional):
    """What transposed convolutions have beside that: `output_padding`, or the output's size when called."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes = 0,
        output_padding: Sizes = 0, groups: int = 1, bias: bool = True, dilation: Sizes = 1, padding_mode: str = "zeros",
        dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__}: padding_mode is 'zeros' only, not {padding_mode!r}.")
        self._fill(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, dtype, rng,
            True,
        )  # fmt: skip
        self.output_padding = each(type(self).__name__, "output_padding", output_padding, self.ndim, 0)

    def __call__(self, x: Array, output_size: Sizes | None = None) -> Array:
        """The transposed convolution of x; `output_size` picks among the sizes that the stride leaves open."""
        conv = (xp.conv_transpose1d, xp.conv_transpose2d, xp.conv_transpose3d)[self.ndim - 1]
        more = self.output_padding if output_size is None else self._more(tuple(x.shape)[-self.ndim :], output_size)
        padding: Any = self.padding
        return conv(x, self.weight, self.bias, self.stride, padding, more, self.groups, self.dilation)

    def _more(self, positions: Shape, output_size: Any) -> Shape:
        name = type(self).__name__
        wanted = each(name, "output_size", output_size, self.ndim)
        none = (0,) * self.ndim
        options: Any = (self.stride, self.padding, none, self.dilation)
        least = transposed_window(name, positions, self.kernel_size, *options).sizes(positions, self.kernel_size)
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        if any(not a <= n <= b for a, n, b in zip(least, wanted, most, strict=True)):
            raise ShapeError(f"{name}: output_size {wanted} is not between {least} and {tuple(most)}.")
        return tuple(n - a for n, a in zip(wanted, least, strict=True))


class ConvTranspose1d(ConvTranspose):
    """The adjoint of a `Conv1d` in its input, plus a bias: x (N, in, L) or (in, L), weight (in, out/groups, K).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ConvTranspose1d(3, 8, 4, stride=2, padding=1, rng=0)(np.ones((2, 3, 8), "float32")).shape
    (2, 8, 16)
    """

    ndim = 1


class ConvTranspose2d(ConvTranspose):
    """The adjoint of a `Conv2d` in its input, plus a bias: x (N, in, H, W), weight (in, out/groups, K, K').

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.ConvTranspose2d(3, 1, 3, stride=2, padding=1, output_padding=1, rng=0)
    >>> aj.jacobian(net, np.ones((3, 4, 4), "float32"))
    ConvolutionTranspose: (3, 4, 4) → (1, 8, 8)
    """

    ndim = 2


class ConvTranspose3d(ConvTranspose):
    """The adjoint of a `Conv3d` in its input, plus a bias: x (N, in, D, H, W), weight (in, out/groups, K, K', K'').

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ConvTranspose3d(1, 2, 2, stride=2, rng=0)(np.ones((1, 2, 2, 2), "float32")).shape
    (2, 4, 4, 4)
    """

    ndim = 3


class DepthwiseSeparableConv2d(Module):
    """A kernel for every channel, then a 1×1 convolution that mixes them (Sifre 2014; Howard et al. 2017, MobileNets).

    The full kernel weight[o, c, k] = pointwise[o, c] · depthwise[c, k] has rank one between channels out and kernel for
    every channel in: `full_weight()`. From 64 to 128 channels 3×3 needs 8,960 parameters instead of 73,856.

    >>> import adjoint as aj
    >>> [aj.nn.count_parameters(conv(64, 128, 3)) for conv in (aj.nn.Conv2d, aj.nn.DepthwiseSeparableConv2d)]
    [73856, 8960]
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes = 1, padding: Sizes | str = 0,
        dilation: Sizes = 1, bias: bool = True, padding_mode: str = "zeros", dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.depthwise = Conv2d(
            in_channels, in_channels, kernel_size, stride, padding, dilation, in_channels, bias, padding_mode, dtype,
            rng,
        )  # fmt: skip
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=bias, dtype=dtype, rng=rng)

    def __call__(self, x: Array) -> Array:
        """Each channel by itself, then all of them mixed."""
        return self.pointwise(self.depthwise(x))

    def full_weight(self) -> Array:
        """The kernel (out, in, K, K') of the one convolution that the two are together."""
        return self.pointwise.weight * xp.permute(self.depthwise.weight, (1, 0, 2, 3))


class Unfold(Module):
    """im2col of images: x (N, C, H, W) or (C, H, W) to (N, C·∏kernel, positions); a tuple of n sizes for n axes.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Unfold(3, padding=1)(np.ones((2, 3, 8, 8))).shape
    (2, 27, 64)
    """

    def __init__(self, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> None:
        self.kernel_size = _tuple(kernel_size)
        self.dilation = _tuple(dilation)
        self.padding = _tuple(padding)
        self.stride = _tuple(stride)

    def __call__(self, x: Array) -> Array:
        """The columns of x."""
        return xp.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Module):
    """col2im, the adjoint of `Unfold`: columns (N, C·∏kernel, positions) added into (N, C, *output_size).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Fold((8, 8), 3, padding=1)(np.ones((2, 27, 64))).shape
    (2, 3, 8, 8)
    """

    def __init__(
        self, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
    ) -> None:
        self.output_size = _tuple(output_size)
        self.kernel_size = _tuple(kernel_size)
        self.dilation = _tuple(dilation)
        self.padding = _tuple(padding)
        self.stride = _tuple(stride)

    def __call__(self, x: Array) -> Array:
        """The columns in place."""
        return xp.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
