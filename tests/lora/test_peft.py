"""Adapters against PEFT's: single layers, whole networks, files both ways."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.lora.files import parts
from adjoint.lora.targets import hub_name
from tests.lora.peft_peers import EXACT, KINDS, adapted, close, gradients, saved
from tests.models.language import wide

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 19, (2, 5))


def compared(net: Any, model: Any, x: Any, value: Any = lambda y: y, call: Any = None) -> None:
    """Outputs and the gradients of all adapters are PEFT's; the base weights have none."""
    call = call or (lambda n: n(x))
    expected = value(model(torch.as_tensor(x)))
    u = RNG.standard_normal(tuple(expected.shape))
    model.zero_grad()
    (expected * torch.tensor(u)).sum().backward()
    close(call(net), expected, "outputs")
    grads = aj.grad(lambda n: aj.sum(call(n) * u))(net)
    theirs = gradients(model)
    found = {
        f"{hub_name(net, key)}.{part}": g
        for key, layer in aj.lora.adapted_layers(grads).items()
        for part, g in parts(layer, layer.adapters["default"])
    }
    assert found.keys() == theirs.keys()
    for name, g in found.items():
        close(g, theirs[name], name)
    assert all(layer.base_layer.weight is None for layer in aj.lora.adapted_layers(grads).values())


class Holder(torch.nn.Module):
    """One layer with a name, so that it can be adapted."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(x)


class Held(aj.nn.Module):
    """The same here."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


LAYERS: dict[str, tuple[Any, Any, Any]] = {
    "linear": (lambda m: m.Linear(7, 5), RNG.standard_normal((3, 2, 7)), "cpu"),
    "no bias": (lambda m: m.Linear(4, 9, bias=False), RNG.standard_normal((1, 4)), "cpu"),
    "embedding": (lambda m: m.Embedding(11, 6), RNG.integers(0, 11, (2, 4)), "cpu"),
    "padded": (lambda m: m.Embedding(11, 6, padding_idx=2), np.array([[2, 1, 2], [0, 10, 1]]), "cpu"),
    "conv1d": (lambda m: m.Conv1d(4, 5, 3, stride=2, padding=1), RNG.standard_normal((2, 4, 9)), "cpu"),
    "conv2d": (lambda m: m.Conv2d(4, 5, (3, 2), stride=(2, 1), padding=1), RNG.standard_normal((2, 4, 7, 6)), "cpu"),
    "conv3d": (lambda m: m.Conv3d(3, 4, 2, bias=False), RNG.standard_normal((1, 3, 4, 3, 5)), "cpu"),
}
PAIRS = [(k, layer) for k in KINDS for layer in LAYERS if k != "adalora" or layer in ("linear", "no bias")]


@pytest.mark.covers("L01", "L04", "L05", "L08")
@pytest.mark.parametrize(("kind", "layer"), PAIRS)
def test_a_layer_computes_what_pefts_does(kind: str, layer: str, tmp_path: Any) -> None:
    make, x, _ = LAYERS[layer]
    model = adapted(Holder(make(torch.nn)), kind, target_modules=["layer"])
    net = Held(make(aj.nn))
    base = {n: p.detach().numpy().copy() for n, p in model.named_parameters() if ".base_layer." in n}
    net.load_state_dict(
        {n.removeprefix("base_model.model.").replace(".base_layer", ""): p for n, p in base.items()}, assign=True
    )
    net = aj.lora.load(net, saved(model, tmp_path / "a"))
    compared(net, model, x)
    merged = model.merge_and_unload()
    before = net.layer.base_layer.weight
    y = net(x)
    aj.lora.merge(net)
    close(net.layer.base_layer.weight, merged.layer.weight, "merged", 1e-9 if kind == "dora" else EXACT)
    close(net(x), y, "merged outputs")
    assert aj.lora.unmerge(net).layer.base_layer.weight is before


