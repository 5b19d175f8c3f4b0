"""The seam's optimizer updates: lists of parameters, gradients and moments in, their successors out.

All have one form, rule(arrays, grads, *states, lr=…, options) -> (arrays, *states), with t=…, the number of the step,
counted from 1, where a rule looks at it; a state that the options make needless is None. A backend whose arrays can
change (NumPy, PyTorch) updates them in place and returns them; JAX returns new ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.layout import astype, swapaxes, zeros_like
from adjoint.arrays.products import matmul
from adjoint.arrays.reductions import mean, norm

Arrays = Sequence[Array]


def _number(x: Any) -> Any:
    """NumPy's scalars as Python's numbers, which widen no float32 array; others as they are."""
    return x.item() if isinstance(x, (np.generic, np.ndarray)) else x


def _power(base: float, t: Any) -> Any:
    """baseᵗ, to full precision also where t is an array in float32 and the base near 1."""
    if isinstance(t, (int, float)):
        return base**t
    return el.exp(t * math.log(base)) if base else 0.0


def _bias_correction(beta: float, t: Any) -> Any:
    """1 - βᵗ, to full precision also where t is an array in float32 and β near 1."""
    if isinstance(t, (int, float)):
        return 1.0 - beta**t
    return -el.expm1(t * math.log(beta)) if beta else 1.0


def _decayed(arrays: Arrays, grads: Arrays, weight_decay: float) -> Arrays:
    """g + λp: the gradients of the loss with ½ λ‖p‖² added."""
    return [g + weight_decay * p for p, g in zip(arrays, grads, strict=True)] if weight_decay else grads


def _shrunk(arrays: Arrays, lr: Any, weight_decay: float) -> Arrays:
    """p - lr·λp: weight decay that is no part of the gradient (Loshchilov & Hutter 2019)."""
    return [p * (1.0 - lr * weight_decay) for p in arrays] if weight_decay else arrays


def _averaged(averages: Arrays, values: Arrays, beta: float) -> list[Array]:
    """βm + (1 - β)x."""
    return [beta * m + (1.0 - beta) * x for m, x in zip(averages, values, strict=True)]


def _squares(grads: Arrays) -> list[Array]:
    return [el.square(g) for g in grads]


@composition
def sgd_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    velocities: Arrays | None,
    *,
    lr: Any,
    momentum: float,
    dampening: Any,
    nesterov: bool,
    weight_decay: float,
) -> tuple[list[Array], list[Array] | None]:
    """g ← g + λp; v ← μv + (1 - τ)g; p ← p - lr·v, or - lr·(g + μv) with Nesterov (PyTorch's form of SGD)."""
    lr, dampening = _number(lr), _number(dampening)
    decayed = _decayed(arrays, grads, weight_decay)
    if velocities is None:
        return [p - lr * g for p, g in zip(arrays, decayed, strict=True)], None
    moved = [momentum * v + (1.0 - dampening) * g for v, g in zip(velocities, decayed, strict=True)]
    steps = [g + momentum * v for g, v in zip(decayed, moved, strict=True)] if nesterov else moved
    return [p - lr * s for p, s in zip(arrays, steps, strict=True)], moved


@composition
def adam_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    first: Arrays,
    second: Arrays,
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


@composition
def amsgrad_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    first: Arrays,
    second: Arrays,
    largest: Arrays,
    *,
    t: Any,
    lr: Any,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> tuple[list[Array], ...]:
    """Adam whose divisor never shrinks: the largest v so far takes its place (Reddi et al. 2018)."""
    (b1, b2), t, lr = betas, _number(t), _number(lr)
    rate, scale = lr / _bias_correction(b1, t), _bias_correction(b2, t) ** -0.5
    if decoupled:
        arrays = _shrunk(arrays, lr, weight_decay)
    else:
        grads = _decayed(arrays, grads, weight_decay)
    first, second = _averaged(first, grads, b1), _averaged(second, _squares(grads), b2)
    largest = [el.maximum(w, v) for w, v in zip(largest, second, strict=True)]
    moments = zip(arrays, first, largest, strict=True)
    return [p - rate * m / (el.sqrt(w) * scale + eps) for p, m, w in moments], first, second, largest


@composition
def adagrad_update(
    arrays: Arrays, /, grads: Arrays, sums: Arrays, *, t: Any, lr: Any, lr_decay: float, weight_decay: float, eps: float
) -> tuple[list[Array], list[Array]]:
    """s ← s + g²; p ← p - lr/(1 + (t - 1)η) · g/(√s + eps) (Duchi et al. 2011)."""
    rate = _number(lr) / (1.0 + (_number(t) - 1) * lr_decay)
    grads = _decayed(arrays, grads, weight_decay)
    sums = [s + el.square(g) for s, g in zip(sums, grads, strict=True)]
    return [p - rate * g / (el.sqrt(s) + eps) for p, g, s in zip(arrays, grads, sums, strict=True)], sums


@composition
def adadelta_update(
    arrays: Arrays, /, grads: Arrays, second: Arrays, steps: Arrays, *, lr: Any, rho: float, eps: float,
    weight_decay: float,
) -> tuple[list[Array], ...]:  # fmt: skip
    """v ← ρv + (1 - ρ)g²; d = √(s + eps)/√(v + eps) · g; s ← ρs + (1 - ρ)d²; p ← p - lr·d (Zeiler 2012)."""
    lr = _number(lr)
    grads = _decayed(arrays, grads, weight_decay)
    second = _averaged(second, _squares(grads), rho)
    moves = [el.sqrt(s + eps) / el.sqrt(v + eps) * g for s, v, g in zip(steps, second, grads, strict=True)]
    return [p - lr * d for p, d in zip(arrays, moves, strict=True)], second, _averaged(steps, _squares(moves), rho)


@composition
def rmsprop_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    second: Arrays,
    first: Arrays | None,
    velocities: Arrays | None,
    *,
    lr: Any,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> tuple[Any, ...]:
    """v ← αv + (1 - α)g²; d = g/(√v + eps), √(v - m²) where centred by the mean m; p ← p - lr·d (Hinton 2012).

    With velocities u ← μu + d and p ← p - lr·u.
    """
    lr = _number(lr)
    grads = _decayed(arrays, grads, weight_decay)
    spread = second = _averaged(second, _squares(grads), alpha)
    if first is not None:
        first = _averaged(first, grads, alpha)
        spread = [v - el.square(m) for v, m in zip(second, first, strict=True)]
    steps = [g / (el.sqrt(v) + eps) for g, v in zip(grads, spread, strict=True)]
    if velocities is not None:
        steps = velocities = [momentum * u + d for u, d in zip(velocities, steps, strict=True)]
    return [p - lr * d for p, d in zip(arrays, steps, strict=True)], second, first, velocities


@composition
def adamax_update(
    arrays: Arrays, /, grads: Arrays, first: Arrays, largest: Arrays, *, t: Any, lr: Any, betas: tuple[float, float],
    eps: float, weight_decay: float,
) -> tuple[list[Array], ...]:  # fmt: skip
    """m ← β₁m + (1 - β₁)g; u ← max(β₂u, |g| + eps); p ← p - lr/(1 - β₁ᵗ) · m/u (Kingma & Ba 2015)."""
    b1, b2 = betas
    rate = _number(lr) / _bias_correction(b1, _number(t))
    grads = _decayed(arrays, grads, weight_decay)
    first = _averaged(first, grads, b1)
    largest = [el.maximum(b2 * u, el.abs(g) + eps) for u, g in zip(largest, grads, strict=True)]
    return [p - rate * m / u for p, m, u in zip(arrays, first, largest, strict=True)], first, largest


@composition
def nadam_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    first: Arrays,
    second: Arrays,
    product: Arrays,
    *,
    t: Any,
    lr: Any,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled_weight_decay: bool,
) -> tuple[list[Array], ...]:
    """Adam with Nesterov's momentum (Dozat 2016): μₜ = β₁(1 - ½ 0.96^(tψ)), `product` holds Π μ up to the last step.

    p ← p - lr ((1 - μₜ)/(1 - Π μ) g + μₜ₊₁/(1 - μₜ₊₁ Π μ) m) / (√(v/(1 - β₂ᵗ)) + eps).
    """
    (b1, b2), t, lr = betas, _number(t), _number(lr)
    now, then = (b1 * (1.0 - 0.5 * _power(0.96, k * momentum_decay)) for k in (t, t + 1))
    done = _number(product[0]) * now
    ahead, past = lr * (1.0 - now) / (1.0 - done), lr * then / (1.0 - done * then)
    if decoupled_weight_decay:
        arrays = _shrunk(arrays, lr, weight_decay)
    else:
        grads = _decayed(arrays, grads, weight_decay)
    first, second = _averaged(first, grads, b1), _averaged(second, _squares(grads), b2)
    scale = _bias_correction(b2, t) ** -0.5
    new = [
        p - (ahead * g + past * m) / (el.sqrt(v) * scale + eps)
        for p, g, m, v in zip(arrays, grads, first, second, strict=True)
    ]
    return new, first, second, [product[0] * now]


