"""Samples of convolutions, their adjoints and columns, in one to three dimensions."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from tests.ops.samples.operands import normal, s, strided

FORTH = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
BACK = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
ODD = {"stride": (2, 1), "padding": ((1, 0), (2, -1)), "dilation": (1, 2), "groups": 2}


def quiet(conv: Any, *operands: Any, **options: Any) -> Any:
    """PyTorch warns of a copy where an even kernel has padding="same"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return conv(*operands, **options)


def around(x: Any, padding: Any, sign: int = 1) -> Any:
    return F.pad(x, [sign * n for pair in padding[::-1] for n in pair])


def convolution(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = (), dilation: Any = 1, groups: int = 1
) -> Any:
    return FORTH[w.ndim - 2](around(x, padding), w, b, stride, 0, dilation, groups)


def convolution_input(
    u: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = (), dilation: Any = 1, groups: int = 1
) -> Any:
    x = around(BACK[w.ndim - 2](u, w, None, stride, 0, 0, groups, dilation), padding, -1)
    return x if b is None else x + b.reshape(-1, *(1,) * (w.ndim - 2))


def convolution_weight(x: Any, u: Any, stride: Any = 1, padding: Any = (), dilation: Any = 1, groups: int = 1) -> Any:
    spans = [
        n + a + b - st * (t - 1) for n, t, st, (a, b) in zip(x.shape[2:], u.shape[2:], stride, padding, strict=True)
    ]
    kernel = [(r - 1) // d + 1 for r, d in zip(spans, dilation, strict=True)]
    w = torch.zeros(u.shape[1], x.shape[1] // groups, *kernel, dtype=x.dtype, requires_grad=True)
    y = convolution(x, w, None, stride, padding, dilation, groups)
    return torch.autograd.grad(y, w, u, create_graph=True)[0]


TABLE: dict[str, list[Any]] = {
    "conv1d": [
        s(normal(1, 2, 8), normal(2, 2, 3), normal(2), stride=3, padding=2, dilation=2),
        s(normal(2, 6), normal(4, 1, 2), None, padding="same", groups=2),
        s(normal(0, 2, 5), normal(3, 2, 2), normal(3)), s(strided(normal(2, 2, 5)), strided(normal(2, 2, 1))),
    ],
    "conv2d": [
        s(normal(2, 2, 5, 4), normal(3, 2, 3, 2), normal(3), padding=1),
        s(normal(2, 5, 6), normal(4, 1, 2, 3), normal(4), stride=(1, 2), padding=(0, 2), dilation=(3, 1), groups=2),
        s(normal(1, 1, 3, 3), normal(1, 1, 3, 3), normal(1), padding="valid"),
        s(strided(normal(2, 2, 4, 3)), strided(normal(2, 2, 2, 2)), normal(2), stride=2),
    ],
    "conv3d": [
        s(normal(1, 2, 3, 4, 3), normal(2, 2, 2, 1, 3), normal(2), padding=(1, 0, 1)),
        s(normal(2, 3, 3, 2), normal(4, 1, 2, 2, 1), None, stride=(2, 1, 1), groups=2),
    ],
    "conv_transpose1d": [
        s(normal(2, 4), normal(2, 1, 4), None, stride=3, padding=2, output_padding=2, groups=2),
        s(normal(1, 2, 3), normal(2, 1, 2), normal(1), stride=1, output_padding=2, dilation=3),
    ],
    "conv_transpose2d": [
        s(normal(2, 2, 3, 2), normal(2, 3, 2, 3), normal(3), stride=2, padding=1, output_padding=(1, 0)),
        s(normal(4, 2, 3), normal(4, 1, 2, 2), normal(2), groups=2, dilation=(2, 1)),
        s(normal(0, 2, 3, 3), normal(2, 1, 2, 2)),
    ],
    "conv_transpose3d": [
        s(normal(1, 2, 2, 2, 3), normal(2, 1, 2, 3, 1), normal(1), stride=(2, 1, 2), padding=(0, 1, 0)),
        s(normal(2, 2, 1, 2), normal(2, 1, 2, 2, 2), None, groups=2),
    ],
    "convolution": [
        s(normal(2, 4, 6, 5), normal(4, 2, 3, 2), normal(4), **ODD),
        s(normal(1, 2, 5), normal(3, 2, 2), None, stride=(1,), padding=((0, 2),), dilation=(3,), groups=1),
    ],
    "convolution_input": [
        s(normal(2, 4, 3, 5), normal(4, 2, 3, 2), normal(4), **ODD),
        s(normal(1, 3, 4), normal(3, 2, 2), None, stride=(2,), padding=((1, -2),), dilation=(1,), groups=1),
    ],
    "convolution_weight": [
        s(normal(2, 4, 6, 5), normal(2, 4, 3, 4), **ODD),
        s(normal(3, 2, 5), normal(3, 3, 4), stride=(1,), padding=((0, 2),), dilation=(3,), groups=1),
    ],
    "unfold": [
        s(normal(2, 2, 4, 5), kernel_size=(2, 3)), s(normal(2, 4, 4), kernel_size=2, dilation=2, padding=1, stride=2),
        s(strided(normal(2, 2, 3, 4)), kernel_size=(1, 2), padding=(0, 1)),
    ],
    "fold": [
        s(normal(2, 12, 9), output_size=(4, 5), kernel_size=(2, 3)),
        s(normal(8, 4), output_size=(4, 4), kernel_size=2, dilation=2, padding=1, stride=2),
    ],
}  # fmt: skip
TORCH = {
    **{f"conv{n}d": partial(quiet, f) for n, f in FORTH.items()},
    **{f"conv_transpose{n}d": f for n, f in BACK.items()},
    "convolution": convolution,
    "convolution_input": convolution_input,
    "convolution_weight": convolution_weight,
    "unfold": F.unfold,
    "fold": F.fold,
}
JAX: dict[str, Any] = {}
