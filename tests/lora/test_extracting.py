"""Extraction: the best adapter of a rank, in files that PEFT reads."""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app
from adjoint.lora.screens import extraction
from adjoint.maps.spectra import truncation
from adjoint.maps.spectra.truncation import truncated
from tests.lora.peft_peers import close
from tests.models.language import wide

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 19, (2, 5))


def pair(kind: str, tied: bool = True) -> tuple[Any, Any]:
    """(a model of transformers', one of which every parameter is another), float64."""
    import transformers

    if kind == "gpt2":
        config: Any = transformers.GPT2Config(
            vocab_size=19, n_positions=8, n_embd=12, n_layer=2, n_head=2, tie_word_embeddings=tied, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        base: Any = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            vocab_size=19, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, tie_word_embeddings=tied,
        )  # fmt: skip
        base = transformers.LlamaForCausalLM(config)
    base = base.double().eval()
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for model in (base, tuned):
            for p in model.parameters():
                p.add_(torch.tensor(0.1 * RNG.standard_normal(p.shape)))
    return base, tuned


def folders(tmp_path: Path, *models: Any) -> list[str]:
    """The models' folders."""
    result = []
    for i, model in enumerate(models):
        model.save_pretrained(tmp_path / str(i))
        result.append(str(tmp_path / str(i)))
    return result


