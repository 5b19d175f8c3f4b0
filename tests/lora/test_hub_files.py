"""Adapters as the hub has them: fields of every kind of PEFT's configurations are read right, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import adjoint as aj
from adjoint.errors import CheckpointError
from tests.lora.peft_peers import adapted, close, saved

X = np.random.default_rng(0).standard_normal((3, 6))


class Theirs(torch.nn.Module):
    """Blocks of two layers each, a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        m = torch.nn
        self.model = m.ModuleDict({"layers": m.ModuleList(
            m.ModuleDict({"q": m.Linear(6, 6), "v": m.Linear(6, 6), "norm": m.LayerNorm(6)}) for _ in range(3)
        )})  # fmt: skip
        self.head = m.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        for block in self.model["layers"]:
            x = x + block["norm"](torch.tanh(block["q"](x)) + block["v"](x))
        return self.head(x)


class Ours(aj.nn.Module):
    """The same here."""

    def __init__(self) -> None:
        m: Any = aj.nn
        like: Any = {"dtype": "float64", "rng": 0}
        self.model = {"layers": [
            {"q": m.Linear(6, 6, **like), "v": m.Linear(6, 6, **like), "norm": m.LayerNorm(6, dtype="float64")}
            for _ in range(3)
        ]}  # fmt: skip
        self.head = m.Linear(6, 4, **like)

    def __call__(self, x: Any) -> Any:
        for block in self.model["layers"]:
            x = x + block["norm"](aj.tanh(block["q"](x)) + block["v"](x))
        return self.head(x)


def pair(folder: Path, kind: str = "lora", **options: Any) -> tuple[Any, Any]:
    """(PEFT's model, whose adapter is in the folder, the network here with its base weights)."""
    model = adapted(Theirs(), kind, **options)
    net = Ours()
    net.load_state_dict({
        n.removeprefix("base_model.model.").replace(".base_layer", "").replace(".original_module", ""): p
        for n, p in model.state_dict().items() if "lora_" not in n and "modules_to_save" not in n
    })  # fmt: skip
    saved(model, folder)
    return model, net


def edited(folder: Path, **fields: Any) -> None:
    """Change fields of the configuration; None takes one away."""
    path = folder / "adapter_config.json"
    told = json.loads(path.read_text("utf-8")) | fields
    path.write_text(json.dumps({k: v for k, v in told.items() if v is not None or k not in fields}), "utf-8")


def refused(net: Any, folder: Path, told: str) -> None:
    """The folder is not loaded, for the reason told, and nothing in the network is changed."""
    before, arrays = repr(net), net.state_dict()
    with pytest.raises(CheckpointError, match=told):
        aj.lora.load(net, folder)
    assert repr(net) == before
    assert net.state_dict().keys() == arrays.keys()
    assert all(net.state_dict()[name] is x for name, x in arrays.items())


MEANT: dict[str, tuple[dict[str, Any], list[str]]] = {
    "names": ({"target_modules": ["q", "v"]}, ["q", "v"] * 3),
    "one layer": ({"target_modules": ["q"], "layers_to_transform": 1}, ["q"]),
    "two layers": ({"target_modules": ["q", "v"], "layers_to_transform": [0, 2]}, ["q", "v"] * 2),
    "pattern": (
        {"target_modules": ["v"], "layers_to_transform": [2], "layers_pattern": "layers"}, ["v"],
    ),
    "one of two patterns": (
        {"target_modules": ["v"], "layers_to_transform": [2], "layers_pattern": ["blocks", "laye.s"]}, ["v"],
    ),
    "excluded": ({"target_modules": ["q", "v"], "exclude_modules": ["model.layers.1.q"]}, ["q", "v", "v", "q", "v"]),
    "excluded by expression": ({"target_modules": ["q"], "exclude_modules": r".*\.1\..*"}, ["q"] * 2),
    "expression": ({"target_modules": r"model\.layers\.[02]\.(q|v)"}, ["q", "v"] * 2),
    "all-linear": ({"target_modules": "all-linear"}, ["q", "v"] * 3 + ["head"]),
    "whole module": ({"target_modules": ["q"], "modules_to_save": ["head"]}, ["q"] * 3),
    "whole norms": ({"target_modules": ["q"], "modules_to_save": ["norm", "score"]}, ["q"] * 3),
    "every bias": ({"target_modules": ["q"], "bias": "all"}, ["q"] * 3),
    "biases of adapted layers": ({"target_modules": ["q"], "bias": "lora_only"}, ["q"] * 3),
}  # fmt: skip


