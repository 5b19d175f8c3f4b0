"""The seam's resampling: linear maps that act along each axis by itself, interpolation, and shuffles of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array, composition, is_floating
from adjoint.arrays.layout import asarray, pad, permute, reshape, take
from adjoint.arrays.pooling_windows import adaptive_windows
from adjoint.arrays.reductions import sum
from adjoint.arrays.resampling_taps import NEAREST, Taps, averaging, interpolating
from adjoint.errors import DtypeError, ShapeError

AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
MODES = (*NEAREST, "area", *AXES)


@composition
def resample(x: Array, /, taps: Sequence[Taps]) -> Array:
    """x with the matrix of `taps[a]` applied along each of its last axes: (W₁ ⊗ W₂ ⊗ …) x."""
    check_floating("resample", x, taps)
    for axis in in_order(taps):
        x = _along(x, axis, taps[axis])
    return x


def in_order(taps: Sequence[Taps]) -> list[int]:
    """The axes to resample, as negative numbers: those that shrink first, so that the least is moved."""
    axes = [a for a in range(-len(taps), 0) if not taps[a].keeps]
    return [a for a in axes if taps[a].count <= taps[a].size] + [a for a in axes[::-1] if taps[a].count > taps[a].size]


def check_floating(name: str, x: Array, taps: Sequence[Taps]) -> None:
    """Raise where weights would be rounded to the integers that x holds."""
    if not (is_floating(x.dtype) or all(t.selects for t in taps)):
        raise DtypeError(f"{name}: entries are {x.dtype}, floating ones are needed: cast with aj.astype(x, 'float32').")


def _along(x: Array, axis: int, taps: Taps) -> Array:
    if taps.padded:
        x = pad(x, [(0, int(a == len(x.shape) + axis)) for a in range(len(x.shape))])
    if taps.selects:
        return take(x, taps.indices[:, 0], axis)
    weights = asarray(x, taps.weights.reshape(taps.count, taps.width, *(1,) * (-axis - 1)), x.dtype)
    return sum(take(x, taps.indices, axis) * weights, axis)


@composition
def interpolate(
    x: Array, /, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Array:  # fmt: skip
    """x (batch, channels, …) resampled to `size` or by `scale_factor`, along its one to three last axes.

    mode is "nearest" (PyTorch's, of the entry before), "nearest-exact" (of the nearest centre), "linear" (one axis),
    "bilinear", "bicubic" (two; Keys 1981), "trilinear" (three) or "area" (the mean over the entries that a sample
    covers). With align_corners the corners of input and output are the same samples, else the same areas. antialias
    widens the kernels of "bilinear" and "bicubic" where the axes shrink. Raises ValueError, ShapeError.

    >>> import numpy as np, adjoint as aj
    >>> aj.interpolate(np.array([[[0.0, 2.0]]]), scale_factor=2, mode="linear").tolist()
    [[[0.0, 0.5, 1.5, 2.0]]]
    >>> aj.jacobian(lambda x: aj.interpolate(x, size=4), np.ones((1, 1, 2)))
    Resampling: (1, 1, 2) → (1, 1, 4)
    """
    spatial = tuple(x.shape)[2:]
    _check_mode(spatial, mode, align_corners, antialias)
    sizes, scales = _sizes(spatial, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        each = [
            averaging(adaptive_windows("interpolate", n, m), True, None) for n, m in zip(spatial, sizes, strict=True)
        ]
    else:
        each = [
            interpolating(mode, n, m, scale, bool(align_corners), antialias)
            for n, m, scale in zip(spatial, sizes, scales, strict=True)
        ]
    return resample(x, tuple(each))


def _check_mode(spatial: tuple[int, ...], mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in MODES:
        raise ValueError(f"interpolate: mode is one of {', '.join(MODES)}, not {mode!r}.")
    if not 1 <= len(spatial) <= 3 or AXES.get(mode, len(spatial)) != len(spatial):
        axes = AXES.get(mode)
        raise ShapeError(
            f"interpolate: mode {mode!r} takes (batch, channels, …) with {axes or 'one to three'} "
            f"{'axis' if axes == 1 else 'axes'} to resample, got {len(spatial) if spatial else 'none'}."
        )
    if align_corners is not None and mode not in AXES:
        raise ValueError(f"interpolate: align_corners is for the modes {', '.join(AXES)}, not {mode!r}.")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is for the modes bilinear and bicubic, not {mode!r}.")


def _sizes(
    spatial: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """The sizes of the result, and the scales that its coordinates are made of (None: those of the sizes)."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor.")
    n = len(spatial)
    given = scale_factor if size is None else size
    each = list(given) if isinstance(given, (tuple, list)) else [given] * n
    if len(each) != n:
        what = "scale_factor" if size is None else "size"
        raise ShapeError(f"interpolate: {what} {given!r} has {len(each)} entries for {n} axes.")
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor goes with scale_factor, not with size.")
        return [int(m) for m in each], [None] * n
    scales = [float(scale) for scale in each]
    sizes = [math.floor(m * scale) for m, scale in zip(spatial, scales, strict=True)]
    return sizes, [None] * n if recompute else [*scales]


