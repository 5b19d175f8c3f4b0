"""Adapted networks in the rest of the library: merged, moved, copied, saved, counted, inspected, differentiated."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import peft
import pytest
import torch

import adjoint as aj
from tests.lora.peft_peers import close

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 6))
KINDS: dict[str, dict[str, Any]] = {"lora": {}, "dora": {"dora": True}, "adalora": {"adalora": True}}
kinds = pytest.mark.parametrize("kind", KINDS)


def network(kind: str = "lora", dtype: Any = "float64") -> Any:
    """A network with random adapters in its two linear layers."""
    net = aj.nn.MLP((6, 7, 4), activation=aj.nn.Tanh, dtype=dtype, rng=0)
    net = aj.lora.add(net, 3, 5, rng=0, **KINDS[kind])
    for layer in aj.lora.adapted_layers(net).values():
        adapter = layer.adapters["default"]
        for name in ("lora_A", "lora_B", "lora_E"):
            if hasattr(adapter, name):
                x = getattr(adapter, name)
                setattr(adapter, name, RNG.standard_normal(x.shape).astype(x.dtype))
    return net


def loss(net: Any, x: Any) -> Any:
    """A number that depends on all of the network."""
    return aj.sum(aj.square(net(x)))


def adapters(net: Any) -> dict[str, Any]:
    """The adapters' arrays by name, as NumPy's."""
    return {n: np.asarray(x) for n, x in net.named_arrays() if ".adapters." in n}


def same(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Gradients of adapters are equal."""
    found, expected = adapters(found), adapters(expected)
    assert found.keys() == expected.keys()
    for name in expected:
        close(found[name], expected[name], name, tolerance)


@pytest.mark.covers("L02")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@kinds
def test_a_hundred_merges_leave_every_bit(kind: str, dtype: str) -> None:
    net = network(kind, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    x = X.astype(net[0].weight.dtype)
    value, before = net(x), {n: a.tobytes() for n, a in net.named_arrays()}
    for _ in range(100):
        aj.lora.merge(net)
        W = net[0].base_layer.weight
        aj.lora.unmerge(net)
    assert {n: a.tobytes() for n, a in net.named_arrays()} == before
    np.testing.assert_array_equal(net(x), value)
    assert W.dtype == x.dtype
    adapter = net[0].adapters["default"]  # the sum is rounded once, from the adapter's precision
    exact = net[0].base_layer.weight.astype("float64")
    exact = exact + adapter.delta().astype("float64")
    if kind == "dora":
        exact = exact * (adapter.lora_magnitude_vector / np.linalg.norm(exact, axis=1))[:, None]
    error = abs(W.astype("float64") - exact).max() / abs(exact).max()
    assert error <= {"float16": 2**-11, "bfloat16": 2**-8}.get(dtype, 1e-6)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@kinds
def test_merged_networks_are_moved_and_unmerged(kind: str, backend: str) -> None:
    net = network(kind)
    value, grads = net(X), aj.grad(loss)(net, X)
    with jax.enable_x64(True):
        there, x = aj.lora.merge(net).to(backend), aj.to(X, backend)
        close(np.asarray(there(x)), value)
        aj.lora.unmerge(there)
        close(np.asarray(there(x)), value)
        same(aj.grad(loss)(there, x), grads)
        W = np.asarray(there[0].base_layer.weight)
        for _ in range(10):
            aj.lora.unmerge(aj.lora.merge(there))
        np.testing.assert_array_equal(np.asarray(there[0].base_layer.weight), W)
    np.testing.assert_array_equal(aj.lora.unmerge(net)[0].base_layer.weight, W)


@kinds
def test_copies_and_files_hold_everything(kind: str, tmp_path: Path) -> None:
    net = network(kind)
    value = net(X)
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):  # noqa: S301
        np.testing.assert_array_equal(aj.lora.unmerge(aj.lora.merge(other))(X), value)
        assert other[0].adapters["default"].lora_A is not net[0].adapters["default"].lora_A
    aj.save(tmp_path / "net.safetensors", net)
    again = network(kind)
    again.load_state_dict(aj.load(tmp_path / "net.safetensors"))
    np.testing.assert_array_equal(again(X), value)
    merged = pickle.loads(pickle.dumps(aj.lora.merge(net)))  # noqa: S301
    np.testing.assert_array_equal(aj.lora.unmerge(merged)(X), value)


def test_costs_are_counted_by_layer() -> None:
    net = network()
    found = aj.cost(net, X)
    assert found.parameters == sum(x.size for x in net.parameters()) == aj.nn.count_parameters(net)
    layers = {layer.name: layer for layer in found.layers}
    n, r = len(X), 3
    base, small = 2 * n * 6 * 7, 2 * n * r * (6 + 7)
    assert layers["0"].forward.matmul_flops == base + small
    assert layers["0"].backward.matmul_flops == small + 2 * n * r * 7  # A, B, and what reaches A: none for W or x
    assert layers["2"].backward.matmul_flops == 2 * n * 7 * 4 + 2 * 2 * n * r * (7 + 4)  # with the gradient in x
    learning = sum(x.size for x in adapters(net).values())
    assert found.memory.gradients == 8 * learning


def test_inspect_names_the_base_and_the_adapters() -> None:
    told = str(aj.inspect(network()))
    for name in ("0.base_layer", "0.adapters.default.lora_A", "2.adapters.default.lora_B"):
        assert f"\n{name} " in told
    assert "parameters  153 in 8 arrays" in told


