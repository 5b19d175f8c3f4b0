"""Rules that PyTorch lacks or rounds: Lion as it was published, Muon's factor in closed form, and PyTorch's to bf16."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.updates import orthogonalized

STEPS = 20


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
def test_lion_is_algorithm_2_of_its_paper(to: str) -> None:
    lr, b1, b2, decay = 0.03, 0.8, 0.95, 0.2
    theta, m = drawn(0, 4, 3), np.zeros((4, 3))
    net = aj.to({"w": theta.copy()}, to)
    optimizer = aj.optim.Lion(net, lr=lr, betas=(b1, b2), weight_decay=decay)
    step = jax.jit(type(optimizer).step) if to == "jax" else type(optimizer).step
    for k in range(STEPS):
        g = drawn(k + 1, 4, 3)
        c = b1 * m + (1 - b1) * g
        theta = theta - lr * (np.sign(c) + decay * theta)
        m = b2 * m + (1 - b2) * g
        net, optimizer = step(optimizer, net, aj.to({"w": g}, to))
    np.testing.assert_allclose(np.asarray(net["w"]), theta, rtol=1e-13)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6)])
def test_newton_schulz_acts_on_singular_values_alone(shape: tuple[int, ...]) -> None:
    a, b, c = coefficients = (3.4445, -4.775, 2.0315)
    x = drawn(0, *shape)
    left, s, right = np.linalg.svd(x, full_matrices=False)
    s = s / np.linalg.norm(x)
    for _ in range(5):
        s = a * s + b * s**3 + c * s**5
    np.testing.assert_allclose(orthogonalized(x, coefficients, 1e-7, 5), left * s @ right, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize(
    "how", [{}, {"nesterov": False, "weight_decay": 0.0}, {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.8}]
)
def test_muon_is_pytorchs_to_bfloat16(how: dict[str, Any], to: str) -> None:
    shapes = {"wide": (6, 16), "tall": (24, 8)}
    start = {k: drawn(0, *shape) for k, shape in shapes.items()}
    params = {k: torch.from_numpy(x.copy()).requires_grad_() for k, x in start.items()}
    theirs = torch.optim.Muon(params.values(), lr=0.05, **how)
    net = aj.to(start, to)
    optimizer = aj.optim.Muon(net, lr=0.05, **how)
    step = jax.jit(type(optimizer).step) if to == "jax" else type(optimizer).step
    for i in range(STEPS):
        grads = {k: drawn(i + 1, *shape) for k, shape in shapes.items()}
        for k, g in grads.items():
            params[k].grad = torch.from_numpy(g)
        theirs.step()
        net, optimizer = step(optimizer, net, aj.to(grads, to))
    for k, p in params.items():
        moved = p.detach().numpy() - start[k]
        error = np.linalg.norm(np.asarray(net[k]) - p.detach().numpy()) / np.linalg.norm(moved)
        assert error < 4 * 2.0**-8  # bfloat16 has 8 bits; five steps of products of such numbers
