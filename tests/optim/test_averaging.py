"""Averages of parameters are PyTorch's AveragedModel, on every backend; the network averaged is left alone."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch.optim import swa_utils

import adjoint as aj


def weights(k: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(k)
    return {"weight": rng.normal(size=(2, 3)), "bias": rng.normal(size=2)}


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("decay", [None, 0.9, 0.0, 1.0])
def test_equals_pytorch(decay: float | None, to: str) -> None:
    peer = torch.nn.Linear(3, 2).double()
    how = {} if decay is None else {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(decay)}
    theirs = swa_utils.AveragedModel(peer, **how)
    net = aj.to(aj.nn.Linear(3, 2, dtype="float64"), to)
    mean = aj.optim.AveragedModel(net, decay)
    update = jax.jit(type(mean).update) if to == "jax" else type(mean).update
    for k in range(5):
        now = weights(k)
        peer.load_state_dict({name: torch.from_numpy(x) for name, x in now.items()})
        theirs.update_parameters(peer)
        net.load_state_dict(now)
        mean = update(mean, net)
        assert all((np.asarray(x) == now[name]).all() for name, x in net.state_dict().items())
    for name, x in theirs.module.state_dict().items():
        np.testing.assert_allclose(np.asarray(mean.module.state_dict()[name]), x, rtol=1e-14, atol=1e-15)
    assert int(mean.n_averaged) == int(theirs.n_averaged) == 5
    x = np.ones((4, 3))
    got = np.asarray(mean(aj.to(x, to)))
    np.testing.assert_allclose(got, theirs(torch.from_numpy(x)).detach(), rtol=1e-13)


def test_buffers_follow_and_the_state_is_saved() -> None:
    class Counted(aj.nn.Module):
        def __init__(self) -> None:
            self.w = np.array([2.0])
            self.register_buffer("seen", np.array([0.0]))

    net: Any = Counted()
    mean = aj.optim.AveragedModel(net, 0.5)
    for k in (4.0, 8.0):
        net.w, net.seen = np.array([k]), np.array([k])
        mean = mean.update(net)
    assert (mean.module.w, mean.module.seen) == (np.array([6.0]), np.array([8.0]))
    again = aj.optim.AveragedModel(Counted(), 0.5)
    again.load_state_dict(mean.state_dict())
    assert [*again.state_dict()] == ["module.w", "module.seen", "n_averaged"]
    assert int(again.n_averaged) == 2
    with pytest.raises(ValueError, match=r"decay lies in \[0, 1\]"):
        aj.optim.AveragedModel(net, 2.0)
