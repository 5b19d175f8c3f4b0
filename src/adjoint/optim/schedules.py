"""Learning rates as functions of the step, counted from 0: pass them to `fit`, or their value to `Optimizer.step`."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(lr: float, warmup: int = 0) -> Schedule:
    """The rate lr, after `warmup` steps in which it grows linearly: lr · (step + 1) / warmup.

    >>> import adjoint as aj
    >>> [aj.optim.constant(0.5, warmup=2)(step) for step in range(3)]
    [0.25, 0.5, 0.5]
    """
    _positive("constant", lr, warmup)
    return lambda step: lr * min(1.0, (step + 1) / warmup) if warmup else lr


def cosine(lr: float, steps: int, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Half a cosine wave from lr at step `warmup` to `final` at step `steps` and beyond, after a linear warm-up.

    final + (lr - final) (1 + cos π(step - warmup)/(steps - warmup)) / 2 (Loshchilov & Hutter 2017, without restarts).

    Raises ValueError unless 0 ≤ warmup < steps and the rates are at least 0.

    >>> import adjoint as aj
    >>> [round(aj.optim.cosine(1.0, steps=4)(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    _positive("cosine", lr, warmup)
    if warmup >= steps or final < 0:
        raise ValueError(f"cosine: warmup={warmup} must be less than steps={steps}, and final={final} at least 0.")
    rising = constant(lr, warmup)

    def rate(step: int) -> float:
        if step < warmup:
            return rising(step)
        done = min(1.0, (step - warmup) / (steps - warmup))
        return final + (lr - final) * (1.0 + math.cos(math.pi * done)) / 2.0

    return rate


def _positive(name: str, lr: float, warmup: int) -> None:
    if lr < 0 or warmup < 0:
        raise ValueError(f"{name}: lr={lr} and warmup={warmup} must be at least 0.")
