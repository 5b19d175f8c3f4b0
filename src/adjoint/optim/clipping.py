"""Gradients kept within bounds, as PyTorch does it; trees in, new trees out, None where a part is frozen."""

from __future__ import annotations

import math
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.trees import flatten
from adjoint.trees import map as tree_map

EPS = 1e-6


def clip_grad_norm(
    grads: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> tuple[Any, Array]:
    """(gradients · min(1, max_norm / (norm + 1e-6)), norm), the p-norm of all entries of the tree together.

    `norm_type` is p, `math.inf` for the largest entry. A norm that is not finite goes through, as PyTorch's does,
    unless `error_if_nonfinite`, which looks at values and so is not for `jax.jit`. Raises ValueError where max_norm is
    negative or p is not positive, FloatingPointError where told to (Pascanu et al. 2013).

    >>> import numpy as np, adjoint as aj
    >>> aj.optim.clip_grad_norm({"w": np.array([3.0, 4.0]), "b": None}, max_norm=1.0)
    ({'w': array([0.6, 0.8]), 'b': None}, np.float64(5.0))
    """
    if not (max_norm >= 0 and norm_type > 0):
        raise ValueError(f"clip_grad_norm: max_norm={max_norm} must be at least 0 and norm_type={norm_type} positive.")
    norm = _norm(grads, norm_type)
    if norm is None:
        return grads, 0.0
    if error_if_nonfinite and not math.isfinite(float(norm)):
        raise FloatingPointError(
            f"clip_grad_norm: the {norm_type:g}-norm of the gradients is {float(norm)}: nothing to scale; lower "
            "the learning rate, or look for nan in the data."
        )
    return _scaled(grads, xp.minimum(max_norm / (norm + EPS), 1.0)), norm


def normalize_grad(grads: Any, norm_type: float = 2.0) -> tuple[Any, Array]:
    """(gradients / (norm + 1e-6), norm): only their direction counts; `norm_type` as for `clip_grad_norm`.

    >>> import numpy as np, adjoint as aj
    >>> aj.optim.normalize_grad({"w": np.array([3.0, 4.0])})
    ({'w': array([0.6, 0.8])}, np.float64(5.0))
    """
    if not norm_type > 0:
        raise ValueError(f"normalize_grad: norm_type={norm_type} must be positive.")
    norm = _norm(grads, norm_type)
    return (grads, 0.0) if norm is None else (_scaled(grads, 1.0 / (norm + EPS)), norm)


def clip_grad_value(grads: Any, clip_value: float) -> Any:
    """Gradients with every entry limited to [-clip_value, clip_value].

    >>> import numpy as np, adjoint as aj
    >>> aj.optim.clip_grad_value([np.array([0.5, -7.0])], 1.0)
    [array([ 0.5, -1. ])]
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value: clip_value={clip_value} must be at least 0.")
    return tree_map(lambda g: xp.clip(g, -clip_value, clip_value), grads)


def _norm(grads: Any, p: float) -> Any:
    """The p-norm of all entries; None where there is none."""
    leaves = {id(g): g for g in flatten(grads)[0] if 0 not in g.shape}.values()  # tied ones once
    if not leaves:
        return None
    if p == math.inf:
        return xp.max(xp.stack([xp.max(xp.abs(g)) for g in leaves]))
    return sum(xp.sum(xp.abs(_wide(g)) ** p) for g in leaves) ** (1.0 / p)


def _wide(g: Array) -> Array:
    """A gradient as it is; of half precision in float32, for the power of a number of 300 is no float16."""
    return xp.astype(g, "float32") if str(g.dtype).endswith("float16") else g


def _scaled(grads: Any, scale: Array) -> Any:
    return tree_map(lambda g: g * xp.astype(scale, g.dtype), grads)
