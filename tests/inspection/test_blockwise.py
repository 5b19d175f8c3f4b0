"""Gradient flow block by block: against dense Jacobians, with blocks planted that explode or vanish."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint as aj
from adjoint import arrays as xp
from adjoint.inspection.blocks_screen import few
from adjoint.inspection.blockwise import flow_by_block, largest
from adjoint.inspection.watching import calls

nn = aj.nn


class Winner(nn.Module):
    """Gives the place of the largest number."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return xp.argmax(x, -1)


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
    for block, call in zip(flow_by_block(net, x), calls(net, x)[1], strict=True):
        dense = [aj.jacobian(call.function, call.input[i : i + 1]).matrix() for i in range(5)]
        norm = np.median([np.linalg.norm(J, 2) for J in dense])
        assert abs(block.norm - norm) <= block.bound + 1e-10 * norm
        gain = np.median([np.sum(J**2) for J in dense]) / dense[0].shape[1]
        assert abs(block.gain - gain) <= 5 * block.gain_error + 1e-10


@pytest.mark.parametrize("spread", [3.0, 30.0])
def test_large_blocks_end_early_within_what_they_tell(spread: float) -> None:
    rng, size = np.random.default_rng(5), 9000
    slopes = np.exp(rng.uniform(0, np.log(spread), (2, size)))
    found, bounds = largest(aj.Diagonal(slopes), 2)
    assert np.all(bounds <= 0.03 * found)
    assert np.all(bounds > 1e-6 * found)  # not by all steps
    np.testing.assert_allclose(found, slopes.max(axis=1), rtol=0.03)


def test_large_blocks_are_probed_at_the_first_examples_and_say_so() -> None:
    class Scaled(nn.Module):
        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x * x[:, :1]

    x = np.ones((3, 50_000), "float32") * np.array([[1], [3], [5]], "float32")
    (block,) = flow_by_block(nn.Sequential(Scaled()), x)
    assert (block.examples, block.of) == (2, 3)
    assert "over the first 2 of 3" in few([block])
    norms = [np.hypot(1.0, np.sqrt(50_000)) * s for s in (1, 3)]  # s (I + 1 e₀ᵀ): about s √(n + 3)
    assert abs(block.norm - np.median(norms)) < 0.03 * np.median(norms)
    (small,) = flow_by_block(nn.Sequential(Scaled()), x[:, :40_000])
    assert small.examples == 3
    assert not few([small])


@pytest.mark.covers("N06")
@pytest.mark.parametrize(("scale", "verdict"), [(10.0, "explodes"), (0.1, "vanishes")])
def test_a_scaled_block_is_named(scale: float, verdict: str) -> None:
    net = deep()
    net[20].weight *= scale
    assert [(b.name, b.verdict) for b in flow_by_block(net, inputs(4, 24)) if b.verdict] == [("20", verdict)]


def test_an_honest_network_raises_no_alarm() -> None:
    assert not [block for block in flow_by_block(deep(), inputs(4, 24)) if block.verdict]


def test_a_transformer_at_its_start_is_honest_and_a_block_times_ten_is_named() -> None:
    net = aj.models.GPT(vocab_size=65, block_size=16, n_layer=6, n_head=2, n_embd=32, rng=0)
    tokens = np.random.default_rng(0).integers(0, 65, (4, 16))
    assert not [block for block in flow_by_block(net, tokens) if block.verdict]
    net.h[3].mlp.c_fc.weight *= 10
    net.h[3].mlp.c_proj.weight *= 10
    assert [(b.name, b.verdict) for b in flow_by_block(net, tokens) if b.verdict] == [("h.3", "explodes")]


@pytest.mark.parametrize("scale", [10.0, 0.1])
def test_the_weights_beside_their_like_name_a_scaled_one(scale: float) -> None:
    net = aj.models.GPT(vocab_size=65, block_size=16, n_layer=6, n_head=2, n_embd=32, rng=1)
    assert not aj.inspect(net, cache=False).findings
    net.h[3].mlp.c_fc.weight *= scale
    assert [found.name for found in aj.inspect(net, cache=False).findings] == ["h.3.mlp.c_fc.weight"]


def test_a_saturated_sigmoid_stack_is_named() -> None:
    net = nn.Sequential(*(m for i in range(6) for m in (nn.Linear(16, 16, rng=i, dtype="float64"), nn.Sigmoid())))
    x = inputs(8, 16)
    assert not [block for block in flow_by_block(net, x) if block.verdict]
    for k in range(0, 12, 2):
        net[k].weight *= 200
    found = {b.name: (b.verdict, b.saturated) for b in flow_by_block(net, x) if b.kind == "Sigmoid"}
    for k, call in enumerate(c for c in calls(net, x)[1] if c.kind == "Sigmoid"):
        share = np.mean(call.output * (1 - call.output) < 0.005)
        assert share > 0.5
        assert found[call.name] == ("saturated", pytest.approx(share)), k
    report = aj.inspect(net, x, cache=False, progress=False)
    assert {f.name for f in report.findings if "saturated" in f.told} == set(found)


def test_dead_relus_are_named_where_the_examples_are_enough_to_tell() -> None:
    net = nn.Sequential(nn.Linear(8, 10, rng=0), nn.ReLU(), nn.Linear(10, 2, rng=1))
    net[0].bias = np.where(np.arange(10) < 7, -100.0, 0.0).astype("float32")
    x = inputs(8, 8).astype("float32")
    assert [(b.name, b.verdict) for b in flow_by_block(net, x) if b.verdict] == [("1", "dead")]
    assert not [b for b in flow_by_block(net, x[:7]) if b.verdict == "dead"]


