"""The cost in the report: the same figures as `aj.cost`, and none where the input is not known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray
from adjoint.cli import app
from adjoint.inspection.screen import text
from tests.costs.test_closed_forms import gpt2
from tests.costs.test_figures import GPT2


@pytest.mark.covers("E02")
def test_a_language_model_tells_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJOINT_CACHE", "off")
    net = aj.models.GPT(50, 64, n_layer=2, n_head=2, n_embd=8)
    report, found = aj.inspect(net, cache=False), aj.cost(net, batch=1, seq=64)
    assert report.cost == found
    told = json.loads(report.to_json())["cost"]
    assert told["forward"]["matmul_flops"] == found.forward.matmul_flops
    assert told["forward"]["multiply_adds"] == found.forward.matmul_flops // 2
    assert told["components"].keys() == {x.name for x in found.components}
    screen = " ".join(repr(report).split())
    assert "attention overtakes the feed-forward part at 16 tokens, its scores alone at 32" in screen
    assert "`adjoint doctor` measures this machine" in screen
    assert screen.index("FLOPs in products") < screen.index("σ_min")


def test_what_does_not_tell_its_input_has_no_cost() -> None:
    for model in (aj.nn.MLP((3, 4, 2)), {"w": np.eye(3)}):
        report = aj.inspect(model, cache=False)
        assert report.cost is None
        assert json.loads(report.to_json())["cost"] is None


GPT = aj.models.GPT(50, 64, n_layer=2, n_head=2, n_embd=8, rng=0)


def test_the_cost_is_that_of_the_sample() -> None:
    tokens = np.random.default_rng(0).integers(0, 50, (3, 9))
    report = aj.inspect(GPT, tokens, cache=False)
    assert report.cost == aj.cost(GPT, batch=3, seq=9)
    assert report.cost.polynomial("seq").checked  # tokens: its growth is known
    x = np.ones((4, 3), "float32")
    net = aj.nn.MLP((3, 5, 2), rng=0)
    assert aj.inspect(net, x, cache=False).cost == aj.cost(net, (4, 3))


def test_the_cost_of_a_batch_and_a_length() -> None:
    assert aj.inspect(GPT, batch=2, seq=16, cache=False).cost == aj.cost(GPT, batch=2, seq=16)
    with pytest.raises(ValueError, match="64 positions at most"):
        aj.inspect(GPT, seq=65, cache=False)
    with pytest.raises(ValueError, match="what MLP is given is not known"):
        aj.inspect(aj.nn.MLP((3, 2)), batch=2, cache=False)
    with pytest.raises(ValueError, match="given to a module of this library; here is none"):
        aj.inspect({"w": np.eye(3)}, batch=2, cache=False)
    with pytest.raises(ValueError, match="give batch and seq without one"):
        aj.inspect(GPT, np.zeros((1, 4), int), batch=2, cache=False)


@pytest.mark.covers("E02")
@pytest.mark.parametrize("cache", [False, True])
def test_each_weights_share_of_the_work(cache: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """2·m·n FLOPs a token and one for each entry of the bias, of all that the formulas of a GPT give."""
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path))
    for _ in range(1 + cache):  # rows that are remembered get theirs anew
        report = aj.inspect(GPT, batch=3, seq=9, cache=cache)
    whole = sum(part[1] for part in gpt2(3, 9, 8, 2, 2, 50).values())
    for row in report.rows:
        if row.name == "wpe.weight":  # rows of it are taken, outside of its module
            assert math.isnan(row.share)
            continue
        m, n = row.matrix
        bias = 0 if row.name == "wte.weight" else m
        assert row.share == pytest.approx(27 * (2 * m * n + bias) / whole)
    told = json.loads(report.to_json())["rows"]
    assert [row["share"] for row in told] == [None if math.isnan(row.share) else row.share for row in report.rows]
    lines = [line.split() for line in text(report, 200).splitlines()]
    assert "FLOPs" in next(words for words in lines if words[:1] == ["weight"])
    shown = next(words for words in lines if words[:1] == ["h.0.mlp.c_fc"])
    assert f"{report.row('h.0.mlp.c_fc.weight').share:.1%}" in shown


def test_a_module_with_several_weights_has_no_share_for_each() -> None:
    net = aj.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, rng=0)
    shares = {row.name: row.share for row in aj.inspect(net, np.ones((2, 5, 8), "float32"), cache=False).rows}
    assert math.isnan(shares["self_attn.in_proj_weight"])
    assert 0 < shares["linear1.weight"] < 1
    assert "FLOPs" not in aj.inspect(net, cache=False).table().splitlines()[0]


def test_the_page_has_the_share(tmp_path: Any) -> None:
    page = aj.inspect(GPT, batch=3, seq=9, cache=False).to_html(tmp_path / "a.html").read_text()
    assert "share of the FLOPs of the forward pass" in page


def test_a_program_tells_what_it_is_given() -> None:
    """The shape that it was exported at, and a batch where that was left open."""
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 5))
    fixed = aj.open(theirs.eval(), torch.randn(3, 1, 6, 6))
    report = aj.inspect(fixed, cache=False)
    assert report.cost is not None
    assert report.cost.inputs == ((3, 1, 6, 6),)
    assert report.cost.forward.matmul_flops == 2 * 3 * (4 * 16 * 9 + 64 * 5)
    assert [row.share > 0 for row in report.rows] == [True, True]
    with pytest.raises(ValueError, match="axis 0 of the input 'input' is 3, not 5"):
        aj.cost(fixed, batch=5)
    words = torch.nn.Sequential(torch.nn.Embedding(11, 8), torch.nn.Linear(8, 3)).eval()
    tokens = aj.open(words, torch.zeros((2, 7), dtype=torch.int64))
    assert aj.cost(tokens).inputs == ((2, 7),)
    assert aj.cost(tokens, batch=2, seq=7).forward.matmul_flops == 2 * 14 * 8 * 3


def test_the_command(tmp_path: Any) -> None:
    """A configuration and its weights, as a folder has them; what the model cannot have is told in one line."""
    config = {**GPT2, "vocab_size": 31, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    net = aj.models.from_config(config, rng=0)
    aj.save(tmp_path / "model.safetensors", net.state_dict())

    def run(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["inspect", *map(str, words)], catch_exceptions=False)
        return done.exit_code, done.output

    code, told = run(tmp_path, "--batch", 3, "--seq", 9, "--json", "--no-cache")
    found, expected = json.loads(told), aj.cost(config, batch=3, seq=9)
    assert code == 0
    assert found["cost"]["inputs"] == [[3, 9]]
    assert found["cost"]["forward"]["matmul_flops"] == expected.forward.matmul_flops
    shares = {row["name"]: row["share"] for row in found["rows"]}
    layer = next(layer for layer in expected.layers if layer.name == "h.1.mlp.c_fc")
    assert shares["h.1.mlp.c_fc.weight"] == layer.forward.flops / expected.forward.flops
    code, told = run(tmp_path, "--seq", 17, "--no-cache")
    assert code == 1
    assert "16 positions at most" in told


def test_what_cannot_be_counted_is_said() -> None:
    """A network that fails on arrays without numbers is inspected all the same."""

    class Fussy(aj.nn.Module):
        def __init__(self) -> None:
            self.fc = aj.nn.Linear(3, 2, rng=0)

        def __call__(self, x: Any) -> Any:
            if isinstance(x, ShapeArray):
                raise AttributeError("no numbers")
            return self.fc(x)

    report = aj.inspect(Fussy(), np.ones((2, 3), "float32"), cache=False)
    assert report.cost is None
    assert report.skipped["(cost)"] == "it does not run on arrays that only have shapes"
    assert math.isnan(report.rows[0].share)


def test_ctrl_c_while_the_cost_is_counted_leaves_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adjoint.inspection.spending.of", interrupted)
    net = aj.nn.MLP((9, 8, 7), rng=0)
    found = aj.inspect(net, np.ones((2, 9), "float32"), cache=False)
    assert not found.complete
    assert found.cost is None
    assert found.skipped["(cost)"] == "interrupted before it was examined"
    assert repr(found)
    assert not aj.inspect(net, cache=False).complete


def test_the_cost_is_told_where_weights_are_examined_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adjoint.inspection.running._working", lambda part: 1 << 40)
    found = aj.inspect(aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, rng=0), cache=False)
    assert found.complete
    assert found.cost is not None
    assert len(found.rows) == 6
