"""PyTorch's own pooling and interpolation; where a transform records maps, its max pooling gives the positions too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F

from adjoint.arrays import resampling

_MAX: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_ADAPTIVE_MAX: Any = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)


def max_pool(x: Any, windows: Sequence[Any]) -> Any:
    """PyTorch's of as many axes."""
    ndim = len(windows)
    lead = x.shape[:-ndim]
    images = x if len(lead) in (1, 2) else x.reshape(1, math.prod(lead), *x.shape[-ndim:])
    if windows[0].kernel is None:
        y, indices = _ADAPTIVE_MAX[ndim - 1](images, [w.count for w in windows], return_indices=True)
    else:
        geometry = [[getattr(w, what) for w in windows] for what in ("kernel", "stride", "padding", "dilation")]
        y, indices = _MAX[ndim - 1](images, *geometry, ceil_mode=windows[0].ceil_mode, return_indices=True)
    out = (*lead, *y.shape[-ndim:])
    return y.reshape(out), indices.reshape(out)


def interpolate(
    x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Any:  # fmt: skip
    """PyTorch's, but where its value and gradient disagree: antialiased to one column, nearest by a scale near 1."""
    how = (size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    if antialias or (mode == "nearest" and scale_factor is not None):
        return resampling.interpolate.table.composed(x, *how)  # type: ignore[attr-defined]
    return F.interpolate(x, *how)
