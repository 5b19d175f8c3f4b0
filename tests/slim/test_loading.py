"""Factorized networks from their files: into the architecture before, to the same numbers; what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.maps.flat import to_numpy

nn = aj.nn


def image_network(rng: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, padding=2, rng=rng), nn.ReLU(), nn.Conv2d(12, 10, (3, 2), stride=2, rng=rng + 1),
        nn.Flatten(), nn.Linear(10 * 3 * 4, 30, rng=rng + 2),
    )  # fmt: skip


def separable_network(seed: int) -> nn.Sequential:
    net, rng = image_network(seed), np.random.default_rng(seed)
    net[0].weight = np.einsum("ia,ob->oiab", rng.random((3, 5)), rng.standard_normal((12, 5))).astype("float32")
    return net


def randomized(net: Any) -> Any:
    rng = np.random.default_rng(9)
    for _, p in net.named_parameters():
        p += rng.standard_normal(p.shape).astype(p.dtype) * 0.1
    return net


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize(
    ("made", "options", "shape"),
    [
        (lambda rng: nn.MLP((20, 30, 7), rng=rng), {"rank": 3}, (4, 20)),
        (lambda rng: nn.Linear(16, 24, bias=False, rng=rng), {"rank": 2}, (3, 16)),
        (image_network, {"rank": 2, "sample": np.ones((1, 3, 8, 8), "float32")}, (2, 3, 8, 8)),
        (separable_network, {"rank": 1, "targets": "0"}, (1, 3, 8, 8)),
    ],
)
def test_into_the_architecture_before_to_the_same_numbers(
    made: Any, options: Any, shape: tuple[int, ...], backend: str, tmp_path: Path
) -> None:
    small, found = aj.factorize(made(0), **options)
    assert found.replaced
    small = randomized(small)
    aj.save(tmp_path / "small.safetensors", small)
    net = made(5).to(backend).eval()
    before = {name: to_numpy(x).copy() for name, x in net.state_dict().items()}
    again = aj.slim.load(net, tmp_path / "small.safetensors")
    x = np.random.default_rng(1).standard_normal(shape).astype("float32")
    y = to_numpy(again(aj.to(x, backend)))
    np.testing.assert_allclose(y, small(x), atol=1e-5 * np.abs(y).max())
    assert again.state_dict().keys() == small.state_dict().keys()
    assert not again.training
    for name, w in net.state_dict().items():
        np.testing.assert_array_equal(to_numpy(w), before[name])


def test_all_kinds_of_pairs_are_met() -> None:
    sample = np.ones((1, 3, 8, 8), "float32")
    found = aj.factorize(image_network(0), rank=2, sample=sample)[1], aj.factorize(separable_network(0), rank=1)[1]
    assert {x.kind for record in found for x in record.replaced} == {"linear", "channels", "separable"}


def test_a_network_that_was_not_factorized() -> None:
    net = nn.MLP((4, 3, 2), rng=0)
    again = aj.slim.load(nn.MLP((4, 3, 2)), net.state_dict())
    np.testing.assert_array_equal(again[0].weight, net[0].weight)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    net, small = nn.MLP((20, 30, 7), rng=0), aj.factorize(nn.MLP((20, 30, 7), rng=0), rank=3)[0]
    state = small.state_dict()
    with pytest.raises(aj.ShapeError, match=r"2\.second\.weight|0\.first\.weight"):
        aj.slim.load(nn.MLP((21, 30, 7)), state)
    with pytest.raises(KeyError, match=r"missing \['0\.bias', '0\.weight'\], unexpected \['0\.second"):
        aj.slim.load(net, {name: x for name, x in state.items() if not name.startswith("0.first")})
    with pytest.raises(KeyError, match="unexpected"):
        aj.slim.load(nn.Sequential(nn.ReLU()), state)
    for first in ((0, 20), (1 << 40, 0), (), (21, 20)):
        with pytest.raises(aj.ShapeError, match=r"slim\.load: 0 has the weight \(30, 20\).*the rank is 1 to 20"):
            aj.slim.load(net, {**state, "0.first.weight": np.broadcast_to(np.float32(0), first)})
    path = tmp_path / "small.safetensors"
    aj.save(path, small)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(aj.CheckpointError):
        aj.slim.load(net, path)
    with pytest.raises(FileNotFoundError):
        aj.slim.load(net, tmp_path / "none.safetensors")


MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "LlamaForCausalLM": (
        {"vocab_size": 19, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True},
        "down_proj",
    ),
    "GPT2LMHeadModel": ({"vocab_size": 19, "n_positions": 8, "n_embd": 16, "n_layer": 2, "n_head": 2}, "c_fc"),
}  # fmt: skip


def folder(architecture: str, to: Path) -> tuple[Any, Path]:
    """A factorized model with random numbers and the folder that it was written to."""
    fields, target = MODELS[architecture]
    kind = "llama" if "Llama" in architecture else "gpt2"
    to.mkdir(exist_ok=True)
    (to / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": kind, **fields}))
    net = aj.models.from_config(to / "config.json", rng=0)
    small, found = aj.factorize(net, rank=3, targets=[target])
    assert len(found.replaced) == 2
    small = randomized(small.eval())
    aj.save(to / "model.safetensors", small)
    return small, to


@pytest.mark.parametrize("architecture", MODELS)
def test_a_folder_opens_with_its_pairs(architecture: str, tmp_path: Path) -> None:
    small, place = folder(architecture, tmp_path)
    tokens = np.array([[1, 2, 3, 4]])
    for net in (aj.open(place), aj.open(place / "model.safetensors")):
        assert [n for n, m in net.named_modules() if isinstance(m, aj.slim.Pair)] == [
            n for n, m in small.named_modules() if isinstance(m, aj.slim.Pair)
        ]
        np.testing.assert_array_equal(net(tokens), small(tokens))
        assert aj.nn.count_parameters(net) == aj.nn.count_parameters(small)
    in_torch = aj.open(place, backend="torch", dtype="float64")
    np.testing.assert_allclose(to_numpy(in_torch(aj.to(tokens, "torch"))), small(tokens), atol=1e-4)
    names = {row.name for row in aj.inspect(aj.open(place), cache=False).rows}
    assert any(name.endswith("first.weight") for name in names)


def test_a_folder_whose_pairs_do_not_fit_is_refused(tmp_path: Path) -> None:
    small, place = folder("LlamaForCausalLM", tmp_path)
    state = dict(small.state_dict())
    name = "model.layers.1.mlp.down_proj.first.weight"
    aj.save(place / "model.safetensors", {**state, name: np.zeros((40, 24), "float32")})
    with pytest.raises(
        aj.CheckpointError, match=r"model\.safetensors: model\.layers\.1\.mlp\.down_proj has the weight"
    ):
        aj.open(place)
    aj.save(place / "model.safetensors", {**state, name: np.zeros((2, 24), "float32")})
    with pytest.raises(aj.CheckpointError, match=r"second\.weight is \(16, 3\), not \(16, 2\)"):
        aj.open(place)
    del state[name]
    aj.save(place / "model.safetensors", state)
    with pytest.raises(aj.CheckpointError, match=r"missing: model\.layers\.1\.mlp\.down_proj\.weight"):
        aj.open(place)
