"""The four comparisons of `adjoint doctor --curves`: run at small sizes, shown, drawn, told as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app, doctor, speeds, speeds_shown
from adjoint.cli.speeds import Batch, Devices, Passes, Product, Speeds
from adjoint.costs import Roofline
from adjoint.inspection.screen import text

LINE = Roofline("toy", {"float32": 100e9, "float64": 50e9}, 10e9)
NETS = {"MLP": (aj.nn.MLP((5, 4, 3), rng=0), {"x": (2, 5)}), "GPT": (aj.models.GPT(11, 8, 1, 2, 4), {"batch": 2})}
PLANTED = Speeds(
    (Product(16, 1e-3, 1e-6), Product(32, 8e-3, 4e-6)),
    (Batch(1, 1e-3, 5e-4, "memory"), Batch(4, 1.5e-3, 5e-4, "memory"), Batch(256, 0.02, 0.01, "compute")),
    (Passes("MLP, batch 2", 1e-3, 3e-3, 1.5),),
    (),
    "",
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(speeds, "networks", lambda: NETS)
    return {"loops": (2, 5), "batches": (1, 3), "width": 8, "budget": 0.01}


@pytest.mark.covers("E04")
def test_all_is_measured_in_one_run(small: dict[str, Any]) -> None:
    steps: list[object] = []
    found = speeds.speeds(LINE, steps.append, **small)
    assert [p.n for p in found.products] == [2, 5]
    assert [b.batch for b in found.batches] == [1, 3]
    assert [x.network for x in found.passes] == ["MLP", "GPT"]
    assert all(min(p.loop, p.product) > 0 for p in found.products)
    assert all(b.seconds > 0 for b in found.batches)
    assert all(x.forward > 0 and x.backward >= 0 for x in found.passes)
    assert len(steps) == 2 + len(NETS) * (1 + bool(found.devices))
    for b in found.batches:  # a layer of width d reads and writes 4 (d² + d + 2·batch·d) bytes
        moved, flops = 4 * (8 * 8 + 8 + 2 * b.batch * 8), b.batch * (2 * 8 * 8 + 8)
        assert b.least == pytest.approx(max(moved / 10e9, flops / 100e9))
    mlp = aj.cost(*(NETS["MLP"][0], NETS["MLP"][1]["x"]))
    assert found.passes[0].counted == mlp.backward.flops / mlp.forward.flops
    json.dumps(speeds.as_dict(found), allow_nan=False)


@pytest.mark.covers("E04")
def test_processor_against_gpu_where_there_is_one(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's processor stands for the GPU."""
    monkeypatch.setattr(speeds, "gpu", lambda: ("cpu", "Toy GPU"))
    found = speeds.speeds(LINE, **small)
    assert [d.network for d in found.devices] == ["MLP", "GPT"]
    assert all(min(d.cpu, d.gpu) > 0 for d in found.devices)
    assert "GPU: Toy GPU" in text(speeds_shown.tables(found))
    assert len(speeds_shown.figure(found).axes) == 4


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "gpus", list)
    assert speeds.gpu() == (None, "")
    monkeypatch.setattr(speeds, "gpus", lambda: [{"name": "A"}])
    monkeypatch.setitem(sys.modules, "torch", None)
    assert speeds.gpu() == (None, "")


def test_the_loop_is_the_product() -> None:
    a, b = np.random.default_rng(0).random((4, 3)), np.random.default_rng(1).random((3, 5))
    assert np.allclose(speeds.loop(a.tolist(), b.tolist()), a @ b, rtol=1e-14)


@pytest.mark.covers("E04")
def test_what_the_tables_tell() -> None:
    lines = [" ".join(line.split()) for line in text(speeds_shown.tables(PLANTED), 80).splitlines()]
    assert max(map(len, lines)) <= 80
    assert "n = 16 1 ms 1 µs 1,000" in lines
    assert "4 1.5 ms 375 µs 500 µs memory" in lines
    assert "MLP, batch 2 1 ms 3 ms 3.00 1.50" in lines
    assert "processor against GPU: no GPU that PyTorch can use" in lines
    told = " ".join(lines)
    assert "A batch of 256 takes 20 times as long as one of 1. Up to a batch of 4 it takes less than twice" in told
    assert "memory bounds batches below 256" in told
    assert (PLANTED.free, PLANTED.crossing) == (4, 256)
    bound = replace(PLANTED, batches=PLANTED.batches[:2], devices=(Devices("MLP", 0.4, 0.1),), gpu="Toy")
    assert "memory bounds all of these" in speeds_shown.claim(bound)
    assert "MLP 400 ms 100 ms 4.00" in " ".join(text(speeds_shown.tables(bound)).split())
    slow = speeds_shown.claim(replace(PLANTED, batches=PLANTED.batches[::2]))
    assert "Already a batch of 256 takes twice as long or more. By the roofline" in slow


def test_what_is_drawn() -> None:
    products, batches, passes = speeds_shown.figure(PLANTED).axes
    assert [list(line.get_ydata()) for line in products.lines] == [[1e-3, 8e-3], [1e-6, 4e-6]]
    assert list(batches.lines[0].get_xdata()) == [1, 4, 256]
    assert list(batches.lines[0].get_ydata()) == [1e-3, 1.5e-3, 0.02]
    assert [bar.get_height() for bar in passes.patches] == [3.0, 1.5]


def test_a_curve_within_one_power_of_ten_has_ticks() -> None:
    flat = replace(PLANTED, batches=(Batch(1, 2e-5, 1.1e-5, "memory"), Batch(4, 8e-5, 1.2e-5, "memory")))
    figure = speeds_shown.figure(flat)
    figure.draw_without_rendering()
    axes = figure.axes[1]
    low, high = axes.get_ylim()
    told = [x.get_text() for x in axes.get_yticklabels() if low <= x.get_position()[1] <= high]
    assert {"2·10⁻⁵", "5·10⁻⁵"} <= set(told)


def run(*words: object) -> tuple[int, str]:
    done = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["doctor", *map(str, words)], catch_exceptions=False)
    return done.exit_code, done.output


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Roofline] = []
    monkeypatch.setattr(doctor, "examine", lambda tell: {"software": {}})
    monkeypatch.setattr(doctor, "roofline", lambda facts: LINE)
    monkeypatch.setattr(doctor, "screen", lambda facts: "the machine")
    monkeypatch.setattr(doctor, "speeds", lambda line, tell: asked.append(line) or PLANTED)
    code, told = run("--curves")
    assert code == 0
    assert "n = 16" in told
    code, told = run("--plot", tmp_path / "a.png")
    assert (code, asked) == (0, [LINE, LINE])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "drawn to" in told
    found = json.loads(run("--curves", "--json")[1])["curves"]
    assert found["products"][1] == {"n": 32, "loop": 8e-3, "product": 4e-6, "ratio": pytest.approx(2000)}
    assert found["free_batch"] == 4
    assert "curves" not in json.loads(run("--json")[1])


def test_a_plot_that_cannot_be(tmp_path: Path) -> None:
    code, told = run("--plot", "a.gif")
    assert code == 1
    assert "a plot's name ends in .png, .svg, .pdf, not 'a.gif'" in told
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run("--plot", tmp_path / "none" / "a.png")