@pytest.mark.covers("N06")
def test_residuals_and_normalization_keep_gradients_that_a_plain_stack_loses() -> None:
    rng, depth, width = np.random.default_rng(3), 20, 16

    def linear() -> nn.Linear:
        made = nn.Linear(width, width, dtype="float64")
        made.weight = rng.standard_normal((width, width)) * 0.5 / width**0.5
        return made

    x = inputs(4, width)
    plain = nn.Sequential(*(linear() for _ in range(depth)))
    residual = nn.Sequential(*(nn.Residual(linear()) for _ in range(depth)))
    normed = nn.Sequential(
        *(nn.Sequential(linear(), nn.LayerNorm(width, dtype="float64", eps=0.0)) for _ in range(depth))
    )
    first = {name: flow_by_block(net, x)[0] for name, net in (("plain", plain), ("residual", residual))}
    # Each layer halves what passes: half to the power of the depth. With the identity beside it, √(1 + 1/4) a layer.
    assert 0.25 < first["plain"].gradient_in / 0.5**depth < 4.0
    assert 0.25 < first["residual"].gradient_in / 1.25 ** (depth / 2) < 4.0
    # A norm divides by the size that the layer left, so that the half is gone; what stays of one varies by its draw.
    dense = aj.jacobian(normed, x[:1]).dense().reshape(width, width)
    assert 1e4 * 0.5**depth < np.linalg.norm(dense) / width**0.5 < 4.0


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_say_the_same(backend: str) -> None:
    net, x = nn.MLP((5, 6, 7, 4), activation=nn.Tanh, rng=0, dtype="float64"), inputs(3, 5)
    here, there = flow_by_block(net, x), flow_by_block(aj.to(net, backend), aj.to(x, backend))
    for a, b in zip(here, there, strict=True):
        told = [(q.norm, q.gain, q.gradient, q.gradient_in, q.activation) for q in (a, b)]
        np.testing.assert_allclose(told[0], told[1], rtol=1e-10)


def test_gradients_are_pytorchs() -> None:
    import torch

    net, x = nn.MLP((5, 6, 4), activation=nn.Tanh, rng=0, dtype="float64"), inputs(3, 5)
    peer = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4)).double()
    peer.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in net.state_dict().items()})
    u = np.random.default_rng(7).standard_normal((3, 4))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    at = [torch.from_numpy(x)]
    for module in peer:
        at.append(module(at[-1].requires_grad_()))
        at[-1].retain_grad()
    at[-1].backward(torch.from_numpy(u))
    for k, block in enumerate(flow_by_block(net, x, seed=7)):
        sizes = [float(torch.linalg.vector_norm(at[i].grad, dim=1).median()) for i in (k, k + 1)]
        np.testing.assert_allclose((block.gradient_in, block.gradient), sizes, rtol=1e-12)


def test_what_has_no_flow_is_refused_by_name() -> None:
    net = nn.MLP((3, 2), rng=0)
    with pytest.raises(aj.ShapeError, match="flow_by_block: x is a batch"):
        flow_by_block(net, inputs(3))
    with pytest.raises(ValueError, match="not finite"):
        flow_by_block(net, np.full((2, 3), np.nan, "float32"))
    with pytest.raises(TypeError, match=r"\(1, 4, 2\), not with the 2 examples in front: give a loss"):
        flow_by_block(nn.LSTM(3, 2, rng=0), inputs(2, 4, 3).astype("float32"))
    report = aj.inspect(nn.LSTM(3, 2, rng=0), inputs(2, 4, 3).astype("float32"), cache=False, progress=False)
    assert report.flow == ()
    assert "not with the 2 examples in front" in report.skipped["(gradient flow)"]
    with pytest.raises(TypeError, match="no floating numbers"):
        flow_by_block(Winner(), inputs(2, 3))


def test_a_sample_needs_a_module() -> None:
    with pytest.raises(TypeError, match=r"aj\.open makes one"):
        aj.inspect({"w": np.ones((2, 2))}, inputs(1, 2))


def test_the_report_tells_the_flow_on_screen_and_in_json() -> None:
    import json

    net, x = deep(6), inputs(4, 24)
    net[4].weight *= 50
    report = aj.inspect(net, x, cache=False, progress=False)
    assert [f.name for f in report.worst if "explode" in f.told] == ["4"]
    assert "Gradient flow" in str(report)
    told = json.loads(report.to_json())
    assert [b["verdict"] for b in told["flow"] if b["verdict"]] == ["explodes"]
    assert len(told["layers"]) == 12


def test_blocks_with_further_arguments_inside_a_body_are_seen() -> None:
    net = aj.models.Llama(31, 16, 24, num_layers=4, num_heads=2, rng=0)
    tokens = np.random.default_rng(0).integers(0, 31, (3, 5))
    found = flow_by_block(net, tokens)
    assert [b.name for b in found] == [f"model.layers.{i}" for i in range(4)]
    assert not [b for b in found if b.verdict]
    net.model.layers[2].mlp.down_proj.weight *= 1000
    assert [(b.name, b.verdict) for b in flow_by_block(net, tokens) if b.verdict] == [("model.layers.2", "explodes")]
