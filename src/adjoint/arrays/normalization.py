"""The seam's normalizations: entries centred and scaled to unit size along some axes.

| function | shares its statistics over | they have the shape |
|---|---|---|
| `layer_norm`, `rms_norm` | the last axes, of each example | (n, …) |
| `batch_norm` | the batch and all positions, of each channel | (C,) |
| `instance_norm` | all positions, of each example and channel | (n, C) |
| `group_norm` | all positions of a group of channels, of each example | (n, groups) |
| `local_response_norm` | some neighbouring channels, at each position | x's own |
"""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays import elementwise as el
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.layout import astype, getitem, pad, reshape, tile
from adjoint.arrays.reductions import mean, norm, sum
from adjoint.errors import ShapeError

Axes = tuple[int, ...]


@composition
def normalize_rows(
    x: Array, weight: Array | None = None, bias: Array | None = None, /, ndim: int = 1, eps: float = 1e-5,
    centre: bool = True,
) -> Any:  # fmt: skip
    """(y, μ, 1/σ) over the last `ndim` axes: y = (x - μ)/σ · weight + bias, σ² = mean((x - μ)²) + eps.

    μ and 1/σ keep axes of size 1. Without `centre` μ counts as 0, the result is (y, 1/σ).
    Half precision computes in float32.
    """
    axes = tuple(range(-ndim, 0))
    wide = _wide(x)
    mu = [mean(wide, axes, True)] if centre else []
    centred = wide - mu[0] if centre else wide
    scale = el.rsqrt(mean(el.square(centred), axes, True) + eps)
    y = _affine(centred * scale, weight, bias)
    return (y if wide is x else astype(y, x.dtype)), *mu, scale


@composition
def normalize_channels(x: Array, weight: Array | None = None, bias: Array | None = None, /, eps: float = 1e-5) -> Any:
    """(y, μ, var) over all axes but axis 1: y = (x - μ)/√(var + eps) · weight + bias; all but x and y are (C,)."""
    axes, shape = channels_reduced(x), of_channels(x)
    wide = _wide(x)
    mu = mean(wide, axes, True)
    centred = wide - mu
    var = mean(el.square(centred), axes, True)
    y = _affine(centred * el.rsqrt(var + eps), *[w if w is None else reshape(w, shape) for w in (weight, bias)])
    return (y if wide is x else astype(y, x.dtype)), reshape(mu, (-1,)), reshape(var, (-1,))


@composition
def normalization_product(
    v: Array, x: Array, mu: Array | None, scale: Array, weight: Array | None = None, /, axes: Axes = (-1,)
) -> Array:
    """(I - 1 1ᵀ/n - x̂ x̂ᵀ/n) (weight · v)/σ over the axes, x̂ = (x - μ)/σ; without 1 1ᵀ/n where μ is None."""
    normal = normalized_entries(x, mu, scale)
    w = v if weight is None else v * weight
    along = w - normal * mean(normal * w, axes, True)
    y = scale * (along if mu is None else along - mean(w, axes, True))
    return y if y.dtype == v.dtype else astype(y, v.dtype)


@composition
def normalization_gain(u: Array, x: Array, mu: Array | None, scale: Array, /, axes: Axes = ()) -> Array:
    """Σ u x̂ over the axes, x̂ = (x - μ)/σ."""
    y = sum(u * normalized_entries(x, mu, scale), axes)
    return y if y.dtype == u.dtype else astype(y, u.dtype)


def normalized_entries(x: Array, mu: Array | None, scale: Array) -> Array:
    """x̂ = (x - μ)/σ, or x/σ where μ is None."""
    return (x if mu is None else x - mu) * scale


def channels_reduced(x: Array) -> Axes:
    """All axes but axis 1, counted from the end."""
    n = len(x.shape)
    return tuple(a for a in range(-n, 0) if a != 1 - n)


def of_channels(x: Array) -> tuple[int, ...]:
    """The shape of (C,) beside x (n, C, …)."""
    return (int(x.shape[1]), *(1,) * (len(x.shape) - 2))


def _wide(x: Array) -> Array:
    return astype(x, "float32") if str(x.dtype).endswith("float16") else x


def _affine(x: Array, weight: Array | None, bias: Array | None) -> Array:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


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
    return normalize_rows(x, weight, bias, ndim, eps, True)[0]


