"""A whole training step is one program: under jax.jit it traces once, and every backend takes the same step."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import adjoint as aj
from adjoint.arrays.dispatch import backend

STEPS, BATCH, WIDTH = 5, 32, 64
# AdamW divides by √v + eps: a large eps keeps it from magnifying the rounding of gradients near zero.
LR, EPS = 1e-2, 1e-3


def batches(dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
    data = aj.data.digits()
    return [(x.astype(dtype), y) for x, y in data.batches(BATCH, seed=0)][:STEPS]


def network(dtype: str) -> aj.nn.Module:
    layers = aj.nn.Linear(64, WIDTH, dtype=dtype, rng=0), aj.nn.LayerNorm(WIDTH, dtype=dtype)
    inner = aj.nn.Residual(aj.nn.MLP((WIDTH, 16, WIDTH), aj.nn.GELU, dtype=dtype, rng=1))
    return aj.nn.Sequential(*layers, inner, aj.nn.Linear(WIDTH, 10, dtype=dtype, rng=2))


def loss(net: Any, x: Any, y: Any) -> Any:
    return aj.cross_entropy(net(x), y)


def train(to: str, dtype: str, traces: list[int]) -> tuple[dict[str, np.ndarray], list[float]]:
    def step(net: Any, optimizer: Any, x: Any, y: Any) -> Any:
        traces.append(1)
        value, grads = aj.value_and_grad(loss)(net, x, y)
        net, optimizer = optimizer.step(net, grads)
        return net, optimizer, value

    run = jax.jit(step) if to == "jax" else step
    net = aj.to(network(dtype), to)
    optimizer, losses = aj.optim.AdamW(net, LR, eps=EPS, weight_decay=0.1), []
    for x, y in batches(dtype):
        net, optimizer, value = run(net, optimizer, *aj.to((x, y), to))
        losses.append(float(value))
    return {name: backend(type(p)).to_numpy(p) for name, p in net.state_dict().items()}, losses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("to", ["torch", "jax"])
def test_step_equals_numpys(to: str, dtype: str) -> None:
    traces: list[int] = []
    expected, expected_losses = train("numpy", dtype, [])
    weights, losses = train(to, dtype, traces)
    assert len(traces) == (1 if to == "jax" else STEPS)
    # a gradient's entries are below 1 and sums of BATCH · WIDTH terms; each step magnifies their rounding by LR / EPS
    rounding = float(np.finfo(dtype).eps)
    tolerance = STEPS * (LR / EPS) * np.sqrt(BATCH * WIDTH) * rounding
    for name, x in expected.items():
        assert weights[name].dtype == dtype
        np.testing.assert_allclose(weights[name], x, rtol=0, atol=tolerance, err_msg=name)
        assert np.abs(x - network(dtype).state_dict()[name]).max() > 1e2 * tolerance * (
            1 if dtype == "float64" else 0.1
        )
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance)
    assert losses[-1] < losses[0]
