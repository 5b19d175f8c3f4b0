"""Tied weights: one array under two names, through every transform, compiled steps, copies and checkpoints."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import trees
from adjoint.errors import ShapeError

nn, tn = aj.nn, torch.nn
TOKENS = np.array([[0, 3, 1], [2, 2, 4]])
TARGETS = np.array([1, 0, 2, 2, 4, 3])


class Model(nn.Module):
    """An embedding, a list with a layer in it, and a head with the embedding's weight."""

    def __init__(self) -> None:
        self.embed = nn.Embedding(5, 4, dtype="float64", rng=0)
        self.parts = [nn.Linear(4, 4, dtype="float64", rng=1)]
        self.head = nn.Linear(4, 5, False, dtype="float64", rng=2)
        self.tie("head.weight", "embed.weight")

    def __call__(self, tokens: Any) -> Any:
        return self.head(aj.tanh(self.parts[0](self.embed(tokens))))


def loss(net: Any, tokens: Any, targets: Any) -> Any:
    return aj.cross_entropy(aj.reshape(net(tokens), (-1, 5)), targets)


def is_tied(net: Any) -> bool:
    return net.head.weight is net.embed.weight and len(trees.flatten(net)[0]) == 3


@pytest.mark.covers("N13")
def test_gradient_sums_over_both_uses_as_in_torch() -> None:
    net = Model()
    embed, middle, head = tn.Embedding(5, 4), tn.Linear(4, 4), tn.Linear(4, 5, bias=False)
    peer = tn.ModuleDict({"embed": embed, "parts": tn.ModuleList([middle]), "head": head}).double()
    peer["head"].weight = peer["embed"].weight
    peer.load_state_dict({k: torch.tensor(v) for k, v in net.state_dict().items()})
    scores = peer["head"](torch.tanh(peer["parts"][0](peer["embed"](torch.tensor(TOKENS)))))
    tn.functional.cross_entropy(scores.reshape(-1, 5), torch.tensor(TARGETS)).backward()
    grads = aj.grad(loss)(net, TOKENS, TARGETS)
    assert is_tied(grads)
    for name, p in peer.named_parameters():
        np.testing.assert_allclose(dict(grads.named_parameters())[name], p.grad, rtol=1e-12, atol=1e-14)
    assert nn.count_parameters(net) == sum(p.numel() for p in peer.parameters())


@pytest.mark.covers("N13")
@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
def test_a_tie_lasts_through_steps(to: str) -> None:
    """Three steps on every backend, in JAX compiled, are NumPy's three steps; the weight is one array throughout."""

    def step(net: Any, optimizer: Any, tokens: Any, targets: Any) -> Any:
        assert is_tied(net)
        net, optimizer = optimizer.step(net, aj.grad(loss)(net, tokens, targets))
        return net, optimizer

    expected = Model()
    optimizer = aj.optim.AdamW(expected, 0.1)
    with jax.enable_x64(True):
        net = Model().to(to)
        ours, data = aj.optim.AdamW(net, 0.1), aj.to((TOKENS, TARGETS), to)
        run = jax.jit(step) if to == "jax" else step
        for _ in range(3):
            expected, optimizer = step(expected, optimizer, TOKENS, TARGETS)
            net, ours = run(net, ours, *data)
            assert is_tied(net)
        for x, y in zip(net.parameters(), expected.parameters(), strict=True):
            np.testing.assert_allclose(np.asarray(x), y, rtol=1e-9, atol=1e-12)


def test_a_tie_lasts_through_copies_maps_and_checkpointing() -> None:
    net = Model()
    for other in (copy.deepcopy(net), net.to("torch"), net.to(dtype="float32"), trees.map(lambda x: x + 1.0, net)):
        assert is_tied(other)
    again = aj.grad(lambda net: aj.checkpoint(lambda net: loss(net, TOKENS, TARGETS))(net))(net)
    straight = aj.grad(loss)(net, TOKENS, TARGETS)
    np.testing.assert_allclose(again.embed.weight, straight.embed.weight, rtol=1e-13)
    y, J = aj.linearize(lambda net: net(TOKENS), net)
    assert J.in_shape == ((5, 4), (4, 4), (4,))
    tangent = trees.map(lambda x: x * 0.5, net)
    np.testing.assert_allclose(J @ tangent, aj.jvp(lambda net: net(TOKENS), (net,), (tangent,))[1], rtol=1e-12)
    assert is_tied(J.T @ y)


def test_parts_of_a_tied_network_are_whole() -> None:
    net = jax.tree.map(lambda x: x, Model().to("jax"))
    assert is_tied(net)
    assert [name for name, _ in net.head.named_parameters()] == ["weight"]
    assert len(trees.flatten(net.head)[0]) == 1
    y = aj.grad(lambda head: aj.sum(head(jnp.ones(4))))(net.head)
    assert y.weight.shape == (5, 4)


def test_another_array_ends_a_tie() -> None:
    net = Model()
    net.head.weight = np.zeros((5, 4))
    assert len(trees.flatten(net)[0]) == 4
    other = trees.map(lambda x: x + 1.0, net)
    np.testing.assert_array_equal(other.head.weight, np.ones((5, 4)))
    net = Model()
    net.head = nn.Identity()
    assert len(trees.flatten(net)[0]) == 3
    assert not hasattr(trees.map(lambda x: x, net).head, "weight")


def test_a_tied_state_loads_both_ways() -> None:
    net, other = Model(), Model()
    state = {k: v * 2.0 for k, v in net.state_dict().items()}
    assert list(state) == ["embed.weight", "parts.0.weight", "parts.0.bias", "head.weight"]
    other.load_state_dict(state)
    assert is_tied(other)
    np.testing.assert_array_equal(other.head.weight, 2.0 * net.embed.weight)


def test_what_cannot_be_tied() -> None:
    net = Model()
    with pytest.raises(KeyError, match=r"no array 'head\.wieght', only embed\.weight, parts\.0\.weight"):
        net.tie("head.wieght", "embed.weight")
    with pytest.raises(ShapeError, match=r"parts\.0\.weight is \(4, 4\), embed\.weight \(5, 4\)"):
        net.tie("parts.0.weight", "embed.weight")


class Counting(nn.Linear):
    """A layer that counts its calls."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__(n, m, False)
        self.register_buffer("calls", np.array(0))

    def __call__(self, x: Any) -> Any:
        self.calls = self.calls + 1
        return super().__call__(x)


def test_buffers_beside_a_tied_array_are_carried() -> None:
    net = nn.Sequential(nn.Embedding(5, 4, rng=0), Counting(4, 5))
    net.tie("1.weight", "0.weight")
    aj.grad(lambda net: aj.sum(net(TOKENS)))(net)
    assert int(net[1].calls) == 1
