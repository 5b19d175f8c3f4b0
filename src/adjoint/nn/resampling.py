"""Layers that change an image's size or deal its channels out anew, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn.module import Module


class Upsample(Module):
    """(batch, channels, …) resampled to `size` or by `scale_factor`: see `aj.interpolate` for the modes.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Upsample(scale_factor=2, mode="bilinear")(np.ones((1, 3, 4, 4))).shape
    (1, 3, 8, 8)
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:  # fmt: skip
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def __call__(self, x: Array) -> Array:
        """x resampled."""
        how = (self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)
        return xp.interpolate(x, *how)


class UpsamplingNearest2d(Upsample):
    """`Upsample` of images by their nearest entries.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.UpsamplingNearest2d(scale_factor=2)(np.ones((1, 1, 1, 1))).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """`Upsample` of images by linear interpolation between the corners.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.UpsamplingBilinear2d(size=(1, 3))(np.array([[[[0.0, 1.0]]]])).tolist()
    [[[[0.0, 0.5, 1.0]]]]
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """(…, C·r², H, W) to (…, C, H·r, W·r) (Shi et al. 2016).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.PixelShuffle(2)(np.ones((1, 12, 4, 4))).shape
    (1, 3, 8, 8)
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def __call__(self, x: Array) -> Array:
        """Channels as pixels."""
        return xp.pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Module):
    """(…, C, H·r, W·r) to (…, C·r², H, W), the inverse of `PixelShuffle`.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.PixelUnshuffle(2)(np.ones((1, 3, 8, 8))).shape
    (1, 12, 4, 4)
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def __call__(self, x: Array) -> Array:
        """Pixels as channels."""
        return xp.pixel_unshuffle(x, self.downscale_factor)


class ChannelShuffle(Module):
    """Channels dealt out anew, the i-th of every group in turn (Zhang et al. 2018).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ChannelShuffle(2)(np.arange(4).reshape(1, 4, 1)).ravel().tolist()
    [0, 2, 1, 3]
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def __call__(self, x: Array) -> Array:
        """x with its channels in another order."""
        return xp.channel_shuffle(x, self.groups)
