"""GPT against the same network written in PyTorch; generation with a cache against generation without one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import adjoint as aj
from adjoint.errors import ShapeError

V, T, L, H, D = 11, 8, 2, 2, 6
RNG = np.random.default_rng(0)
TOKENS, TARGETS = RNG.integers(0, V, (2, 3, 5))


def network(**options: Any) -> Any:
    net = aj.models.GPT(V, T, L, H, D, dtype="float64", rng=0, **options)
    for p in net.parameters():
        p += 0.2 * RNG.normal(size=p.shape)
    return net


def torch_logits(p: dict[str, Any], tokens: Any) -> Any:
    """GPT-2 by its names, in PyTorch's functions."""

    def linear(x: Any, name: str) -> Any:
        return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))

    def norm(x: Any, name: str) -> Any:
        return F.layer_norm(x, (D,), p[f"{name}.weight"], p.get(f"{name}.bias"))

    x = p["wte.weight"][tokens] + p["wpe.weight"][: tokens.shape[1]]
    for i in range(L):
        q, k, v = linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").split(D, -1)
        q, k, v = (y.unflatten(-1, (H, D // H)).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(y.transpose(1, 2).flatten(-2), f"h.{i}.attn.c_proj")
        x = x + linear(
            F.gelu(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh"), f"h.{i}.mlp.c_proj"
        )
    return linear(norm(x, "ln_f"), "lm_head")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_it_is_gpt_2(bias: bool, tied: bool) -> None:
    net = network(bias=bias, tied=tied)
    p = {k: torch.tensor(v, requires_grad=True) for k, v in net.state_dict().items()}
    if tied:
        p["lm_head.weight"] = p["wte.weight"]
    logits = torch_logits(p, torch.tensor(TOKENS))
    loss = F.cross_entropy(logits.reshape(-1, V), torch.tensor(TARGETS).reshape(-1))
    loss.backward()
    value, grads = aj.value_and_grad(lambda net: net.loss(TOKENS, TARGETS))(net)
    np.testing.assert_allclose(net(TOKENS), logits.detach(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-12)
    for name, g in grads.named_parameters():
        np.testing.assert_allclose(g, p[name].grad, rtol=1e-10, atol=1e-12, err_msg=name)


def test_it_starts_as_gpt_2_does() -> None:
    net = aj.models.GPT(500, 64, 8, 4, 64, rng=0)
    for name, p in net.named_parameters():
        if "ln_" in name:
            assert (p == name.endswith("weight")).all()
        elif name.endswith("bias"):
            assert not p.any()
        else:
            assert abs(p.std() / (0.02 / math.sqrt(16) if "c_proj" in name else 0.02) - 1.0) < 0.05, name
    assert abs(float(net.loss(np.arange(64)[None], np.arange(64)[None] + 1)) - math.log(500)) < 0.1


def slowly(net: Any, tokens: np.ndarray, n: int) -> np.ndarray:
    """The likeliest tokens, everything computed again for each."""
    for _ in range(n):
        tokens = np.append(tokens, net(tokens[None])[0, -1].argmax())
    return tokens


@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_the_cache_changes_nothing(to: str) -> None:
    net, tokens = network(), TOKENS[0][:3]
    found = net.to(to).generate(aj.to(tokens, to), T - 3, temperature=0.0)
    np.testing.assert_array_equal(np.asarray(found), slowly(net, tokens, T - 3))


def test_generation_goes_on_beyond_the_block() -> None:
    net = network()
    found = net.generate(TOKENS[:, :3], 30, top_k=4, key=1)
    assert found.shape == (3, 33)
    np.testing.assert_array_equal(found[:, :3], TOKENS[:, :3])
    rest = network(dropout=0.5).generate(TOKENS[0], 2, key=1)
    assert rest.shape == (7,)


def test_temperature_top_k_and_keys() -> None:
    net = network()
    many = np.repeat(TOKENS[:1], 4000, 0)
    logits = net(TOKENS[:1])[0, -1]
    best = np.argsort(logits)[::-1][:3]
    found = net.generate(many, 1, temperature=0.7, top_k=3, key=0)[:, -1]
    p = np.exp(logits[best] / 0.7)
    frequencies = [(found == token).mean() for token in best]
    np.testing.assert_allclose(frequencies, p / p.sum(), atol=4 * math.sqrt(0.25 / 4000))
    first, again, other = (net.generate(TOKENS, 20, temperature=2.0, key=key) for key in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_it_learns_by_heart() -> None:
    net = aj.models.GPT(V, 16, 1, 2, 16, dropout=0.1, rng=0)
    text = np.tile(RNG.permutation(V), 3)
    x, y = text[None, :16], text[None, 1:17]
    optimizer = aj.optim.AdamW(net, 1e-2)
    for _ in range(60):
        net, optimizer = optimizer.step(net, aj.grad(lambda net: net.loss(x, y))(net))
    assert net.lm_head.weight is net.wte.weight
    assert float(net.to().eval().loss(x, y)) < 0.2
    np.testing.assert_array_equal(net.generate(text[:4], 10, temperature=0.0), text[:14])


def test_what_does_not_fit() -> None:
    net = network()
    with pytest.raises(ShapeError, match=r"8 positions at most, not \(1, 9\)"):
        net(np.zeros((1, 9), int))
    with pytest.raises(ShapeError, match=r"tokens are \(N, T\)"):
        net(np.zeros(4, int))
    with pytest.raises(ValueError, match="num_heads 4 is to divide"):
        aj.models.GPT(V, T, L, 4, D)
