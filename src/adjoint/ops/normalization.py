"""Normalizations: scaled projections whose maps hold the input and its statistics."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.maps.base import LinearMap
from adjoint.maps.normalization import Gain, Normalization
from adjoint.maps.reductions import Reduce
from adjoint.ops.define import coarse
from adjoint.ops.layout import shape_of


@coarse(xp.layer_norm)
def layer_norm(x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 1e-5) -> Any:
    """A scaled projection in x."""
    y, mu, scale = xp.normalize_rows(x, weight, bias, ndim, eps, True)
    return y, by_rows(x, mu, scale, weight, bias, ndim)


@coarse(xp.rms_norm)
def rms_norm(x: Any, weight: Any = None, ndim: int = 1, eps: float | None = None) -> Any:
    """A scaled projection in x."""
    y, scale = xp.normalize_rows(x, weight, None, ndim, xp.default_eps(x.dtype) if eps is None else eps, False)
    return y, by_rows(x, None, scale, weight, None, ndim)


def by_rows(x: Any, mu: Any, scale: Any, weight: Any, bias: Any, ndim: int) -> tuple[LinearMap | None, ...]:
    """The maps in x, weight and bias of a normalization over the last `ndim` axes."""
    shape = shape_of(x)
    kept = tuple(range(-ndim, 0))
    rest = tuple(range(-len(shape), -ndim))
    in_x = Normalization(x, mu, scale, kept, weight)
    in_weight = None if weight is None else Gain(x, mu, scale, rest, shape_of(weight))
    return in_x, in_weight, None if bias is None else Reduce(None, rest, shape).T


@coarse(xp.normalize_channels)
def normalize_channels(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """A scaled projection in x; the statistics have their derivatives, too."""
    y, mean, var = xp.normalize_channels(x, weight, bias, eps)
    shape, axes, beside = shape_of(x), xp.channels_reduced(x), xp.of_channels(x)
    mu, scale = xp.reshape(mean, beside), xp.reshape(xp.rsqrt(var + eps), beside)
    in_x = Normalization(x, mu, scale, axes, None if weight is None else xp.reshape(weight, beside))
    in_weight = None if weight is None else Gain(x, mu, scale, axes, shape_of(weight))
    in_bias = None if bias is None else Reduce(None, axes, shape).T
    n = math.prod(shape[a] for a in axes)
    share = 1.0 / n if n else math.nan
    of_var = Reduce(lambda: (2.0 * share) * (x - mu), axes, shape)
    return (y, mean, var), ((in_x, in_weight, in_bias), (Reduce(share, axes, shape),), (of_var,))
