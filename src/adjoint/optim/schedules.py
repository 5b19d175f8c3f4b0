"""Learning rates as functions of the step, counted from 0: pass them to `fit`, or their value to `Optimizer.step`."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

Schedule = Callable[[int], float]


def constant(lr: float, warmup: int = 0) -> Schedule:
    """The rate lr, after `warmup` steps in which it grows linearly: lr · (step + 1) / warmup.

    >>> import adjoint as aj
    >>> [aj.optim.constant(0.5, warmup=2)(step) for step in range(3)]
    [0.25, 0.5, 0.5]
    """
    _at_least_0("constant", lr=lr, warmup=warmup)
    return warmed(lambda step: lr, warmup)


def warmed(schedule: Schedule, warmup: int) -> Schedule:
    """The schedule after `warmup` steps that grow linearly to where it begins: schedule(0) · (step + 1) / warmup.

    >>> import adjoint as aj
    >>> [round(aj.optim.warmed(aj.optim.exponential(1.0, 0.5), 2)(step), 3) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.25]
    """
    _at_least_0("warmed", warmup=warmup)
    return lambda step: schedule(0) * (step + 1) / warmup if step < warmup else schedule(step - warmup)


def sequential(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """One schedule after another: the next begins, at its step 0, at each milestone, as PyTorch's SequentialLR.

    >>> import adjoint as aj
    >>> rate = aj.optim.sequential([aj.optim.constant(0.1), aj.optim.exponential(1.0, 0.5)], [2])
    >>> [rate(step) for step in range(4)]
    [0.1, 0.1, 1.0, 0.5]
    """
    if len(milestones) != len(schedules) - 1 or [*milestones] != sorted(milestones):
        raise ValueError(
            f"sequential: {len(schedules)} schedules have {len(schedules) - 1} rising milestones between them, got "
            f"{[*milestones]}."
        )
    starts = [0, *milestones]

    def rate(step: int) -> float:
        now = bisect_right(milestones, step)
        return schedules[now](step - starts[now])

    return rate


def step_decay(lr: float, step_size: int, gamma: float = 0.1) -> Schedule:
    """lr · γ^⌊step / step_size⌋, as PyTorch's StepLR.

    >>> import adjoint as aj
    >>> [aj.optim.step_decay(1.0, 2, gamma=0.5)(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    _at_least_0("step_decay", lr=lr, gamma=gamma)
    _positive("step_decay", step_size=step_size)
    return lambda step: lr * gamma ** (step // step_size)


def multi_step(lr: float, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """lr · γ to the number of milestones reached, as PyTorch's MultiStepLR.

    >>> import adjoint as aj
    >>> [aj.optim.multi_step(1.0, [1, 3], gamma=0.5)(step) for step in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """
    _at_least_0("multi_step", lr=lr, gamma=gamma)
    rising = sorted(milestones)
    return lambda step: lr * gamma ** bisect_right(rising, step)


def exponential(lr: float, gamma: float) -> Schedule:
    """lr · γ^step, as PyTorch's ExponentialLR.

    >>> import adjoint as aj
    >>> [aj.optim.exponential(1.0, 0.5)(step) for step in range(3)]
    [1.0, 0.5, 0.25]
    """
    _at_least_0("exponential", lr=lr, gamma=gamma)
    return lambda step: lr * gamma**step


def linear(lr: float, steps: int, start: float = 1.0 / 3.0, end: float = 1.0) -> Schedule:
    """A straight line from lr · start to lr · end at step `steps` and beyond, as PyTorch's LinearLR.

    >>> import adjoint as aj
    >>> [aj.optim.linear(1.0, 2, start=0.5)(step) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """
    _at_least_0("linear", lr=lr, start=start, end=end)
    _positive("linear", steps=steps)
    return lambda step: lr * (start + (end - start) * min(1.0, step / steps))


def polynomial(lr: float, steps: int, power: float = 1.0) -> Schedule:
    """lr · (1 - step/steps)^power, 0 from step `steps` on, as PyTorch's PolynomialLR.

    >>> import adjoint as aj
    >>> [aj.optim.polynomial(1.0, 2, power=2.0)(step) for step in range(4)]
    [1.0, 0.25, 0.0, 0.0]
    """
    _at_least_0("polynomial", lr=lr, power=power)
    _positive("polynomial", steps=steps)
    return lambda step: lr * (1.0 - min(1.0, step / steps)) ** power


def cosine(lr: float, steps: int, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Half a cosine wave from lr at step `warmup` to `final` at step `steps` and beyond, after a linear warm-up.

    final + (lr - final) (1 + cos π(step - warmup)/(steps - warmup)) / 2 (Loshchilov & Hutter 2017, without restarts).

    Raises ValueError unless 0 ≤ warmup < steps and the rates are at least 0.

    >>> import adjoint as aj
    >>> [round(aj.optim.cosine(1.0, steps=4)(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    _at_least_0("cosine", lr=lr, warmup=warmup)
    if warmup >= steps or final < 0:
        raise ValueError(f"cosine: warmup={warmup} must be less than steps={steps}, and final={final} at least 0.")
    return warmed(lambda step: _wave(lr, final, min(1.0, step / (steps - warmup))), warmup)


def cosine_restarts(lr: float, period: int, growth: int = 1, final: float = 0.0) -> Schedule:
    """Half cosine waves from lr to `final` (Loshchilov & Hutter 2017): the first is `period` steps long, each later one
    `growth` times as long as the one before; PyTorch's CosineAnnealingWarmRestarts.

    >>> import adjoint as aj
    >>> [round(aj.optim.cosine_restarts(1.0, 2, growth=2)(step), 3) for step in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """
    _at_least_0("cosine_restarts", lr=lr, final=final)
    _positive("cosine_restarts", period=period, growth=growth)

    def rate(step: int) -> float:
        length = period
        if growth == 1:
            step %= period
        while step >= length:
            step, length = step - length, length * growth
        return _wave(lr, final, step / length)

    return rate


def one_cycle(
    lr: float,
    steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """Up from lr/div_factor to lr in a share `pct_start` of the steps, then down to lr/div_factor/final_div_factor.

    With `three_phase` down to lr/div_factor first, as steeply as up. Ways are half cosine waves, or "linear"; after the
    last step the rate stays. PyTorch's OneCycleLR (Smith & Topin 2019); momentum is left alone.

    >>> import adjoint as aj
    >>> [round(aj.optim.one_cycle(1.0, 5, pct_start=0.4, div_factor=4.0)(step), 3) for step in range(5)]
    [0.25, 1.0, 0.75, 0.25, 0.0]
    """
    _at_least_0("one_cycle", lr=lr)
    _positive("one_cycle", steps=steps, div_factor=div_factor, final_div_factor=final_div_factor)
    if not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
        raise ValueError(
            f"one_cycle: pct_start={pct_start} lies in [0, 1], anneal_strategy={anneal_strategy!r} 'cos' or 'linear'."
        )
    first, top = lr / div_factor, pct_start * steps - 1.0
    knots = [(0.0, first), (top, lr), (steps - 1.0, first / final_div_factor)]
    if three_phase:
        knots.insert(2, (2.0 * pct_start * steps - 2.0, first))

    def rate(step: int) -> float:
        for (begin, high), (end, low) in pairwise(knots):
            if step <= end:
                done = (step - begin) / (end - begin)
                return _wave(high, low, done) if anneal_strategy == "cos" else high + (low - high) * done
        return knots[-1][1]

    return rate


def _wave(high: float, low: float, done: float) -> float:
    return low + (high - low) * (1.0 + math.cos(math.pi * done)) / 2.0


def _at_least_0(name: str, **settings: float) -> None:
    if any(not value >= 0 for value in settings.values()):
        told = ", ".join(f"{k}={v}" for k, v in settings.items())
        raise ValueError(f"{name}: {told} must be at least 0.")


def _positive(name: str, **settings: float) -> None:
    if any(not value > 0 for value in settings.values()):
        told = ", ".join(f"{k}={v}" for k, v in settings.items())
        raise ValueError(f"{name}: {told} must be positive.")