@pytest.mark.covers("L08")
@pytest.mark.parametrize("case", MEANT)
def test_what_a_configuration_means_is_loaded(case: str, tmp_path: Path) -> None:
    options, layers = MEANT[case]
    model, net = pair(tmp_path / "a", **options)
    if case == "every bias":  # all of them are in the file
        net.load_state_dict({n: p * (1.0 + n.endswith("bias")) for n, p in net.state_dict().items()})
    net = aj.lora.load(net, tmp_path / "a")
    assert [name.rpartition(".")[2] for name in aj.lora.adapted_layers(net)] == layers
    close(net(X), model(torch.tensor(X)), case)
    model(torch.tensor(X)).sum().backward()
    learning = sorted(
        n.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "")
        .replace("lora_A.weight", "adapters.default.lora_A").replace("lora_B.weight", "adapters.default.lora_B")
        for n, p in model.named_parameters() if p.requires_grad
    )  # fmt: skip
    grads = aj.grad(lambda n: aj.sum(n(X)))(net)
    assert sorted(n for n, g in grads.named_arrays() if g is not None) == learning


@pytest.mark.parametrize("case", ["whole module", "every bias", "whole norms", "two layers"])
def test_what_was_loaded_goes_back_to_peft(case: str, tmp_path: Path) -> None:
    model, net = pair(tmp_path / "a", **MEANT[case][0])
    net = aj.lora.load(net, tmp_path / "a")
    first = net.model["layers"][0]
    if case == "every bias":
        first["q"].base_layer.bias = first["q"].base_layer.bias + 1.0
        first["v"].bias = first["v"].bias - 2.0
    aj.lora.save(net, tmp_path / "b")
    assert json.loads((tmp_path / "b" / "adapter_config.json").read_text("utf-8"))["bias"] == MEANT[case][0].get(
        "bias", "none"
    )
    again = peft.PeftModel.from_pretrained(model.unload(), str(tmp_path / "b"), autocast_adapter_dtype=False)
    close(net(X), again.double().eval()(torch.tensor(X)))


def test_an_adapter_that_is_not_to_learn_does_not(tmp_path: Path) -> None:
    _, net = pair(tmp_path / "a", target_modules=["q"], modules_to_save=["head"])
    net = aj.lora.load(net, tmp_path / "a", learn=False)
    with pytest.raises(TypeError, match="no floating array to differentiate"):
        aj.grad(lambda n: aj.sum(n(X)))(net)


@pytest.mark.parametrize("kind", ["lora", "dora", "rslora"])
def test_tensors_of_16_bits_are_read(kind: str, tmp_path: Path) -> None:
    model, net = pair(tmp_path / "a", kind, target_modules=["q"])
    path = tmp_path / "a" / "adapter_model.safetensors"
    half = {name: torch.tensor(x).bfloat16() for name, x in aj.load(path).items()}
    from safetensors.torch import save_file

    save_file(half, path)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.copy_(p.bfloat16().double())
    close(aj.lora.load(net, tmp_path / "a")(X), model(torch.tensor(X)))


def test_names_of_adapters_in_keys(tmp_path: Path) -> None:
    model, net = pair(tmp_path / "a", target_modules=["q"])
    path = tmp_path / "a" / "adapter_model.safetensors"
    arrays = aj.load(path)
    named = {k.replace(".weight", ".mine.weight"): x for k, x in arrays.items()}
    aj.save(path, named)
    close(aj.lora.load(net, tmp_path / "a")(X), model(torch.tensor(X)))
    _, net = pair(tmp_path / "b", target_modules=["q"])
    aj.save(path, arrays | {k: 2.0 * x for k, x in named.items()})  # as PEFT does where a name contains another
    close(aj.lora.load(net, tmp_path / "a")(X), model(torch.tensor(X)))
    _, net = pair(tmp_path / "b", target_modules=["q"])
    aj.save(path, named | {k.replace(".mine.", ".other."): x for k, x in named.items()})
    refused(net, tmp_path / "a", "several adapters, mine, other")


