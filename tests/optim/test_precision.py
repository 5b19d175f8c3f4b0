"""Mixed precision: the scale is torch.amp.GradScaler's, overflow leaves the step out, training equals float32's."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj

INF = float("inf")
pytestmark = pytest.mark.covers("N09")


def peers_scales(overflows: list[bool], **how: Any) -> list[tuple[float, int]]:
    """PyTorch's own update of scale and growth tracker."""
    scale, tracker = torch.tensor(how["init_scale"]), torch.tensor(0, dtype=torch.int32)
    seen = []
    for bad in overflows:
        torch._amp_update_scale_(
            scale, tracker, torch.tensor(float(bad)),
            how["growth_factor"], how["backoff_factor"], how["growth_interval"],
        )  # fmt: skip
        seen.append((float(scale), int(tracker)))
    return seen


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize(
    "how",
    [
        {"init_scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 3},
        {"init_scale": 2.0**126, "growth_factor": 3.0, "backoff_factor": 0.25, "growth_interval": 1},
    ],
)
def test_the_scale_is_pytorchs_and_overflow_leaves_the_step_out(how: dict[str, Any], to: str) -> None:
    overflows = [bool(x) for x in np.random.default_rng(0).random(30) < 0.25]
    net = aj.to({"w": np.ones(3, "float32"), "b": np.ones(2, "float32")}, to)
    optimizer, scaler = aj.optim.AdamW(net, lr=0.1), aj.optim.GradScaler(net, **how)

    def step(scaler: Any, optimizer: Any, net: Any, bad: Any) -> Any:
        grads = {"w": aj.where(bad, np.float32(INF), net["w"]), "b": net["b"]}
        return scaler.step(optimizer, net, grads)

    run = jax.jit(step) if to == "jax" else step
    seen, steps = [], 0
    for bad in overflows:
        before = {k: np.asarray(x).copy() for k, x in net.items()}
        net, optimizer, scaler = run(scaler, optimizer, net, aj.to(np.array(bad), to))
        steps += not bad
        assert int(optimizer.t) == steps
        assert all((np.asarray(net[k]) == x).all() == bad for k, x in before.items())
        seen.append((float(scaler.scale), int(scaler.growth_tracker)))
    assert seen == peers_scales(overflows, **how)


def digits(dtype: str = "float32") -> tuple[Any, Any]:
    data = aj.data.digits()
    return data.x.astype(dtype), data.y


def trained(to: str, half: str | None, scaled: bool = True) -> tuple[list[float], float]:
    """Losses of full-batch training on the digits, and the accuracy."""
    x, y = aj.to(digits(), to)
    net = aj.to(aj.nn.MLP((64, 32, 10), rng=0), to)
    optimizer, scaler = aj.optim.AdamW(net, lr=1e-2), aj.optim.GradScaler(net, init_scale=2.0**28)
    forward = aj.optim.autocast(lambda net, x: net(x), half) if half else lambda net, x: net(x)

    def loss(net: Any, x: Any, y: Any) -> Any:
        return aj.cross_entropy(forward(net, x), y)

    def step(net: Any, optimizer: Any, scaler: Any) -> Any:
        value, grads = scaler.value_and_grad(loss)(net, x, y)
        return value, *scaler.step(optimizer, net, grads)

    run = jax.jit(step) if to == "jax" else step
    losses = []
    for _ in range(40):
        value, net, optimizer, scaler = run(net, optimizer, scaler)
        losses.append(float(value))
    assert {x.dtype for x in (*net.parameters(), *optimizer.first)} == {net[0].weight.dtype}
    assert "float32" in str(net[0].weight.dtype)
    return losses, float(aj.training.accuracy(forward(net, x), y))


@pytest.mark.parametrize(
    ("to", "half"), [("numpy", "float16"), ("jax", "float16"), ("jax", "bfloat16"), ("torch", "bfloat16")]
)
def test_training_equals_float32(to: str, half: str) -> None:
    """The scale begins far too high, backs off, and then each loss is float32's to the rounding of half precision."""
    exact, best = trained(to, None)
    losses, accuracy = trained(to, half)
    taken = [loss for loss, before in zip(losses, [None, *losses], strict=False) if loss != before]  # a step left out
    assert len(losses) - len(taken) >= 5 if half == "float16" else taken == losses  # leaves the loss as it was
    unit = 2.0**-11 if half == "float16" else 2.0**-8
    np.testing.assert_allclose(taken, exact[: len(taken)], rtol=0, atol=2 * unit)
    assert accuracy > 0.85 if half == "float16" else accuracy == pytest.approx(best, abs=0.01)


def test_the_scale_saves_gradients_from_vanishing() -> None:
    """A gradient of 2⁻²⁶ is 0 in float16; scaled, it arrives exactly."""
    net, x = {"w": np.ones(1, "float32")}, np.array([2.0**-20], "float32")
    half = aj.optim.autocast(lambda net, x: net["w"] * x, "float16")

    def loss(net: Any) -> Any:
        return aj.sum(half(net, x)) * 2.0**-6

    assert aj.grad(loss)(net)["w"] == 0.0
    assert aj.optim.GradScaler(net).value_and_grad(loss)(net)[1]["w"] == 2.0**-26


class Half(aj.nn.Module):
    """A network computed in float16, kept in float32."""

    def __init__(self, net: Any) -> None:
        self.net = net

    def __call__(self, x: Any) -> Any:
        return aj.optim.autocast(lambda net, x: net(x), "float16")(self.net, x)


def test_activations_take_half_the_memory() -> None:
    """What training needs, counted: a network whose activations far outweigh its parameters."""
    net = aj.nn.MLP((256, 256, 256, 10), rng=0)
    whole, half = (aj.cost(f, (16384, 256)).training_bytes for f in (net, Half(net)))
    given = 16384 * 256 * 4  # the batch itself comes in float32
    assert 0.45 < (half - given) / (whole - given) < 0.7


def test_tied_weights_stay_tied_on_pytorch() -> None:
    tied = aj.nn.Linear(2, 2, rng=0)
    net = aj.to([tied, tied], "torch")
    optimizer, scaler = aj.optim.SGD(net, lr=0.1), aj.optim.GradScaler(net)
    x = torch.ones(1, 2)
    value, grads = scaler.value_and_grad(lambda net: aj.sum(net[1](net[0](x))))(net)
    net, optimizer, scaler = scaler.step(optimizer, net, grads)
    assert net[0].weight is net[1].weight
    assert value.dtype == torch.float32


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"growth_factor=1\.0 is above 1"):
        aj.optim.GradScaler([np.ones(1)], growth_factor=1.0)
