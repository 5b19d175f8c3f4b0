"""The cost in the report: the same figures as `aj.cost`, and none where the input is not known."""

from __future__ import annotations

import json

import numpy as np
import pytest

import adjoint as aj


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
    assert screen.index("FLOPs in products") < screen.index("weight matrix")


def test_what_does_not_tell_its_input_has_no_cost() -> None:
    for model in (aj.nn.MLP((3, 4, 2)), {"w": np.eye(3)}):
        report = aj.inspect(model, cache=False)
        assert report.cost is None
        assert json.loads(report.to_json())["cost"] is None
