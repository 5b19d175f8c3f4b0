"""Gradient flow block by block: against dense Jacobians, with blocks planted that explode or vanish."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint as aj
from adjoint.inspection.passing import passing
from adjoint.inspection.watching import calls

nn = aj.nn


def inputs(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def deep(depth: int = 30, width: int = 24) -> nn.Sequential:
    rng = np.random.default_rng(1)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width, dtype="float64", rng=rng)
        linear.weight = rng.standard_normal((width, width)) * (2 / width) ** 0.5
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers)


@pytest.mark.covers("N06")
def test_without_a_matrix_as_with_one() -> None:
    net, x = nn.MLP((9, 12, 7), activation=nn.Tanh, rng=0, dtype="float64"), inputs(5, 9)
    for block, call in zip(passing(net, x), calls(net, x)[1], strict=True):
        dense = [aj.jacobian(call.module, call.input[i : i + 1]).matrix() for i in range(5)]
        norm = np.median([np.linalg.norm(J, 2) for J in dense])
        assert abs(block.norm - norm) <= block.bound + 1e-10 * norm
        gain = np.median([np.sum(J**2) for J in dense]) / dense[0].shape[1]
        assert abs(block.gain - gain) <= 5 * block.gain_error + 1e-10


@pytest.mark.covers("N06")
@pytest.mark.parametrize(("scale", "verdict"), [(10.0, "explodes"), (0.1, "vanishes")])
def test_a_scaled_block_is_named(scale: float, verdict: str) -> None:
    net = deep()
    net[20].weight *= scale
    assert [(b.name, b.verdict) for b in passing(net, inputs(4, 24)) if b.verdict] == [("20", verdict)]


def test_an_honest_network_raises_no_alarm() -> None:
    assert not [block for block in passing(deep(), inputs(4, 24)) if block.verdict]


def test_a_transformer_at_its_start_is_honest_and_a_block_times_ten_is_named() -> None:
    net = aj.models.GPT(vocab_size=65, block_size=16, n_layer=6, n_head=2, n_embd=32, rng=0)
    tokens = np.random.default_rng(0).integers(0, 65, (4, 16))
    assert not [block for block in passing(net, tokens) if block.verdict]
    net.h[3].mlp.c_fc.weight *= 10
    net.h[3].mlp.c_proj.weight *= 10
    assert [(b.name, b.verdict) for b in passing(net, tokens) if b.verdict] == [("h.3", "explodes")]


@pytest.mark.parametrize("scale", [10.0, 0.1])
def test_the_weights_beside_their_like_name_a_scaled_one(scale: float) -> None:
    net = aj.models.GPT(vocab_size=65, block_size=16, n_layer=6, n_head=2, n_embd=32, rng=1)
    assert not aj.inspect(net, cache=False).findings
    net.h[3].mlp.c_fc.weight *= scale
    assert [found.name for found in aj.inspect(net, cache=False).findings] == ["h.3.mlp.c_fc.weight"]
