"""Convolutions of periodic inputs: the discrete Fourier transform makes them a small matrix for every frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from adjoint.maps.algebra import Composition, Kronecker
from adjoint.maps.base import LinearMap
from adjoint.maps.convolution import Convolution
from adjoint.maps.elementary import Identity
from adjoint.maps.flat import epsilon, numbers, to_numpy
from adjoint.maps.layout import Take
from adjoint.maps.spaces import size
from adjoint.maps.spectra.budget import affordable
from adjoint.maps.spectra.spectrum import EPSILON, Spectrum, svd_error


def periodic(map: Composition) -> Spectrum | None:
    """The values of a convolution, stride 1, of an input that was extended periodically to keep its size.

    The Fourier transform is orthogonal up to a factor and turns shifts into numbers, so the values are those of the
    (O, C) matrices Σₖ weight[:, :, k] exp(2πi f k) at all frequencies f (Sedghi et al. 2018).
    """
    found = taken_apart(map.maps)
    if found is None:
        return None
    A, sizes, copies = found
    out, per, *kernel = A.weight.shape
    groups, count = A.groups, math.prod(sizes)
    if not affordable(2 * out // groups, per, count=count * groups):
        return None
    weight = numbers(A.weight)
    places = [d * np.arange(k) % n for d, k, n in zip(A.window.dilation, kernel, sizes, strict=True)]
    wrapped = np.zeros((*sizes, out, per))
    np.add.at(wrapped, np.ix_(*places), np.moveaxis(weight, (0, 1), (-2, -1)))
    transfer = np.fft.fftn(wrapped, axes=range(len(sizes)))
    values = np.linalg.svd(transfer.reshape(count, groups, out // groups, per), compute_uv=False)
    rounding = EPSILON * (2.0 + math.log2(count + 1.0)) * float(np.linalg.norm(weight)) * math.prod(kernel) ** 0.5
    bound = svd_error((out // groups, per), values) + rounding
    return Spectrum(map.shape, epsilon(map), values.ravel(), bound.ravel(), "fft", copies)


def taken_apart(maps: Sequence[LinearMap]) -> tuple[Convolution, tuple[int, ...], int] | None:
    """(convolution, sizes of its periodic input, how many examples) of a convolution after periodic extensions."""
    first: Any = maps[0]
    copies = 1
    if isinstance(first, Kronecker) and isinstance(first.left, Identity):
        first, copies = first.right, size(first.left.in_shape)
    if not isinstance(first, Convolution) or len(maps) < 2:
        return None
    sizes = first.out_shape[1:]
    plain = max(first.window.stride) == 1 and not any(map(any, first.window.padding))
    axes = {m.axis for m in maps[1:] if isinstance(m, Take)}
    if not plain or len(axes) < len(maps) - 1 or min(axes) < -len(sizes):
        return None
    if tuple(maps[-1].in_shape[-len(sizes) :]) != sizes or any(not extends(m) for m in maps[1:]):
        return None
    return first, sizes, copies


def extends(m: LinearMap) -> bool:
    """Whether a gather walks around its axis in steps of one, so that it extends it periodically."""
    if not isinstance(m, Take) or len(m.indices.shape) != 1:
        return False
    n, places = m.in_shape[m.axis], to_numpy(m.indices).tolist()
    return all((b - a) % n == 1 % n for a, b in pairwise(places))