def test_configurations_of_old_versions(tmp_path: Path) -> None:
    """The fields that PEFT 0.2 wrote, and no others."""
    model, net = pair(tmp_path / "a", target_modules=["q", "v"], lora_dropout=0.1)
    told = {
        "base_model_name_or_path": "someone/model", "bias": "none", "enable_lora": None, "fan_in_fan_out": False,
        "inference_mode": True, "init_lora_weights": True, "lora_alpha": 5, "lora_dropout": 0.1, "merge_weights": False,
        "modules_to_save": None, "peft_type": "LORA", "r": 3, "target_modules": ["q", "v"], "task_type": "CAUSAL_LM",
    }  # fmt: skip
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(told), "utf-8")
    close(aj.lora.load(net.eval(), tmp_path / "a").eval()(X), model(torch.tensor(X)))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"lora_bias": True}, "lacks lora_bias of model.layers.0.q"),
        ({"lora_bias": True, "use_dora": True}, "lora_bias is set beside use_dora"),
        ({"lora_bias": 1}, "lora_bias is 1, neither true nor false"),
        (
            {"trainable_token_indices": [1, 2]},
            r"trainable_token_indices is \[1, 2\], by which single rows of an embedd",
        ),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication is"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is"),
        ({"target_parameters": ["head.weight"]}, "target_parameters is"),
        ({"enable_lora": [True, False, True]}, "enable_lora is"),
        ({"layers_to_transform": "1"}, "not the numbers of layers"),
        (
            {"layers_to_transform": [0, 1, 2, 3], "target_modules": ["q", "v"]},
            r"no adapters for model.layers.\{0…2\}.v",
        ),
        ({"layers_pattern": ["("]}, "no regular expression"),
        ({"layers_pattern": "(?i)layers"}, "no regular expression"),
        ({"rank_pattern": {"(?i)q": 3}}, "no regular expression"),
        ({"target_modules": "(" * 500 + ")" * 500}, "no regular expression"),
        ({"bias": "some"}, "bias is 'some'"),
        ({"modules_to_save": ["head"]}, "no head.bias, head.weight, which modules_to_save names"),
        ({"modules_to_save": ["("]}, "^$"),
        ({"alpha_pattern": {"q": 1e999}}, "value inf|adapter_config.json"),
        ({"rank_pattern": {"q": True}}, "rank_pattern gives"),
        ({"init_lora_weights": None}, "^$"),
        ({"init_lora_weights": ["pissa"]}, "path_initial_model_for_weight_conversion"),
    ],
)
def test_fields_that_are_not_read_are_refused_by_name(fields: dict[str, Any], told: str, tmp_path: Path) -> None:
    model, net = pair(tmp_path / "a", target_modules=["q"])
    edited(tmp_path / "a", **fields)
    if told != "^$":
        refused(net, tmp_path / "a", told)
    else:  # says nothing of this network
        close(aj.lora.load(net, tmp_path / "a")(X), model(torch.tensor(X)))


def test_half_of_a_whole_module_is_refused(tmp_path: Path) -> None:
    _, net = pair(tmp_path / "a", target_modules=["q"], modules_to_save=["norm"])
    path = tmp_path / "a" / "adapter_model.safetensors"
    arrays = aj.load(path)
    aj.save(path, {k: x for k, x in arrays.items() if not k.endswith("1.norm.bias")})
    refused(net, tmp_path / "a", "no model.layers.1.norm.bias")
    aj.save(path, {k: x.astype("int32") if k.endswith("norm.bias") else x for k, x in arrays.items()})
    refused(net, tmp_path / "a", "holds int32, not floating")


def test_packed_attention_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"attn": torch.nn.MultiheadAttention(6, 2)})
    saved(peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["attn"])), tmp_path)

    class Net(aj.nn.Module):
        def __init__(self) -> None:
            self.attn = aj.nn.MultiheadAttention(6, 2)

    refused(Net(), tmp_path, "attn, whose projections of queries, keys and values are one array .in_proj_weight.")
    with pytest.raises(ValueError, match="means 'attn', a MultiheadAttention"):
        aj.lora.add(Net(), 2, targets="attn")
    net = aj.lora.add(Net(), 2, targets="attn.*")  # its output projection alone
    assert list(aj.lora.adapted_layers(net)) == ["attn.out_proj"]