def loaded(base: Any, folder: Path) -> Any:
    """PEFT's model of the adapter in a folder."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tied weights, and of the orientation of Conv1D
        return peft.PeftModel.from_pretrained(
            base, str(folder), torch_device="cpu", autocast_adapter_dtype=False
        ).eval()  # fmt: skip


@pytest.mark.covers("L08")
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_peft_adds_up_to_the_tuned_model(kind: str, tied: bool, tmp_path: Path) -> None:
    base, tuned = pair(kind, tied)
    one, two = folders(tmp_path, base, tuned)
    net, found = aj.lora.extract(aj.open(one), aj.open(two), rank=4)
    aj.lora.save(net, tmp_path / "adapter")
    made = loaded(base, tmp_path / "adapter")
    for rotary in (m for m in made.modules() if hasattr(m, "inv_freq")):  # as the formula has it, in float64
        rotary.inv_freq = 10_000.0 ** (-torch.arange(0, 4, 2, dtype=torch.float64) / 4)
    with wide():
        close(net(TOKENS), made(torch.as_tensor(TOKENS)).logits, tolerance=1e-10)
    stated = {x.name: x for x in found.layers}
    assert not found.lost
    theirs = dict(tuned.named_modules())
    seen = set()
    for name, module in made.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            own = name.removeprefix("transformer.")
            off = module.base_layer.weight + module.get_delta_weight("default") - theirs[name].weight
            assert float(torch.linalg.norm(off.detach())) == pytest.approx(stated[own].error, rel=1e-9)
            tail = (theirs[name].weight - module.base_layer.weight).detach().numpy()
            values = np.linalg.svd(tail, compute_uv=False)
            assert stated[own].error == pytest.approx(float(np.linalg.norm(values[4:])), rel=1e-9)
            seen.add(own)
    assert seen == stated.keys()
    assert found.error == pytest.approx(sum(x.error**2 for x in stated.values()) ** 0.5)
    assert (found.tied == ("lm_head.weight is wte.weight",)) == (tied and kind == "gpt2")


@pytest.mark.parametrize("tied", [True, False])
def test_a_vocabulary_that_has_grown_is_stored_whole(tied: bool, tmp_path: Path) -> None:
    base, tuned = pair("gpt2", tied)
    tuned.resize_token_embeddings(22, mean_resizing=False)
    with torch.no_grad():
        tuned.transformer.wte.weight[19:] = torch.tensor(RNG.standard_normal((3, 12)))
    one, two = folders(tmp_path, base, tuned)
    net, found = aj.lora.extract(aj.open(one), aj.open(two), rank=12)
    assert found.whole["wte"] == found.whole["lm_head"] == "grew from 19 to 22 rows"
    x = np.array([[1, 21, 19, 4]])
    close(net(x), tuned(torch.as_tensor(x)).logits, tolerance=1e-10)
    aj.lora.save(net, tmp_path / "adapter")
    base.resize_token_embeddings(22, mean_resizing=False)
    close(loaded(base, tmp_path / "adapter")(torch.as_tensor(x)).logits, net(x), tolerance=1e-10)


def test_adapters_of_full_rank_are_the_tuned_network(tmp_path: Path) -> None:
    def made(seed: int) -> Any:
        net = aj.nn.Sequential(
            aj.nn.Conv2d(3, 4, 3, dtype="float64", rng=seed), aj.nn.BatchNorm2d(4, dtype="float64"),
            aj.nn.Conv2d(4, 6, 2, groups=2, dtype="float64", rng=seed + 1), aj.nn.Flatten(),
            aj.nn.Linear(24, 5, dtype="float64", rng=seed + 2),
        )  # fmt: skip
        rng = np.random.default_rng(seed)
        net[1].running_mean = rng.standard_normal(4)
        net[1].weight = rng.standard_normal(4)
        return net.eval()

    base, tuned = made(0), made(9)
    before = base.state_dict()
    net, found = aj.lora.extract(base, tuned, energy=1.0)
    x = RNG.standard_normal((2, 3, 5, 5))
    close(net(x), tuned(x), tolerance=1e-10)
    assert [x.rank for x in found.layers] == [4, 5]
    assert found.whole == {"1": "weight and running_mean changed", "2": "a convolution in groups"}
    assert found.biases == ("0.bias", "4.bias")
    assert all(base.state_dict()[name] is x for name, x in before.items())
    assert found.parameters == sum(x.parameters for x in found.layers) + sum(
        int(x.size) for n, x in tuned.state_dict().items() if n[0] in "12" or n in found.biases
    )
    aj.lora.save(net, tmp_path)
    close(aj.lora.load(made(0), tmp_path)(x), tuned(x), tolerance=1e-10)
    assert not aj.lora.adapted_layers(base)


def test_peft_reads_convolutions_norms_and_their_statistics(tmp_path: Path) -> None:
    def made() -> Any:
        layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(36, 5)]
        net = torch.nn.Sequential(OrderedDict(zip(("conv", "norm", "flat", "head"), layers, strict=True)))
        for x in (*net.parameters(), net.norm.running_mean):
            x.data = torch.tensor(RNG.standard_normal(x.shape))
        return net.double().eval()

    class Net(aj.nn.Module):
        def __init__(self) -> None:
            self.conv, self.norm = aj.nn.Conv2d(3, 4, 3, dtype="float64"), aj.nn.BatchNorm2d(4, dtype="float64")
            self.flat, self.head = aj.nn.Flatten(), aj.nn.Linear(36, 5, dtype="float64")

        def __call__(self, x: Any) -> Any:
            return self.head(self.flat(self.norm(self.conv(x))))

    base, tuned, mine, theirs = made(), made(), Net().eval(), Net().eval()
    for net, model in ((mine, base), (theirs, tuned)):
        net.load_state_dict({k: x.numpy() for k, x in model.state_dict().items()})
    net, found = aj.lora.extract(mine, theirs, rank=5)
    assert list(found.whole) == ["norm"]
    aj.lora.save(net, tmp_path)
    x = RNG.standard_normal((2, 3, 5, 5))
    expected = tuned(torch.tensor(x))
    close(net(x), expected, tolerance=1e-10)
    close(loaded(base, tmp_path)(torch.tensor(x)), expected, tolerance=1e-10)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_networks_on_other_backends(backend: str) -> None:
    base = aj.nn.Sequential(aj.nn.Linear(6, 5, rng=0), aj.nn.LayerNorm(5))
    tuned = aj.nn.Sequential(aj.nn.Linear(6, 5, rng=1), aj.nn.LayerNorm(5))
    tuned[1].weight = RNG.standard_normal(5).astype("float32")
    x = RNG.standard_normal((3, 6)).astype("float32")
    for one, two in ((base.to(backend), tuned), (base, tuned.to(backend))):
        net, _ = aj.lora.extract(one, two, rank=5)
        like = next(one.parameters())
        assert all(type(p) is type(like) for p in net.parameters())
        close(np.asarray(net.to("numpy")(x)), tuned(x), tolerance=1e-5)


def test_a_planted_change_is_taken_whole_by_its_rank() -> None:
    base = aj.nn.MLP((30, 40, 20), rng=0)
    tuned = aj.to(base)
    tuned[0].weight = base[0].weight + 0.1 * (RNG.standard_normal((40, 3)) @ RNG.standard_normal((3, 30)))
    _, found = aj.lora.extract(base, tuned, rank=3)
    assert [x.name for x in found.layers] == ["0"]
    assert found.error < 1e-5 * found.layers[0].norm
    assert 1.0 - found.kept < 1e-12
    assert "3" in repr(found)
    _, found = aj.lora.extract(base, tuned, energy=0.999_999)
    assert found.layers[0].rank == 3


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (50, 50)])
@pytest.mark.parametrize("r", [1, 7, 40])
def test_the_gram_matrix_serves_large_weights_within_its_bound(
    shape: tuple[int, int], r: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    M = RNG.standard_normal(shape) * 0.8 ** np.arange(shape[1])
    best = truncated(M, r)
    monkeypatch.setattr(truncation, "WIDEST", 10)
    large = truncated(M, r)
    assert (best.method, large.method) == ("svd", "gram")
    for found in (best, large):
        assert np.linalg.norm(M - found.left @ found.right) == pytest.approx(found.error, abs=1e-13 * found.values[0])
        assert found.rank == r
    rounding = 1e-13 * large.values[0] ** 2
    assert best.error**2 <= large.error**2 + rounding <= best.error**2 + large.bound**2 + 2 * rounding
    assert large.bound < 1e-5 * large.values[0]
    close(large.left @ large.right, best.left @ best.right, tolerance=1e-6)
    if r < 40:
        assert truncated(M, energy=best.kept).rank == r


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, ValueError, "one of the two"),
    ({"rank": 2, "energy": 0.5}, ValueError, "one of the two"),
    ({"rank": 2.0}, TypeError, "an integer"),
    ({"rank": True}, TypeError, "an integer"),
    ({"rank": 0}, ValueError, "at least 1"),
    ({"rank": 6}, ValueError, "rank 6 is above 5"),
    ({"energy": 0.0}, ValueError, "above 0"),
    ({"energy": float("nan")}, ValueError, "above 0"),
]


@pytest.mark.parametrize(("wish", "kind", "told"), WRONG)
def test_wishes_that_cannot_be_met_are_refused(wish: dict[str, Any], kind: type[Exception], told: str) -> None:
    base = aj.nn.MLP((5, 6, 4), rng=0)
    with pytest.raises(kind, match=told):
        aj.lora.extract(base, aj.nn.MLP((5, 6, 4), rng=1), **wish)
    assert not aj.lora.adapted_layers(base)


def test_networks_that_cannot_be_compared_are_refused() -> None:
    base = aj.nn.MLP((5, 6, 4), rng=0)
    with pytest.raises(ValueError, match=r"networks of other layers.*3 \(ReLU"):
        aj.lora.extract(base, aj.nn.MLP((5, 6, 6, 4), rng=0), 2)
    with pytest.raises(aj.ShapeError, match=r"0.weight is \(6, 5\) in the base network and \(6, 7\)"):
        aj.lora.extract(base, aj.nn.MLP((7, 6, 4), rng=0), 2)
    with pytest.raises(aj.ShapeError, match="only rows may be added"):
        aj.lora.extract(base, aj.nn.MLP((5, 6, 3), rng=0), 2)
    with pytest.raises(ValueError, match="the networks are equal"):
        aj.lora.extract(base, aj.to(base), 2)
    norms = aj.nn.Sequential(aj.nn.Linear(5, 6, rng=0), aj.nn.LayerNorm(6))
    scaled = aj.to(norms)
    scaled[1].weight = 2.0 * norms[1].weight
    with pytest.raises(ValueError, match="no weight that takes an adapter changed, only 1: save"):
        aj.lora.extract(norms, scaled, 2)
    with pytest.raises(ValueError, match="base has adapters"):
        aj.lora.extract(aj.lora.add(aj.to(base), 2), base, 2)
    broken = aj.to(base)
    broken[0].weight = base[0].weight * np.nan
    with pytest.raises(ValueError, match="weight of 0 has numbers that are not finite"):
        aj.lora.extract(base, broken, 2)


def test_the_command_writes_the_folder_and_tells_it(tmp_path: Path) -> None:
    base, tuned = pair("gpt2")
    one, two = folders(tmp_path, base, tuned)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["lora", "extract", one, two, "--energy", "0.8", "--to", str(out)])
    assert result.exit_code == 0, result.output
    assert "of the energy" in result.output
    assert "lm_head.weight is wte.weight" in result.output
    told = json.loads((out / "adapter_config.json").read_text("utf-8"))
    assert told["base_model_name_or_path"] == one
    result = CliRunner().invoke(app, ["lora", "extract", one, two, "--rank", "99", "--to", str(tmp_path / "no")])
    assert result.exit_code == 1
    assert "rank 99 is above 12" in result.output
    assert not (tmp_path / "no").exists()


def test_layers_do_not_look_alike() -> None:
    _, found = aj.lora.extract(aj.nn.MLP((4, 4), rng=0), aj.nn.MLP((4, 4), rng=1), 1)
    names = ["lm_head", *(f"model.layers.{k}.self_attention.query" for k in range(30))]
    many = replace(found, layers=tuple(replace(found.layers[0], name=name) for name in names))
    for every, count in ((False, 24), (True, 31)):
        file = io.StringIO()
        Console(file=file, width=100).print(extraction(many, every))
        lines = [line.split() for line in file.getvalue().splitlines()]
        assert [line[0] for line in lines if line and line[0] in names] == names[:count]
