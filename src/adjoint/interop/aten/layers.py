"""Whole layers: convolution, pooling, normalization, attention, resampling, and the losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.interop.aten.promotion import cast, name_of
from adjoint.ops.define import plain

Entry = Callable[..., Any]
CONVOLUTIONS: tuple[Entry, ...] = (xp.conv1d, xp.conv2d, xp.conv3d)
TRANSPOSED: tuple[Entry, ...] = (xp.conv_transpose1d, xp.conv_transpose2d, xp.conv_transpose3d)


def _sizes(x: Any) -> Any:
    """A number or a tuple; one entry stands for every axis."""
    if not isinstance(x, (list, tuple)):
        return x
    return x[0] if len(x) == 1 else tuple(x)


def _convolution(conv: Entry) -> Entry:
    def entry(
        input: Array, weight: Array, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Array:  # fmt: skip
        return conv(input, weight, bias, _sizes(stride), _sizes(padding), _sizes(dilation), groups)

    return entry


def _transposed(conv: Entry) -> Entry:
    def entry(
        input: Array, weight: Array, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, dilation: Any = 1,
    ) -> Array:  # fmt: skip
        return conv(
            input, weight, bias, _sizes(stride), _sizes(padding), _sizes(output_padding), groups, _sizes(dilation)
        )

    return entry


def _any_convolution(
    input: Array, weight: Array, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, *_: Any,
) -> Array:  # fmt: skip
    n = len(weight.shape) - 3
    if transposed:
        return _transposed(TRANSPOSED[n])(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return _convolution(CONVOLUTIONS[n])(input, weight, bias, stride, padding, dilation, groups)


# Pooling


def _max_pool(pool: Entry, with_indices: bool) -> Entry:
    def entry(
        self: Array, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        how = (_sizes(kernel_size), _sizes(stride) or None, _sizes(padding), _sizes(dilation), ceil_mode)
        return pool(self, *how, with_indices)

    return entry


def _avg_pool(pool: Entry) -> Entry:
    def entry(
        self: Array, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Array:  # fmt: skip
        how = [_sizes(kernel_size), _sizes(stride) or None, _sizes(padding), ceil_mode, count_include_pad]
        return pool(self, *how) if divisor_override is None else pool(self, *how, divisor_override)

    return entry


def _adaptive(pool: Entry, *how: Any) -> Entry:
    return lambda self, output_size: pool(self, _sizes(output_size), *how)


# Normalization


def _layer_norm(
    input: Array, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Array:  # fmt: skip
    n = len(normalized_shape)
    if bias is not None and weight is None:
        return xp.add(xp.layer_norm(input, None, None, n, eps), bias)
    return xp.layer_norm(input, weight, bias, n, eps)


def _native_layer_norm(
    input: Array, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    mean = xp.mean(plain(input), axes, True)
    scale = xp.rsqrt(xp.mean(xp.square(plain(input) - mean), axes, True) + eps)
    return _layer_norm(input, normalized_shape, weight, bias, eps), mean, scale


def _rms_norm(input: Array, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Array:
    return xp.rms_norm(input, weight, len(normalized_shape), eps)


def _by_running(
    input: Array, weight: Any, bias: Any, running_mean: Any, running_var: Any, momentum: float = 0.1, eps: float = 1e-5
) -> Any:
    nothing = xp.zeros(plain(input), (0,))
    return xp.batch_norm(input, running_mean, running_var, weight, bias, False, eps), nothing, nothing


def _by_batch(
    input: Array, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float,
    eps: float,
) -> Any:  # fmt: skip
    """(y, mean, 1/σ, new running mean, new running variance)."""
    if not training:
        return (*_by_running(input, weight, bias, running_mean, running_var, momentum, eps), running_mean, running_var)
    axes = (0, *range(2, len(input.shape)))
    x = plain(input)
    mean, n = xp.mean(x, axes), math.prod(input.shape) // max(input.shape[1], 1)
    variance = xp.var(x, axes)
    y = xp.batch_norm(input, None, None, weight, bias, True, eps)
    moved = [None, None]
    if running_mean is not None:
        moved[0] = xp.add((1.0 - momentum) * running_mean, momentum * mean)
        moved[1] = xp.add((1.0 - momentum) * running_var, (momentum * n / max(n - 1, 1)) * variance)
    return y, mean, xp.rsqrt(variance + eps), *moved


def _without_statistics(input: Array, weight: Any, bias: Any, training: bool, momentum: float, eps: float) -> Any:
    return _by_batch(input, weight, bias, None, None, True, momentum, eps)[:3]


def _group_norm(
    input: Array, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Array:
    return xp.group_norm(input, weight, bias, num_groups, eps)


def _native_group_norm(input: Array, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float) -> Any:
    grouped = xp.reshape(plain(input), (N, group, C // group * HxW))
    mean = xp.mean(grouped, -1)
    scale = xp.rsqrt(xp.var(grouped, -1) + eps)
    return xp.group_norm(input, weight, bias, group, eps), mean, scale


# Attention


def _attention(
    query: Array, key: Array, value: Array, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Array:  # fmt: skip
    return xp.scaled_dot_product_attention(query, key, value, attn_mask, 0.0, is_causal, scale, enable_gqa)


# Resampling


def _interpolation(mode: str, corners: bool) -> Entry:
    """`F.interpolate` by the operator's signature: (input, output_size, [align_corners], scale_factors)."""

    def entry(input: Array, output_size: Any, *how: Any, **named: Any) -> Array:
        align = named.get("align_corners", how[0] if corners else None)
        scales = named.get("scale_factors", how[-1] if len(how) > corners else None)
        if output_size is not None:
            scales = None
        size = None if output_size is None else tuple(output_size)
        return xp.interpolate(input, size, None if scales is None else tuple(scales), mode, align)

    return entry


