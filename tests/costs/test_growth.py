"""Cost against the length of the sequence: exact polynomials, and where attention overtakes the feed-forward part."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import adjoint as aj
from adjoint.costs.growth import growth
from tests.costs.test_figures import GPT2

MISTRAL = {"model_type": "mistral", "vocab_size": 31, "hidden_size": 16, "intermediate_size": 20,
           "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


@pytest.mark.covers("E03")
@pytest.mark.parametrize(("layers", "d", "heads"), [(12, 768, 12), (2, 20, 5)])
def test_gpt_in_closed_form(layers: int, d: int, heads: int) -> None:
    config = {**GPT2, "n_layer": layers, "n_embd": d, "n_head": heads}
    found = aj.cost(config, batch=3, seq=16).polynomial("seq")
    assert found.forward.coefficients == (0, 3 * (24 * layers * d * d + 2 * 50257 * d), 3 * 4 * layers * d)
    assert found.backward.coefficients == (0, 3 * (48 * layers * d * d + 4 * 50257 * d), 3 * 10 * layers * d)
    assert found.overtakes == {"scores alone": 4 * d, "with projections": 2 * d}


@pytest.mark.covers("E03")
@pytest.mark.parametrize("of", ["matmul_flops", "flops", "bytes"])
@pytest.mark.parametrize("seq", [2, 77, 1000])
def test_polynomials_are_what_is_counted(of: str, seq: int) -> None:
    config = {**GPT2, "n_layer": 2}
    found, counted = aj.cost(config).polynomial("seq", of), aj.cost(config, seq=seq)
    assert found.forward(seq) == getattr(counted.forward, of)
    assert found.backward(seq) == getattr(counted.backward, of)
    for part in counted.components:
        assert found.components[part.name](seq) == getattr(part.forward, of)


def test_the_batch() -> None:
    found, counted = aj.cost(GPT2, batch=2, seq=9).polynomial("batch"), aj.cost(GPT2, batch=7, seq=9)
    assert found.forward.coefficients == (0, Fraction(counted.forward.matmul_flops, 7), 0)
    assert found.backward(7) == counted.backward.matmul_flops
    assert found.overtakes == {"scores alone": None, "with projections": None}


def test_a_window_bends_it() -> None:
    with pytest.raises(ValueError, match=r"no polynomial of degree 2 in seq.*A window of attention"):
        aj.cost({**MISTRAL, "sliding_window": 300}).polynomial("seq")
    within = aj.cost({**MISTRAL, "sliding_window": 300}).polynomial("seq", upto=300)
    assert within.forward == aj.cost({**MISTRAL, "sliding_window": None}).polynomial("seq").forward
    assert aj.cost({**MISTRAL, "sliding_window": None}).polynomial("seq").forward.coefficients[2] == 4 * 2 * 16


@pytest.mark.parametrize(
    ("net", "how", "told"),
    [
        (lambda: aj.nn.MLP((3, 2)), {"x": (1, 3)}, r"needs a network counted with batch"),
        (lambda: GPT2, {"seq": 8, "variable": "width"}, r"variable is 'seq' or 'batch', not 'width'"),
        (lambda: GPT2, {"seq": 8, "of": "joules"}, r"of is 'matmul_flops', 'flops' or 'bytes', not 'joules'"),
        (lambda: {**GPT2, "n_positions": 3}, {"seq": 2}, r"four lengths are to be counted, of 3 tokens at most"),
    ],
)
def test_what_is_no_polynomial(net: Any, how: dict[str, Any], told: str) -> None:
    options = {k: how.pop(k) for k in ("variable", "of") if k in how}
    with pytest.raises(ValueError, match=told):
        aj.cost(net(), **how).polynomial(**options)


def test_it_is_told_as_one_writes_it() -> None:
    found = growth(lambda seq: {"forward": 3 * seq * seq + 1000, "backward": seq * (seq - 1) // 2}, "seq", 64)
    assert str(found.forward) == "3 T² + 1,000"
    assert str(found.backward) == "1/2 T² - 1/2 T"
