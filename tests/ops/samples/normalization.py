"""Samples of the normalizations: every set of axes, with and without parameters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tests.ops.samples.operands import normal, positive, s, strided


def rows(x: Any, w: Any = None, b: Any = None, ndim: int = 1, eps: float = 1e-5, centre: bool = True) -> Any:
    axes = tuple(range(-ndim, 0))
    mu = x.mean(axes, keepdim=True) if centre else torch.zeros((), dtype=x.dtype)
    scale = 1.0 / torch.sqrt(((x - mu) ** 2).mean(axes, keepdim=True) + eps)
    y = (x - mu) * scale * (1.0 if w is None else w) + (0.0 if b is None else b)
    return (y, mu, scale) if centre else (y, scale)


def channels(x: Any, w: Any = None, b: Any = None, eps: float = 1e-5) -> Any:
    axes = [a for a in range(x.ndim) if a != 1]
    return F.batch_norm(x, None, None, w, b, True, 0.1, eps), x.mean(axes), x.var(axes, correction=0)


def product(v: Any, x: Any, mu: Any, scale: Any, w: Any = None, axes: Any = (-1,)) -> Any:
    normal, wv = (x - (0.0 if mu is None else mu)) * scale, v * (1.0 if w is None else w)
    level = 0.0 if mu is None else wv.mean(axes, keepdim=True)
    return scale * (wv - level - normal * (normal * wv).mean(axes, keepdim=True))


def gain(u: Any, x: Any, mu: Any, scale: Any, axes: Any = ()) -> Any:
    summed = u * (x - (0.0 if mu is None else mu)) * scale
    return summed.sum(axes) if axes else summed


def stats(*shape: int) -> Any:
    return normal(*shape), positive(*shape)


TABLE: dict[str, list[Any]] = {
    "normalize_rows": [
        s(normal(2, 4)), s(normal(2, 2, 3), normal(2, 3), normal(2, 3), ndim=2, eps=1e-3),
        s(normal(3, 4), normal(4), None, eps=1e-3, centre=False),
    ],
    "normalize_channels": [
        s(normal(4, 3), normal(3), normal(3)), s(normal(2, 3, 4), normal(3)), s(normal(2, 2, 3, 2), None, normal(2)),
    ],
    "normalization_product": [
        s(normal(3, 4), normal(3, 4), *stats(3, 1)), s(normal(3, 4), normal(3, 4), *stats(3, 1), normal(4)),
        s(normal(2, 3, 4), normal(2, 3, 4), *stats(3, 1), normal(3, 1), axes=(-3, -1)),
        s(normal(2, 3, 4), normal(3, 4), *stats(3, 1)), s(normal(3, 4), normal(3, 4), None, positive(3, 1), normal(4)),
    ],
    "normalization_gain": [
        s(normal(3, 4), normal(3, 4), *stats(3, 1), axes=(-2,)), s(normal(4), normal(4), *stats(1)),
        s(normal(2, 3, 4), normal(2, 3, 4), *stats(3, 1), axes=(-3, -1)),
        s(normal(3, 4), normal(3, 4), None, positive(3, 1), axes=(-2,)),
    ],
    "layer_norm": [
        s(normal(3, 4), normal(4), normal(4)), s(normal(3, 4)), s(normal(3, 4), normal(4)),
        s(normal(3, 4), None, normal(4)), s(normal(4), normal(4), normal(4)),
        s(normal(2, 2, 3), normal(2, 3), normal(2, 3), ndim=2, eps=1e-2), s(normal(0, 4), normal(4), normal(4)),
        s(strided(normal(3, 4)), normal(4), normal(4)),
    ],
    "rms_norm": [
        s(normal(3, 4), normal(4), eps=1e-6), s(normal(3, 4), eps=1e-6), s(normal(4), normal(4), eps=1e-5),
        s(normal(2, 2, 3), normal(2, 3), ndim=2, eps=1e-2), s(normal(0, 4), normal(4), eps=1e-6),
        s(strided(normal(3, 4)), normal(4), eps=1e-6),
    ],
    "batch_norm": [
        s(normal(4, 3), None, None, normal(3), normal(3), training=True),
        s(normal(2, 3, 4), None, None, normal(3), training=True, eps=1e-2),
        s(strided(normal(3, 2, 2, 3)), None, None, None, normal(2), training=True),
        s(normal(2, 3, 4), normal(3), positive(3), normal(3), normal(3)), s(normal(2, 3), normal(3), positive(3)),
        s(normal(0, 3, 2), normal(3), positive(3), normal(3), normal(3)),
    ],
    "instance_norm": [
        s(normal(2, 3, 4), None, None, normal(3), normal(3)), s(normal(2, 3, 2, 2), None, None, None, normal(3)),
        s(strided(normal(2, 3, 4)), eps=1e-2),
        s(normal(2, 3, 4), normal(3), positive(3), normal(3), normal(3), use_input_stats=False),
    ],
    "group_norm": [
        s(normal(2, 6), normal(6), normal(6), num_groups=2), s(normal(2, 4, 3), normal(4), num_groups=1),
        s(normal(2, 4, 3, 2), normal(4), normal(4), num_groups=4, eps=1e-2), s(strided(normal(2, 4, 3)), num_groups=2),
        s(normal(0, 4, 3), normal(4), normal(4), num_groups=2),
    ],
    "local_response_norm": [
        s(normal(2, 4, 3), size=3, alpha=0.5), s(normal(2, 3, 2, 2), size=2, alpha=0.5, beta=0.5, k=2.0),
        s(normal(1, 2, 3), size=5, alpha=1.0), s(normal(2, 3, 2), size=1, alpha=1.0),
    ],
}  # fmt: skip


def by_running(x: Any, mean: Any, var: Any, w: Any = None, b: Any = None, eps: float = 1e-5) -> Any:
    """PyTorch's functions refuse to be differentiated in running statistics."""
    mean, var, w, b = (c if c is None else c.reshape(-1, *(1,) * (x.ndim - 2)) for c in (mean, var, w, b))
    return (x - mean) / torch.sqrt(var + eps) * (1.0 if w is None else w) + (0.0 if b is None else b)


def batch_norm(x: Any, mean: Any, var: Any, w: Any = None, b: Any = None, training: bool = False, **eps: float) -> Any:
    return F.batch_norm(x, None, None, w, b, True, **eps) if training else by_running(x, mean, var, w, b, **eps)


def instance_norm(
    x: Any, mean: Any = None, var: Any = None, w: Any = None, b: Any = None, use_input_stats: bool = True, **eps: float
) -> Any:
    return F.instance_norm(x, None, None, w, b, **eps) if use_input_stats else by_running(x, mean, var, w, b, **eps)


TORCH: dict[str, Any] = {
    "normalize_rows": rows,
    "normalize_channels": channels,
    "normalization_product": product,
    "normalization_gain": gain,
    "layer_norm": lambda x, w=None, b=None, ndim=1, eps=1e-5: F.layer_norm(x, x.shape[-ndim:], w, b, eps),
    "rms_norm": lambda x, w=None, ndim=1, eps=None: F.rms_norm(x, x.shape[-ndim:], w, eps),
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "group_norm": lambda x, w=None, b=None, num_groups=1, eps=1e-5: F.group_norm(x, num_groups, w, b, eps),
    "local_response_norm": F.local_response_norm,
}
JAX: dict[str, Any] = {}
