"""ResNet: blocks that add to what they are given, so that depth does no harm, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.images import check_images, conv_norm, draw_kernels
from adjoint.nn import init
from adjoint.nn.convolution import Conv2d
from adjoint.nn.layers import Linear, Rng, Sequential
from adjoint.nn.module import Module
from adjoint.nn.normalization import BatchNorm2d
from adjoint.nn.pooling import MaxPool2d


class Block(Module):
    """relu(x + f(x)), where x goes through a convolution 1×1 if f changes its shape."""

    expansion: ClassVar[int]
    downsample: Sequential | None

    def residual(self, x: Array) -> Array:
        """f(x)."""
        raise NotImplementedError

    def __call__(self, x: Array) -> Array:
        """relu(x + f(x))."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return xp.relu(self.residual(x) + shortcut)


class BasicBlock(Block):
    """Two convolutions 3×3, the first with the stride (He et al. 2015, Figure 5 left): x (N, inputs, H, W).

    >>> import numpy as np, adjoint as aj
    >>> aj.models.BasicBlock(4, 8, 2, rng=0)(np.ones((2, 4, 6, 6), "float32")).shape
    (2, 8, 3, 3)
    """

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int = 1, dtype: Any = "float32", rng: Rng = None) -> None:
        self.conv1 = Conv2d(inputs, planes, 3, stride, 1, bias=False, dtype=dtype, rng=rng)
        self.bn1 = BatchNorm2d(planes, dtype=dtype)
        self.conv2 = Conv2d(planes, planes, 3, 1, 1, bias=False, dtype=dtype, rng=rng)
        self.bn2 = BatchNorm2d(planes, dtype=dtype)
        self.downsample = _shortcut(inputs, planes, stride, dtype, rng)

    def residual(self, x: Array) -> Array:
        """norm(conv(relu(norm(conv(x)))))."""
        x = xp.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(Block):
    """1×1 to `planes` channels, 3×3 with the stride, 1×1 to four times as many (He et al. 2015, Figure 5 right).

    >>> import numpy as np, adjoint as aj
    >>> aj.models.Bottleneck(4, 8, 2, rng=0)(np.ones((2, 4, 6, 6), "float32")).shape
    (2, 32, 3, 3)
    """

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int = 1, dtype: Any = "float32", rng: Rng = None) -> None:
        outputs = self.expansion * planes
        self.conv1 = Conv2d(inputs, planes, 1, bias=False, dtype=dtype, rng=rng)
        self.bn1 = BatchNorm2d(planes, dtype=dtype)
        self.conv2 = Conv2d(planes, planes, 3, stride, 1, bias=False, dtype=dtype, rng=rng)
        self.bn2 = BatchNorm2d(planes, dtype=dtype)
        self.conv3 = Conv2d(planes, outputs, 1, bias=False, dtype=dtype, rng=rng)
        self.bn3 = BatchNorm2d(outputs, dtype=dtype)
        self.downsample = _shortcut(inputs, outputs, stride, dtype, rng)

    def residual(self, x: Array) -> Array:
        """Narrow, look around, widen."""
        x = xp.relu(self.bn1(self.conv1(x)))
        x = xp.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


def _shortcut(inputs: int, outputs: int, stride: int, dtype: Any, rng: Rng) -> Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return conv_norm(inputs, outputs, 1, stride, activation=None, dtype=dtype, rng=rng)


class ResNet(Module):
    """Scores of classes (N, num_classes) for images (N, in_channels, H, W): a stem, stages of blocks, their mean.

    `layers` counts the blocks of each stage; every stage after the first halves height and width and has twice the
    channels, from `width` on. Kernels start normal with variance 2 / fan_out. Bottlenecks have the stride at their 3×3,
    as torchvision's. Raises `ShapeError` for other channels, ValueError without blocks (He et al. 2015).

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.ResNet(aj.models.BasicBlock, (1, 1), num_classes=5, width=4, rng=0)
    >>> net(np.ones((2, 3, 32, 32), "float32")).shape, "layer2.0.downsample.0.weight" in net.state_dict()
    ((2, 5), True)
    """

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], layers: Sequence[int], num_classes: int = 1000,
        in_channels: int = 3, width: int = 64, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        if not layers or min(layers) < 1:
            raise ValueError(f"ResNet: layers are the numbers of blocks of each stage, not {tuple(layers)}.")
        rng = init.generator(rng)
        self.in_channels = in_channels
        self.stages = tuple(f"layer{i + 1}" for i in range(len(layers)))
        self.conv1 = Conv2d(in_channels, width, 7, 2, 3, bias=False, dtype=dtype, rng=rng)
        self.bn1 = BatchNorm2d(width, dtype=dtype)
        self.maxpool = MaxPool2d(3, 2, 1)
        inputs = width
        for i, (name, count) in enumerate(zip(self.stages, layers, strict=True)):
            blocks = []
            for j in range(count):
                blocks.append(block(inputs, width << i, 2 if i and not j else 1, dtype, rng))
                inputs = block.expansion * (width << i)
            setattr(self, name, Sequential(*blocks))
        draw_kernels(self, rng, dtype)
        self.fc = Linear(inputs, num_classes, dtype=dtype, rng=rng)

    def __call__(self, x: Array) -> Array:
        """The scores."""
        check_images("ResNet", x, self.in_channels)
        x = self.maxpool(xp.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(xp.mean(x, (2, 3)))


def resnet18(num_classes: int = 1000, **options: Any) -> ResNet:
    """`ResNet` of 18 layers: two basic blocks a stage; options are those of `ResNet`.

    >>> import adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     aj.nn.count_parameters(aj.models.resnet18())
    11689512
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, **options)


def resnet34(num_classes: int = 1000, **options: Any) -> ResNet:
    """`ResNet` of 34 layers: 3, 4, 6 and 3 basic blocks; options are those of `ResNet`.

    >>> import adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     aj.nn.count_parameters(aj.models.resnet34())
    21797672
    """
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, **options)


def resnet50(num_classes: int = 1000, **options: Any) -> ResNet:
    """`ResNet` of 50 layers: 3, 4, 6 and 3 bottlenecks; options are those of `ResNet`.

    >>> import adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     aj.nn.count_parameters(aj.models.resnet50())
    25557032
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, **options)


def resnet101(num_classes: int = 1000, **options: Any) -> ResNet:
    """`ResNet` of 101 layers: 3, 4, 23 and 3 bottlenecks; options are those of `ResNet`.

    >>> import adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     aj.nn.count_parameters(aj.models.resnet101())
    44549160
    """
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, **options)


def resnet152(num_classes: int = 1000, **options: Any) -> ResNet:
    """`ResNet` of 152 layers: 3, 8, 36 and 3 bottlenecks; options are those of `ResNet`.

    >>> import adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     aj.nn.count_parameters(aj.models.resnet152())
    60192808
    """
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, **options)
