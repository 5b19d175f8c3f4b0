"""Adapters with a bias of their own (PEFT's `lora_bias=True`): the layer, its gradients, merging, files both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

import adjoint as aj
from adjoint.errors import CheckpointError
from tests.lora.peft_peers import adapted, close, saved
from tests.lora.test_peft import LAYERS, Held, Holder, compared

BIASED = ["linear", "no bias", "conv1d", "conv2d", "conv3d"]


def both(layer: str, folder: Path, kind: str = "lora") -> tuple[Any, Any, Any]:
    """(PEFT's model, the network here with its adapter loaded, an input)."""
    make, x, _ = LAYERS[layer]
    model = adapted(Holder(make(torch.nn)), kind, target_modules=["layer"], lora_bias=True)
    net = Held(make(aj.nn))
    net.load_state_dict({
        n.removeprefix("base_model.model.").replace(".base_layer", ""): p.detach().numpy().copy()
        for n, p in model.named_parameters() if ".base_layer." in n
    }, assign=True)  # fmt: skip
    return model, aj.lora.load(net, saved(model, folder)), x


@pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed:peft.utils.warning.PeftWarning")  # of "no bias"
@pytest.mark.parametrize("kind", ["lora", "rslora"])
@pytest.mark.parametrize("layer", BIASED)
def test_a_layer_computes_what_pefts_does(layer: str, kind: str, tmp_path: Path) -> None:
    model, net, x = both(layer, tmp_path / "a", kind)
    compared(net, model, x)
    twice = aj.lora.use(net, {"default": 2.0})
    base = net.layer.base_layer(x)
    close(twice(x) - base, 2.0 * (model(torch.as_tensor(x)).detach().numpy() - base), "weighed", 1e-11)


@pytest.mark.parametrize("layer", ["linear", "conv2d"])
def test_merged_it_is_in_weight_and_bias(layer: str, tmp_path: Path) -> None:
    model, net, x = both(layer, tmp_path / "a")
    y, weight, bias = net(x), net.layer.base_layer.weight, net.layer.base_layer.bias
    merged = model.merge_and_unload().layer
    close(net.layer.bias, merged.bias, "as it is used")
    for _ in range(100):
        aj.lora.merge(net)
        close(net.layer.base_layer.weight, merged.weight, "weight")
        close(net.layer.base_layer.bias, merged.bias, "bias")
        close(net(x), y, "outputs")
        aj.lora.unmerge(net)
    assert net.layer.base_layer.weight is weight
    assert net.layer.base_layer.bias is bias
    np.testing.assert_array_equal(net(x), y)
    plain = aj.lora.remove(aj.lora.merge(net))
    close(plain(x), y, "and stays so")
    assert not list(plain.named_buffers())


def test_files_go_back_to_peft_after_a_step(tmp_path: Path) -> None:
    model, net, x = both("linear", tmp_path / "a")
    before = net(x)
    net, _ = aj.optim.AdamW(net, lr=0.1).step(net, aj.grad(lambda n: aj.mean(n(x) ** 2))(net))
    aj.lora.save(net, tmp_path / "b")
    assert json.loads((tmp_path / "b" / "adapter_config.json").read_text("utf-8"))["lora_bias"] is True
    again: Any = peft.PeftModel.from_pretrained(model.unload(), str(tmp_path / "b"), autocast_adapter_dtype=False)
    close(net(x), again.double().eval()(torch.as_tensor(x)))
    assert abs(net(x) - before).max() > 1e-3


@pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed:peft.utils.warning.PeftWarning")
def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    _, net, x = both("no bias", tmp_path / "a")
    y = net(x)
    with pytest.raises(
        ValueError, match=r"the adapter of layer has a bias \(lora_bias\), which the layer has no place"
    ):
        aj.lora.merge(net)
    np.testing.assert_array_equal(net(x), y)
    path, key = tmp_path / "a" / "adapter_model.safetensors", "base_model.model.layer.lora_B.bias"
    arrays = aj.load(path)
    for change, told in (
        ({key: arrays[key][:-1]}, rf"{key} is \(8,\), where"),
        ({key.replace("lora_B", "lora_A"): arrays[key]}, r"has lora_A\.bias, of another kind of adapter"),
    ):
        aj.save(path, arrays | change)
        plain = Held(aj.nn.Linear(4, 9, bias=False))
        before = repr(plain)
        with pytest.raises(CheckpointError, match=told):
            aj.lora.load(plain, tmp_path / "a")
        assert repr(plain) == before