@composition
def radam_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    first: Arrays,
    second: Arrays,
    *,
    t: Any,
    lr: Any,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled_weight_decay: bool,
) -> tuple[list[Array], ...]:
    """Adam that divides by √v only once v is known well enough (Liu et al. 2020).

    ρ∞ = 2/(1 - β₂) - 1, ρ = ρ∞ - 2tβ₂ᵗ/(1 - β₂ᵗ); where ρ > 5 the step is lr·m̂·r·√(1 - β₂ᵗ)/(√v + eps) with
    r² = (ρ - 4)(ρ - 2)ρ∞/((ρ∞ - 4)(ρ∞ - 2)ρ), before that lr·m̂.
    """
    (b1, b2), t, lr = betas, _number(t), _number(lr)
    rate, c2, most = lr / _bias_correction(b1, t), _bias_correction(b2, t), 2.0 / (1.0 - b2) - 1.0
    rho = most - 2.0 * t * _power(b2, t) / c2
    known = pw.greater(rho, 5.0)
    sure = el.where(known, rho, 6.0)
    limit = (most - 4.0) * (most - 2.0) if most > 5.0 else 1.0  # below, v is never known
    known, factor = _number(known), _number(((sure - 4.0) * (sure - 2.0) * most * c2 / (limit * sure)) ** 0.5)
    if decoupled_weight_decay:
        arrays = _shrunk(arrays, lr, weight_decay)
    else:
        grads = _decayed(arrays, grads, weight_decay)
    first, second = _averaged(first, grads, b1), _averaged(second, _squares(grads), b2)
    new = [
        p - rate * m * el.where(known, factor / (el.sqrt(v) + eps), 1.0)
        for p, m, v in zip(arrays, first, second, strict=True)
    ]
    return new, first, second


