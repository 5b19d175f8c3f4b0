"""Activations on large contiguous arrays in float32: one pass of a Numba kernel; the plain forms otherwise."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from adjoint.arrays import activations

LARGE = 1 << 15  # entries from which a kernel repays its loading
GATES = 1 << 14  # the same where those of optimizers have been loaded for arrays of this size


def _served(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype == np.float32 and x.size >= LARGE and x.flags.c_contiguous


def gelu(x: Any, approximate: str = "none") -> Any:
    if not _served(x) or approximate not in ("none", "tanh"):
        return activations.gelu.table.composed(x, approximate)  # type: ignore[attr-defined]
    from adjoint.arrays.numpy import activation_kernels as kernels

    return kernels.mapped(kernels.gelu_tanh if approximate == "tanh" else kernels.gelu, x)


def gelu_slope(x: Any, approximate: str = "none") -> Any:
    if not _served(x):
        return activations.gelu_slope.table.composed(x, approximate)  # type: ignore[attr-defined]
    from adjoint.arrays.numpy import activation_kernels as kernels

    return kernels.mapped(kernels.gelu_tanh_slope if approximate == "tanh" else kernels.gelu_slope, x)


def gelu_residual(x: Any, approximate: str = "none") -> Any:
    if not _served(x) or approximate not in ("none", "tanh"):
        return gelu(x, approximate), gelu_slope(x, approximate)
    from adjoint.arrays.numpy import activation_kernels as kernels

    return kernels.mapped(kernels.gelu_tanh_both if approximate == "tanh" else kernels.gelu_both, x, 2)


def gated(u: Any, z: Any) -> Any:
    whole = type(u) is type(z) is np.ndarray and u.flags.c_contiguous and z.flags.c_contiguous
    if not (whole and u.size >= GATES and u.shape == z.shape and u.dtype == z.dtype and u.dtype.char in "fd"):
        return np.greater(z, 0.0) * u
    return _kernels().gated_by(u, z)


@functools.cache
def _kernels() -> Any:
    """The compiled loops, loaded when first needed."""
    from adjoint.arrays.numpy import activation_kernels

    return activation_kernels


def sigmoid(x: Any) -> Any:
    if _served(x):
        from adjoint.arrays.numpy import activation_kernels as kernels

        return kernels.mapped(kernels.sigmoid, x)
    from scipy.special import expit

    return expit(x)
