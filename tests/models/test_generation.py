"""Generation: how a token is chosen, where texts end, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.errors import ShapeError
from adjoint.models import generation
from adjoint.models.generation import choose
from tests.models import peers  # noqa: F401  # first of all: it keeps transformers offline

RNG = np.random.default_rng(0)
V = 13


def small(**options: Any) -> Any:
    return aj.models.Llama(V, 8, 12, 2, 4, 2, dtype="float64", rng=0, std=0.7, **options)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, None), (0.6, 4, None), (1.7, None, 0.8), (0.8, 6, 0.7), (1.0, 1, 0.1)],
)
def test_the_choice_is_that_of_transformers(temperature: float, top_k: Any, top_p: Any) -> None:
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = torch.tensor(2.0 * RNG.standard_normal((1, V)))
    warped = TemperatureLogitsWarper(temperature)(None, scores)
    warped = warped if top_k is None else TopKLogitsWarper(top_k)(None, warped)
    warped = warped if top_p is None else TopPLogitsWarper(top_p)(None, warped)
    p = torch.softmax(warped, -1)[0].numpy()
    found = choose(np.repeat(scores.numpy(), 20_000, 0), temperature, top_k, top_p, key=3)
    shares = np.bincount(found, minlength=V) / 20_000
    assert not shares[p == 0].any()
    np.testing.assert_allclose(shares, p, atol=4.5 * math.sqrt(0.25 / 20_000))


def test_stops_may_be_numpys() -> None:
    net, tokens = small(), RNG.integers(0, V, (2, 3))
    expected = net.generate(tokens, 12, 0.0, stop=5)
    for stop in ([5], (5,), np.int64(5), np.array([5])):
        np.testing.assert_array_equal(net.generate(tokens, 12, 0.0, stop=stop), expected)


def test_keys_decide() -> None:
    net, tokens = small(), RNG.integers(0, V, (2, 3))
    first, again, other = (net.generate(tokens, 15, 1.5, top_p=0.95, key=key) for key in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    torch_too = net.to("torch").generate(torch.tensor(tokens), 15, 1.5, top_p=0.95, key=1)
    np.testing.assert_array_equal(torch_too, first)


def test_rows_of_different_lengths_are_as_if_alone() -> None:
    net, mask = small(windows=3), np.array([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]], bool)
    tokens = RNG.integers(0, V, (3, 5))
    whole = net.generate(tokens, 10, 0.0, attention_mask=mask)
    for row, seen, found in zip(tokens, mask, whole, strict=True):
        np.testing.assert_array_equal(net.generate(row[seen], 10, 0.0), found[5 - seen.sum() :])
    with pytest.raises(ValueError, match="put padding on the left"):
        net.generate(tokens, 10, attention_mask=mask[:, ::-1])
    with pytest.raises(ShapeError, match=r"an entry for every token, \(3, 5\), not \(3, 4\)"):
        net.generate(tokens, 10, attention_mask=mask[:, 1:])


def test_padded_rows_go_on_beyond_the_positions_of_a_model() -> None:
    net = aj.models.GPT(V, 8, n_layer=1, n_head=2, n_embd=6, dtype="float64", rng=0)
    tokens, mask = RNG.integers(0, V, (2, 5)), np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    found = net.generate(tokens, 30, 0.0, attention_mask=mask)
    assert found.shape == (2, 35)
    np.testing.assert_array_equal(found[1], net.generate(tokens[1], 30, 0.0))


def test_the_room_of_the_cache_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    net, tokens, mask = small(windows=4), RNG.integers(0, V, (2, 3)), np.array([[0, 1, 1], [1, 1, 1]])
    expected = net.generate(tokens, 40, 0.0), net.generate(tokens, 40, 0.0, attention_mask=mask)
    rooms, enlarge = [], generation._enlarge
    monkeypatch.setattr(generation, "ROOM", 5)
    monkeypatch.setattr(generation, "_enlarge", lambda at, *how: [enlarge(at, *how), rooms.append(at.caches[0].length)])
    np.testing.assert_array_equal(net.generate(tokens, 40, 0.0), expected[0])
    assert rooms == [16, 32, 42]
    np.testing.assert_array_equal(net.generate(tokens, 40, 0.0, attention_mask=mask), expected[1])
    found = net.to("jax").generate(tokens, 9, 0.0, attention_mask=mask)
    np.testing.assert_array_equal(found, expected[1][:, :12])
    for _, token in zip(range(3), net.stream(tokens, 10**15, temperature=0.0), strict=False):
        assert token.shape == (2,)


def test_fillers_stand_behind_an_end() -> None:
    net, tokens = small(), RNG.integers(0, V, (4, 3))
    free = net.generate(tokens, 12, 0.0)
    stop = int(free[0, 5])
    for pad, filler in ((None, stop), (0, 0)):
        net.pad = pad
        found = net.generate(tokens, 12, 0.0, stop=stop)
        for row, expected in zip(found, free, strict=True):
            ends = np.flatnonzero(expected[3:] == stop)
            kept = 3 + (ends[0] + 1 if len(ends) else 12)
            np.testing.assert_array_equal(row[:kept], expected[:kept][: len(row)])
            assert (row[kept:] == filler).all()
    net.stop = (stop,)
    np.testing.assert_array_equal(net.generate(tokens, 12, 0.0), found)
    np.testing.assert_array_equal(net.generate(tokens, 12, 0.0, stop=()), free)


def test_nothing_and_lists() -> None:
    net = small()
    assert net.generate([1, 2, 3], 0).tolist() == [1, 2, 3]
    assert net.generate([[1, 2, 3]], 2).shape == (1, 5)
    assert net.training


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"n": -1}, ValueError, "n is the number of tokens, not -1"),
    ({"temperature": -1.0}, ValueError, "the temperature is 0 .* not -1.0"),
    ({"temperature": math.nan}, ValueError, "the temperature is 0 .* not nan"),
    ({"top_k": 0}, ValueError, "top_k is a number of tokens, 1 at least, not 0"),
    ({"top_p": 0.0}, ValueError, "top_p is a probability above 0, not 0.0"),
    ({"tokens": np.zeros((1, 0), int)}, ShapeError, r"one at least, not \(1, 0\)"),
    ({"tokens": np.zeros((1, 2, 3), int)}, ShapeError, r"tokens are \(T,\) or \(N, T\), .* not \(1, 2, 3\)"),
    ({"tokens": np.zeros((1, 2))}, TypeError, "tokens are integers, not float64"),
    ({"tokens": np.array([V])}, IndexError, "13"),
]


@pytest.mark.parametrize(("change", "kind", "told"), REFUSED)
def test_what_does_not_fit_is_refused(change: dict[str, Any], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        small().generate(**{"tokens": np.array([1, 2]), "n": 3, **change})


def test_weights_that_are_not_finite_are_told() -> None:
    net = small()
    net.model.norm.weight[0] = math.nan
    with pytest.raises(ValueError, match="the model's logits are NaN"):
        net.generate(np.array([1, 2]), 3)


def test_calls_that_do_not_fit_are_refused() -> None:
    net, t5 = small(), aj.models.T5(V, 4, 6, 1, 2, 3, rng=0)
    with pytest.raises(ShapeError, match=r"Llama: tokens are \(N, T\), not \(3,\)"):
        net(np.zeros(3, int))
    with pytest.raises(ShapeError, match=r"Llama: attention_mask has an entry for every token, \(1, 3\), not \(3,\)"):
        net(np.zeros((1, 3), int), np.ones(3))
    with pytest.raises(ShapeError, match=r"T5: tokens are \(N, T\)"):
        t5(np.zeros((1, 3), int), np.zeros(3, int))
    with pytest.raises(ValueError, match="3 heads of keys are to divide the 4 heads"):
        aj.models.Llama(V, 8, 12, 2, 4, 3)
    with pytest.raises(ValueError, match="num_heads 3 is to divide hidden_size 8"):
        aj.models.Llama(V, 8, 12, 2, 3)
