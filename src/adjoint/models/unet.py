"""U-Net: a picture in, a picture out; what the way down saw is laid beside the way up at every size."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.images import check_images, conv_norm
from adjoint.nn import init
from adjoint.nn.convolution import Conv2d, ConvTranspose2d
from adjoint.nn.layers import Rng, Sequential
from adjoint.nn.module import Module


class UNet(Module):
    """Scores (N, out_channels, H, W) for every pixel of images (N, in_channels, H, W), both a multiple of 2^depth.

    At each of `depth` levels two convolutions 3×3 look around (`downs`), then the largest of every 2×2 goes on, and
    channels double from `width` on; on the way up a transposed convolution 2×2 (`ups`), the level's picture from the
    way down beside it, and two convolutions (`merges`). Convolutions keep the size and are normalized over the batch,
    where Ronneberger et al. (2015) cropped and did not normalize. Raises `ShapeError` for other images.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.UNet(1, 2, width=4, depth=2, rng=0)
    >>> net(np.ones((3, 1, 8, 12), "float32")).shape
    (3, 2, 8, 12)
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 2, width: int = 64, depth: int = 4, dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:  # fmt: skip
        if depth < 1:
            raise ValueError(f"UNet: depth is a number of halvings, at least 1, not {depth!r}.")
        rng = init.generator(rng)
        self.in_channels, self.depth = in_channels, depth
        sizes = [width << level for level in range(depth + 1)]
        inputs = [in_channels, *sizes]
        self.downs = [_twice(n, m, dtype, rng) for n, m in zip(inputs[:depth], sizes[:depth], strict=True)]
        self.bottom = _twice(inputs[depth], sizes[depth], dtype, rng)
        self.ups: list[Any] = [ConvTranspose2d(2 * n, n, 2, 2, dtype=dtype, rng=rng) for n in sizes[:depth]]
        self.merges = [_twice(2 * n, n, dtype, rng) for n in sizes[:depth]]
        self.head = Conv2d(width, out_channels, 1, dtype=dtype, rng=rng)

    def __call__(self, x: Array) -> Array:
        """The scores of every pixel."""
        check_images("UNet", x, self.in_channels, multiple=1 << self.depth)
        seen = []
        for down in self.downs:
            seen.append(down(x))
            x = xp.max_pool2d(seen[-1], 2)
        x = self.bottom(x)
        for beside, up, merge in zip(seen[::-1], self.ups[::-1], self.merges[::-1], strict=True):
            x = merge(xp.concatenate([beside, up(x)], 1))
        return self.head(x)


def _twice(inputs: int, outputs: int, dtype: Any, rng: Rng) -> Sequential:
    """Two convolutions 3×3, each normalized, each with ReLU."""
    options: dict[str, Any] = {"dtype": dtype, "rng": rng}
    return Sequential(conv_norm(inputs, outputs, **options), conv_norm(outputs, outputs, **options))
