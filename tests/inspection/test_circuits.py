"""Attention circuits from their thin factors, against the products in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.inspection import running
from adjoint.inspection.circuits import circuits
from adjoint.inspection.sources import sources


def randomized(net: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    state = {k: 0.3 * rng.standard_normal(x.shape).astype(x.dtype) for k, x in net.named_parameters()}
    net.load_state_dict(net.state_dict() | state)
    return net


def agrees(report: Any, name: str, head: int, kind: str, whole: np.ndarray) -> None:
    """The circuit's figures are those of the d×d product by NumPy's SVD."""
    (x,) = [c for c in report.circuits if (c.name, c.head, c.kind) == (name, head, kind)]
    values = np.linalg.svd(whole, compute_uv=False)
    p, energy = values / values.sum(), np.cumsum(values**2) / np.sum(values**2)
    p = p[p > 1e-12]
    assert x.shape == whole.shape
    assert x.rank == np.linalg.matrix_rank(whole) == x.most
    assert abs(x.sigma_max - values[0]) <= x.bound + 1e-13 * values[0]
    assert x.stable_rank == pytest.approx(np.sum(values**2) / values[0] ** 2, rel=1e-9)
    assert x.entropy_rank == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-6)
    assert (x.k90, x.k99) == (np.searchsorted(energy, 0.9) + 1, np.searchsorted(energy, 0.99) + 1)
    if whole.shape[0] == whole.shape[1]:
        eigenvalues = np.linalg.eigvals(whole)
        assert x.positive == pytest.approx(eigenvalues.real.sum() / np.abs(eigenvalues).sum(), abs=1e-6)
    np.testing.assert_allclose(report.circuit(name, head, kind).dense(), whole, rtol=1e-4, atol=1e-5)


def test_gpt_with_packed_weights() -> None:
    net = randomized(aj.models.GPT(vocab_size=11, block_size=4, n_layer=2, n_head=3, n_embd=12))
    report = aj.inspect(net, cache=False)
    assert len(report.circuits) == 2 * 3 * 2
    w, o = (getattr(net.h[1].attn, n).weight.astype(float) for n in ("c_attn", "c_proj"))
    q, k, v = w.reshape(3, 3, 4, 12)
    agrees(report, "h.1.attn", 2, "QK", q[2].T @ k[2])
    agrees(report, "h.1.attn", 2, "OV", o[:, 8:] @ v[2])


def test_a_planted_head_that_copies_and_one_that_lost_a_direction() -> None:
    net = aj.nn.MultiheadAttention(12, 3, rng=0)
    assert net.in_proj_weight is not None
    w, o = net.in_proj_weight.copy(), net.out_proj.weight.copy()
    o[:, 4:8] = w[28:32].T
    w[3] = w[2]
    net.in_proj_weight, net.out_proj.weight = w, o
    report = aj.inspect(net, cache=False)
    by = {(c.head, c.kind): c for c in report.circuits}
    assert by[1, "OV"].positive == pytest.approx(1.0)
    assert by[0, "QK"].rank == 3
    assert by[2, "QK"].rank == 4
    assert "3 of 4" in repr(report)
    assert json.loads(report.to_json())["circuits"][0]["kind"] == "QK"


def test_pytorch_and_this_library_find_the_same() -> None:
    theirs = torch.nn.TransformerEncoderLayer(12, 3, 20)
    ours = aj.nn.TransformerEncoderLayer(12, 3, 20)
    ours.load_state_dict({k: x.detach().numpy() for k, x in theirs.state_dict().items()})
    a, b = aj.inspect(theirs, cache=False).circuits, aj.inspect(ours, cache=False).circuits
    assert len(a) == 6
    assert a == b


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bert", "vit", "t5", "distilbert", "gpt_neox"])
def test_transformers_models_by_their_names(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    small = {
        "gpt2": {"n_layer": 1, "n_embd": 12, "n_head": 3, "bos_token_id": 0, "eos_token_id": 0},
        "llama": {"num_key_value_heads": 1},
        "vit": {"image_size": 32},
        "t5": {"d_model": 12, "d_kv": 3, "num_heads": 3, "num_layers": 1, "d_ff": 8},
        "distilbert": {"n_layers": 1, "dim": 12, "n_heads": 3, "hidden_dim": 8},
    }.get(kind, {})
    if kind in ("llama", "bert", "vit", "gpt_neox"):
        small |= {"num_hidden_layers": 1, "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 8}
    if kind in ("llama", "gpt_neox"):
        small |= {"bos_token_id": 0, "eos_token_id": 0}
    sizes = {} if kind == "vit" else {"vocab_size": 11}
    config = transformers.AutoConfig.for_model(kind, **small, **sizes)
    net = transformers.AutoModel.from_config(config)
    report = aj.inspect(net, cache=False)
    state = {k: x.detach().numpy().astype(float) for k, x in net.state_dict().items()}
    name = report.circuits[0].name
    assert len([c for c in report.circuits if c.name == name]) == 6

    def w(part: str) -> np.ndarray:
        return state[f"{name}.{part}.weight"]

    d = 3 if kind == "t5" else 4
    head = 2
    at = slice(head * d, head * d + d)
    if kind == "gpt2":
        q, k, v = np.split(w("c_attn").T, 3)
        o = w("c_proj").T
    elif kind == "gpt_neox":
        q, k, v = (w("query_key_value").reshape(3, 3, 4, 12)[:, i].reshape(12, 12) for i in range(3))
        o = w("dense")
    elif kind == "bert":
        q, k, v = w("query"), w("key"), w("value")
        o = state[f"{name.rpartition('.')[0]}.output.dense.weight"]
    else:
        parts = {"t5": ("q", "k", "v", "o"), "distilbert": ("q_lin", "k_lin", "v_lin", "out_lin")}
        q, k, v, o = map(w, parts.get(kind, ("q_proj", "k_proj", "v_proj", "o_proj")))
    group = slice(0, d) if kind == "llama" else at
    agrees(report, name, head, "QK", q[at].T @ k[group])
    agrees(report, name, head, "OV", o[:, at] @ v[group])
    rotary = "rotation: as at relative position 0" in report.circuits[0].left_out
    assert rotary == (kind in ("llama", "gpt_neox"))


def test_numbers_that_are_not_finite_and_what_is_not_there() -> None:
    net = aj.nn.MultiheadAttention(8, 2, rng=0)
    assert net.in_proj_weight is not None
    w = net.in_proj_weight.copy()
    w[0, 0] = np.nan
    net.in_proj_weight = w
    report = aj.inspect(net, cache=False)
    assert all(c.rank is None and "not finite" in c.method for c in report.circuits)
    assert repr(report)
    with pytest.raises(KeyError, match="no attention 'x'"):
        report.circuit("x", 0, "QK")
    with pytest.raises(IndexError, match="heads 0 to 1, not 2"):
        report.circuit("", 2, "QK")
    with pytest.raises(ValueError, match="'QK' or 'OV', not 'VO'"):
        report.circuit("", 0, "VO")
    assert aj.inspect({"w": np.ones((2, 2))}, cache=False).circuits == ()


# What is not told, what is remembered, and what Ctrl-C leaves


class Attention(torch.nn.Module):
    """Weights of usual names, and as many heads as it is told, or none told."""

    def __init__(self, heads: int | None = None, rows: int = 12) -> None:
        super().__init__()
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self, name, torch.nn.Linear(12, rows))
        self.o_proj = torch.nn.Linear(12, 12)
        if heads is not None:
            self.num_heads = heads


@pytest.mark.parametrize(
    ("attention", "why"),
    [
        (Attention(), "how many heads the attention has, neither the module nor its configuration tells"),
        (Attention(5), "5 heads do not divide the 12 columns of the output's weight"),
        (Attention(3, 10), "3 heads of width 4 do not fit weights of 10, 10, 10 rows"),
    ],
)
def test_attentions_whose_heads_are_not_known_are_said(attention: Attention, why: str) -> None:
    report = aj.inspect(torch.nn.ModuleDict({"attn": attention, "good": Attention(3)}), cache=False)
    assert report.skipped["(circuits of attn)"] == why
    assert {x.name for x in report.circuits} == {"good"}
    assert why in " ".join(repr(report).split())
    with pytest.raises(KeyError, match="no attention 'attn' that is known"):
        report.circuit("attn", 0, "QK")


def test_weights_alone_have_no_heads_and_that_is_said() -> None:
    weights = {name: np.ones((4, 4)) for name in ("h.0.attn.q_proj.weight", "h.0.mlp.weight")}
    assert aj.inspect(weights, cache=False).skipped == {
        "(circuits)": "how many heads attentions have, their weights do not tell: give their module"
    }
    assert "(circuits)" in aj.inspect(torch.nn.ModuleDict({"attn": torch.nn.Linear(4, 4)}), cache=False).skipped
    assert "(circuits)" not in aj.inspect({"mlp.weight": np.ones((4, 4))}, cache=False).skipped


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path))
    return tmp_path / "weights"


def test_circuits_are_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = randomized(aj.models.GPT(vocab_size=11, block_size=4, n_layer=2, n_head=3, n_embd=12))
    first = aj.inspect(net).circuits
    for path in cache.iterdir():
        assert json.loads(path.read_text(encoding="utf-8"))

    def refuse(heads: Any) -> Any:
        raise AssertionError(f"{heads.name} is known")

    with monkeypatch.context() as patched:
        patched.setattr("adjoint.inspection.running.circuits", refuse)
        assert aj.inspect(net).circuits == first
    net.h[1].attn.n_head = 2  # the same numbers, other heads
    other = aj.inspect(net).circuits
    assert len(other) == 2 * 3 + 2 * 2
    assert other[:6] == first[:6]
    for path in cache.iterdir():
        path.write_text('[{"kind": "QK"}]', encoding="utf-8")
    assert aj.inspect(net).circuits == other


def test_circuits_that_ctrl_c_left_out_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    net = randomized(aj.models.GPT(vocab_size=11, block_size=4, n_layer=2, n_head=3, n_embd=12))

    def interrupted(heads: Any) -> Any:
        if heads.name == "h.1.attn":
            raise KeyboardInterrupt
        return circuits(heads)

    monkeypatch.setattr("adjoint.inspection.running.circuits", interrupted)
    report = aj.inspect(net, jobs=1, cache=False)
    assert not report.complete
    assert report.skipped["(circuits of h.1.attn)"] == "interrupted before it was examined"
    assert repr(report)


def test_the_bar_is_full_when_weights_and_circuits_are_found() -> None:
    found = sources(randomized(aj.models.GPT(vocab_size=11, block_size=4, n_layer=2, n_head=3, n_embd=12)))
    work, steps = running.Work(found, None), list[float]()
    assert work.run(2, steps.append)
    assert len(steps) == len(found.weights) + 2
    assert sum(steps) == pytest.approx(sum(map(running._cost, work.parts)))
