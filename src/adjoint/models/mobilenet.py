"""MobileNet: a full convolution split in one for every channel by itself and one that mixes channels."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.images import check_images, conv_norm, draw_kernels
from adjoint.nn import init
from adjoint.nn.activations import ReLU6
from adjoint.nn.convolution import Conv2d
from adjoint.nn.dropout import Dropout
from adjoint.nn.layers import Linear, Rng, Sequential
from adjoint.nn.module import Module
from adjoint.nn.normalization import BatchNorm2d

LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNet(Module):
    """Scores of classes (N, num_classes) for images (N, in_channels, H, W) by depthwise separable convolutions.

    `alpha` multiplies the channels of every layer (at least 8 remain); the resolution is that of the images. With
    `full_convolutions` every separable convolution is a full one, to compare: at 224×224 that takes 4,866 million
    multiply-adds before the classifier, not 568, and 29.3 million parameters, not 4.2. Kernels start normal with
    variance 2 / fan_out. Raises `ShapeError` for other channels, ValueError unless alpha is positive (Howard et al.
    2017, Table 1).

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.MobileNet(10, alpha=0.25, rng=0)
    >>> net(np.ones((2, 3, 32, 32), "float32")).shape, aj.nn.count_parameters(net)
    ((2, 10), 215642)
    """

    def __init__(
        self, num_classes: int = 1000, alpha: float = 1.0, in_channels: int = 3, full_convolutions: bool = False,
        dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        _positive("MobileNet", alpha=alpha)
        rng = init.generator(rng)
        self.in_channels = in_channels
        options: dict[str, Any] = {"dtype": dtype, "rng": rng}
        inputs = max(int(32 * alpha), 8)
        layers = [conv_norm(in_channels, inputs, 3, 2, **options)]
        for channels, stride in LAYERS:
            outputs = max(int(channels * alpha), 8)
            if full_convolutions:
                layers.append(conv_norm(inputs, outputs, 3, stride, **options))
            else:
                layers.append(conv_norm(inputs, inputs, 3, stride, inputs, **options))
                layers.append(conv_norm(inputs, outputs, 1, **options))
            inputs = outputs
        self.features = Sequential(*layers)
        draw_kernels(self, rng, dtype)
        self.classifier = Linear(inputs, num_classes, **options)

    def __call__(self, x: Array) -> Array:
        """The scores."""
        check_images("MobileNet", x, self.in_channels)
        return self.classifier(xp.mean(self.features(x), (2, 3)))


class InvertedResidual(Module):
    """x + f(x), or f(x) where its shape changes: 1×1 to more channels, 3×3 for each of them, 1×1 back, without ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, dtype: Any, rng: Rng) -> None:
        self.adds = stride == 1 and inputs == outputs
        hidden = expansion * inputs
        options: dict[str, Any] = {"activation": ReLU6, "dtype": dtype, "rng": rng}
        layers: list[Any] = [] if expansion == 1 else [conv_norm(inputs, hidden, 1, **options)]
        layers.append(conv_norm(hidden, hidden, 3, stride, hidden, **options))
        layers.append(Conv2d(hidden, outputs, 1, bias=False, dtype=dtype, rng=rng))
        layers.append(BatchNorm2d(outputs, dtype=dtype))
        self.conv = Sequential(*layers)

    def __call__(self, x: Array) -> Array:
        """x + f(x), or f(x)."""
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(Module):
    """Scores of classes (N, num_classes) for images (N, in_channels, H, W), with torchvision's parameter names.

    Blocks that widen, look around in every channel and narrow again; what is narrow is added, and has no ReLU.
    `width_mult` multiplies the channels, rounded to multiples of 8. Kernels start normal with variance 2 / fan_out.
    Raises `ShapeError` for other channels, ValueError unless width_mult is positive (Sandler et al. 2018).

    >>> import numpy as np, adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     aj.nn.count_parameters(aj.models.MobileNetV2())
    3504872
    """

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.2, in_channels: int = 3,
        dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        _positive("MobileNetV2", width_mult=width_mult)
        rng = init.generator(rng)
        self.in_channels = in_channels
        options: dict[str, Any] = {"activation": ReLU6, "dtype": dtype, "rng": rng}
        inputs, last = in_eights(32 * width_mult), in_eights(1280 * max(1.0, width_mult))
        layers: list[Any] = [conv_norm(in_channels, inputs, 3, 2, **options)]
        for expansion, channels, count, stride in STAGES:
            outputs = in_eights(channels * width_mult)
            for i in range(count):
                layers.append(InvertedResidual(inputs, outputs, 1 if i else stride, expansion, dtype, rng))
                inputs = outputs
        layers.append(conv_norm(inputs, last, 1, **options))
        self.features = Sequential(*layers)
        draw_kernels(self, rng, dtype)
        self.classifier = Sequential(Dropout(dropout, rng=rng), Linear(last, num_classes, dtype=dtype, rng=rng))
        head = self.classifier[1]
        head.weight, head.bias = init.normal((num_classes, last), 0.01, rng, dtype), init.zeros((num_classes,), dtype)

    def __call__(self, x: Array) -> Array:
        """The scores."""
        check_images("MobileNetV2", x, self.in_channels)
        return self.classifier(xp.mean(self.features(x), (2, 3)))


def in_eights(channels: float) -> int:
    """The multiple of 8 nearest to a number of channels, at least 8 and no more than a tenth below it.

    >>> in_eights(24 * 0.35), in_eights(11.9), in_eights(100.0)
    (8, 16, 104)
    """
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def _positive(name: str, **factors: float) -> None:
    for argument, factor in factors.items():
        if not factor > 0.0:
            raise ValueError(f"{name}: {argument} multiplies channels and is positive, not {factor!r}.")
