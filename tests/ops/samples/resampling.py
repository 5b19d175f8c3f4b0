"""Samples of interpolation and shuffles, of the resampling they are made of, and PyTorch's namesakes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from adjoint.arrays.resampling_taps import interpolating
from tests.ops.samples.operands import normal, s, strided

CUBIC = interpolating("bicubic", 3, 5, None, False, False)
SHRUNK = interpolating("bilinear", 6, 2, None, False, True)
LONG = interpolating("nearest", 2, 5, None, False, False)


def resample(x: Any, taps: Any) -> Any:
    for axis, t in enumerate(taps, x.ndim - len(taps)):
        x = torch.tensordot(x, torch.tensor(t.matrix()), ([axis], [1])).movedim(-1, axis)
    return x


TABLE: dict[str, list[Any]] = {
    "resample": [
        s(normal(2, 3, 6), taps=(CUBIC, SHRUNK)),
        s(normal(5, 2, 3), taps=(LONG.T, LONG, CUBIC)),
        s(strided(normal(3, 6)), taps=(SHRUNK,)), s(normal(0, 2), taps=(LONG,)),
    ],
    "interpolate": [
        s(normal(1, 2, 3), scale_factor=2.5, mode="linear"),
        s(normal(2, 1, 3, 4), size=(5, 2), mode="bilinear", align_corners=True),
        s(normal(1, 2, 3, 2), scale_factor=1.6, mode="bicubic", align_corners=True, recompute_scale_factor=True),
        s(normal(1, 1, 6, 5), scale_factor=0.6, mode="bicubic", antialias=True),
        s(normal(1, 1, 2, 3, 2), size=(3, 2, 4), mode="nearest-exact"), s(normal(1, 1, 5, 4), size=(2, 3), mode="area"),
        s(strided(normal(1, 2, 2, 3)), scale_factor=2),
    ],
    "pixel_shuffle": [s(normal(2, 8, 1, 3), upscale_factor=2), s(strided(normal(9, 2, 1)), upscale_factor=3)],
    "pixel_unshuffle": [s(normal(2, 1, 4, 6), downscale_factor=2), s(strided(normal(1, 3, 6)), downscale_factor=3)],
    "channel_shuffle": [s(normal(2, 6, 2), groups=3), s(strided(normal(1, 4, 2, 2)), groups=2)],
}  # fmt: skip
TORCH = {
    **{name: getattr(F, name) for name in ("interpolate", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle")},
    "resample": resample,
}
JAX: dict[str, Any] = {}
