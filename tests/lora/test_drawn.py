"""Adapters of PEFT's drawn at random, alone and several at once: values and gradients on every backend."""

from __future__ import annotations

import tempfile
import warnings
from typing import Any

import jax
import numpy as np
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint as aj
from adjoint.lora.files import parts
from tests.lora.peft_peers import close
from tests.lora.test_peft import Held, Holder

Layer = tuple[str, tuple[Any, ...], dict[str, Any]]
LAYERS: list[Layer] = [
    ("Linear", (7, 5), {}),
    ("Linear", (4, 9), {"bias": False}),
    ("Embedding", (11, 6), {"padding_idx": 3}),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1}),
    ("Conv2d", (4, 6, (3, 2)), {"padding": (0, 1), "bias": False}),
    ("Conv3d", (3, 4, 2), {"stride": (1, 2, 1)}),
]
GROUPED: list[Layer] = [
    ("Conv1d", (4, 8, 3), {"groups": 4, "bias": False}),  # depthwise, with two outputs a channel
    ("Conv2d", (4, 6, (3, 2)), {"groups": 2, "stride": (2, 1), "padding": 1}),
    ("Conv3d", (3, 3, 2), {"groups": 3}),
]


def inputs(layer: Layer, batch: int, rng: np.random.Generator) -> np.ndarray:
    """What a layer is called with."""
    kind, sizes, _ = layer
    if kind == "Embedding":
        return rng.integers(0, sizes[0], (batch, 4))
    if kind == "Linear":
        return rng.standard_normal((batch, 3, sizes[0]))
    return rng.standard_normal((batch, sizes[0], 7, 6, 5)[: 2 + int(kind[4])])


def pair(layer: Layer, adapters: dict[str, dict[str, Any]], rng: np.random.Generator) -> tuple[Any, Any]:
    """(PEFT's model with adapters, all random, and the same here, loaded from files)."""
    kind, sizes, options = layer
    model: Any = Holder(getattr(torch.nn, kind)(*sizes, **options)).double()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # that convolutions in groups are not merged
        for i, (name, told) in enumerate(adapters.items()):
            config = peft.LoraConfig(target_modules=["layer"], **told)
            model = model.add_adapter(name, config) or model if i else peft.get_peft_model(model, config, name)
        model.double().eval()
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(torch.tensor(0.4 * rng.standard_normal(p.shape) + ("magnitude" in name or p.ndim == 1)))
        net = Held(getattr(aj.nn, kind)(*sizes, **options, dtype="float64"))
        base = {n.rpartition(".")[2]: p.detach().numpy() for n, p in model.named_parameters() if ".base_layer." in n}
        net.load_state_dict({f"layer.{n}": p for n, p in base.items()})
        model.save_pretrained(folder, selected_adapters=[*adapters], save_embedding_layers=False)
        for name in adapters:
            net = aj.lora.load(net, f"{folder}/{name}", name)
    return model, net


def compared(model: Any, net: Any, x: np.ndarray, backend: str = "numpy") -> None:
    """Values, and gradients of the adapters in use, are PEFT's."""
    expected = model(torch.as_tensor(x))
    u = np.random.default_rng(1).standard_normal(tuple(expected.shape))
    model.zero_grad()
    (expected * torch.tensor(u)).sum().backward()
    there, x, weights = net.to(backend), aj.to(x, backend), aj.to(u, backend)
    close(there(x), expected, "value")
    grads = aj.grad(lambda n: aj.sum(n(x) * weights))(there)
    theirs = dict(model.named_parameters())
    for name, _ in net.layer.use:
        for part, g in parts(net.layer, grads.layer.adapters[name]):
            first, _, last = part.partition(".")
            key = f"base_model.model.layer.{first}.{name}" + f".{last}" * bool(last)
            close(g, (theirs.get(key) if key in theirs else theirs[f"{key}.weight"]).grad, part)


def options(kind: str, rank: int, alpha: float) -> dict[str, Any]:
    """PEFT's options for an adapter of a kind."""
    return {"r": rank, "lora_alpha": alpha, "use_rslora": kind == "rslora", "use_dora": kind == "dora"}


alphas = st.one_of(st.integers(1, 64), st.floats(0.25, 40.0))


