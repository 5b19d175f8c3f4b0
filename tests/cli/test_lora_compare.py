"""`adjoint lora compare` on real digits and on a text: five methods, what each learns, keeps, costs and forgets."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app, contests
from adjoint.cli.comparison import Comparison, Measure, compare
from adjoint.cli.comparison_plot import figure
from adjoint.cli.comparison_screen import screen
from adjoint.lora import METHODS
from tests.cli.lora_models import VERSE, bert, llama

STEPS = 60


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADJOINT_DATA", raising=False)


@pytest.fixture(scope="module")
def contest() -> contests.Contest:
    """The digits of scikit-learn, a smaller network and fewer rates."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("ADJOINT_DATA", raising=False)
        patched.setattr(contests, "WIDTH", 96)
        made = contests.digits(None, STEPS, 0)
    return replace(made, rates=(3e-3, 1e-2))


@pytest.fixture(scope="module")
def found(contest: contests.Contest) -> Comparison:
    return compare(contest, 4, 8.0, 0)


def right(measure: Measure) -> float:
    """The accuracy."""
    assert measure[1] is not None
    return measure[1]


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["lora", "compare", *map(str, words)])
    return done.exit_code, f"{done.output} {done.exception or ''}"


@pytest.mark.covers("L06")
def test_all_methods_learn_the_new_digits(found: Comparison, contest: contests.Contest) -> None:
    assert tuple(row.method for row in found.rows) == METHODS
    assert right(found.before[0]) < 0.5 < 0.95 < right(found.before[1])
    for row in found.rows:
        assert right(row.new) > (0.6 if row.method == "adalora" else 0.85), row  # its ranks go while it learns
        assert row.curve[-1][1] == row.tried[row.lr] == min(row.tried.values())
        assert row.curve[-1][1] < row.curve[0][1]
        assert row.step > 0.0


def test_what_learns_is_counted(found: Comparison) -> None:
    """W B A: r (in + out) numbers a layer, beside a new last layer; magnitudes and singular values besides."""
    head = 96 * 5 + 5
    adapters = 4 * (64 + 96) + 4 * (96 + 96)
    start = 6 * (64 + 96 + 1) + 6 * (96 + 96 + 1)
    whole = 64 * 96 + 96 + 96 * 96 + 96 + head
    assert found.parameters == whole
    learning = {row.method: row.learning for row in found.rows}
    assert learning == {
        "full": whole, "lora": adapters + head, "dora": adapters + 2 * 96 + head, "adalora": start + head,
        "qlora": adapters + head,
    }  # fmt: skip
    for row in found.rows:  # as PEFT: of all, those of the adapters among them
        added = row.learning - head if row.method != "full" else 0
        assert row.parameters == whole + added
        assert row.share == row.learning / row.parameters


def test_what_is_kept_and_held(found: Comparison) -> None:
    rows = {row.method: row for row in found.rows}
    assert rows["full"].saved == pytest.approx(4 * found.parameters, rel=0.1)
    for method in ("lora", "dora", "qlora"):
        assert 4 * rows[method].learning < rows[method].saved < 4 * rows[method].learning + 4000
    # weights, gradients and two moments, at the least
    assert rows["full"].memory > 4 * 4 * found.parameters
    assert all(rows[method].memory < rows["full"].memory for method in METHODS[1:])


def test_switched_off_an_adapter_forgets_nothing(found: Comparison, contest: contests.Contest) -> None:
    for row in found.rows:
        if row.method in ("lora", "dora", "adalora"):
            assert row.off == found.before[1]
    rows = {row.method: row for row in found.rows}
    assert rows["full"].off is None
    in_nf4 = rows["qlora"].off
    assert in_nf4 is not None
    assert in_nf4 != found.before[1]
    assert right(in_nf4) > 0.9


