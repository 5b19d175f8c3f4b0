"""Samples of pooling in one to three dimensions, of what it is made of, and PyTorch's namesakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from adjoint.arrays.pooling_windows import adaptive_windows_of, windows_of
from tests.ops.samples.operands import apart, normal, positive, s, strided

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
ODD = windows_of("max_pool", np.zeros((1, 5, 6)), 2, (2, 3), (2, 1), (0, 1), (2, 1))
WHOLE = adaptive_windows_of("max_pool", np.zeros((1, 5)), 1, 3)
PICKED = np.array([[[3, 0], [5, 5]], [[0, 1], [2, 4]]])  # of images (2, 3)
UNPOOLED = np.array([[[1, 3, 4]], [[0, 2, 5]]])


def max_pool(x: Any, windows: Any) -> Any:
    if windows[0].kernel is None:
        return F.adaptive_max_pool1d(x, windows[0].count)
    return MAX[len(windows)](
        x, *[[getattr(w, name) for w in windows] for name in ("kernel", "stride", "padding", "dilation")]
    )


def pick(x: Any, indices: Any, ndim: int) -> Any:
    at = torch.as_tensor(indices).flatten(-ndim).expand(*x.shape[:-ndim], -1)
    return torch.gather(x.flatten(-ndim), -1, at).unflatten(-1, indices.shape[-ndim:])


def place(u: Any, indices: Any, shape: Any) -> Any:
    ndim = len(shape)
    at = torch.as_tensor(indices).flatten(-ndim).expand(*u.shape[:-ndim], -1)
    return u.new_zeros(*u.shape[:-ndim], math.prod(shape)).scatter_add(-1, at, u.flatten(-ndim)).unflatten(-1, shape)


NAMES = [f"{name}_pool{n}d" for name in ("max", "avg", "lp", "adaptive_max", "adaptive_avg") for n in (1, 2, 3)]
TABLE: dict[str, list[Any]] = {
    "max_pool": [s(apart(1, 5, 6), windows=ODD), s(apart(2, 5), windows=WHOLE)],
    "pick": [s(normal(2, 2, 3), indices=PICKED, ndim=2), s(normal(3, 2, 6), indices=PICKED[:, 0], ndim=1)],
    "place": [s(normal(2, 2, 2), indices=PICKED, shape=(2, 3)), s(normal(3, 2, 2), indices=PICKED[:, 0], shape=(6,))],
    "max_pool1d": [s(apart(2, 7), kernel_size=3, stride=2, padding=1)],
    "max_pool2d": [
        s(apart(1, 2, 4, 6), kernel_size=2), s(apart(2, 5, 5), kernel_size=(2, 3), stride=(3, 2), ceil_mode=True),
        s(strided(apart(1, 2, 3, 4)), kernel_size=2, stride=1), s(apart(0, 2, 4, 4), kernel_size=2),
    ],
    "max_pool3d": [s(apart(1, 4, 3, 4), kernel_size=2, stride=1, padding=(1, 0, 1), dilation=(2, 1, 1))],
    "adaptive_max_pool1d": [s(apart(2, 7), output_size=3)],
    "adaptive_max_pool2d": [
        s(apart(1, 5, 7), output_size=(3, None)),
        s(strided(apart(1, 2, 3, 4)), output_size=1),
    ],
    "adaptive_max_pool3d": [s(apart(1, 3, 4, 5), output_size=(2, None, 3))],
    "max_unpool1d": [s(normal(2, 1, 3), UNPOOLED, kernel_size=2, output_size=[7])],
    "max_unpool2d": [s(normal(2, 1, 3), UNPOOLED[:, :1], kernel_size=2)],
    "max_unpool3d": [s(normal(2, 1, 1, 3), UNPOOLED[:, None], kernel_size=(1, 2, 3), stride=2, output_size=(1, 2, 6))],
    "avg_pool1d": [s(normal(2, 7), kernel_size=3, stride=2, padding=1)],
    "avg_pool2d": [
        s(normal(2, 5, 4), kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        s(strided(normal(1, 2, 3, 4)), kernel_size=2, stride=1, divisor_override=3),
        s(normal(0, 2, 4, 4), kernel_size=2),
    ],
    "avg_pool3d": [s(normal(1, 4, 3, 4), kernel_size=2, stride=1, padding=(1, 0, 1), divisor_override=5)],
    "adaptive_avg_pool1d": [s(normal(2, 7), output_size=3)],
    "adaptive_avg_pool2d": [
        s(normal(1, 5, 7), output_size=(3, None)),
        s(strided(normal(1, 2, 3, 4)), output_size=2),
    ],
    "adaptive_avg_pool3d": [s(normal(1, 3, 4, 5), output_size=(2, None, 3))],
    "lp_pool1d": [s(positive(2, 7), norm_type=3.0, kernel_size=3, stride=2, ceil_mode=True)],
    "lp_pool2d": [s(positive(2, 5, 4), norm_type=1.5, kernel_size=(2, 3))],
    "lp_pool3d": [s(normal(1, 2, 4, 3), norm_type=2.0, kernel_size=2, stride=1)],
}  # fmt: skip
TORCH = {
    **{name: getattr(F, name) for name in [*NAMES, "max_unpool1d", "max_unpool2d", "max_unpool3d"]},
    "max_pool": max_pool,
    "pick": pick,
    "place": place,
}
JAX: dict[str, Any] = {}
