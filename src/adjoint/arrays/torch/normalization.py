"""Normalizations by PyTorch's fused kernels, forward and backward."""

from __future__ import annotations

from typing import Any

import torch

from adjoint.arrays import normalization as plain

aten = torch.ops.aten


def normalize_rows(
    x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 1e-5, centre: bool = True
) -> Any:
    if centre:
        return torch.native_layer_norm(x, x.shape[-ndim:], weight, bias, eps)
    y, scale = torch._fused_rms_norm(x, x.shape[-ndim:], weight, eps)
    return (y if bias is None else y + bias), scale


def normalize_channels(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    n = x.numel() // x.shape[1] if x.numel() else 0
    if n < 2:
        return composed(plain.normalize_channels)(x, weight, bias, eps)
    zero = x.new_zeros(x.shape[1], dtype=x.dtype if weight is None else weight.dtype)
    # with a momentum of 1 the new running statistics are the batch's, the variance divided by n - 1
    y, _, _, mean, var = aten._native_batch_norm_legit_functional(x, weight, bias, zero, zero, True, 1.0, eps)
    return y, mean, var * ((n - 1) / n)


def normalization_product(
    v: Any, x: Any, mu: Any, scale: Any, weight: Any = None, axes: tuple[int, ...] = (-1,)
) -> Any:
    if v.shape == x.shape and x.numel() and v.dtype == x.dtype and mu is not None:
        own, only = x.shape[-len(axes) :], [True, False, False]
        if axes == tuple(range(-len(axes), 0)) and (weight is None or weight.shape == own):
            return aten.native_layer_norm_backward(v, x, own, mu, scale, weight, None, only)[0]
        if axes == plain.channels_reduced(x) and (weight is None or weight.numel() == x.shape[1]):
            w, m, s = (t if t is None else t.reshape(-1) for t in (weight, mu, scale))
            return aten.native_batch_norm_backward(v, x, w, None, None, m, s, True, 0.0, only)[0]
    return composed(plain.normalization_product)(v, x, mu, scale, weight, axes)


def layer_norm(x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 1e-5) -> Any:
    return torch.layer_norm(x, x.shape[-ndim:], weight, bias, eps)


def rms_norm(x: Any, weight: Any = None, ndim: int = 1, eps: float | None = None) -> Any:
    return torch.rms_norm(x, x.shape[-ndim:], weight, eps)


def composed(function: Any) -> Any:
    """The plain composition of a function of the seam."""
    return function.table.composed
