"""Activations on large contiguous arrays in float32: one pass of a Numba kernel; the plain forms otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays import activations
from adjoint.arrays.numpy import kernels

LARGE = 1 << 15  # entries from which a kernel repays its loading
GATES = 1 << 14  # the same where those of optimizers have been loaded for arrays of this size


def _served(x: Any) -> bool:
    return type(x) is np.ndarray and x.dtype == np.float32 and x.size >= LARGE and x.flags.c_contiguous


def gelu(x: Any, approximate: str = "none") -> Any:
    if not _served(x) or approximate not in ("none", "tanh"):
        return activations.gelu.table.composed(x, approximate)  # type: ignore[attr-defined]
    loops = kernels.of("activation")
    return loops.mapped(loops.gelu_tanh if approximate == "tanh" else loops.gelu, x)


def gelu_slope(x: Any, approximate: str = "none") -> Any:
    if not _served(x):
        return activations.gelu_slope.table.composed(x, approximate)  # type: ignore[attr-defined]
    loops = kernels.of("activation")
    return loops.mapped(loops.gelu_tanh_slope if approximate == "tanh" else loops.gelu_slope, x)


def gelu_residual(x: Any, approximate: str = "none") -> Any:
    if not _served(x) or approximate not in ("none", "tanh"):
        return gelu(x, approximate), gelu_slope(x, approximate)
    loops = kernels.of("activation")
    return loops.mapped(loops.gelu_tanh_both if approximate == "tanh" else loops.gelu_both, x, 2)


def gated(u: Any, z: Any) -> Any:
    whole = type(u) is type(z) is np.ndarray and u.flags.c_contiguous and z.flags.c_contiguous
    if not (whole and u.size >= GATES and u.shape == z.shape and u.dtype == z.dtype and u.dtype.char in "fd"):
        return np.greater(z, 0.0) * u
    return kernels.of("activation").gated_by(u, z)


def sigmoid(x: Any) -> Any:
    if _served(x):
        loops = kernels.of("activation")
        return loops.mapped(loops.sigmoid, x)
    from scipy.special import expit

    return expit(x)
