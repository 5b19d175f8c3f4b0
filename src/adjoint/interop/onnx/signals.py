"""Fourier transforms, as products with the matrices of cosines and sines."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.interop.onnx.operators import Node, operator, together
from adjoint.ops.define import plain


def fourier(x: Any, length: int, inverse: bool, onesided: bool) -> Any:
    """The transform along axis -2 of (…, n, 1 or 2), real and imaginary parts last."""
    n = int(x.shape[-2])
    if n < length:
        x = xp.pad(x, [(0, 0)] * (len(x.shape) - 2) + [(0, length - n), (0, 0)])
    x = x[..., :length, :]
    count = length // 2 + 1 if onesided and not inverse else length
    re = x[..., 0]
    im = x[..., 1] if int(x.shape[-1]) > 1 else None
    if inverse and onesided:  # the other half is the mirrored conjugate
        half = length // 2 + 1
        back = np.arange(length - half, 0, -1) if length > half else np.arange(0)
        re = xp.concatenate([re[..., :half], xp.take(re, back, -1)], -1)
        im = None if im is None else xp.concatenate([im[..., :half], -xp.take(im, back, -1)], -1)
    angle = 2.0 * np.pi / length * (np.outer(np.arange(length), np.arange(count)) % length)
    c, s = (xp.asarray(plain(x), f(angle), x.dtype) for f in (np.cos, np.sin))
    sign = 1.0 if inverse else -1.0
    real = xp.matmul(re, c) if im is None else xp.matmul(re, c) - sign * xp.matmul(im, s)
    imag = sign * xp.matmul(re, s) if im is None else sign * xp.matmul(re, s) + xp.matmul(im, c)
    y = real[..., None] if inverse and onesided else xp.stack([real, imag], -1)
    return y * (1.0 / length) if inverse else y


@operator("DFT", static=(1, 2))
def dft(node: Node, x: Any, length: Any = None, axis: Any = None) -> Any:
    """The discrete Fourier transform along an axis of (…, 1 or 2); the axis is an attribute before version 20."""
    ndim = len(x.shape)
    where = (node.get("axis", 1 if node.opset < 20 else -2) if axis is None else int(np.reshape(axis, ()))) % ndim
    inverse, onesided = bool(node.get("inverse", 0)), bool(node.get("onesided", 0))
    moved = xp.moveaxis(x, where, ndim - 2)
    n = int(moved.shape[-2])
    default = 2 * (n - 1) if inverse and onesided else n
    count = default if length is None else int(np.reshape(length, ()))
    return xp.moveaxis(fourier(moved, count, inverse, onesided), ndim - 2, where)


@operator("STFT", static=(1, 3))
def stft(node: Node, x: Any, step: Any, window: Any = None, length: Any = None) -> Any:
    """Fourier transforms of windows that follow one another, (n, frames, frequencies, 2)."""
    x, window = together(x, window)
    x = x if len(x.shape) == 3 else xp.expand_dims(x, -1)
    hop = int(np.reshape(step, ()))
    size = (
        int(np.reshape(length, ()))
        if length is not None
        else int((x if window is None else window).shape[0 if window is not None else 1])
    )
    frames = 1 + (int(x.shape[1]) - size) // hop
    at = np.arange(frames)[:, None] * hop + np.arange(size)
    seen = xp.take(x, at, 1)
    if window is not None:
        seen = seen * xp.expand_dims(window, -1)
    return fourier(seen, size, False, bool(node.get("onesided", 1)))