def test_the_network_before_is_untouched_and_figures_return(contest: contests.Contest) -> None:
    before = {name: x.copy() for name, x in contest.net.named_arrays()}
    a, b = (compare(contest, 2, 4.0, 1, methods=("full", "adalora")) for _ in range(2))
    for name, x in contest.net.named_arrays():
        np.testing.assert_array_equal(x, before[name])
    for one, other in zip(a.rows, b.rows, strict=True):
        assert (one.new, one.old, one.curve) == (other.new, other.old, other.curve)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_rate_that_diverges_is_not_the_best(contest: contests.Contest) -> None:
    found = compare(replace(contest, rates=(1e-2, 1e30)), 2, 4.0, 0, methods=("full",))
    assert found.rows[0].lr == 1e-2
    assert found.rows[0].tried[1e30] == np.inf
    with pytest.raises(FloatingPointError, match="full diverges at all learning rates: 1e\\+30"):
        compare(replace(contest, rates=(1e30,)), 2, 4.0, 0, methods=("full",))


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_and_says_what_it_shows(found: Comparison, width: int) -> None:
    row = replace(found.rows[0], learning=667_141, saved=2_670_000, memory=13_900_000, step=3.27e-3)
    found = replace(found, rows=(row, *found.rows[1:]))
    console = Console(width=width, record=True, file=StringIO())
    console.print(screen(found))
    told = console.export_text()
    assert "…" not in told
    assert all(len(line.rstrip()) <= width for line in told.splitlines())
    for row in found.rows:
        line = next(line for line in told.splitlines() if line.startswith(row.method))
        assert f"{row.learning:,}" in line
        assert f"{right(row.new):.1%}" in line
    assert "may be chance" in told


def test_the_plot_has_a_curve_for_each_method(found: Comparison) -> None:
    left, right = figure(found).axes
    assert len(left.lines) == len(right.collections) == len(METHODS)
    for line, row in zip(left.lines, found.rows, strict=True):
        assert np.asarray(line.get_xydata()).tolist() == [list(pair) for pair in row.curve]


@pytest.mark.covers("L06")
def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contests, "WIDTH", 32)
    code, told = run("--steps", 10, "--rank", 2, "--plot", tmp_path / "plot.png", "--json")
    assert code == 0, told
    figures = json.loads(told)
    assert [row["method"] for row in figures["rows"]] == list(METHODS)
    assert set(figures["rows"][0]["tried"]) == {"0.0003", "0.001", "0.003", "0.01"}
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.covers("L06")
def test_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SEQ", 16), ("BLOCKS", 40), ("STORIES", 3)):
        monkeypatch.setattr(contests, name, value)
    (tmp_path / "verse.txt").write_text(VERSE * 20)
    contest = contests.text(tmp_path / "verse.txt", llama(tmp_path / "llama"), 20, 0)
    found = compare(replace(contest, rates=(1e-2,)), 2, 4.0, 0)
    for row in found.rows:
        assert row.new[1] is None
        assert row.new[0] < found.before[0][0]
    # on what it wrote itself no other distribution has a smaller loss, in the mean
    assert found.rows[0].old[0] > found.before[1][0]


def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contests, "WIDTH", 16)
    (tmp_path / "short.txt").write_text("short")
    model: Any = llama(tmp_path / "llama")
    aj.save(tmp_path / "w.safetensors", {"w": np.ones(2)})
    for words, expected in (
        (("--plot", tmp_path / "plot.gif"), "ends in .png"),
        (("--model", model), "--model is for --task text"),
        (("--data", tmp_path / "nowhere"), "nowhere"),
        (("--task", "text"), "ADJOINT_DATA"),
        (("--task", "text", "--model", model, "--data", tmp_path / "short.txt"), "fewer than a window"),
        (("--task", "text", "--model", tmp_path / "w.safetensors", "--data", tmp_path / "short.txt"), "no network"),
        (("--task", "text", "--model", model, "--data", tmp_path / "no.txt"), "no.txt"),
        (("--task", "text", "--model", bert(tmp_path / "bert"), "--data", tmp_path / "short.txt"), "not write text"),
        (("--rank", 17), "rank 17 is above"),
    ):
        code, told = run(*words)
        assert code == 1, told
        assert expected in told
    assert not (tmp_path / "plot.gif").exists()
