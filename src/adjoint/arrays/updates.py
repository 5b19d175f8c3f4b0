"""The seam's optimizer updates: lists of parameters, gradients and moments in, their successors out.

A backend whose arrays can change (NumPy, PyTorch) updates them in place and returns them; JAX returns new ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays.dispatch import Array, composition


def _number(x: Any) -> Any:
    """NumPy's scalars as Python's numbers, which widen no float32 array; others as they are."""
    return x.item() if isinstance(x, (np.generic, np.ndarray)) else x


def _bias_correction(beta: float, t: Any) -> Any:
    """1 - βᵗ, to full precision also where t is an array in float32 and β near 1."""
    if isinstance(t, (int, float)):
        return 1.0 - beta**t
    return -el.expm1(t * math.log(beta)) if beta else 1.0


@composition
def sgd_update(
    arrays: Sequence[Array],
    /,
    grads: Sequence[Array],
    velocities: Sequence[Array] | None,
    *,
    lr: Any,
    momentum: float,
    dampening: Any,
    nesterov: bool,
    weight_decay: float,
) -> tuple[list[Array], list[Array] | None]:
    """g ← g + λp; v ← μv + (1 - τ)g; p ← p - lr·v, or - lr·(g + μv) with Nesterov (PyTorch's form of SGD)."""
    lr, dampening = _number(lr), _number(dampening)
    decayed = [g + weight_decay * p for p, g in zip(arrays, grads, strict=True)] if weight_decay else grads
    if velocities is None:
        return [p - lr * g for p, g in zip(arrays, decayed, strict=True)], None
    moved = [momentum * v + (1.0 - dampening) * g for v, g in zip(velocities, decayed, strict=True)]
    steps = [g + momentum * v for g, v in zip(decayed, moved, strict=True)] if nesterov else moved
    return [p - lr * s for p, s in zip(arrays, steps, strict=True)], moved


@composition
def adam_update(
    arrays: Sequence[Array],
    /,
    grads: Sequence[Array],
    first: Sequence[Array],
    second: Sequence[Array],
    *,
    t: Any,
    lr: Any,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> tuple[list[Array], list[Array], list[Array]]:
    """Adam (Kingma & Ba 2015); decoupled weight decay is AdamW (Loshchilov & Hutter 2019).

    m ← β₁m + (1 - β₁)g; v ← β₂v + (1 - β₂)g²; p ← p - lr·λp - lr·(m/(1 - β₁ᵗ)) / (√(v/(1 - β₂ᵗ)) + eps).
    """
    (b1, b2), t, lr = betas, _number(t), _number(lr)
    c1, c2 = _bias_correction(b1, t), _bias_correction(b2, t) ** 0.5
    new_p, new_m, new_v = [], [], []
    for p, g, m, v in zip(arrays, grads, first, second, strict=True):
        if weight_decay:
            p, g = (p * (1.0 - lr * weight_decay), g) if decoupled else (p, g + weight_decay * p)
        m = b1 * m + (1.0 - b1) * g
        v = b2 * v + (1.0 - b2) * el.square(g)
        new_p.append(p - (lr / c1) * m / (el.sqrt(v) * (1.0 / c2) + eps))
        new_m.append(m)
        new_v.append(v)
    return new_p, new_m, new_v
