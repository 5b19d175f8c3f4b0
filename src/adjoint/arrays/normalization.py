"""The seam's normalizations: entries centred and scaled to unit size along some axes."""

from __future__ import annotations

from typing import Any

from adjoint.arrays import elementwise as el
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.reductions import mean, norm


@composition
def normalize_moments(x: Array, /, ndim: int, eps: float, centre: bool) -> Any:
    """(x̂, 1/σ) over the last `ndim` axes: x̂ = (x - μ)/σ, σ² = mean((x - μ)²) + eps; μ = 0 unless `centre`."""
    axes = tuple(range(-ndim, 0))
    centred = x - mean(x, axes, True) if centre else x
    scale = el.rsqrt(mean(el.square(centred), axes, True) + eps)
    return centred * scale, scale


@composition
def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, /, ndim: int = 1, eps: float = 1e-5
) -> Array:
    """(x - mean)/√(var + eps) · weight + bias over the last `ndim` axes (Ba et al. 2016).

    x (…, *s), weight and bias (*s) with `ndim` axes or None, result like x.

    >>> import numpy as np, adjoint as aj
    >>> aj.layer_norm(np.array([[1.0, 3.0]]), np.array([2.0, 2.0]), eps=0.0).tolist()
    [[-2.0, 2.0]]
    """
    y = normalize_moments(x, ndim, eps, True)[0]
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@composition
def rms_norm(x: Array, weight: Array | None = None, /, ndim: int = 1, eps: float = 1e-6) -> Array:
    """x/√(mean x² + eps) · weight over the last `ndim` axes (Zhang & Sennrich 2019).

    >>> import numpy as np, adjoint as aj
    >>> aj.rms_norm(np.array([1.0, 7.0]), eps=0.0).tolist()
    [0.2, 1.4]
    """
    y = normalize_moments(x, ndim, eps, False)[0]
    return y if weight is None else y * weight


@composition
def normalize(x: Array, /, axis: int = -1, eps: float = 1e-12) -> Array:
    """x / max(‖x‖, eps) along an axis: unit vectors.

    >>> import numpy as np, adjoint as aj
    >>> aj.normalize(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    return x / el.maximum(norm(x, axis, True), eps)
