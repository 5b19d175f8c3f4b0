"""QLoRA: adapters beside quantized layers, against dense layers with the same numbers, and PEFT with bitsandbytes."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import nn
from adjoint.quantization import QuantizedLinear, dequantize, from_bitsandbytes
from tests.quantization.test_networks import close, inputs, loss, made

KINDS: list[dict[str, Any]] = [
    {},
    {"rslora": True},
    {"dora": True},
    {"adalora": True},
    {"init": "orthogonal", "rank": 4},
]


def drawn(net: Any, dtype: str = "float64") -> Any:
    """The network with every number of its adapters random."""
    rng = np.random.default_rng(5)
    for layer in aj.lora.adapted_layers(net).values():
        for adapter in layer.adapters.values():
            for name in adapter.form().names:
                x = getattr(adapter, name)
                setattr(adapter, name, (0.3 * rng.standard_normal(x.shape) + ("magnitude" in name)).astype(dtype))
    return net


@pytest.mark.covers("L03")
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("format", ["nf4", "fp4", "int8", "int4"])
def test_outputs_and_gradients_are_those_of_dense_layers(kind: dict[str, Any], format: str) -> None:
    options: dict[str, Any] = {"rank": 3, "alpha": 5, "dtype": "float64", "rng": 0, **kind}
    net = drawn(aj.lora.add(aj.quantize(made(dtype="float64"), format), **options))
    dense = dequantize(net.to(), "float64")
    assert type(net[0].base_layer) is QuantizedLinear
    assert type(dense[0].base_layer) is nn.Linear
    x = inputs(5, 131)
    close(net(x), dense(x), 1e-12)
    ours, theirs = (dict(aj.grad(loss)(n, x).named_arrays()) for n in (net, dense))
    assert ours.keys() == theirs.keys()
    assert {name.split(".")[1] for name in ours} == {"adapters"}
    for name, g in ours.items():
        close(g, theirs[name], 1e-12)


def test_adapters_start_from_the_quantized_layer_and_have_float32() -> None:
    net = aj.quantize(made())
    x = inputs(5, 131, dtype="float32")
    before = net(x)
    aj.lora.add(net, rank=2, rng=0)
    np.testing.assert_array_equal(net(x), before)
    assert net[0].adapters["default"].lora_A.dtype == np.float32
    low = aj.lora.add(aj.quantize(made()), rank=2, dtype="bfloat16")
    assert str(low[0].adapters["default"].lora_A.dtype) == "bfloat16"
    assert low(x).shape == before.shape


def test_a_step_learns_adapters_alone() -> None:
    net = aj.lora.add(aj.quantize(made()), rank=2, rng=0)
    x = inputs(5, 131, dtype="float32")
    kept = {name: np.array(a) for name, a in net.named_arrays() if "adapters" not in name}
    optimizer = aj.optim.AdamW(net, lr=1e-2)
    first = loss(net, x)
    for _ in range(5):
        optimizer.step(net, aj.grad(loss)(net, x))
    assert loss(net, x) < first
    for name, before in kept.items():
        np.testing.assert_array_equal(dict(net.named_arrays())[name], before)


def test_layers_with_adapters_are_quantized_below_them() -> None:
    """So an adapter that was taken out of the weight (PiSSA) stays, and what it left is quantized."""
    net = aj.lora.add(made(), rank=4, init="pissa")
    x = inputs(5, 131, dtype="float32")
    plain = made()(x)
    aj.quantize(net)
    assert type(net[0].base_layer) is QuantizedLinear
    assert np.linalg.norm(net(x) - plain) < np.linalg.norm(aj.quantize(made())(x) - plain)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_adapters_out_of_a_quantized_weight_are_refused(init: str) -> None:
    net = aj.quantize(made())
    with pytest.raises(ValueError, match=r"is quantized or reparametrized: add the adapters to the plain network"):
        aj.lora.add(net, rank=2, init=init)
    assert type(net[0]) is QuantizedLinear


def test_merging_needs_a_plain_base() -> None:
    net = drawn(aj.lora.add(aj.quantize(made()), rank=3), "float32")
    x = inputs(5, 131, dtype="float32")
    value = net(x)
    with pytest.raises(ValueError, match=r"quantized or reparametrized.*dequantize the layer first"):
        aj.lora.merge(net)
    np.testing.assert_array_equal(net(x), value)
    merged = aj.lora.merge(dequantize(net))
    close(merged(x), value, 1e-5)
    with pytest.raises(ValueError, match="adapters merged into its weight"):
        aj.quantize(merged)
    plain = aj.lora.remove(merged)
    assert type(plain[0]) is nn.Linear
    close(aj.quantize(plain, "dynamic8")(x), value, 0.05)


@pytest.mark.parametrize("format", ["nf4", "int8"])
def test_a_packed_weight_is_not_merged_into_and_its_plain_form_does_not_drift(format: str) -> None:
    net = drawn(aj.lora.add(aj.quantize(made(), format), rank=3), "float32")
    before = {name: array.tobytes() for name, array in net.named_arrays()}
    with pytest.raises(ValueError, match="dequantize the layer first"):
        aj.lora.merge(net)
    assert {name: array.tobytes() for name, array in net.named_arrays()} == before
    weight = net[0].base_layer.packed.dequantize()
    net = dequantize(net)
    for _ in range(100):
        aj.lora.unmerge(aj.lora.merge(net))
    np.testing.assert_array_equal(net[0].base_layer.weight, weight)


def test_adapters_are_saved_without_the_base(tmp_path: Path) -> None:
    net = drawn(aj.lora.add(aj.quantize(made()), rank=3), "float32")
    aj.lora.save(net, tmp_path)
    again = aj.lora.load(aj.quantize(made()), tmp_path)
    x = inputs(5, 131, dtype="float32")
    np.testing.assert_array_equal(again(x), net(x))


@pytest.mark.covers("L03")
@pytest.mark.parametrize("format", ["nf4", "fp4"])
@pytest.mark.parametrize("kind", ["lora", "rslora"])
def test_peft_with_bitsandbytes_says_the_same(format: str, kind: str) -> None:
    """Of sizes that bitsandbytes 0.50 unpacks as it packed them: on the CPU it takes scales of other blocks where rows
    of a multiple of 16 entries, such as 48, end within a block."""
    bnb, peft = import_module("bitsandbytes.nn"), import_module("peft")

    class Theirs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            options = {"quant_type": format, "compute_dtype": torch.float32}
            self.a, self.b = bnb.Linear4bit(70, 64, **options), bnb.Linear4bit(64, 34, **options)

        def forward(self, x: Any) -> Any:
            return self.b(torch.tanh(self.a(x)))

    torch.manual_seed(0)
    base = Theirs().to("cpu")
    state = {name: x.numpy() for name, x in base.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(
            base,
            peft.LoraConfig(
                r=3, lora_alpha=5, use_rslora=kind == "rslora", target_modules=["a", "b"], init_lora_weights=False
            ),
        )
    ours = aj.nn.Sequential(nn.Linear(70, 64), nn.Tanh(), nn.Linear(64, 34))
    aj.quantize(ours, format)
    renamed = {name.replace("a.", "0.", 1).replace("b.", "2.", 1): x for name, x in state.items()}
    ours.load_state_dict(from_bitsandbytes(renamed))
    aj.lora.add(ours, rank=3, alpha=5, rslora=kind == "rslora")
    places = {"a": ours[0], "b": ours[2]}
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            layer, part = name.split(".")[2:4]
            setattr(places[layer].adapters["default"], part, p.detach().numpy().copy())
    x = torch.randn(5, 70, requires_grad=True)
    y = theirs(x)
    close(ours(x.detach().numpy()), y.detach(), 1e-5)
    torch.autograd.backward(torch.sin(y).sum())
    gradients, of_x = aj.grad(loss, (0, 1))(ours, x.detach().numpy())
    close(of_x, x.grad, 1e-5)
    found = {"a": gradients[0], "b": gradients[2]}
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            layer, part = name.split(".")[2:4]
            close(getattr(found[layer].adapters["default"], part), p.grad, 1e-5)