# Losses, whose reduction is a number


def _reduction(number: int) -> str:
    return ("none", "mean", "sum")[number]


def _loss(loss: Entry) -> Entry:
    return lambda self, target, reduction=1: loss(self, target, _reduction(reduction))


def _nll(self: Array, target: Array, weight: Any = None, reduction: int = 1, ignore_index: int = -100) -> Array:
    return xp.nll_loss(self, plain(target), _reduction(reduction), weight, ignore_index)


def _nll_forward(self: Array, target: Array, weight: Any, reduction: int, ignore_index: int) -> Any:
    counts = xp.not_equal(plain(target), ignore_index)
    each = cast(counts, name_of(self.dtype))
    if weight is not None:
        each = xp.multiply(each, xp.take(plain(weight), xp.where(counts, plain(target), 0), 0))
    return _nll(self, target, weight, reduction, ignore_index), xp.sum(each)


def _cross_entropy(
    self: Array, target: Array, weight: Any = None, reduction: int = 1, ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:  # fmt: skip
    return xp.cross_entropy(self, target, _reduction(reduction), weight, ignore_index, label_smoothing)


LAYERS: dict[str, Entry] = {
    **{f"conv{n + 1}d": _convolution(f) for n, f in enumerate(CONVOLUTIONS)},
    **{f"conv_transpose{n + 1}d": _transposed(f) for n, f in enumerate(TRANSPOSED)},
    **{f"conv_transpose{n + 1}d.input": _transposed(f) for n, f in enumerate(TRANSPOSED)},
    "convolution": _any_convolution,
    "_convolution": _any_convolution,
    "im2col": lambda self, kernel_size, dilation, padding, stride: xp.unfold(
        self, _sizes(kernel_size), _sizes(dilation), _sizes(padding), _sizes(stride)
    ),
    "col2im": lambda self, output_size, kernel_size, dilation, padding, stride: xp.fold(
        self, tuple(output_size), _sizes(kernel_size), _sizes(dilation), _sizes(padding), _sizes(stride)
    ),
    **{f"max_pool{n}d": _max_pool(f, False) for n, f in ((1, xp.max_pool1d), (2, xp.max_pool2d), (3, xp.max_pool3d))},
    **{
        f"max_pool{n}d_with_indices": _max_pool(f, True)
        for n, f in ((1, xp.max_pool1d), (2, xp.max_pool2d), (3, xp.max_pool3d))
    },
    **{f"avg_pool{n}d": _avg_pool(f) for n, f in ((1, xp.avg_pool1d), (2, xp.avg_pool2d), (3, xp.avg_pool3d))},
    "adaptive_avg_pool1d": _adaptive(xp.adaptive_avg_pool1d),
    **{
        f"{under}adaptive_avg_pool{n}d": _adaptive(f)
        for under in ("", "_")
        for n, f in ((2, xp.adaptive_avg_pool2d), (3, xp.adaptive_avg_pool3d))
    },
    **{
        f"adaptive_max_pool{n}d": _adaptive(f, True)
        for n, f in ((1, xp.adaptive_max_pool1d), (2, xp.adaptive_max_pool2d), (3, xp.adaptive_max_pool3d))
    },
    "layer_norm": _layer_norm,
    "native_layer_norm": _native_layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "native_group_norm": _native_group_norm,
    "_native_batch_norm_legit_no_training": _by_running,
    "_native_batch_norm_legit_functional": _by_batch,
    "_native_batch_norm_legit.no_stats": _without_statistics,
    "scaled_dot_product_attention": _attention,
    **{
        f"upsample_{name}.vec": _interpolation(mode, corners)
        for name, mode, corners in (
            ("nearest1d", "nearest", False), ("nearest2d", "nearest", False), ("nearest3d", "nearest", False),
            ("_nearest_exact1d", "nearest-exact", False), ("_nearest_exact2d", "nearest-exact", False),
            ("linear1d", "linear", True), ("bilinear2d", "bilinear", True), ("trilinear3d", "trilinear", True),
            ("bicubic2d", "bicubic", True),
        )
    },
    "cross_entropy_loss": _cross_entropy,
    "nll_loss": _nll,
    "nll_loss_nd": _nll,
    "nll_loss2d": _nll,
    "nll_loss_forward": _nll_forward,
    "nll_loss2d_forward": _nll_forward,
    "mse_loss": _loss(xp.mse_loss),
    "l1_loss": _loss(xp.l1_loss),
    "soft_margin_loss": _loss(xp.soft_margin_loss),
    "huber_loss": lambda self, target, reduction=1, delta=1.0: xp.huber_loss(
        self, target, _reduction(reduction), delta
    ),
    "smooth_l1_loss": lambda self, target, reduction=1, beta=1.0: xp.smooth_l1_loss(
        self, target, _reduction(reduction), beta
    ),
    "binary_cross_entropy": lambda self, target, weight=None, reduction=1: xp.binary_cross_entropy(
        self, target, _reduction(reduction), weight
    ),
    "binary_cross_entropy_with_logits": lambda self, target, weight=None, pos_weight=None, reduction=1: (
        xp.binary_cross_entropy_with_logits(self, target, _reduction(reduction), weight, pos_weight)
    ),
    "kl_div": lambda self, target, reduction=1, log_target=False: xp.kl_div(
        self, target, _reduction(reduction), log_target
    ),
}  # fmt: skip