@kinds
def test_gradients_of_examples_and_of_gradients(kind: str) -> None:
    net = network(kind)
    each = aj.per_sample_grad(lambda net, x: aj.sum(aj.square(net(x)), -1))(net, X)
    for i in range(len(X)):
        expected = adapters(aj.grad(loss)(net, X[i]))
        for name, g in adapters(each).items():
            close(g[i], expected[name], name)
    same(aj.grad(lambda net: aj.sum(aj.square(aj.checkpoint(lambda net, x: net(x))(net, X))))(net),
         aj.grad(loss)(net, X))  # fmt: skip
    there = net.to("torch")
    close(np.asarray(aj.vmap(lambda x: there(x))(aj.to(X, "torch"))), net(X))

    def steepness(x: Any) -> Any:
        return aj.sum(aj.square(aj.grad(lambda x: loss(net, x))(x)))

    direction = RNG.standard_normal(X.shape)
    h = 1e-5
    slope = (steepness(X + h * direction) - steepness(X - h * direction)) / (2.0 * h)
    assert np.isclose((aj.grad(steepness)(X) * direction).sum(), slope, rtol=1e-7)


@kinds
def test_a_whole_step_goes_through_jit(kind: str) -> None:
    net = network(kind).to("jax")
    x = aj.to(X.astype("float32"), "jax")
    expected = aj.grad(loss)(net, x)
    same(jax.jit(aj.grad(loss))(net, x), expected, 1e-5)


@kinds
def test_pytorch_trains_what_learns(kind: str) -> None:
    net = network(kind)
    theirs = net.to_torch()
    y = theirs(torch.tensor(X))
    close(y, net(X))
    y.square().sum().backward()
    grads = adapters(aj.grad(loss)(net, X))
    found = {n: p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    assert found.keys() == grads.keys()
    for name, g in found.items():
        close(g, grads[name], name)


def test_the_jacobian_of_an_adapted_layer_is_its_weight() -> None:
    layer = network()[0]
    close(aj.jacobian(layer, X[0]).dense(), layer.weight)


@pytest.mark.parametrize(
    "layer", [aj.nn.LSTM(4, 3), aj.nn.TransformerEncoderLayer(4, 2, 8), aj.nn.ConvTranspose2d(2, 2, 3)]
)
def test_layers_without_adapters_are_refused_by_name_and_passed_over_by_globs(layer: Any) -> None:
    net = aj.nn.Sequential(layer, aj.nn.Linear(4, 4))
    with pytest.raises(ValueError, match=f"means '0', a {type(layer).__name__}: .* take adapters"):
        aj.lora.add(net, 2, targets=["0", "1"])
    with pytest.raises(ValueError, match=type(layer).__name__):
        aj.lora.add(net, 2, targets=type(layer))
    assert not aj.lora.adapted_layers(net)
    found = aj.lora.adapted_layers(aj.lora.add(net, 2, targets="*"))
    assert "1" in found
    assert "0" not in found


@pytest.mark.parametrize("layer", [aj.nn.GRU(4, 4), aj.nn.LSTMCell(4, 4)])
def test_recurrent_layers_learn_whole_as_their_message_says(layer: Any) -> None:
    net = aj.nn.Sequential(layer, aj.nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"its matrices belong to one recurrence; also=\['0'\] lets all of it learn"):
        aj.lora.add(net, 2, targets=["0", "1"])
    net = aj.lora.add(net, 2, targets=["1"], also=["0"])
    assert list(aj.lora.adapted_layers(net)) == ["1"]
    assert not net[0]._frozen


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_subtracting_drifts_where_putting_back_does_not(dtype: str) -> None:
    rng = np.random.default_rng(3)
    theirs: Any = torch.nn.Sequential(torch.nn.Linear(48, 40)).to(getattr(torch, dtype))
    model: Any = peft.get_peft_model(theirs, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"]))
    net = aj.nn.Sequential(aj.nn.Linear(48, 40, dtype=ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype))
    net[0].weight = theirs[0].base_layer.weight.detach().float().numpy().astype(net[0].weight.dtype)
    net = aj.lora.add(net, 4, 8.0)
    A, B = rng.standard_normal((4, 48)).astype("float32"), rng.standard_normal((40, 4)).astype("float32")
    adapter, peer = net[0].adapters["default"], model.base_model.model[0]
    adapter.lora_A, adapter.lora_B = A, B
    peer.lora_A["default"].weight.data, peer.lora_B["default"].weight.data = torch.tensor(A), torch.tensor(B)
    W, before = net[0].base_layer.weight.tobytes(), peer.base_layer.weight.detach().clone()
    for _ in range(100):
        aj.lora.unmerge(aj.lora.merge(net))
        peer.merge()
        peer.unmerge()
    assert net[0].base_layer.weight.tobytes() == W
    assert not torch.equal(peer.base_layer.weight, before)


def test_diff_sees_the_change_of_a_convolution_in_groups() -> None:
    net = aj.lora.add(aj.nn.Sequential(aj.nn.Conv2d(8, 12, 3, groups=2, rng=0)), 4, targets="0", rng=0)
    adapter = net[0].adapters["default"]
    adapter.lora_B = RNG.standard_normal(adapter.lora_B.shape).astype("float32")
    for merged in (False, True):
        change = aj.diff(aj.lora.merge(net) if merged else net).changes[0]
        assert (change.rank, change.adapter) == (4, 4)
        np.testing.assert_allclose(change.sigma, np.linalg.norm(adapter.delta(), 2), rtol=1e-5)
