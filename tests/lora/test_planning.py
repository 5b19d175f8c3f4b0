"""Plans: ranks where the gradient's energy is, within the budget, as a LoraConfig that PEFT takes."""

from __future__ import annotations

import ast
import json
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app
from adjoint.costs import Roofline
from tests.cli.lora_models import VERSE, bert, llama, vit
from tests.lora.peft_peers import torch

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 19, (3, 7))
GPT2 = {"model_type": "gpt2", "vocab_size": 19, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 2}
SMALL = {"vocab_size": 19, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA = {"model_type": "llama", **SMALL, "num_key_value_heads": 1}
BERT = {"model_type": "bert", **SMALL, "max_position_embeddings": 16, "architectures": ["BertForMaskedLM"]}


def model(config: dict[str, Any]) -> Any:
    """transformers' model of a configuration."""
    import transformers

    kinds = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "bert": "BertForMaskedLM"}
    kind = config["model_type"]
    fields = {k: v for k, v in config.items() if k not in ("model_type", "architectures")}
    if kind == "gpt2":
        fields |= {"bos_token_id": 0, "eos_token_id": 0}
    made: Any = transformers.AutoConfig.for_model(kind, **fields)
    return getattr(transformers, kinds[kind])(made)


def pasted(block: str) -> Any:
    """PEFT's configuration of a block."""
    import peft

    call: Any = ast.parse(block, mode="eval").body
    assert call.func.id == "LoraConfig"
    return peft.LoraConfig(**{k.arg: ast.literal_eval(k.value) for k in call.keywords})


@pytest.mark.covers("L08")
@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("config", [GPT2, LLAMA, BERT], ids=["gpt2", "llama", "bert"])
def test_peft_takes_the_block_and_gives_these_ranks(config: dict[str, Any], sampled: bool) -> None:
    import peft

    net = aj.models.from_config(config, rng=0)
    sample = (TOKENS, RNG.integers(0, 19, TOKENS.shape)) if sampled else None
    found = aj.lora.plan(net, 500, sample)
    assert len(set(found.ranks.values())) > 1, "one rank everywhere says little"
    made = pasted(found.block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of orientations that PEFT mends by itself
        theirs = peft.get_peft_model(model(config), made)
    ranks = {
        name.removeprefix("base_model.model."): (module.r["default"], module.scaling["default"])
        for name, module in theirs.named_modules() if hasattr(module, "lora_A") and module.r
    }  # fmt: skip
    from adjoint.lora.targets import hub_name

    assert ranks == {hub_name(net, name): (rank, 2.0) for name, rank in found.ranks.items()}
    counts = theirs.get_nb_trainable_parameters()
    assert counts == (found.parameters, found.whole + found.parameters)
    assert found.parameters <= found.budget == 500


def test_ranks_are_the_best_for_the_budget() -> None:
    net = aj.nn.MLP((7, 6, 5), rng=0, dtype="float64")
    x, t = RNG.standard_normal((9, 7)), RNG.integers(0, 5, 9)
    grads = aj.grad(lambda n: aj.cross_entropy(n(x), t))(net)
    squares = [np.linalg.svd(grads[k].weight, compute_uv=False) ** 2 for k in (0, 2)]
    for budget in (11, 24, 30, 50, 61, 200):
        found = aj.lora.plan(net, budget, (x, t))
        assert found.parameters == aj.nn.count_parameters(
            [layer.adapters["default"] for layer in aj.lora.adapted_layers(_added(net, found)).values()]
        )
        ranks = [found.ranks.get(name, 0) for name in ("0", "2")]
        held = sum(float(np.sum(s[:r])) for s, r in zip(squares, ranks, strict=True))
        options = [(a, b) for a, b in product(range(4), range(3)) if 13 * a + 11 * b <= budget]
        best = max(float(np.sum(squares[0][:a]) + np.sum(squares[1][:b])) for a, b in options)
        largest = max(float(s[0]) for s in squares)
        assert best - largest <= held <= best + 1e-12  # a greedy choice misses at most one direction
        for row, s, r in zip(found.layers, squares, ranks, strict=True):
            assert row.weight == pytest.approx(np.sum(s[:r]) / np.sum(s))


def _added(net: Any, found: Any) -> Any:
    return aj.lora.add(aj.to(net), 1, targets=list(found.ranks), rank_pattern=found.ranks)


def test_a_planted_gradient_gets_the_ranks() -> None:
    net = aj.nn.Sequential(*(aj.nn.Linear(20, 20, rng=k, dtype="float64") for k in range(3)))
    directions = RNG.standard_normal((3, 20, 20))
    directions[2] = 30.0 * (RNG.standard_normal((20, 4)) @ RNG.standard_normal((4, 20)))
    found = aj.lora.plan(net, 40 * 9, lambda n: sum(aj.sum(n[k].weight * directions[k]) for k in range(3)))
    assert found.ranks["2"] == 4
    assert found.layers[2].weight == pytest.approx(1.0)
    assert sum(found.ranks.values()) == 9


def test_weights_without_a_sample_share_by_effective_rank() -> None:
    net = aj.nn.Sequential(*(aj.nn.Linear(30, 30, rng=k, dtype="float64") for k in range(2)))
    net[1].weight = net[1].weight * 0.5 ** np.arange(30)
    found = aj.lora.plan(net, 60 * 10)
    effective = []
    for k in range(2):
        p = np.linalg.svd(net[k].weight, compute_uv=False)
        p /= p.sum()
        effective.append(float(np.exp(-np.sum(p * np.log(p)))))
        assert found.layers[k].weight == pytest.approx(effective[k], rel=1e-3)
    share = effective[0] / sum(effective)
    assert abs(found.ranks["0"] - 10 * share) <= 1
    assert "heuristic" in repr(found)


def test_costs_are_those_of_the_network_with_the_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Roofline("toy", {"float32": 1e9}, 1e9)
    monkeypatch.setattr(Roofline, "remembered", classmethod(lambda cls: line))
    net = aj.models.from_config(GPT2)
    found = aj.lora.plan(net, sample=TOKENS)
    assert found.budget == 2 * (8 * 48 + 8 * 60 + 8 * 60 + 6 * 24)  # rank 8; no adapter larger than its weight
    mine = aj.cost(_added(net, found), TOKENS[:, :-1])
    assert (found.memory, found.seconds) == (mine.memory.training, mine.predicted(line).training)
    assert found.full == aj.cost(net, TOKENS[:, :-1]).memory.training
    few = aj.lora.plan(net, 100, TOKENS)
    assert (few.memory or 0) < (few.full or 0)
    assert found.given == ((3, 6),)
    monkeypatch.setattr(Roofline, "remembered", classmethod(lambda cls: None))
    assert aj.lora.plan(net).seconds is None
    unknown = aj.lora.plan(aj.nn.MLP((8, 8)))
    assert (unknown.memory, unknown.given) == (None, ())
    assert not net._frozen


def test_memory_and_time_are_those_of_the_batch_and_length_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Roofline, "remembered", classmethod(lambda cls: Roofline("toy", {"float32": 1e9}, 1e9)))
    net = aj.models.from_config(GPT2)
    for found, mine in (
        ((p := aj.lora.plan(net, batch=5, seq=7)), aj.cost(_added(net, p), batch=5, seq=7)),
        ((p := aj.lora.plan(net, sample=TOKENS, batch=5)), aj.cost(_added(net, p), np.zeros((5, 6), "int64"))),
        ((p := aj.lora.plan(net, batch=2)), aj.cost(_added(net, p), batch=2, seq=16)),
    ):
        assert (found.memory, found.seconds) == (mine.memory.training, mine.predicted(Roofline.remembered()).training)
        assert found.activations == mine.memory.passes.kept < (found.memory or 0)
        assert found.given == mine.inputs
    assert "of it activations" in repr(aj.lora.plan(net, batch=5, seq=7))
    assert "a step on 5×7" in repr(aj.lora.plan(net, batch=5, seq=7))