@composition
def pixel_shuffle(x: Array, /, upscale_factor: int) -> Array:
    """(…, C·r², H, W) to (…, C, H·r, W·r): r² channels become r×r pixels (Shi et al. 2016).

    >>> import numpy as np, adjoint as aj
    >>> aj.pixel_shuffle(np.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """
    *lead, c, h, w = _image("pixel_shuffle", x)
    r = _factor("pixel_shuffle", upscale_factor)
    if c % (r * r):
        raise ShapeError(f"pixel_shuffle: {c} channels are not a multiple of {r}² for upscale_factor {r}.")
    b = len(lead)
    parts = reshape(x, (*lead, c // (r * r), r, r, h, w))
    return reshape(permute(parts, (*range(b), b, b + 3, b + 1, b + 4, b + 2)), (*lead, c // (r * r), h * r, w * r))


@composition
def pixel_unshuffle(x: Array, /, downscale_factor: int) -> Array:
    """(…, C, H·r, W·r) to (…, C·r², H, W): the inverse of `pixel_shuffle`.

    >>> import numpy as np, adjoint as aj
    >>> aj.pixel_unshuffle(np.arange(4).reshape(1, 2, 2), 2).ravel().tolist()
    [0, 1, 2, 3]
    """
    *lead, c, h, w = _image("pixel_unshuffle", x)
    r = _factor("pixel_unshuffle", downscale_factor)
    if h % r or w % r:
        raise ShapeError(f"pixel_unshuffle: an image of {(h, w)} does not divide by downscale_factor {r}.")
    b = len(lead)
    parts = reshape(x, (*lead, c, h // r, r, w // r, r))
    return reshape(permute(parts, (*range(b), b, b + 2, b + 4, b + 1, b + 3)), (*lead, c * r * r, h // r, w // r))


@composition
def channel_shuffle(x: Array, /, groups: int) -> Array:
    """Channels, axis 1, dealt out anew: the i-th of every group of C/groups in turn (Zhang et al. 2018, ShuffleNet).

    >>> import numpy as np, adjoint as aj
    >>> aj.channel_shuffle(np.arange(4).reshape(1, 4, 1), 2).ravel().tolist()
    [0, 2, 1, 3]
    """
    shape = tuple(x.shape)
    if len(shape) < 3:
        raise ShapeError(f"channel_shuffle: x is (batch, channels, …) with three axes at least, got {shape}.")
    n, c, *rest = shape
    if groups < 1 or c % groups:
        raise ShapeError(f"channel_shuffle: {c} channels do not divide into {groups} groups.")
    parts = reshape(x, (n, groups, c // groups, *rest))
    return reshape(permute(parts, (0, 2, 1, *range(3, len(parts.shape)))), shape)


def _image(name: str, x: Array) -> tuple[int, ...]:
    shape = tuple(x.shape)
    if len(shape) < 3:
        raise ShapeError(f"{name}: x is (…, channels, height, width), got {shape}.")
    return shape


def _factor(name: str, r: Any) -> int:
    if not isinstance(r, (int, np.integer)) or r < 1:
        raise ShapeError(f"{name}: the factor is a positive integer, not {r!r}.")
    return int(r)
