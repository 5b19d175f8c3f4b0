"""Normalizations as modules, with PyTorch's arguments, parameter and buffer names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.module import Module
from adjoint.ops.define import plain


class LayerNorm(Module):
    """(x - mean)/√(var + eps) · weight + bias over the last axes, whose shape is normalized_shape (Ba et al. 2016).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LayerNorm(2)(np.array([[1.0, 3.0]], "float32")).round(3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.weight: Array | None = init.ones(shape, dtype) if elementwise_affine else None
        self.bias: Array | None = init.zeros(shape, dtype) if elementwise_affine and bias else None

    def __call__(self, x: Array) -> Array:
        """The normalized x."""
        n = _last_axes("LayerNorm", x, self.normalized_shape)
        return xp.layer_norm(x, self.weight, self.bias, ndim=n, eps=self.eps)


class RMSNorm(Module):
    """x/√(mean x² + eps) · weight over the last axes (Zhang & Sennrich 2019); eps None is the spacing of x's numbers.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.RMSNorm(2)(np.array([[1.0, 7.0]])).round(4).tolist()
    [[0.2, 1.4]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = "float32",
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.weight: Array | None = init.ones(shape, dtype) if elementwise_affine else None

    def __call__(self, x: Array) -> Array:
        """The normalized x."""
        n = _last_axes("RMSNorm", x, self.normalized_shape)
        return xp.rms_norm(x, self.weight, ndim=n, eps=self.eps)


class GroupNorm(Module):
    """(x - mean)/√(var + eps) · weight + bias over num_groups groups of channels of each example (Wu & He 2018).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.GroupNorm(2, 4)(np.array([[1.0, 3.0, 0.0, 8.0]], "float32")).round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: Any = "float32",
        *,
        bias: bool = True,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels cannot be divided into {num_groups} groups.")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight: Array | None = init.ones((num_channels,), dtype) if affine else None
        self.bias: Array | None = init.zeros((num_channels,), dtype) if affine and bias else None

    def __call__(self, x: Array) -> Array:
        """The normalized x."""
        return xp.group_norm(x, self.weight, self.bias, num_groups=self.num_groups, eps=self.eps)


class LocalResponseNorm(Module):
    """x/(k + α mean(x²))^β, the mean over `size` neighbouring channels (Krizhevsky et al. 2012).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LocalResponseNorm(2, alpha=2.0, beta=1.0)(np.ones((1, 2, 1))).tolist()
    [[[0.5], [0.3333]]]
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def __call__(self, x: Array) -> Array:
        """The normalized x."""
        return xp.local_response_norm(x, self.size, self.alpha, self.beta, self.k)


class ChannelNorm(Module):
    """What batch and instance normalization share: a weight and a bias a channel, and running statistics.

    `running_mean` and `running_var` (with n - 1) move by `momentum` towards those of each batch seen in training; they
    are buffers, without gradient. `momentum` None takes the average over all batches.
    """

    ndims: ClassVar[tuple[int, ...]]  # how many axes x may have

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        dtype: Any,
        bias: bool,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        self.weight: Array | None = init.ones((num_features,), dtype) if affine else None
        self.bias: Array | None = init.zeros((num_features,), dtype) if affine and bias else None
        self.register_buffer("running_mean", init.zeros((num_features,), dtype) if track_running_stats else None)
        self.register_buffer("running_var", init.ones((num_features,), dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.array(0) if track_running_stats else None)

    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def _check(self, x: Array) -> None:
        name, shape = type(self).__name__, tuple(x.shape)
        if len(shape) not in self.ndims:
            axes = " or ".join(map(str, self.ndims))
            raise ShapeError(f"{name}: x has {axes} axes, channels after the batch's, got {shape}.")

    def _track(self, mean: Array, var: Array, count: int, momentum: Any) -> None:
        """Move the running statistics towards those of a batch, of `count` values each."""
        old_mean, old_var = self.running_mean, self.running_var
        if old_mean is None or old_var is None or not count:
            return
        mean, var = xp.astype(plain(mean), old_mean.dtype), xp.astype(plain(var), old_var.dtype)
        unbiased = var * (count / (count - 1) if count > 1 else 1.0)
        self.running_mean = (1.0 - momentum) * old_mean + momentum * mean
        self.running_var = (1.0 - momentum) * old_var + momentum * unbiased


class BatchNorm(ChannelNorm):
    """Batch normalization for every number of axes: see `BatchNorm2d`."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def __call__(self, x: Array) -> Array:
        """The normalized x; in training the running statistics move."""
        self._check(x)
        if not self.training and self.running_mean is not None:
            return xp.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        y, mean, var = xp.normalize_batch(x, self.weight, self.bias, self.eps)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked = seen = xp.asarray(self.num_batches_tracked, self.num_batches_tracked + 1)
            momentum = 1.0 / xp.astype(seen, mean.dtype) if self.momentum is None else self.momentum
            self._track(mean, var, int(np.prod(x.shape)) // x.shape[1], momentum)
        return y


class BatchNorm1d(BatchNorm):
    """`BatchNorm2d` of x (n, C) or (n, C, length).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.BatchNorm1d(1)(np.array([[1.0], [3.0]], "float32")).round(3).tolist()
    [[-1.0], [1.0]]
    """

    ndims = (2, 3)


class BatchNorm2d(BatchNorm):
    """(x - mean)/√(var + eps) · weight + bias for every channel of x (n, C, height, width) (Ioffe & Szegedy 2015).

    In training mean and variance are those of the batch, and the running ones move towards them; else the running ones
    serve (those of the batch where `track_running_stats` is false). Weight, bias and running statistics are (C,), the
    running variance has n - 1. Raises `ShapeError` in training for one value per channel.

    >>> import numpy as np, adjoint as aj
    >>> norm = aj.nn.BatchNorm2d(1)
    >>> norm(np.array([1.0, 3.0], "float32").reshape(1, 1, 1, 2)).round(3).tolist()
    [[[[-1.0, 1.0]]]]
    >>> norm.running_mean.tolist(), norm.running_var.tolist()
    ([0.2], [1.1])
    """

    ndims = (4,)


class BatchNorm3d(BatchNorm):
    """`BatchNorm2d` of x (n, C, depth, height, width).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.BatchNorm3d(2)(np.ones((3, 2, 4, 4, 4), "float32")).shape
    (3, 2, 4, 4, 4)
    """

    ndims = (5,)


class InstanceNorm(ChannelNorm):
    """Instance normalization for every number of axes: see `InstanceNorm2d`."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: Any = "float32",
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def __call__(self, x: Array) -> Array:
        """The normalized x; in training the running statistics move."""
        self._check(x)
        if len(x.shape) == self.ndims[0]:
            return xp.squeeze(self._batched(xp.expand_dims(x, 0)), 0)
        return self._batched(x)

    def _batched(self, x: Array) -> Array:
        if not self.training and self.running_mean is not None:
            return xp.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, self.eps)
        y, mean, var = xp.normalize_instances(x, self.weight, self.bias, self.eps)
        if self.training:
            each = int(np.prod(x.shape[2:]))
            self._track(xp.mean(plain(mean), 0), xp.mean(plain(var), 0), each, self.momentum or 0.0)
        return y


class InstanceNorm1d(InstanceNorm):
    """`InstanceNorm2d` of x (n, C, length) or (C, length).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.InstanceNorm1d(1)(np.array([[1.0, 3.0]], "float32")).round(3).tolist()
    [[-1.0, 1.0]]
    """

    ndims = (2, 3)


class InstanceNorm2d(InstanceNorm):
    """`BatchNorm2d` of every example by itself: x (n, C, height, width) or (C, height, width) (Ulyanov et al. 2016).

    By default without weight, bias and running statistics. Raises `ShapeError` for a single position.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.InstanceNorm2d(3)(np.ones((2, 3, 4, 4), "float32")).shape
    (2, 3, 4, 4)
    """

    ndims = (3, 4)


class InstanceNorm3d(InstanceNorm):
    """`InstanceNorm2d` of x (n, C, depth, height, width) or (C, depth, height, width).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.InstanceNorm3d(3)(np.ones((3, 4, 4, 4), "float32")).shape
    (3, 4, 4, 4)
    """

    ndims = (4, 5)


def _last_axes(name: str, x: Array, shape: tuple[int, ...]) -> int:
    """How many axes are normalized, those at the end that have this shape."""
    if tuple(x.shape)[-len(shape) :] != shape:
        raise ShapeError(f"{name}: the last axes of x, {tuple(x.shape)}, must be normalized_shape {shape}.")
    return len(shape)
