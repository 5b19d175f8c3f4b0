"""State that is no parameter: every transform brings it to the module it was given, unwrapped, on every backend."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.traced import Traced


class Mean(aj.nn.Module):
    """A scale whose running mean of x is state; the count is kept out of `state_dict`."""

    def __init__(self) -> None:
        self.weight = np.array([1.5, -0.5, 2.0])
        self.register_buffer("running", np.zeros(3))
        self.register_buffer("count", np.array(0), persistent=False)

    def __call__(self, x: Any) -> Any:
        self.running = self.running + 0.5 * aj.mean(x, 0)
        self.count = self.count + 1
        return self.weight * (x - aj.mean(x, 0))


X = np.random.default_rng(0).normal(size=(5, 3))


def net() -> Any:
    return aj.nn.Sequential(Mean(), aj.nn.Tanh(), Mean())


def loss(net: Any, x: Any) -> Any:
    return aj.sum(net(x) ** 2)


TRANSFORMS = {
    "call": lambda net: loss(net, X),
    "grad": lambda net: aj.grad(loss)(net, X),
    "grad in both": lambda net: aj.grad(loss, (0, 1))(net, X),
    "jvp": lambda net: aj.jvp(lambda net: loss(net, X), (net,), (aj.grad(loss)(aj.to(net), X),)),
    "linearize": lambda net: aj.linearize(lambda net: loss(net, X), net),
    "vjp": lambda net: aj.vjp(loss, net, X)[1](1.0),
    "nested": lambda net: aj.grad(lambda net: aj.sum(aj.grad(loss, 1)(net, X) ** 2))(net),
    "checkpoint": lambda net: aj.grad(aj.checkpoint(loss))(net, X),
    "closed over": lambda net: aj.grad(lambda x: loss(net, x))(X),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_brings_new_state_to_its_module(name: str) -> None:
    each = net()
    TRANSFORMS[name](each)
    assert int(each[0].count) == int(each[2].count) == 1
    np.testing.assert_allclose(each[0].running, 0.5 * X.mean(0), rtol=1e-15)
    assert not any(isinstance(x, Traced) for _, x in each.named_arrays())


def test_a_failed_run_changes_nothing() -> None:
    each = net()
    with pytest.raises(ZeroDivisionError):
        aj.grad(lambda net: loss(net, X) + 1 / 0)(each)
    assert int(each[0].count) == 0


def test_state_has_no_gradient_and_no_step() -> None:
    each = net()
    grads = aj.grad(loss)(each, X)
    assert grads[0].running is None
    assert grads[0].count is None
    before = each[0].weight.copy()
    after, _ = aj.optim.SGD(each, lr=0.1).step(each, grads)
    np.testing.assert_allclose(after[0].weight, before - 0.1 * grads[0].weight)
    np.testing.assert_allclose(after[0].running, 0.5 * X.mean(0))


def test_names() -> None:
    each = net()
    assert [name for name, _ in each.named_parameters()] == ["0.weight", "2.weight"]
    assert [name for name, _ in each.named_buffers()] == ["0.running", "0.count", "2.running", "2.count"]
    assert list(each.state_dict()) == ["0.weight", "0.running", "2.weight", "2.running"]
    assert aj.nn.count_parameters(each) == 6
    other = net()
    each[0].running = np.ones(3)
    other.load_state_dict(each.state_dict())
    np.testing.assert_array_equal(other[0].running, np.ones(3))
    other.load_state_dict(dict(each.named_arrays()))
    with pytest.raises(KeyError, match=r"0\.running"):
        other.load_state_dict(dict(each.named_parameters()))


def test_a_jitted_step_returns_the_state_and_traces_once() -> None:
    traces = []

    @jax.jit
    def step(net: Any, opt: Any, x: Any) -> Any:
        traces.append(1)
        value, grads = aj.value_and_grad(loss)(net, x)
        return *opt.step(net, grads), value

    with jax.enable_x64(True):
        plain, there = net(), aj.to(net(), "jax")
        opt, opt_there = aj.optim.AdamW(plain), aj.optim.AdamW(there)
        for _ in range(3):
            value, grads = aj.value_and_grad(loss)(plain, X)
            plain, opt = opt.step(plain, grads)
            there, opt_there, value_there = step(there, opt_there, X)
            np.testing.assert_allclose(value_there, value, rtol=1e-12)
        assert len(traces) == 1
        for (_, a), (_, b) in zip(there.named_arrays(), plain.named_arrays(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_on_tensors() -> None:
    there = aj.to(net(), "torch")
    aj.grad(loss)(there, torch.tensor(X))
    assert isinstance(there[0].running, torch.Tensor)
    np.testing.assert_allclose(there[0].running.numpy(), 0.5 * X.mean(0))


def test_a_buffer_may_be_absent() -> None:
    each = Mean()
    each.register_buffer("extra", None)
    assert list(each.state_dict()) == ["weight", "running"]
    assert aj.grad(loss)(each, X).extra is None