def test_names_that_other_names_end_with_are_told_apart() -> None:
    import peft

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(20, 20)
            self.inner = torch.nn.ModuleDict({"fc": torch.nn.Linear(20, 20)})

    class Mine(aj.nn.Module):
        def __init__(self) -> None:
            self.fc = aj.nn.Linear(20, 20, rng=0)
            self.inner = {"fc": aj.nn.Linear(20, 20, rng=1)}

    weigh = np.diag(0.7 ** np.arange(20)).astype("float32")
    for budget, scale in ((40 * 6, 3.0), (40 * 2, 100.0)):  # both layers, and the outer one alone

        def loss(n: Any, scale: float = scale) -> Any:
            return aj.sum((scale * n.fc.weight + n.inner["fc"].weight) * weigh)

        found = aj.lora.plan(Mine(), budget, loss, targets="fc")
        theirs = peft.get_peft_model(Net(), pasted(found.block))
        ranks = {
            n.removeprefix("base_model.model."): m.r["default"] for n, m in theirs.named_modules() if hasattr(m, "r")
        }
        assert {k: v for k, v in ranks.items() if v} == found.ranks


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"budget": 10}, ValueError, "budget of 10 is too small: a rank of 1 takes 11 at"),
    ({"budget": 0}, ValueError, "too small"),
    ({"budget": 30.0}, TypeError, "an integer"),
    ({"targets": "nope"}, ValueError, "lora.plan: the target 'nope' matches no layer"),
    ({"loss": aj.cross_entropy}, ValueError, "a loss goes with a sample"),
    ({"sample": [1, 2]}, ValueError, r"a sample is a pair \(x, t\)"),
    ({"sample": lambda n: 0.0 * aj.sum(n[0].weight) + 0.0 * aj.sum(n[2].weight)}, ValueError, "all gradients .* zero"),
    ({"batch": 2}, ValueError, "batch"),
    ({"sample": (np.ones((2, 5), "float32"), np.array([0, 1])), "batch": 0}, ValueError, "examples from 1 on, not 0"),
    ({"sample": (np.ones((2, 5), "float32"), np.array([0, 1])), "seq": 3}, ValueError, "seq goes without a sample"),
    ({"sample": (np.full((2, 5), np.nan), np.array([0, 1]))}, ValueError, "gradient of 0 has numbers that are not fin"),
]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of NaN, which is the matter
@pytest.mark.parametrize(("wish", "kind", "told"), WRONG)
def test_wishes_that_cannot_be_met_are_refused(wish: dict[str, Any], kind: type[Exception], told: str) -> None:
    net = aj.nn.MLP((5, 7, 4), rng=0, dtype="float64")
    with pytest.raises(kind, match=told):
        aj.lora.plan(net, **wish)
    assert not net[0]._frozen


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="the network has adapters"):
        aj.lora.plan(aj.lora.add(aj.nn.MLP((5, 7, 4), rng=0), 1))
    net = aj.nn.MLP((5, 7, 4), rng=0)
    net[0].weight = net[0].weight * np.inf
    with pytest.raises(ValueError, match="weight of 0 has numbers that are not finite"):
        aj.lora.plan(net)
    packed = aj.quantize(aj.nn.MLP((64, 64), rng=0))
    with pytest.raises(ValueError, match="weight of 0 is packed and has no gradient"):
        aj.lora.plan(packed, sample=(np.ones((2, 64), "float32"), np.array([0, 1])))
    with aj.nn.init.only_shapes():
        empty = aj.nn.MLP((5, 6, 4))
    with pytest.raises(aj.SpectrumError, match="only has a shape"):
        aj.lora.plan(empty)


