"""Adapters by themselves: what they cost, what they do to kernel and image, how they are switched, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.errors import CheckpointError
from adjoint.trees import flatten

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 6))


def network(**options: Any) -> Any:
    """A network with random adapters in its two linear layers."""
    net = aj.lora.add(aj.nn.MLP((6, 7, 4), dtype="float64", rng=0), 3, 5, rng=0, **options)
    return randomized(net, options.get("name", "default"))


def randomized(net: Any, name: str = "default") -> Any:
    for layer in aj.lora.adapted_layers(net).values():
        adapter = layer.adapters[name]
        adapter.lora_A, adapter.lora_B = (RNG.standard_normal(x.shape) for x in (adapter.lora_A, adapter.lora_B))
    return net


# What it is and what it costs


@pytest.mark.covers("L01")
def test_counts_are_the_published_ones() -> None:
    with aj.nn.init.only_shapes():
        dense, bias = (aj.nn.Linear(4096, 4096, bias=b) for b in (False, True))
        assert (aj.nn.count_parameters(dense), aj.nn.count_parameters(bias)) == (16_777_216, 16_781_312)
        adapter = aj.lora.add(dense, 8).adapters["default"]
        assert aj.nn.count_parameters(adapter) == 65_536 == 16_777_216 // 256
        for layers, width, expected in ((12, 768, 294_912), (24, 1024, 786_432)):  # RoBERTa base and large
            config = aj.models.RobertaConfig(
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=width // 64,
                intermediate_size=4 * width,
            )
            net = aj.lora.add(aj.models.RobertaModel(config), 8, targets=["query", "value"])
            found = aj.lora.adapted_layers(net).values()
            assert sum(aj.nn.count_parameters(layer.adapters["default"]) for layer in found) == expected
        one = aj.lora.add(aj.nn.Linear(12_288, 12_288), 1).adapters["default"]  # GPT-3, 96 layers, q and v
        eight = aj.lora.add(aj.nn.Linear(12_288, 12_288), 8).adapters["default"]
    assert 96 * 2 * aj.nn.count_parameters(one) == 4_718_592
    assert 96 * 2 * aj.nn.count_parameters(eight) == 37_748_736


def test_the_start_changes_nothing() -> None:
    for options in ({}, {"dora": True}, {"rslora": True}, {"adalora": True}, {"init": "gaussian"}):
        plain = aj.nn.MLP((6, 7, 4), dtype="float64", rng=0)
        expected = plain(X)
        np.testing.assert_allclose(aj.lora.add(plain, 2, rng=0, **options)(X), expected, rtol=1e-14, atol=1e-15)
    net = aj.lora.add(aj.nn.MLP((6, 7, 4), dtype="float64", rng=0), 2, init="orthogonal", rng=0)
    np.testing.assert_allclose(net(X), aj.nn.MLP((6, 7, 4), dtype="float64", rng=0)(X), atol=1e-14)
    assert abs(net[0].adapters["default"].lora_B).max() > 0


def test_no_product_is_for_the_gradient_of_the_base_weight() -> None:
    n, width, r = 64, 256, 4
    net = aj.nn.Sequential(aj.nn.Linear(width, width, bias=False), aj.nn.Tanh(), aj.nn.Linear(width, width, bias=False))
    x = np.ones((n, width), "float32")

    def flops(net: Any) -> tuple[float, float]:
        found = aj.cost(net, x)
        return found.forward.flops, found.backward.flops

    full_forward, full_backward = flops(net)
    forward, backward = flops(aj.lora.add(net, r))
    dense = 2 * n * width * width  # one product with W
    small = 2 * n * width * r  # one with A or B
    assert forward - full_forward <= 2 * 2 * small + 4 * n * width * 2
    assert full_backward >= 3 * dense  # two for weights, one for the input of the second
    assert backward <= dense + 8 * small + 20 * n * width


@pytest.mark.covers("M14")
def test_kernel_and_image_of_a_low_rank_change() -> None:
    W = np.diag([3.0, 2.0, 1.0, 0.0, 0.0])

    def changed(A: Any, B: Any) -> Any:
        net = aj.lora.add(aj.nn.Linear(5, 5, bias=False, dtype="float64"), len(A), len(A))  # s = 1
        net.base_layer.weight = W
        net.adapters["default"].lora_A, net.adapters["default"].lora_B = A, B
        return aj.Dense(net.weight)

    e = np.eye(5)
    filled = changed(e[3:4], e[:, 3:4])  # from the kernel to beyond the image: one dimension more
    assert (int(filled.rank()), int(filled.nullity())) == (4, 1)
    inside = changed(e[3:4], e[:, :1])  # from the kernel into the image: the rank stays, the kernel turns
    assert (int(inside.rank()), int(inside.nullity())) == (3, 2)
    assert np.linalg.norm(inside.array() @ e[3]) == 1.0
    taken = changed(e[:1], -3.0 * e[:, :1])  # cancels a direction: one dimension less
    assert (int(taken.rank()), int(taken.nullity())) == (2, 3)
    A, B = RNG.standard_normal((2, 2, 5))
    assert int(changed(A, B.T).rank()) == 5  # rank + r, where both are in general position
    both = np.vstack([A, W])
    kernel = np.linalg.svd(both)[2][np.linalg.matrix_rank(both) :]
    np.testing.assert_allclose(changed(A, B.T).array() @ kernel.T, 0.0, atol=1e-12)  # ker W ∩ ker A stays


def test_dora_takes_its_norm_from_small_products() -> None:
    adapter = aj.lora.DoRA(RNG.standard_normal((3, 6)), RNG.standard_normal((4, 3)), 5.0, magnitude=np.ones(4))
    W = RNG.standard_normal((4, 6))
    np.testing.assert_allclose(adapter.norm(W), np.linalg.norm(W + adapter.delta(), axis=1), rtol=1e-14)
    dead = aj.nn.Linear(6, 4, dtype="float64", rng=0)
    dead.weight[2] = 0.0
    expected = dead(X)
    np.testing.assert_allclose(aj.lora.add(dead, 2, dora=True)(X), expected, rtol=1e-14)


# Merged, switched, added


@pytest.mark.covers("L02")
@pytest.mark.parametrize("options", [{}, {"dora": True}])
def test_merging_a_hundred_times_does_not_drift(options: dict[str, Any]) -> None:
    net = network(**options)
    before = {name: x.copy() for name, x in net.state_dict().items()}
    value = net(X)
    for _ in range(100):
        aj.lora.merge(net)
        np.testing.assert_allclose(net(X), value, rtol=1e-12, atol=1e-12)
        aj.lora.unmerge(net)
    after = net.state_dict()
    assert all(np.array_equal(after[name], x) for name, x in before.items())
    assert before.keys() == after.keys()


def test_merged_adapters_do_not_learn() -> None:
    net = network(name="a")
    net = randomized(aj.lora.add(net, 2, name="b", rng=1), "b")
    aj.lora.use(net, {"a": 1.0, "b": 1.0})
    net[0].adapters["b"].freeze()
    learning = {n for n, g in aj.grad(lambda n: aj.sum(n(X)))(net).named_arrays() if g is not None}
    with pytest.raises(TypeError, match="no floating array to differentiate"):
        aj.grad(lambda n: aj.sum(n(X)))(aj.lora.merge(net))
    grads = aj.grad(lambda n: aj.sum(n(X)))(aj.lora.unmerge(net))
    assert {n for n, g in grads.named_arrays() if g is not None} == learning
    assert not any(name.startswith("0.adapters.b") for name in learning)


def test_removing_after_merging_leaves_a_plain_network() -> None:
    net = network()
    value = net(X)
    plain = aj.lora.remove(aj.lora.merge(net))
    assert [type(layer).__name__ for layer in plain] == ["Linear", "ReLU", "Linear"]
    np.testing.assert_allclose(plain(X), value, rtol=1e-12, atol=1e-12)


def test_several_adapters_are_switched_and_added() -> None:
    net = network(name="a")
    net = randomized(aj.lora.add(net, 2, name="b", rng=1), "b")
    W = net[0].base_layer.weight
    a, b = (net[0].adapters[name].delta() for name in "ab")
    for chosen, expected in (("a", W + a), ("b", W + b), ({"a": 0.25, "b": -2.0}, W + 0.25 * a - 2.0 * b), (None, W)):
        aj.lora.use(net, chosen)
        np.testing.assert_allclose(net[0].weight, expected, rtol=1e-13)
        np.testing.assert_allclose(net[0](X), X @ expected.T + net[0].bias, rtol=1e-12)
    grads = aj.grad(lambda net: aj.sum(net(X)))(aj.lora.use(net, "a"))
    assert grads[0].adapters["b"].lora_A is None
    assert grads[0].adapters["a"].lora_A.shape == (3, 6)
    with aj.lora.disabled(net):
        np.testing.assert_array_equal(net[0].weight, W)
    assert net[0].use == (("a", 1.0),)
    assert aj.lora.names(aj.lora.remove(net, "a")) == ("b",)


def test_only_adapters_are_saved(tmp_path: Path) -> None:
    aj.lora.save(network(), tmp_path)
    weights = aj.interop.Weights(tmp_path / "adapter_model.safetensors")
    assert sorted(weights) == [f"base_model.model.{i}.lora_{part}.weight" for i in (0, 2) for part in "AB"]


def test_tied_weights_stay_tied_until_merged() -> None:
    net = aj.models.GPT(11, 8, 1, 2, 6, dtype="float64", rng=0)
    tokens = np.arange(5)[None]
    net = randomized(aj.lora.add(net, 2, targets=["lm_head"], rng=0))
    assert net.lm_head.base_layer.weight is net.wte.weight
    value = net(tokens)
    aj.lora.merge(net)
    assert net.lm_head.base_layer.weight is not net.wte.weight
    np.testing.assert_allclose(net(tokens), value, rtol=1e-12, atol=1e-13)
    assert aj.lora.unmerge(net).lm_head.base_layer.weight is net.wte.weight
    assert aj.lora.remove(net)._ties == (("lm_head.weight", "wte.weight"),)


def test_dropout_draws_anew_and_only_in_training() -> None:
    net = network(dropout=0.5)
    assert not np.array_equal(net(X), net(X))
    value = net.eval()(X)
    np.testing.assert_array_equal(net(X), value)
    plain = network()
    for key, layer in aj.lora.adapted_layers(plain).items():
        layer.adapters["default"].lora_A = net[int(key)].adapters["default"].lora_A
        layer.adapters["default"].lora_B = net[int(key)].adapters["default"].lora_B
    np.testing.assert_allclose(plain(X), value, rtol=1e-12)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("options", [{}, {"dora": True}, {"adalora": True}])
def test_other_backends_compute_the_same(backend: str, options: dict[str, Any]) -> None:
    net = network(**options).to(dtype="float32")
    x = X.astype("float32")
    other, there = net.to(backend), aj.to(x, backend)
    value, grads = aj.value_and_grad(lambda n: aj.sum(aj.square(n(x))))(net)
    found, slopes = aj.value_and_grad(lambda n: aj.sum(aj.square(n(there))))(other)
    np.testing.assert_allclose(np.asarray(found), value, rtol=1e-5)
    for name, g in grads[0].adapters["default"].named_arrays():
        h = np.asarray(dict(slopes[0].adapters["default"].named_arrays())[name])
        np.testing.assert_allclose(h, g, atol=1e-4 * max(abs(g).max(), 1e-6), err_msg=name)


def test_weights_of_16_bits_have_adapters_of_32() -> None:
    net = aj.lora.add(aj.nn.MLP((6, 7, 4), dtype="float16", rng=0), 2)
    assert net[0].adapters["default"].lora_A.dtype == "float32"
    assert net(X.astype("float16")).dtype == "float16"


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("options", [{}, {"dora": True}, {"adalora": True}, {"init": "pissa"}])
def test_adapters_have_the_dtype_that_is_asked_for(options: dict[str, Any], backend: str, tmp_path: Path) -> None:
    x = aj.to(X.astype("float32"), backend)
    expected = np.asarray(aj.nn.MLP((6, 7, 4), rng=0)(X.astype("float32")))
    for dtype in ("bfloat16", np.float16, torch.bfloat16):
        net = aj.lora.add(aj.nn.MLP((6, 7, 4), rng=0).to(backend), 2, dtype=dtype, rng=0, **options)
        name = "float16" if dtype is np.float16 else "bfloat16"
        assert {str(x.dtype).removeprefix("torch.") for x in net[0].adapters["default"].parameters()} == {name}
        np.testing.assert_allclose(np.asarray(net(x)), expected, atol=2**-6)
        aj.lora.save(net, tmp_path)
        assert set(aj.interop.Weights(tmp_path / "adapter_model.safetensors").dtypes) == {name}


def test_an_optimizer_moves_adapters_alone() -> None:
    net = network()
    base = net[0].base_layer.weight
    optimizer = aj.optim.AdamW(net, lr=0.05, weight_decay=0.1)
    losses = []
    for _ in range(30):
        value, grads = aj.value_and_grad(lambda n: aj.mean(aj.square(n(X) - 1.0)))(net)
        net, optimizer = optimizer.step(net, grads)
        losses.append(float(value))
    assert losses[-1] < 0.2 * losses[0]
    np.testing.assert_array_equal(net[0].base_layer.weight, base)


# Refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"targets": "q_proj"}, "'q_proj' matches no layer of MLP"),
        ({"targets": ["0", "nothing.*"]}, "nothing"),
        ({"targets": "1"}, "means '1', a ReLU"),
        ({"targets": aj.nn.Conv2d}, "Conv2d matches no layer"),
        ({"targets": []}, "no targets are given"),
        ({"rank": 0}, "positive integer, not 0"),
        ({"rank": 2.0}, "positive integer, not 2.0"),
        ({"rank": 5}, "rank 5 is above 4"),
        ({"rank_pattern": {"9": 2}}, "matches none of the adapted layers"),
        ({"rank_pattern": {"(": 2}}, "no regular expression"),
        ({"dtype": "int8"}, "floating numbers, not int8"),
        ({"dtype": "nonsense"}, "nonsense is no dtype"),
        ({"alpha": 0.0}, "alpha is a positive number, not 0.0"),
        ({"alpha": float("nan")}, "alpha is a positive number"),
        ({"alpha_pattern": {"0": -1.0}}, "alpha is a positive number, not -1.0"),
        ({"dropout": 1.5}, "1.5"),
        ({"init": "magic"}, "init is one of"),
        ({"init": "orthogonal", "rank": 3}, "even rank"),
        ({"init": "eva"}, "go together"),
        ({"also": ["0"]}, "learn whole and by an adapter"),
        ({"also": ["x"]}, "matches no module"),
        ({"name": "a.b"}, "no dots"),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_changed(options: dict[str, Any], told: str) -> None:
    net = aj.nn.MLP((6, 7, 4), rng=0)
    before = repr(net)
    with pytest.raises((ValueError, TypeError), match=told.replace("(", r"\(")):
        aj.lora.add(net, **{"rank": 2, **options})
    assert repr(net) == before
    assert not net[0]._frozen


def test_misuse_is_named() -> None:
    net = network()
    with pytest.raises(ValueError, match="has an adapter 'default' already"):
        aj.lora.add(net, 2)
    with pytest.raises(KeyError, match="no adapter 'b', only default"):
        aj.lora.use(net, "b")
    with pytest.raises(ValueError, match="merged already"):
        aj.lora.merge(aj.lora.merge(net))
    with pytest.raises(ValueError, match="unmerge first"):
        aj.lora.use(net, None)
    with pytest.raises(ValueError, match="has no adapters"):
        aj.lora.merge(aj.nn.MLP((2, 1)))
    with pytest.raises(ValueError, match="in 2 groups, whose rank is a multiple of that, not 3"):
        aj.lora.add(aj.nn.Conv2d(4, 4, 3, groups=2), 3)
    with pytest.raises(ValueError, match="takes LoRA, not DoRA"):
        aj.lora.add(aj.nn.Conv2d(4, 4, 3, groups=2), 2, dora=True)
    with pytest.raises(ValueError, match="AdaLoRA is for linear layers"):
        aj.lora.add(aj.nn.Embedding(4, 4), 2, adalora=True)
    dora = aj.lora.add(network(dora=True, name="a"), 2, name="b")
    with pytest.raises(ValueError, match="DoRA, which cannot be added"):
        aj.lora.use(dora, {"a": 1.0, "b": 1.0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good adapter."""
    aj.lora.save(network(), tmp_path / "good")
    return tmp_path / "good"