@composition
def rms_norm(x: Array, weight: Array | None = None, /, ndim: int = 1, eps: float | None = None) -> Array:
    """x/√(mean x² + eps) · weight over the last `ndim` axes (Zhang & Sennrich 2019).

    x (…, *s), weight (*s) with `ndim` axes or None, result like x; `eps` None is the spacing of x's numbers.

    >>> import numpy as np, adjoint as aj
    >>> aj.rms_norm(np.array([1.0, 7.0]), eps=0.0).tolist()
    [0.2, 1.4]
    """
    return normalize_rows(x, weight, None, ndim, default_eps(x.dtype) if eps is None else eps, False)[0]


def default_eps(dtype: Any) -> float:
    """The distance from 1 to the next number of float64, and of float32 for all smaller dtypes.

    >>> default_eps("float64") == 2.0**-52, default_eps("bfloat16") == 2.0**-23
    (True, True)
    """
    return 2.0**-52 if "64" in str(dtype) else 2.0**-23


@composition
def batch_norm(
    x: Array, running_mean: Array | None = None, running_var: Array | None = None, weight: Array | None = None,
    bias: Array | None = None, /, training: bool = False, eps: float = 1e-5,
) -> Array:  # fmt: skip
    """(x - mean)/√(var + eps) · weight + bias for every channel (Ioffe & Szegedy 2015).

    x (n, C, …), all others (C,) or None, result like x. In training, mean and variance are those of the batch, over all
    axes but axis 1, and the running ones stay as they are: `aj.nn.BatchNorm2d` updates them. Else the running ones
    serve, and the Jacobian is diagonal. Raises `ShapeError` in training for one value per channel, whose variance is 0.

    >>> import numpy as np, adjoint as aj
    >>> x = np.array([[1.0, 5.0], [3.0, 9.0]])
    >>> aj.batch_norm(x, training=True, eps=1e-30).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> aj.batch_norm(x, np.array([1.0, 5.0]), np.array([4.0, 4.0]), eps=0.0).tolist()
    [[0.0, 0.0], [1.0, 2.0]]
    """
    if training:
        return normalize_batch(x, weight, bias, eps)[0]
    return _by_running("batch_norm", x, running_mean, running_var, weight, bias, eps)


def normalize_batch(x: Array, weight: Array | None, bias: Array | None, eps: float) -> Any:
    """(y, μ, var) of `batch_norm` in training; μ and var are (C,)."""
    _channelled("batch_norm", x, weight=weight, bias=bias)
    _more_than_one("batch_norm", x, channels_reduced(x), eps)
    return normalize_channels(x, weight, bias, eps)


@composition
def instance_norm(
    x: Array, running_mean: Array | None = None, running_var: Array | None = None, weight: Array | None = None,
    bias: Array | None = None, /, use_input_stats: bool = True, eps: float = 1e-5,
) -> Array:  # fmt: skip
    """`batch_norm` of every example by itself: statistics over all positions of a channel (Ulyanov et al. 2016).

    x (n, C, …) with at least one more axis, all others (C,) or None. Without `use_input_stats` the running statistics
    serve. Raises `ShapeError` for a single position, whose variance is 0.

    >>> import numpy as np, adjoint as aj
    >>> aj.instance_norm(np.array([[[1.0, 3.0], [0.0, 8.0]]]), eps=1e-30).tolist()
    [[[-1.0, 1.0], [-1.0, 1.0]]]
    """
    if use_input_stats:
        return normalize_instances(x, weight, bias, eps)[0]
    return _by_running("instance_norm", x, running_mean, running_var, weight, bias, eps)


def normalize_instances(x: Array, weight: Array | None, bias: Array | None, eps: float) -> Any:
    """(y, μ, var) of every example by itself; μ and var are (n, C). It is `normalize_channels` of one example."""
    _channelled("instance_norm", x, weight=weight, bias=bias)
    n, channels, *rest = x.shape
    _more_than_one("instance_norm", x, tuple(range(2 - len(x.shape), 0)), eps)
    weight, bias = (w if w is None else tile(w, (n,)) for w in (weight, bias))
    y, mu, var = normalize_channels(reshape(x, (1, n * channels, *rest)), weight, bias, eps)
    return reshape(y, (n, channels, *rest)), reshape(mu, (n, channels)), reshape(var, (n, channels))


