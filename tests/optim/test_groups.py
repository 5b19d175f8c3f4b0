"""Parts of a network with settings or a rule of their own: PyTorch's parameter groups, and two of its optimizers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.dispatch import backend

STEPS, X = 20, np.random.default_rng(0).normal(size=(6, 3))
OTHERS = {"params": lambda name, p: len(p.shape) != 2, "optimizer": aj.optim.AdamW, "lr": 0.01}
EPS = np.finfo("float64").eps


def network() -> Any:
    return aj.nn.MLP((3, 4, 2), aj.nn.Tanh, dtype="float64", rng=0)


def loss(net: Any, x: Any) -> Any:
    return aj.sum(aj.square(net(x)))


def trained(make: Any, to: str = "numpy", rates: Any = None) -> dict[str, np.ndarray]:
    net, x = aj.to(network(), to), aj.to(X, to)
    optimizer = make(net)

    def step(net: Any, optimizer: Any, lr: Any) -> Any:
        return optimizer.step(net, aj.grad(loss)(net, x), lr)

    run = jax.jit(step) if to == "jax" else step
    for lr in rates or [None] * STEPS:
        net, optimizer = run(net, optimizer, lr)
    return {k: np.asarray(backend(type(p)).to_numpy(p)) for k, p in net.state_dict().items()}


def by_pytorch(make: Any, scale: Any = None) -> dict[str, np.ndarray]:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    net.load_state_dict({k: torch.from_numpy(p.copy()) for k, p in network().state_dict().items()})
    optimizers = make(dict(net.named_parameters()))
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, scale) for o in optimizers] if scale else []
    for _ in range(STEPS):
        net.zero_grad()
        net(torch.from_numpy(X)).square().sum().backward()
        for o in (*optimizers, *schedules):
            o.step()
    return {k: p.detach().numpy() for k, p in net.named_parameters()}


def assert_same(got: dict[str, Any], expected: dict[str, Any], tolerance: float = 100 * STEPS * EPS) -> None:
    assert got.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(got[name], x, rtol=tolerance, atol=tolerance, err_msg=name)


def theirs(p: dict[str, Any]) -> Any:
    return [
        torch.optim.AdamW(
            [
                {"params": [p["0.weight"]]},
                {"params": [p["0.bias"], p["2.bias"]], "weight_decay": 0.0, "lr": 0.05},
                {"params": [p["2.weight"]], "betas": (0.5, 0.9)},
            ],
            lr=0.01,
            weight_decay=0.1,
        )
    ]


GROUPS = [{"params": "*.bias", "weight_decay": 0.0, "lr": 0.05}, {"params": ["2.*", "9.*"], "betas": (0.5, 0.9)}]
OURS = partial(aj.optim.AdamW, lr=0.01, weight_decay=0.1, groups=GROUPS)


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
def test_groups_are_pytorchs(to: str) -> None:
    assert_same(trained(OURS, to), by_pytorch(theirs))


def test_a_schedule_scales_the_rates_of_all_groups() -> None:
    rates = [0.01 / (1 + k) for k in range(STEPS)]
    assert_same(trained(OURS, rates=rates), by_pytorch(theirs, lambda k: 1 / (1 + k)))


@pytest.mark.parametrize("to", ["numpy", "jax"])
def test_different_rules_for_different_parts(to: str) -> None:
    def make(p: dict[str, Any]) -> Any:
        matrices, others = [p["0.weight"], p["2.weight"]], [p["0.bias"], p["2.bias"]]
        return [torch.optim.SGD(matrices, lr=0.02, momentum=0.9), torch.optim.AdamW(others, lr=0.01)]

    assert_same(trained(partial(aj.optim.SGD, lr=0.02, momentum=0.9, groups=[OTHERS]), to), by_pytorch(make))


def test_everything_in_groups() -> None:
    one = trained(partial(aj.optim.SGD, lr=0.1))
    assert_same(trained(partial(aj.optim.NAdam, groups=[{"params": "*", "optimizer": aj.optim.SGD, "lr": 0.1}])), one)


def test_tied_weights_go_by_either_name() -> None:
    net = {"a": aj.nn.Linear(2, 2, rng=0), "b": aj.nn.Linear(2, 2, rng=1)}
    net["b"].weight = net["a"].weight
    for name in ("a.weight", "b.weight"):
        optimizer = aj.optim.SGD(net, groups=[{"params": name, "lr": 0.5}])
        assert [share.names for share in optimizer.shares] == [("a.bias", "b.bias"), ("a.weight",)]


def test_saved_loaded_and_told_apart(tmp_path: Path) -> None:
    net = network()
    grads = aj.grad(loss)(net, X)
    make = partial(aj.optim.Muon, lr=0.02, groups=[OTHERS])
    net, optimizer = make(net).step(net, grads)
    aj.save(tmp_path / "optimizer.safetensors", optimizer)
    again = make(net)
    again.load_state_dict(aj.load(tmp_path / "optimizer.safetensors"))
    assert {"first.0", "parts.0.first.1", "parts.0.second.0", "parts.0.t", "t"} <= again.state_dict().keys()
    one, two = (o.step(aj.to(net, "numpy"), grads)[0].state_dict() for o in (optimizer, again))
    assert all((one[k] == two[k]).all() for k in one)
    assert "(0.bias, 2.bias): AdamW(lr=0.01" in repr(optimizer)


def test_fit_resumes_bitwise(tmp_path: Path) -> None:
    data = aj.data.digits().take(slice(0, 128))
    make = partial(aj.optim.Muon, lr=0.02, groups=[OTHERS])
    how: dict[str, Any] = {"optimizer": make, "schedule": aj.optim.cosine(0.02, 6), "progress": False}
    start, path = aj.nn.MLP((64, 8, 10), rng=0), tmp_path / "run.safetensors"
    whole = aj.fit(start, data, epochs=3, **how).net.state_dict()
    aj.fit(start, data, epochs=1, checkpoint=path, **how)
    resumed = aj.fit(start, data, epochs=3, checkpoint=path, **how).net.state_dict()
    assert all((whole[k] == resumed[k]).all() for k in whole)


def test_what_is_wrong_is_said() -> None:
    net = network()
    with pytest.raises(ValueError, match=r"SGD: no parameter is left for the group with params='bias': there are 0\.w"):
        aj.optim.SGD(net, groups=[{"params": "bias"}])
    with pytest.raises(ValueError, match='a group says which "params" it is for'):
        aj.optim.SGD(net, groups=[{"lr": 1.0}])
    with pytest.raises(TypeError, match="'decay'"):
        aj.optim.SGD(net, groups=[{"params": "*.bias", "decay": 1.0}])
    with pytest.raises(ValueError, match=r"AdamW: options are at least 0, got {'lr': -1\.0"):
        aj.optim.SGD(net, groups=[{"params": "*", "optimizer": aj.optim.AdamW, "lr": -1.0}])
    with pytest.raises(ValueError, match=r"Muon: 0\.bias has shape \(4,\) and is no matrix: give such parameters to"):
        aj.optim.Muon(net)
