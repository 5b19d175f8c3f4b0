"""Activations on large contiguous arrays in float32: one pass of a Numba kernel; the plain forms otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays import activations

LARGE = 1 << 15  # entries from which a kernel repays its loading


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


def sigmoid(x: Any) -> Any:
    if _served(x):
        from adjoint.arrays.numpy import activation_kernels as kernels

        return kernels.mapped(kernels.sigmoid, x)
    from scipy.special import expit

    return expit(x)