@composition
def group_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, /, num_groups: int = 1, eps: float = 1e-5
) -> Array:
    """(x - mean)/√(var + eps) · weight + bias over groups of channels of each example (Wu & He 2018).

    x (n, C, …), weight and bias (C,) or None, result like x. Raises `ShapeError` where num_groups does not divide C,
    and for a single value a group.

    >>> import numpy as np, adjoint as aj
    >>> aj.group_norm(np.array([[1.0, 3.0, 0.0, 8.0]]), num_groups=2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    _channelled("group_norm", x, weight=weight, bias=bias)
    n, channels, *rest = x.shape
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(
            f"group_norm: {num_groups} groups of the {channels} channels of {tuple(x.shape)}: must divide."
        )
    each = channels // num_groups * math.prod(rest)
    if n * each == 1:
        raise ShapeError(f"group_norm: one value per group in an input {tuple(x.shape)}: its variance is 0.")
    y = reshape(layer_norm(reshape(x, (n, num_groups, each)), None, None, 1, eps), tuple(x.shape))
    return _affine(y, *[w if w is None else reshape(w, of_channels(x)) for w in (weight, bias)])


@composition
def local_response_norm(x: Array, /, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """x/(k + α mean(x²))^β, the mean over `size` neighbouring channels, zeros beyond the ends (Krizhevsky et al. 2012).

    x (n, C, …) with at least one more axis; channel c sees c - size//2 to c + (size - 1)//2.

    >>> import numpy as np, adjoint as aj
    >>> aj.local_response_norm(np.ones((1, 2, 1)), 2, alpha=2.0, beta=1.0).tolist()
    [[[0.5], [0.3333]]]
    """
    if len(x.shape) < 3 or size < 1:
        raise ShapeError(f"local_response_norm: x is (n, C, …), size at least 1; got {tuple(x.shape)} and {size}.")
    rest = len(x.shape) - 2
    padded = pad(el.square(x), [(0, 0), (size // 2, (size - 1) // 2)] + [(0, 0)] * rest)
    shifted = [getitem(padded, (slice(None), slice(i, i + x.shape[1]))) for i in range(size)]
    total = shifted[0]
    for each in shifted[1:]:
        total = total + each
    return x / el.pow(total * (alpha / size) + k, beta)


def _channelled(name: str, x: Array, **parameters: Array | None) -> None:
    """Raise unless x is (n, C, …) and the parameters (C,)."""
    shape = tuple(x.shape)
    if len(shape) < 2:
        raise ShapeError(f"{name}: the input is (n, C, …), channels on axis 1, got {shape}; add a batch axis: x[None].")
    for what, array in parameters.items():
        if array is not None and tuple(array.shape) != (shape[1],):
            raise ShapeError(
                f"{name}: the input {shape} has {shape[1]} channels on axis 1, so {what} is ({shape[1]},), not "
                f"{tuple(array.shape)}."
            )


def _more_than_one(name: str, x: Array, axes: Axes, eps: float) -> None:
    """Raise where statistics would be over a single value, or where nothing keeps the scale finite."""
    if math.prod(x.shape[a] for a in axes) == 1:
        raise ShapeError(
            f"{name}: one value per channel in an input {tuple(x.shape)}: its variance is 0; train with more examples "
            "or positions, or use the running statistics (net.eval())."
        )
    if not eps > 0.0:
        raise ValueError(f"{name}: eps keeps a constant channel's scale finite, so it is positive, not {eps}.")


def _by_running(
    name: str, x: Array, mu: Array | None, var: Array | None, weight: Array | None, bias: Array | None, eps: float
) -> Array:
    if mu is None or var is None:
        raise ValueError(f"{name}: without statistics of the input, running_mean and running_var must be given.")
    _channelled(name, x, running_mean=mu, running_var=var, weight=weight, bias=bias)
    shape = of_channels(x)
    scale = el.rsqrt(var + eps)
    scale = scale if weight is None else scale * weight
    return _affine(x - reshape(mu, shape), reshape(scale, shape), None if bias is None else reshape(bias, shape))


@composition
def normalize(x: Array, /, axis: int = -1, eps: float = 1e-12) -> Array:
    """x / max(‖x‖, eps) along an axis: unit vectors.

    >>> import numpy as np, adjoint as aj
    >>> aj.normalize(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    return x / el.maximum(norm(x, axis, True), eps)