@composition
def rprop_update(
    arrays: Arrays, /, grads: Arrays, previous: Arrays, sizes: Arrays, *, lr: Any, etas: tuple[float, float],
    step_sizes: tuple[float, float],
) -> tuple[list[Array], ...]:  # fmt: skip
    """p ← p - Δ sign g: Δ grows by η₊ where the sign stays, and shrinks by η₋, without a step, where it turns.

    Δ is an entry's own, begins with lr and stays within `step_sizes` (Riedmiller & Braun 1993).
    """
    (less, more), (least, most) = etas, step_sizes
    signs = [pw.sign(g * h) for g, h in zip(grads, previous, strict=True)]
    factors = [el.where(pw.greater(s, 0.0), more, el.where(pw.less(s, 0.0), less, el.abs(s) + 1.0)) for s in signs]
    sizes = [el.clip(d * f, least, most) for d, f in zip(sizes, factors, strict=True)]
    kept = [el.where(pw.less(s, 0.0), zeros_like(g), g) for s, g in zip(signs, grads, strict=True)]
    return [p - d * pw.sign(g) for p, d, g in zip(arrays, sizes, kept, strict=True)], kept, sizes


@composition
def asgd_update(
    arrays: Arrays, /, grads: Arrays, averages: Arrays, *, t: Any, lr: Any, lambd: float, alpha: float, t0: float,
    weight_decay: float,
) -> tuple[list[Array], ...]:  # fmt: skip
    """p ← (1 - λη)p - ηg, η = lr/(1 + λ lr (t - 1))^α; a ← a + (p - a)/max(1, t - 1 - t₀) (Polyak & Juditsky 1992)."""
    t, lr = _number(t), _number(lr)
    rate = lr * (1.0 + lambd * lr * (t - 1)) ** -alpha
    share = 1.0 / _number(el.maximum(t - 1.0 - t0, 1.0))
    grads = _decayed(arrays, grads, weight_decay)
    new = [p * (1.0 - lambd * rate) - rate * g for p, g in zip(arrays, grads, strict=True)]
    return new, [a + (p - a) * share for a, p in zip(averages, new, strict=True)]


@composition
def lion_update(
    arrays: Arrays, /, grads: Arrays, first: Arrays, *, lr: Any, betas: tuple[float, float], weight_decay: float
) -> tuple[list[Array], list[Array]]:
    """p ← p - lr (sign(β₁m + (1 - β₁)g) + λp); m ← β₂m + (1 - β₂)g (Chen et al. 2023, algorithm 2)."""
    (b1, b2), lr = betas, _number(lr)
    signs = [pw.sign(x) for x in _averaged(first, grads, b1)]
    new = [p - lr * s for p, s in zip(_shrunk(arrays, lr, weight_decay), signs, strict=True)]
    return new, _averaged(first, grads, b2)