def language(kind: str, name: str) -> tuple[Any, Any, Any, Any]:
    """(PEFT's model, the network here, what gives the outputs of the model, a call of the network)."""
    import transformers

    if name == "gpt2":
        model: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(
            vocab_size=19, n_positions=8, n_embd=6, n_layer=2, n_head=2, attn_implementation="eager"))  # fmt: skip
        net: Any = aj.models.GPT(19, 8, 2, 2, 6, dtype="float64")
        targets = ["c_attn", "c_proj", "c_fc"] + ["wte"] * (kind != "adalora")
    elif name == "llama":
        config = {"vocab_size": 19, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
                  "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6}  # fmt: skip
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
        net = aj.models.Llama(19, 8, 12, 2, 2, 1, eps=1e-6, dtype="float64")
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj", "lm_head"]
    else:
        config = {"vocab_size": 19, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
                  "num_attention_heads": 2, "max_position_embeddings": 16}  # fmt: skip
        model = transformers.BertForMaskedLM(transformers.BertConfig(**config))
        net = aj.models.BertForMaskedLM(aj.models.BertConfig(**config), dtype="float64")
        targets = ["query", "key", "value", "dense"]
    made = adapted(model, kind, target_modules=targets)
    for rotary in (m for m in made.modules() if hasattr(m, "inv_freq")):  # as the formula has it, in float64
        rotary.inv_freq = 10_000.0 ** (-torch.arange(0, 4, 2, dtype=torch.float64) / 4)
    return made, net, lambda y: y.logits, None


def loaded(net: Any, model: Any, folder: Any) -> Any:
    """The network with the base weights of PEFT's model, and its adapter from a file."""
    state = {
        n.removeprefix("base_model.model.").replace(".base_layer", ""): p.detach().numpy()
        for n, p in model.state_dict().items() if "lora_" not in n and "ranknum" not in n
    }  # fmt: skip
    aj.models.load_checkpoint(net, state)
    return aj.lora.load(net.eval(), saved(model, folder))


@pytest.mark.covers("L02")
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("kind", KINDS)
def test_networks_compute_what_pefts_do(kind: str, name: str, tmp_path: Any) -> None:
    model, net, value, call = language(kind, name)
    with wide():
        compared(loaded(net, model, tmp_path / "a"), model, TOKENS, value, call)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_go_back_to_peft(kind: str, name: str, tmp_path: Any) -> None:
    import peft

    model, net, value, _ = language(kind, name)
    net = loaded(net, model, tmp_path / "a")
    for layer in aj.lora.adapted_layers(net).values():
        for part in ("lora_A", "lora_B", "lora_E", "lora_magnitude_vector"):
            adapter = layer.adapters["default"]
            if hasattr(adapter, part):
                setattr(adapter, part, getattr(adapter, part) * RNG.uniform(0.5, 2.0))
    aj.lora.save(net, tmp_path / "b")
    base = model.unload()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = peft.PeftModel.from_pretrained(
            base, str(tmp_path / "b"), torch_device="cpu", autocast_adapter_dtype=False
        )
    with wide():
        close(net(TOKENS), value(again.double().eval()(torch.as_tensor(TOKENS))))


def test_patterns_of_rank_and_alpha_are_pefts(tmp_path: Any) -> None:
    torch_net = torch.nn.Sequential(*(torch.nn.Linear(6, 6) for _ in range(3)))
    options = {"rank_pattern": {"1": 2}, "alpha_pattern": {"^2": 7}}
    model = adapted(torch_net, "lora", target_modules=["0", "1", "2"], **options)
    net = aj.nn.Sequential(*(aj.nn.Linear(6, 6, dtype="float64") for _ in range(3)))
    mine = aj.lora.add(
        net, 3, 5, ["0", "1", "2"], rank_pattern=options["rank_pattern"], alpha_pattern=options["alpha_pattern"]
    )
    for i, layer in enumerate(model.base_model.model):
        adapter = mine[i].adapters["default"]
        assert (layer.r["default"], layer.scaling["default"]) == (adapter.rank, adapter.scale)
    aj.lora.save(net, tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))
    assert (told["r"], told["rank_pattern"], told["alpha_pattern"]) == (3, {"1": 2}, {"2": 7.0})
    again = aj.lora.load(aj.nn.Sequential(*(aj.nn.Linear(6, 6, dtype="float64") for _ in range(3))), tmp_path)
    assert [again[i].adapters["default"].scale for i in range(3)] == [
        mine[i].adapters["default"].scale for i in range(3)
    ]


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_what_is_left_of_the_weight_is_pefts(start: str, tmp_path: Any) -> None:
    import peft

    layer = torch.nn.Linear(7, 5)
    net = Held(aj.nn.Linear(7, 5))
    net.layer.weight, net.layer.bias = (p.detach().numpy().copy() for p in (layer.weight, layer.bias))
    again = Held(aj.nn.Linear(7, 5))
    again.load_state_dict(net.state_dict())
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["layer"], init_lora_weights=start)
    model = peft.get_peft_model(Holder(layer), config)
    net = aj.lora.add(net, 3, 5, "layer", init=start)
    theirs, mine = model.base_model.model.layer, net.layer
    close(mine.base_layer.weight, theirs.base_layer.weight, tolerance=1e-5)
    adapter = mine.adapters["default"]
    close(
        adapter.lora_B @ adapter.lora_A,
        theirs.lora_B["default"].weight @ theirs.lora_A["default"].weight,
        tolerance=1e-5,
    )
    aj.lora.save(net, tmp_path)
    x = RNG.standard_normal((2, 7)).astype("float32")
    close(aj.lora.load(again, tmp_path)(x), net(x), tolerance=1e-5)


def test_modules_that_learn_whole_are_saved(tmp_path: Any) -> None:
    net = aj.lora.add(aj.nn.MLP((4, 5, 3), rng=0), 2, targets="0", also=["2"])
    net[2].weight = net[2].weight + 1.0
    grads = aj.grad(lambda n: aj.sum(n(np.ones((2, 4), "float32"))))(net)
    assert grads[2].weight is not None
    assert grads[0].base_layer.weight is None
    aj.lora.save(net, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))["modules_to_save"] == ["2"]
    again = aj.lora.load(aj.nn.MLP((4, 5, 3), rng=0), tmp_path)
    np.testing.assert_array_equal(again[2].weight, net[2].weight)
    assert not again[2]._frozen
