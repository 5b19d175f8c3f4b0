"""Convolutions of inputs that were extended periodically, recognized: their values are those of their symbol."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Composition, Kronecker
from adjoint.maps.convolution import Convolution
from adjoint.maps.elementary import Identity
from adjoint.maps.flat import epsilon, numbers, to_numpy
from adjoint.maps.layout import Take
from adjoint.maps.spaces import size
from adjoint.maps.spectra.budget import affordable
from adjoint.maps.spectra.spectrum import Spectrum
from adjoint.maps.spectra.symbol import Symbol


def periodic(map: Composition) -> Spectrum | None:
    """The values of a convolution, stride 1, of an input that was extended periodically to keep its size."""
    found = taken_apart(map.maps)
    if found is None:
        return None
    A, sizes, copies = found
    symbol = Symbol(tuple(A.weight.shape), sizes, A.window.stride, A.window.dilation, A.groups)
    if not affordable(2 * symbol.shape[0], symbol.shape[1], count=symbol.count):
        return None
    values, bound, counts = symbol.values(numbers(A.weight))
    each = np.repeat(copies * counts, values.shape[-1])
    return Spectrum(map.shape, epsilon(map), values.ravel(), bound.ravel(), "fft", each)


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
