"""Folders that transformers saved with weights of 4 or 8 bits by bitsandbytes, opened as they are."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app
from adjoint.errors import CheckpointError
from adjoint.quantization import QuantizedLinear
from tests.quantization.test_networks import close

LAYERS = 14  # of two blocks


def saved(folder: Path, double: bool, format: str) -> Any:
    """A small Llama with random numbers, stored in 4 bits, and its folder."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "whole")
    how: Any = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=format, bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    net: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "whole", quantization_config=how, device_map="cpu", dtype=torch.float32
    )
    net.save_pretrained(folder / "packed")
    return net.train()  # in evaluation bitsandbytes packs anew for products in bfloat16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("packed")
    saved(place, True, "nf4")
    return place / "packed"


@pytest.mark.parametrize(("double", "format"), [(True, "nf4"), (False, "fp4")])
def test_a_folder_opens_as_the_network_of_transformers(double: bool, format: str, tmp_path: Path) -> None:
    theirs = saved(tmp_path, double, format)
    net = aj.open(tmp_path / "packed")
    packs = [m for _, m in net.named_modules() if isinstance(m, QuantizedLinear)]
    assert len(packs) == LAYERS
    assert {m.packed.format for m in packs} == {format}
    tokens = np.random.default_rng(0).integers(0, 50, (2, 9))
    close(net(tokens), theirs(torch.tensor(tokens)).logits.detach(), 1e-5)
    whole = aj.open(tmp_path / "whole")
    assert aj.nn.count_parameters(net) == aj.nn.count_parameters(whole)
    aj.quantize(whole, format, double=double)
    close(whole(tokens), net(tokens), 1e-2 if double else 1e-5)  # of another mean of the scales, by one rounding


def test_on_other_backends_and_dtypes(folder: Path) -> None:
    net, tokens = aj.open(folder), np.array([[1, 2, 3]])
    in_torch = aj.open(folder, backend="torch")
    assert isinstance(in_torch.model.layers[0].mlp.up_proj.packed.codes, torch.Tensor)
    close(in_torch(torch.tensor(tokens)), net(tokens), 1e-5)
    half = aj.open(folder, dtype="bfloat16")
    assert {str(x.dtype) for _, x in half.named_arrays()} == {"uint8", "float32", "bfloat16"}
    assert half.model.norm.weight.dtype == "bfloat16"


def test_qlora_on_it_learns(folder: Path) -> None:
    net = aj.lora.add(aj.open(folder), rank=2, rng=0)
    tokens = np.array([[1, 2, 3]])
    gradients = dict(aj.grad(lambda net: aj.mean(net(tokens) ** 2))(net).named_arrays())
    assert len(gradients) == 2 * LAYERS
    assert all("lora_" in name for name in gradients)


def test_adjoint_open_tells_each_weight_once(folder: Path) -> None:
    done = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["open", str(folder)], catch_exceptions=False)
    lines = [line.split() for line in done.output.splitlines()]
    assert ["parameters", "80,448"] in lines
    assert ["model.layers.0.self_attn.q_proj.weight", "64×64", "4,096", "nf4"] in lines
    assert not any(line[:1] == ["buffers"] for line in lines)
    assert "packed" not in done.output.replace(str(folder), "").replace("open packed", "")


def copied(folder: Path, to: Path, change: Any) -> Path:
    """The folder with its arrays changed."""
    shutil.copytree(folder, to)
    arrays = dict(aj.load(to / "model.safetensors"))
    change(arrays)
    aj.save(to / "model.safetensors", arrays)
    return to


def test_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    first = "model.layers.0.mlp.up_proj.weight"
    key = f"{first}.quant_state.bitsandbytes__nf4"

    def turned(arrays: Any) -> None:
        told = json.loads(arrays[key].tobytes())
        arrays[key] = np.frombuffer(json.dumps({**told, "shape": told["shape"][::-1]}).encode(), "uint8")

    bad: list[tuple[Any, str]] = [
        (lambda arrays: arrays.pop(f"{first}.absmax"), "up_proj.weight.absmax': it is missing"),
        (lambda arrays: arrays.pop(key), "up_proj.weight"),
        (lambda arrays: arrays.pop("model.norm.weight"), "missing: model.norm.weight"),
        (turned, r"of shape \(64, 128\), where model.layers.0.mlp.up_proj is \(128, 64\)"),
    ]
    for k, (change, told) in enumerate(bad):
        with pytest.raises(CheckpointError, match=told):
            aj.open(copied(folder, tmp_path / str(k), change))