def test_the_command_prints_the_block(tmp_path: Path) -> None:
    net = aj.models.from_config(GPT2, rng=0)
    (tmp_path / "config.json").write_text(json.dumps(GPT2), "utf-8")
    aj.save(tmp_path / "model.safetensors", net.state_dict())
    run = CliRunner().invoke(app, ["lora", "plan", str(tmp_path), "--budget", "600"])
    assert run.exit_code == 0, run.output
    assert "LoraConfig(" in run.output
    assert "effective rank" in run.output
    told = json.loads(CliRunner().invoke(app, ["lora", "plan", str(tmp_path), "--budget", "600", "--json"]).output)
    assert told["ranks"] == aj.lora.plan(net, 600).ranks
    assert told["config"]["r"] == aj.lora.plan(net, 600).config["r"]
    lost = CliRunner().invoke(app, ["lora", "plan", str(tmp_path), "--budget", "3"])
    assert lost.exit_code == 1
    assert "too small" in lost.output
    assert CliRunner().invoke(app, ["lora", "plan", str(tmp_path / "none")]).exit_code == 1


@pytest.mark.covers("L01")
def test_qwens_count_is_the_published_one() -> None:
    config = {
        "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008,
        "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    with aj.nn.init.only_shapes():  # Qwen2.5-3B, in PEFT's README: 3,686,400 of 3,089,625,088, 0.1193 %
        net = aj.lora.add(aj.models.from_config(config), 16, targets=["q_proj", "v_proj"])
    found = aj.lora.adapted_layers(net).values()
    assert sum(aj.nn.count_parameters(layer.adapters["default"]) for layer in found) == 3_686_400
    assert aj.nn.count_parameters(net) == 3_089_625_088
    assert round(100 * 3_686_400 / 3_089_625_088, 4) == 0.1193


@pytest.mark.parametrize("kind", ["text", "labels", "images"])
def test_the_command_takes_samples_as_training_does(kind: str, tmp_path: Path) -> None:
    made, name = {"text": (llama, "verse.txt"), "labels": (bert, "texts.csv"), "images": (vit, "digits.npz")}[kind]
    folder, data = made(tmp_path / "model"), tmp_path / name
    if kind == "text":
        data.write_text(VERSE * 5, "utf-8")
    elif kind == "labels":
        rows = ["label,text", *(f"{k % 3},{['no', 'yes', 'maybe'][k % 3]}" for k in range(12))]
        data.write_text("\n".join(rows), "utf-8")
    else:
        digits = aj.data.digits()
        np.savez(data, x=digits.x[:16].reshape(-1, 1, 8, 8), y=digits.y[:16])
    words = ["lora", "plan", str(folder), "--sample", str(data), "--seq", "16", "--budget", "400"]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, (run.output, run.exception)
    assert "gradients on the sample" in run.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json", "--batch", "3"]).output)
    assert told["sampled"] is True
    assert told["given"][0][0] == 3
    assert 0 < told["activations"] < told["memory"] < told["full"]
    assert 0 < told["parameters"] <= 400
    assert set(told["ranks"]) <= {x["name"] for x in told["layers"]}
    missing = CliRunner().invoke(app, [*words[:4], str(tmp_path / "none.txt")])
    assert missing.exit_code == 1