def test_pefts_packed_attention_adds_the_output_projection_twice() -> None:
    """Why it is refused: what PEFT's layer computes has other derivatives than those that it gives."""
    model = adapted(torch.nn.ModuleDict({"attn": torch.nn.MultiheadAttention(6, 2)}), "lora", target_modules=["attn"])
    attn, x = model.base_model.model["attn"], torch.randn(4, 1, 6, dtype=torch.float64)
    base, out = attn.base_layer, attn.base_layer.out_proj
    plain = torch.nn.MultiheadAttention(6, 2).double()
    with torch.no_grad():
        value = attn(x, x, x)[0]
        plain.in_proj_weight.copy_(base.in_proj_weight + attn.get_delta_weight("default"))
        plain.in_proj_bias.copy_(base.in_proj_bias)
        plain.out_proj.bias.copy_(out.base_layer.bias)
        for times in (1, 2):
            plain.out_proj.weight.copy_(out.base_layer.weight + times * out.get_delta_weight("default"))
            assert torch.allclose(plain(x, x, x)[0], value) == (times == 2)


def test_pefts_dora_of_a_convolution_in_groups_has_other_norms() -> None:
    """Why it is refused: a row of what the layer computes has another norm than the one it is divided by."""
    model = adapted(
        torch.nn.ModuleDict({"conv": torch.nn.Conv2d(4, 6, 3, groups=2)}), "dora", target_modules=["conv"], r=4
    )
    conv = model.base_model.model["conv"]
    A, B = (part["default"] for part in (conv.lora_A, conv.lora_B))
    dora, scale, W = conv.lora_magnitude_vector["default"], conv.scaling["default"], conv.base_layer.weight
    with torch.no_grad():
        change = dora.get_lora_weight(A, B).reshape(W.shape)
        norms = dora.get_weight_norm(W, change, scale).flatten().numpy()
    ours = aj.lora.add(aj.nn.Conv2d(4, 6, 3, groups=2, dtype="float64"), 4, 4 * scale)
    ours.base_layer.weight = W.detach().numpy()
    adapter = ours.adapters["default"]
    adapter.lora_A, adapter.lora_B = A.weight.detach().numpy(), B.weight.detach().numpy()
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 5))
    with torch.no_grad():
        theirs = conv.base_layer(torch.tensor(x)) + scale * B(A(torch.tensor(x)))
        close(ours(x) - ours.base_layer.bias[:, None, None], theirs - conv.base_layer.bias[:, None, None])
    own = np.linalg.norm(ours.weight.reshape(6, -1), axis=1)
    assert abs(own / norms - 1.0).max() > 0.05


def test_a_start_in_the_weight_stands_alone(tmp_path: Path) -> None:
    net = aj.lora.add(Ours(), 2, targets=["q"], init="pissa")
    aj.lora.save(net, tmp_path)
    other = aj.lora.add(Ours(), 2, targets=["q"], name="other")
    refused(other, tmp_path, "init_lora_weights='pissa' changes the weight of model.layers.0.q")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good adapter."""
    folder = tmp_path_factory.mktemp("good")
    pair(folder, "dora", target_modules=["q", "head"])
    return folder


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good adapter of AdaLoRA, some of whose ranks are gone."""
    net = aj.lora.add(Ours(), 3, targets=["q"], adalora=True, rng=0)
    for layer in aj.lora.adapted_layers(net).values():
        layer.adapters["default"].lora_E = np.array([[1.0], [0.0], [2.0]])
    folder = tmp_path_factory.mktemp("pruned")
    aj.lora.save(aj.lora.compact(net), folder)
    return folder


def tried(folder: Path) -> None:
    """A folder is loaded, or refused by an error of this library that leaves the network as it was."""
    net = Ours()
    before, arrays = repr(net), net.state_dict()
    try:
        aj.lora.load(net, folder)
    except (CheckpointError, FileNotFoundError):
        assert repr(net) == before
        assert net.state_dict().keys() == arrays.keys()
        assert all(net.state_dict()[name] is x for name, x in arrays.items())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_with_other_bytes_are_read_or_refused(data: Any, good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    path = tmp_path / data.draw(st.sampled_from(["adapter_config.json", "adapter_model.safetensors"]))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(len(raw), 1500) - 1))
        if data.draw(st.booleans()):
            raw[place] = data.draw(st.integers(0, 255))
        else:
            del raw[place : place + data.draw(st.integers(1, 40))]
    path.write_bytes(bytes(raw))
    tried(tmp_path)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 1 << 70)
    | st.floats()
    | st.sampled_from(["q", "(", "", "pissa", "all"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["q", "0", "("]), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=160, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=values)