def edited(folder: Path, **fields: Any) -> None:
    """Change fields of the configuration."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


def refused(folder: Path, told: str, net: Any = None, kind: Any = CheckpointError) -> None:
    """The folder is not loaded, for the reason told, and nothing in the network is changed."""
    net = net or aj.nn.MLP((6, 7, 4), dtype="float64", rng=0)
    before, arrays = repr(net), dict(net.state_dict())
    with pytest.raises(kind, match=told):
        aj.lora.load(net, folder)
    assert repr(net) == before
    assert all(net.state_dict()[name] is x for name, x in arrays.items())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"use_qalora": True}, "use_qalora is True, which may change"),
        ({"something_new": 3}, "something_new is 3"),
        ({"init_lora_weights": "loftq"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"r": 2}, "rank 2"),
        ({"r": "3"}, "r is '3', not a positive integer"),
        ({"lora_alpha": -1}, "lora_alpha is -1"),
        ({"lora_dropout": 1.5}, "lora_dropout is 1.5"),
        ({"use_dora": True}, "lacks lora_magnitude_vector"),
        ({"use_dora": "yes"}, "neither true nor false"),
        ({"rank_pattern": {"(": 3}}, "no regular expression"),
        ({"rank_pattern": [3]}, "not a value by pattern"),
        ({"target_modules": "("}, "no regular expression"),
        ({"peft_type": "ADALORA", "init_r": 3}, "lacks lora_E"),
    ],
)
def test_configurations_that_say_something_else_are_refused(folder: Path, fields: Any, told: str) -> None:
    edited(folder, **fields)
    refused(folder, told)


def test_files_that_are_not_whole_are_refused(folder: Path, tmp_path: Path) -> None:
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for cut in (0, 5, 200, len(whole) - 1):
        weights.write_bytes(whole[:cut])
        refused(folder, "not a whole|truncated|corrupt")
    weights.unlink()
    (folder / "adapter_model.bin").write_bytes(b"")
    refused(folder, "pickle, which is not read", kind=FileNotFoundError)
    weights.write_bytes(whole)
    text = config.read_text("utf-8")
    for broken in ("", "[1]", text[:50], '{"peft_type": "LORA", "peft_type": "LORA"}', '{"peft_type":"LORA","r":NaN}'):
        config.write_text(broken, "utf-8")
        refused(folder, "adapter_config.json")
    config.unlink()
    refused(folder, "there is no", kind=FileNotFoundError)
    refused(tmp_path / "nowhere", "there is no", kind=FileNotFoundError)


def test_half_an_adapter_is_refused(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    arrays = aj.load(path)
    aj.save(path, {name: x for name, x in arrays.items() if ".2." not in name})
    refused(folder, "no adapters for 2, which its configuration targets")
    aj.save(path, {name: x for name, x in arrays.items() if "2.lora_B" not in name})
    refused(folder, "lacks lora_B of 2")
    aj.save(path, {**arrays, "base_model.model.head.weight": np.ones(2)})
    refused(folder, "head.weight, which MLP does not")
    aj.save(path, {name: x.astype(int) for name, x in arrays.items()})
    refused(folder, "not floating numbers")


def test_adapters_for_another_network_are_refused(folder: Path) -> None:
    refused(folder, "another network", aj.nn.MLP((6, 8, 4), dtype="float64", rng=0))
    refused(folder, "another network", aj.nn.MLP((6, 4), dtype="float64", rng=0))
    refused(folder, "another network", aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, dtype="float64"))


def test_a_crash_while_saving_leaves_the_adapter_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "adapter_model.safetensors").read_bytes()
    shutil.copytree(folder, folder.parent / "copy")

    def broken(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        aj.lora.save(network(), folder)
    assert (folder / "adapter_model.safetensors").read_bytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_adapter_are_one_sum_with_the_gradients_of_two(bias: bool, dtype: str) -> None:
    rng = np.random.default_rng(7)
    layer = aj.lora.add(aj.nn.Linear(130, 70, bias=bias, dtype=dtype, rng=0), rank=3, alpha=5.0, rng=0)
    adapter = layer.adapters["default"]
    adapter.lora_B = rng.standard_normal((70, 3)).astype(dtype)
    x, u = rng.standard_normal((3, 131, 130)).astype(dtype), rng.standard_normal((3, 131, 70)).astype(dtype)
    assert layer.at_once(adapter, 1.0, x) is not None

    def apart(adapter: Any, x: Any) -> Any:
        return layer.base_layer(x) + layer.change(adapter, 1.0, x, x)

    def once(adapter: Any, x: Any) -> Any:
        return layer.at_once(adapter, 1.0, x)

    found, expected = (
        aj.value_and_grad(lambda a, x, f=f: aj.sum(f(a, x) * u), (0, 1))(adapter, x) for f in (once, apart)
    )
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for got, wanted in zip(flatten(found)[0], flatten(expected)[0], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


def test_other_layers_and_adapters_are_added_one_after_the_other() -> None:
    x = np.ones((2, 8), "float32")
    dora = aj.lora.add(aj.nn.Linear(8, 8, rng=0), rank=2, dora=True, rng=0)
    half = aj.lora.add(aj.nn.Linear(8, 8, dtype="float16", rng=0), rank=2, rng=0)
    own = aj.lora.add(type("Own", (aj.nn.Linear,), {})(8, 8, rng=0), rank=2, rng=0)
    for layer in (dora, half, own):
        assert layer.at_once(layer.adapters["default"], 1.0, x) is None
        assert layer(x.astype(layer.base_layer.weight.dtype)).shape == (2, 8)