def saved_in_8_bits(kind: str, folder: Path) -> Any:
    """A small model with random numbers, stored in 8 bits, and what its weights are to bitsandbytes."""
    torch.manual_seed(0)
    config: Any = (
        transformers.LlamaConfig(
            vocab_size=50, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
        ) if kind == "llama" else
        transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=64, n_layer=2, n_head=4, initializer_range=0.3)
    )  # fmt: skip
    whole: Any = transformers.AutoModelForCausalLM.from_config(config)
    for p in whole.parameters():
        p.data += 0.1 * torch.randn_like(p)
    whole.save_pretrained(folder / "whole")
    how: Any = transformers.BitsAndBytesConfig(load_in_8bit=True)
    net: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "whole", quantization_config=how, device_map="cpu", dtype=torch.float32
    )
    net.save_pretrained(folder / "packed")
    return net


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning")  # theirs, of inputs in float32
def test_a_folder_in_8_bits_has_the_weights_of_bitsandbytes(kind: str, tmp_path: Path) -> None:
    theirs = saved_in_8_bits(kind, tmp_path)
    net = aj.open(tmp_path / "packed")
    layers = {n: m for n, m in net.named_modules() if isinstance(m, QuantizedLinear)}
    assert {m.packed.format for m in layers.values()} == {"int8"}
    bnb = importlib.import_module("bitsandbytes")
    their_layers = {n: m for n, m in theirs.named_modules() if isinstance(m, bnb.nn.Linear8bitLt)}
    assert [n.removeprefix("transformer.") for n in their_layers] == list(layers)
    with torch.no_grad():
        for name, layer in their_layers.items():
            W = bnb.functional.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)
            mine = layers[name.removeprefix("transformer.")].weight
            np.testing.assert_allclose(mine, W.numpy(), rtol=3e-7)  # of two roundings in another order
            plain = torch.nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            plain.weight.data, plain.bias = W, layer.bias  # inputs are not rounded, as they are in bitsandbytes' own
            theirs.set_submodule(name, plain)
    tokens = np.random.default_rng(0).integers(0, 50, (2, 9))
    close(net(tokens), theirs(torch.tensor(tokens)).logits.detach(), 1e-5)
    net = aj.lora.add(net, rank=2, rng=0)
    gradients = dict(aj.grad(lambda net: aj.mean(net(tokens) ** 2))(net).named_arrays())
    assert len(gradients) == 2 * len(layers)
    close(aj.quantization.dequantize(net)(tokens), theirs(torch.tensor(tokens)).logits.detach(), 1e-5)


def test_damaged_folders_in_8_bits_are_refused(tmp_path: Path) -> None:
    saved_in_8_bits("llama", tmp_path)
    weight = "model.layers.0.mlp.up_proj.weight"
    scales, told = (weight.replace("weight", x) for x in ("SCB", "weight_format"))
    W = aj.load(tmp_path / "packed" / "model.safetensors")
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "turned": ({weight: W[weight].T}, r"up_proj.SCB': it is float32 \(128,\), not 64 finite scales"),
        "square": (
            {weight: W[weight][:, :9]},
            r"up_proj.weight': it is quantized, of shape \(128, 9\), where .* \(128, 64\)",
        ),
        "floating": ({weight: W[weight].astype("float32")}, f"{weight}': it is float32"),
        "short": ({scales: W[scales][:-1]}, r"up_proj.SCB': it is float32 \(127,\), not 128 finite scales"),
        "broken": ({scales: W[scales] * np.float32(np.nan)}, "up_proj.SCB"),
        "tiles": ({told: np.array(2, "uint8")}, "up_proj.weight_format' is 2: only rows as they stand .*save it again"),
        "two": ({told: np.array([0, 0], "uint8")}, "up_proj.weight_format"),
    }
    for name, (arrays, match) in changes.items():
        with pytest.raises(CheckpointError, match=match):
            aj.open(copied(tmp_path / "packed", tmp_path / name, lambda all, new=arrays: all.update(new)))
    with pytest.raises(CheckpointError, match=f"missing: {weight}"):
        aj.open(copied(tmp_path / "packed", tmp_path / "none", lambda all: all.pop(weight)))
    found = aj.quantization.from_bitsandbytes({k: x for k, x in W.items() if "up_proj" in k and "layers.0" in k})
    assert sorted(k.rpartition("packed.")[2] for k in found) == ["absmax", "codes", "zeros"]
