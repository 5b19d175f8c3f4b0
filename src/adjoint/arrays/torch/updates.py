"""Optimizer updates on PyTorch, in place: its fused kernels, else the composition's values copied into the tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adjoint.arrays import updates


def written(arrays: Any, values: Any) -> Any:
    """The tensors with the values copied into them."""
    if arrays:
        torch._foreach_copy_(list(arrays), list(values))
    return arrays


def in_place(rule: Any) -> Callable[..., Any]:
    """An update whose results are written into the parameters and states that it was given."""
    plain = rule.table.composed

    def update(arrays: Any, *states: Any, **how: Any) -> Any:
        if isinstance(how.get("t"), Tensor):
            how["t"] = how["t"].double()  # powers of it in float32 would be coarse; a scalar widens no tensor
        grads, *before = states
        new, *after = plain(arrays, grads, *before, **how)
        moved = [old and written(old, now) for old, now in zip(before, after, strict=True)]
        return written(arrays, new), *moved

    return update


def _accumulate(arrays: list[Any], scale: Any, others: Any) -> None:
    """arrays += scale · others; a tensor as scale stays one, so that a compiled step takes the next step's too."""
    if isinstance(scale, Tensor):
        torch._foreach_add_(arrays, torch._foreach_mul(others, scale))
    else:
        torch._foreach_add_(arrays, others, alpha=float(scale))


def sgd_update(
    arrays: Any,
    grads: Any,
    velocities: Any,
    *,
    lr: Any,
    momentum: Any,
    dampening: Any,
    nesterov: bool,
    weight_decay: Any,
) -> Any:
    if not arrays:
        return arrays, velocities
    steps = torch._foreach_add(grads, arrays, alpha=weight_decay) if weight_decay else grads
    if velocities is not None:
        torch._foreach_mul_(velocities, momentum)
        _accumulate(velocities, 1.0 - dampening, steps)
        steps = torch._foreach_add(steps, velocities, alpha=momentum) if nesterov else velocities
    _accumulate(arrays, -lr, steps)
    return arrays, velocities


def adam_update(
    arrays: Any,
    grads: Any,
    first: Any,
    second: Any,
    *,
    t: Any,
    lr: Any,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> Any:
    grads = [g.to(p.dtype).contiguous() for p, g in zip(arrays, grads, strict=True)]
    lists = (arrays, grads, first, second)
    groups: dict[Any, list[int]] = {}
    for i, (p, m, v) in enumerate(zip(arrays, first, second, strict=True)):
        # the fused kernels walk memory without looking at strides, over lists of one device and dtype
        fits = p.is_contiguous() and m.is_contiguous() and v.is_contiguous() and p.dtype == m.dtype == v.dtype
        groups.setdefault((p.device, p.dtype) if fits else None, []).append(i)
    lr = lr if isinstance(lr, Tensor) else float(lr)
    for alike, members in groups.items():
        ps, gs, ms, vs = ([xs[i] for i in members] for xs in lists)
        if alike:
            step = torch.as_tensor(t, dtype=torch.float32, device=alike[0])
            fused: Any = torch._fused_adamw_ if decoupled else torch._fused_adam_
            how = {"beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": weight_decay}
            fused(ps, gs, ms, vs, [], [step] * len(ps), lr=lr, amsgrad=False, maximize=False, **how)
        else:
            plain: Any = updates.adam_update.table.composed  # type: ignore[attr-defined]
            rest = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "decoupled": decoupled}
            for old, new in zip((ps, ms, vs), plain(ps, gs, ms, vs, t=t, lr=lr, **rest), strict=True):
                torch._foreach_copy_(old, new)
    return arrays, first, second


amsgrad_update = in_place(updates.amsgrad_update)
adagrad_update = in_place(updates.adagrad_update)
adadelta_update = in_place(updates.adadelta_update)
rmsprop_update = in_place(updates.rmsprop_update)
adamax_update = in_place(updates.adamax_update)
nadam_update = in_place(updates.nadam_update)
radam_update = in_place(updates.radam_update)
rprop_update = in_place(updates.rprop_update)
asgd_update = in_place(updates.asgd_update)
lion_update = in_place(updates.lion_update)
muon_update = in_place(updates.muon_update)
adafactor_update = in_place(updates.adafactor_update)


def average_update(arrays: Any, others: Any, *, rate: Any) -> Any:
    return (written(arrays, updates.average_update.table.composed(arrays, others, rate=rate)[0]),)  # type: ignore[attr-defined]