@pytest.mark.covers("L01", "L04")
@settings(max_examples=40)
@given(
    layer=st.sampled_from(LAYERS), kind=st.sampled_from(["lora", "rslora", "dora"]), rank=st.integers(1, 5),
    alpha=alphas, batch=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_an_adapter_is_pefts(layer: Layer, kind: str, rank: int, alpha: float, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, net = pair(layer, {"default_b": options(kind, rank, alpha)}, rng)
    x = inputs(layer, batch, rng)
    compared(model, net, x)
    y, W = net(x), net.layer.base_layer.weight
    close(aj.lora.merge(net)(x), y, "merged")
    assert aj.lora.unmerge(net).layer.base_layer.weight is W


@settings(max_examples=15)
@given(
    layer=st.sampled_from([*LAYERS, *GROUPED]), ranks=st.tuples(st.integers(1, 2), st.integers(1, 2)), alpha=alphas,
    rslora=st.booleans(), weights=st.tuples(st.floats(-2.0, 2.0), st.floats(0.1, 2.0)), seed=st.integers(0, 99),
)  # fmt: skip
def test_several_adapters_add_up_as_pefts(
    layer: Layer, ranks: Any, alpha: float, rslora: bool, weights: Any, seed: int
) -> None:
    rng, groups = np.random.default_rng(seed), layer[2].get("groups", 1)
    kinds = {"a": ("lora", ranks[0]), "b": ("rslora" if rslora else "lora", ranks[1])}
    model, net = pair(layer, {name: options(kind, r * groups, alpha) for name, (kind, r) in kinds.items()}, rng)
    model.base_model.set_adapter([*kinds])
    aj.lora.use(net, dict(zip(kinds, weights, strict=True)))
    for name, weight in zip(kinds, weights, strict=True):
        model.base_model.model.layer.set_scale(name, weight)
    x = inputs(layer, 2, rng)
    compared(model, net, x)
    y = net(x)
    close(aj.lora.merge(net)(x), y, "merged", 1e-11)  # the two may nearly cancel


@pytest.mark.parametrize(
    ("layer", "backend"), [(GROUPED[0], "jax"), *((layer, b) for layer in GROUPED for b in ("numpy", "torch"))]
)
def test_a_convolution_in_groups_is_pefts(layer: Layer, backend: str) -> None:
    rng = np.random.default_rng(0)
    model, net = pair(layer, {"a": options("lora", 2 * layer[2]["groups"], 5)}, rng)
    x = inputs(layer, 2, rng)
    with jax.enable_x64(True):
        compared(model, net, x, backend)
    y, W, groups = net(x), net.layer.weight, net.layer.groups
    assert W.shape == (layer[1][1], layer[1][0], *net.layer.kernel_size)  # sees all channels
    plain = aj.lora.remove(aj.lora.merge(net)).layer
    assert (groups, plain.groups) == (layer[2]["groups"], 1)
    close(plain(x), y, "merged")


@pytest.mark.parametrize(
    ("layer", "backend"), [*((layer, "torch") for layer in LAYERS), (LAYERS[0], "jax"), (LAYERS[2], "jax")]
)
def test_other_backends_are_pefts(layer: Layer, backend: str) -> None:
    rng = np.random.default_rng(0)
    model, net = pair(layer, {"a": options("dora", 3, 5)}, rng)
    with jax.enable_x64(True):
        compared(model, net, inputs(layer, 2, rng), backend)


@pytest.mark.parametrize("fields", [{"dilation": 2}, {"padding": 1, "padding_mode": "circular"}])
def test_a_change_walks_as_its_layer_does(fields: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    layer = aj.lora.add(aj.nn.Conv2d(3, 4, 3, **fields, dtype="float64"), 2, rng=0)
    layer.adapters["default"].lora_B = rng.standard_normal((4, 2, 1, 1))
    x = rng.standard_normal((2, 3, 7, 8))
    y = layer(x)
    close(aj.lora.merge(layer)(x), y)


class Masked(torch.nn.Module):
    """Entries left out, the same ones every time."""

    def __init__(self, mask: np.ndarray) -> None:
        super().__init__()
        self.mask = torch.tensor(mask)

    def forward(self, x: Any) -> Any:
        return x * self.mask if self.training else x


class Ours(aj.nn.Module):
    """The same here."""

    def __init__(self, mask: np.ndarray) -> None:
        self.register_buffer("mask", mask)

    def __call__(self, x: Any) -> Any:
        return x * self.mask if self.training else x


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("layer", [x for x in LAYERS if x[0] != "Embedding"])
def test_entries_are_left_out_where_pefts_are(layer: Layer, kind: str) -> None:
    rng = np.random.default_rng(0)
    model, net = pair(layer, {"a": {**options(kind, 3, 5), "lora_dropout": 0.5}}, rng)
    x = inputs(layer, 2, rng)
    mask = 2.0 * rng.integers(0, 2, x.shape)
    model.train().base_model.model.layer.lora_dropout["a"] = Masked(mask)
    net.train().layer.adapters["a"].dropout = Ours(mask)
    compared(model, net, x)
    compared(model.eval(), net.eval(), x)
