"""Schedules have their closed forms, which are PyTorch's recurrences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as peer

import adjoint as aj
from adjoint import optim

LR = 0.3


def torch_rates(make: Callable[[Any], Any], steps: int, lr: float = LR, measures: Any = None) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make(optimizer), []
    for k in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*(() if measures is None else (measures[k],)))
    return rates


def sequence(o: Any) -> Any:
    parts = [peer.ConstantLR(o, 0.1, 100), peer.ExponentialLR(o, 0.9), peer.StepLR(o, 3, 0.5)]
    return peer.SequentialLR(o, parts, [4, 9])


def warm_cosine(o: Any) -> Any:
    return peer.SequentialLR(o, [peer.LinearLR(o, 1 / 5, 1.0, 4), peer.CosineAnnealingLR(o, 15)], [5])


CASES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "constant": (optim.constant(LR, warmup=4), lambda o: peer.LinearLR(o, 1 / 4, 1.0, 3)),
    "step": (optim.step_decay(LR, 4, 0.5), lambda o: peer.StepLR(o, 4, 0.5)),
    "multi_step": (optim.multi_step(LR, [9, 2, 2, 5]), lambda o: peer.MultiStepLR(o, [9, 2, 2, 5])),
    "exponential": (optim.exponential(LR, 0.8), lambda o: peer.ExponentialLR(o, 0.8)),
    "linear": (optim.linear(LR, 7, 0.2, 0.7), lambda o: peer.LinearLR(o, 0.2, 0.7, 7)),
    "linear-defaults": (optim.linear(LR, 5), peer.LinearLR),
    "polynomial": (optim.polynomial(LR, 12, 2.5), lambda o: peer.PolynomialLR(o, 12, 2.5)),
    "cosine": (optim.cosine(LR, 21, final=0.01), lambda o: peer.CosineAnnealingLR(o, 21, 0.01)),
    "warm-cosine": (optim.cosine(LR, 20, warmup=5), warm_cosine),
    "restarts": (optim.cosine_restarts(LR, 6, final=0.01), lambda o: peer.CosineAnnealingWarmRestarts(o, 6, 1, 0.01)),
    "growing": (optim.cosine_restarts(LR, 3, 2), lambda o: peer.CosineAnnealingWarmRestarts(o, 3, 2)),
    "one_cycle": (optim.one_cycle(LR, 21), lambda o: peer.OneCycleLR(o, LR, 21)),
    "one_cycle-linear": (
        optim.one_cycle(LR, 30, 0.4, "linear", 10.0, 100.0),
        lambda o: peer.OneCycleLR(
            o, LR, 30, pct_start=0.4, anneal_strategy="linear", div_factor=10.0, final_div_factor=100.0
        ),
    ),
    "three-phase": (optim.one_cycle(LR, 23, three_phase=True), lambda o: peer.OneCycleLR(o, LR, 23, three_phase=True)),
    "sequential": (
        optim.sequential([optim.constant(0.1 * LR), optim.exponential(LR, 0.9), optim.step_decay(LR, 3, 0.5)], [4, 9]),
        sequence,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name: str) -> None:
    schedule, make = CASES[name]
    rates = torch_rates(make, 20)
    np.testing.assert_allclose([schedule(k) for k in range(20)], rates, rtol=1e-12, atol=1e-15)


def test_warmup_is_linear_then_the_schedule() -> None:
    rate = optim.cosine(0.4, 30, warmup=10, final=0.1)
    np.testing.assert_allclose([rate(i) for i in range(10)], 0.4 * np.arange(1, 11) / 10, rtol=1e-15)
    i = np.arange(10, 31)
    np.testing.assert_allclose([rate(k) for k in i], 0.25 + 0.15 * np.cos(np.pi * (i - 10) / 20), rtol=1e-14)
    assert rate(10) == 0.4
    assert rate(30) == rate(1000) == pytest.approx(0.1, rel=1e-15)
    other = optim.warmed(optim.multi_step(1.0, [2], 0.5), 2)
    assert [other(k) for k in range(6)] == [0.5, 1.0, 1.0, 1.0, 0.5, 0.5]
    assert [optim.constant(0.2)(i) for i in (0, 7)] == [0.2, 0.2]
    assert optim.one_cycle(1.0, 10)(99) == optim.one_cycle(1.0, 10)(9) == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize(
    "how",
    [
        {"patience": 2},
        {"patience": 0, "factor": 0.5, "cooldown": 2, "min_lr": 0.05},
        {"mode": "max", "patience": 1, "threshold": 0.2, "threshold_mode": "abs", "factor": 0.5},
        {"mode": "max", "patience": 1, "threshold": 0.3},
        {"patience": 0, "factor": 0.9, "eps": 0.1},
    ],
)
def test_plateau_is_pytorchs(how: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    measures = [float(x) for x in 1.0 / np.arange(1, 41) + 0.2 * rng.random(40)]
    rates = torch_rates(lambda o: peer.ReduceLROnPlateau(o, **how), 40, measures=measures)
    plateau, got = optim.Plateau(LR, **how), []
    for x in measures:
        got.append(plateau.lr)
        plateau = plateau.update(x)
    assert got == rates
    assert len(set(rates)) > 1 or how.get("eps")


def test_settings_are_checked() -> None:
    for make, message in [
        (lambda: optim.cosine(0.1, 5, warmup=5), "warmup=5 must be less than steps=5"),
        (lambda: optim.constant(-0.1), r"constant: lr=-0\.1"),
        (lambda: optim.step_decay(0.1, 0), "step_decay: step_size=0 must be positive"),
        (lambda: optim.one_cycle(0.1, 5, pct_start=2.0), r"pct_start=2\.0 lies in"),
        (lambda: optim.one_cycle(0.1, 5, anneal_strategy="cosine"), "'cos' or 'linear'"),
        (lambda: optim.sequential([optim.constant(1.0)], [2]), "1 schedules have 0 rising milestones"),
        (lambda: optim.Plateau(0.1, mode="least"), "mode='least' is 'min' or 'max'"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_fit_takes_any_of_them() -> None:
    data = aj.data.digits().take(slice(0, 64))
    how: dict[str, Any] = {"epochs": 2, "batch_size": 32, "progress": False}
    run = aj.fit(aj.nn.MLP((64, 10), rng=0), data, schedule=optim.exponential(0.1, 0.5), **how)
    assert [epoch.lr for epoch in run.history] == [0.05, 0.0125]