def orthogonalized(x: Array, coefficients: tuple[float, float, float], eps: float, steps: int) -> Array:
    """U S Vᵀ with S near 1, for x = U Σ Vᵀ: `steps` times x ← ax + (bA + cA²)x, A = xxᵀ, from x/‖x‖ (Jordan 2024)."""
    a, b, c = coefficients
    tall = x.shape[-2] > x.shape[-1]
    x = swapaxes(x, -1, -2) if tall else x
    x = x / el.maximum(norm(x), eps)
    for _ in range(steps):
        gram = matmul(x, swapaxes(x, -1, -2))
        x = a * x + matmul(b * gram + c * matmul(gram, gram), x)
    return swapaxes(x, -1, -2) if tall else x


@composition
def muon_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    first: Arrays,
    *,
    lr: Any,
    weight_decay: float,
    momentum: float,
    nesterov: bool,
    ns_coefficients: tuple[float, float, float],
    eps: float,
    ns_steps: int,
    adjust_lr_fn: str | None,
) -> tuple[list[Array], list[Array]]:
    """m ← μm + (1 - μ)g; p ← p - lr·λp - lr·r·O, O the orthogonal factor of μm + (1 - μ)g (Jordan et al. 2024).

    The factor is Newton–Schulz's (in half precision computed in float32); r = √max(1, rows/columns), or
    0.2 √max(rows, columns) for "match_rms_adamw" (Liu et al. 2025).
    """
    lr = _number(lr)
    first = _averaged(first, grads, momentum)
    steps = _averaged(grads, first, 1.0 - momentum) if nesterov else first
    new = []
    for p, x in zip(_shrunk(arrays, lr, weight_decay), steps, strict=True):
        rows, columns = x.shape
        ratio = 0.04 * max(rows, columns) if adjust_lr_fn == "match_rms_adamw" else max(1.0, rows / columns)
        exact = x if x.dtype.itemsize > 2 else astype(x, "float32")
        new.append(p - lr * ratio**0.5 * astype(orthogonalized(exact, ns_coefficients, eps, ns_steps), x.dtype))
    return new, first


@composition
def adafactor_update(
    arrays: Arrays,
    /,
    grads: Arrays,
    rows: Arrays,
    columns: Arrays,
    *,
    t: Any,
    lr: Any,
    beta2_decay: float,
    eps: tuple[float | None, float],
    d: float,
    weight_decay: float,
) -> tuple[list[Array], ...]:
    """Adam's divisor kept as row and column means of g², for matrices (Shazeer & Stern 2018), as PyTorch has it.

    γ = t^(β₂ decay); r ← r + γ(mean(g²) - r) over columns, c over rows, v = r c / mean r; u = g/√max(v, eps₁²);
    p ← p - lr·λp - max(eps₂, rms p) min(lr, 1/√t) u / max(1, rms(u)/d). A vector has v itself for `rows`.
    """
    t, lr = _number(t), _number(lr)
    part, rho = t**beta2_decay, _number(el.minimum(lr, t**-0.5))
    found: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
    for p, g, r, c in zip(arrays, grads, rows, columns, strict=True):
        tiny = _machine_eps(p.dtype) if eps[0] is None else eps[0]
        size = el.maximum(_rms(p), eps[1])
        square = el.square(g)
        if len(p.shape) > 1:
            r = r + (mean(square, -1, True) - r) * part
            c = c + (mean(square, -2, True) - c) * part
            v = r * c / el.maximum(mean(r, -2, True), tiny)
        else:
            v = r = r + (square - r) * part
        u = el.rsqrt(el.maximum(v, tiny**2)) * g
        p = p * (1.0 - lr * weight_decay) if weight_decay else p
        p = p - size * rho / el.maximum(_rms(u) * (1.0 / d), 1.0) * u
        for new, x in zip(found, (p, r, c), strict=True):
            new.append(x)
    return found


def _rms(x: Array) -> Array:
    return norm(x) * (1.0 / max(1, math.prod(x.shape)) ** 0.5)


def _machine_eps(dtype: Any) -> float:
    """The distance from 1 to the next number."""
    bits = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
    return 2.0 ** -bits[str(dtype).rpartition(".")[2]]


@composition
def average_update(arrays: Arrays, /, others: Arrays, *, rate: Any) -> tuple[list[Array]]:
    """a ← a + rate (x - a)."""
    return ([a + (x - a) * astype(rate, a.dtype) for a, x in zip(arrays, others, strict=True)],)