def test_fields_with_other_values_are_read_or_refused(
    data: Any, value: Any, good: Path, pruned: Path, tmp_path: Path
) -> None:
    shutil.copytree(data.draw(st.sampled_from([good, pruned])), tmp_path, dirs_exist_ok=True)
    path = tmp_path / "adapter_config.json"
    told = json.loads(path.read_text("utf-8"))
    told[data.draw(st.sampled_from(sorted(told)))] = value
    path.write_text(json.dumps(told), "utf-8")
    tried(tmp_path)


def test_a_header_that_claims_too_much_is_refused(good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "adapter_model.safetensors"
    raw = path.read_bytes()
    path.write_bytes((1 << 62).to_bytes(8, "little") + raw[8:])
    refused(Ours(), tmp_path, "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_bytes(b" " * 10_000_001)
    refused(Ours(), tmp_path, "more than a configuration has")


class Special(aj.nn.Linear):
    """A layer that can be told by its type."""


def alike() -> Any:
    """A network with layers whose names end as others do."""
    like: Any = {"dtype": "float64", "rng": 0}
    return aj.nn.Sequential(Special(6, 6, **like), aj.nn.Sequential(aj.nn.Linear(6, 6, **like), Special(6, 6, **like)))


@pytest.mark.parametrize(
    ("target", "meant", "ranks"),
    [(Special, r"0|1\.1", {"1.1": 2}), (aj.nn.Linear, ["0", "1.0", "1.1"], {"^0": 3})],
)
def test_names_that_end_as_others_do_are_told_apart(target: Any, meant: Any, ranks: Any, tmp_path: Path) -> None:
    net = aj.lora.add(alike(), 2, 5, target, rank_pattern={"^0": 3}, rng=0)
    for layer in aj.lora.adapted_layers(net).values():
        adapter = layer.adapters["default"]
        adapter.lora_B = np.random.default_rng(1).standard_normal(adapter.lora_B.shape)
    aj.lora.save(net, tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    assert (told["target_modules"], told["rank_pattern"]) == (meant, ranks)
    again = aj.lora.load(alike(), tmp_path)
    assert [*aj.lora.adapted_layers(again)] == [*aj.lora.adapted_layers(net)]
    close(again(X), net(X))
    m = torch.nn
    theirs = m.Sequential(m.Linear(6, 6), m.Sequential(m.Linear(6, 6), m.Linear(6, 6))).double()
    theirs.load_state_dict({name: torch.tensor(p) for name, p in alike().state_dict().items()})
    peers = peft.PeftModel.from_pretrained(theirs, str(tmp_path), autocast_adapter_dtype=False)
    close(net(X), peers(torch.tensor(X)))


def test_arrays_of_the_network_itself_are_not_forgotten(tmp_path: Path) -> None:
    class Net(aj.nn.Module):
        def __init__(self) -> None:
            self.gain = np.ones(6)
            self.fc_in = aj.nn.Linear(6, 6, dtype="float64")

    net = aj.lora.add(Net(), 2)
    aj.lora.save(net, tmp_path)
    net.unfreeze("gain")
    with pytest.raises(ValueError, match="gain of Net learns, an array that stands in the network itself"):
        aj.lora.save(net, tmp_path)


def test_embeddings_go_with_dropout_of_other_layers(tmp_path: Path) -> None:
    net = aj.lora.add(aj.nn.Sequential(aj.nn.Embedding(9, 6), aj.nn.Linear(6, 4)), 2, dropout=0.1, targets="*")
    aj.lora.save(net, tmp_path / "a")
    again = aj.lora.load(aj.nn.Sequential(aj.nn.Embedding(9, 6), aj.nn.Linear(6, 4)), tmp_path / "a")
    aj.lora.save(again, tmp_path / "b")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_adapters_are_loaded_on_other_backends(backend: str, good: Path) -> None:
    expected = aj.lora.load(Ours(), good)
    net = aj.lora.load(Ours().to(dtype="float32").to(backend), good)
    found = net(aj.to(X.astype("float32"), backend))
    close(np.asarray(found), expected(X), tolerance=1e-5)
    assert type(net.head.adapters["default"].lora_A) is type(found)
