"""Schedules have their closed forms, which are PyTorch's recurrences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import adjoint as aj


def torch_rates(make: object, lr: float, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make(optimizer), []  # type: ignore[operator]
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("final", [0.0, 0.01])
def test_cosine_is_pytorchs(final: float) -> None:
    rates = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50, final), 0.3, 51)
    np.testing.assert_allclose([aj.optim.cosine(0.3, 50, final=final)(i) for i in range(51)], rates, atol=1e-14)


def test_warmup_is_linear_then_cosine() -> None:
    rate = aj.optim.cosine(0.4, 30, warmup=10, final=0.1)
    np.testing.assert_allclose([rate(i) for i in range(10)], 0.4 * np.arange(1, 11) / 10, rtol=1e-15)
    i = np.arange(10, 31)
    np.testing.assert_allclose([rate(k) for k in i], 0.25 + 0.15 * np.cos(np.pi * (i - 10) / 20), rtol=1e-14)
    assert rate(10) == 0.4
    assert rate(30) == rate(1000) == pytest.approx(0.1, rel=1e-15)


def test_constant() -> None:
    assert [aj.optim.constant(0.2)(i) for i in (0, 7)] == [0.2, 0.2]
    rates = torch_rates(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 4, 1.0, 3), 0.2, 6)
    np.testing.assert_allclose([aj.optim.constant(0.2, warmup=4)(i) for i in range(6)], rates, rtol=1e-14)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="warmup=5 must be less than steps=5"):
        aj.optim.cosine(0.1, 5, warmup=5)
    with pytest.raises(ValueError, match=r"lr=-0\.1"):
        aj.optim.constant(-0.1)
