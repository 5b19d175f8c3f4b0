"""All FLOPs and bytes of GPT-2 and BERT-tiny by component, from formulas written out: exercise 12 by one command.

N sequences of T tokens, width d, L layers, H heads, V tokens in the table; 4 bytes a number, 8 an index.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app

LINEAR = ("attention projections", "feed-forward", "head")


def gpt2(N: int, T: int, d: int = 768, L: int = 12, H: int = 12, V: int = 50257) -> dict[str, tuple[int, int, int]]:
    """Multiply-adds, FLOPs and bytes of the forward pass by component."""
    n = N * T
    return {
        # c_attn d → 3d and c_proj d → d, with biases
        "attention projections": (
            L * 4 * n * d * d,
            L * (8 * n * d * d + 4 * n * d),
            L * 4 * (n * d + 3 * d * d + 3 * d + 3 * n * d + n * d + d * d + d + n * d),
        ),
        "attention scores": attention(N, T, d, L, H),
        # c_fc d → 4d, c_proj 4d → d with biases; GELU by tanh: nine operations an entry
        "feed-forward": (
            L * 8 * n * d * d,
            L * (16 * n * d * d + 5 * n * d + 9 * 4 * n * d),
            L * 4 * ((n * d + 4 * d * d + 4 * d + 4 * n * d) + 8 * n * d + (4 * n * d + 4 * d * d + d + n * d)),
        ),
        "norms": (0, (2 * L + 1) * norm(n, d), (2 * L + 1) * 4 * (2 * n * d + 2 * d)),
        "head": (n * V * d, 2 * n * V * d, 4 * (n * d + V * d + n * V)),
        "embeddings": (0, 0, 4 * 2 * n * d + 8 * n),  # rows picked and written; those of positions are a view
        # two residual sums a layer, and tokens plus positions
        "other": (0, (2 * L + 1) * n * d, 4 * (2 * L * 3 * n * d + 2 * n * d + T * d)),
    }


def bert(N: int, T: int, d: int = 128, L: int = 2, H: int = 2) -> dict[str, tuple[int, int, int]]:
    """Query, key, value and output d → d each; GELU by erf: five operations an entry; the pooler of first tokens."""
    n = N * T
    projections = 4 * (2 * n * d + d * d + d)
    return {
        "attention projections": (L * 4 * n * d * d, L * (8 * n * d * d + 4 * n * d), L * 4 * projections),
        "attention scores": attention(N, T, d, L, H),
        "feed-forward": (
            L * 8 * n * d * d,
            L * (16 * n * d * d + 5 * n * d + 5 * 4 * n * d),
            L * 4 * ((n * d + 4 * d * d + 4 * d + 4 * n * d) + 8 * n * d + (4 * n * d + 4 * d * d + d + n * d)),
        ),
        "norms": (0, (2 * L + 1) * norm(n, d), (2 * L + 1) * 4 * (2 * n * d + 2 * d)),
        "head": (N * d * d, N * (2 * d * d + d), 4 * (2 * N * d + d * d + d)),
        "other": (0, 2 * L * n * d + N * d, 4 * (2 * L * 3 * n * d + 2 * N * d)),  # residual sums, the pooler's tanh
    }


def attention(N: int, T: int, d: int, L: int, H: int) -> tuple[int, int, int]:
    """Q Kᵀ and the product with V, as a kernel has them that keeps no scores (Dao et al. 2022).

    Five operations a score (scale, maximum, difference, exponential, sum), a quotient an entry of the result, a
    logarithm and a sum a row. Q, K, V are read, the result and a number a row written; a copy joins the heads.
    """
    rows = N * H * T
    return (
        L * 2 * N * T * T * d,
        L * (4 * N * T * T * d + 5 * rows * T + N * T * d + 2 * rows),
        L * 4 * (6 * N * T * d + rows),
    )


def norm(n: int, d: int) -> int:
    """Two sums, a difference, a square, three products or sums an entry; two means, ε, a root, a quotient a row."""
    return 7 * n * d + 5 * n


FORMULAS = {"gpt2": gpt2, "bert-tiny": bert}


@pytest.mark.covers("E02")
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("batch", "seq"), [(1, 1024), (3, 77), (2, 512)])
def test_components_in_closed_form(name: str, batch: int, seq: int) -> None:
    if name == "bert-tiny":
        seq = min(seq, 512)
    parts = {part.name: part for part in aj.cost(name, batch=batch, seq=seq).components}
    for component, (macs, flops, moved) in FORMULAS[name](batch, seq).items():
        one = parts[component].forward
        assert (component, one.multiply_adds, one.flops, one.bytes) == (component, macs, flops, moved)
    for component in LINEAR:  # two products backward for one, and one for each entry of a bias or slope
        assert parts[component].backward.multiply_adds == 2 * parts[component].forward.multiply_adds
    scores = parts["attention scores"]
    assert scores.backward.multiply_adds * 2 == 5 * scores.forward.multiply_adds


@pytest.mark.covers("E02")
@pytest.mark.parametrize(("batch", "seq"), [(1, 1024), (2, 33)])
def test_backward_passes_in_closed_form(batch: int, seq: int) -> None:
    """Of y = x Wᵀ + b: u W, uᵀ x and the sum of u; of attention: the scores again, and four products."""
    N, T, d, L, H, V = batch, seq, 768, 12, 12, 50257
    n = N * T
    parts = {part.name: part.backward for part in aj.cost("gpt2", batch=batch, seq=seq).components}
    projections = parts["attention projections"]
    assert projections.flops == L * (2 * 8 * n * d * d + 4 * n * d)
    by_input, by_weight, by_bias = 6 * n * d + 4 * d * d, 6 * n * d + 4 * d * d, 4 * n * d + 4 * d
    assert projections.bytes == L * 4 * (by_input + by_weight + by_bias)
    assert parts["attention scores"].flops == L * (10 * N * T * T * d + 5 * N * H * T * T + 2 * n * d)
    assert parts["head"].flops == 4 * n * V * d
    assert parts["head"].bytes == 4 * 2 * (n * d + V * d + n * V)
    assert parts["embeddings"].flops == n * d  # rows added to those of the table


@pytest.mark.covers("E03")
@pytest.mark.parametrize(("name", "d", "L", "T"), [("gpt2", 768, 12, 1024), ("bert-tiny", 128, 2, 512)])
def test_exercise_12_by_one_command(name: str, d: int, L: int, T: int, tmp_path: Path) -> None:
    """Shares of the components, growth with the length, and its curves: from the model's name alone."""

    def run(*options: str) -> str:
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["cost", name, *options], catch_exceptions=False)
        assert done.exit_code == 0
        return str(done.output)

    screen = run("--plot", str(tmp_path / "curves.png"))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    lines = [line.split() for line in screen.splitlines()]
    own = FORMULAS[name](1, T)
    whole = [sum(part[k] for part in own.values()) for k in (0, 1)]
    embeddings = 0 if name == "gpt2" else 3 * T * d + T  # BERT adds three tables, and looks for padding
    for component, (macs, flops, _) in own.items():
        words = next(line for line in lines if line[: len(component.split())] == component.split())
        figures = [word for word in words if word.endswith("%")]
        assert figures[:2] == [f"{macs / whole[0]:.1%}", f"{flops / (whole[1] + embeddings):.1%}"]
    told: dict[str, Any] = json.loads(run("--json"))["polynomial"]
    constant, linear, square = told["forward"]
    inner = 24 * L * d * d + (2 * 50257 * d if name == "gpt2" else 0)
    assert (constant, linear, square) == (0 if name == "gpt2" else 2 * d * d, inner, 4 * L * d)
    assert told["attention_overtakes"] == {"scores alone": 4 * d, "with projections": 2 * d}
    assert f"scores alone at T = {4 * d:,}, with projections at T = {2 * d:,}" in " ".join(screen.split())
