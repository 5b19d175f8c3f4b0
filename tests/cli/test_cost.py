"""`adjoint cost`: one screen from a configuration alone, the same figures as JSON, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app, times
from adjoint.cli.curves import curves, swept
from adjoint.costs import Measured, Predicted, Roofline
from adjoint.costs.roofline import processor
from adjoint.costs.units import scaled
from adjoint.interop.weights import bytes_told
from tests.costs.test_figures import GPT2
from tests.costs.test_growth import MISTRAL
from tests.costs.test_subjects import T5, VIT

SMALL = {**GPT2, "n_layer": 2, "n_embd": 12, "vocab_size": 31, "n_head": 3}


def run(*words: object, width: int = 80) -> tuple[int, str]:
    done = CliRunner(env={"COLUMNS": str(width), "ADJOINT_CACHE": "off"}).invoke(
        app, ["cost", *map(str, words)], catch_exceptions=False
    )
    return done.exit_code, done.output


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(config: dict[str, Any]) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return write


@pytest.mark.covers("E02", "E03")
def test_one_screen_of_gpt2(written: Any) -> None:
    code, told = run(written(GPT2), "--seq", 1024)
    assert code == 0
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert "parameters 124,439,808 of float32" in lines
    assert "given 1 sequence of 1,024 tokens" in lines
    assert "FLOPs in products 292 G 603 G 0" in lines
    assert "AdamW's two moments 996 MB 996 MB" in lines
    assert "attention scores 19.3 G 13.3% 48.3 G 39.4 G 13.5% 227 MB 10.2%" in lines
    assert "forward 36,864 T² + 247,064,064 T" in lines
    assert "scores alone at T = 3,072, with projections at T = 1,536" in " ".join(lines)
    assert max(map(len, told.splitlines())) <= 80
    assert len(lines) < 40


def test_layouts_over_devices(written: Any) -> None:
    code, screen = run(written(GPT2), "--batch", 8, "--devices", 8, "--memory", "2GB", "--link", "50GB")
    found = aj.cost(GPT2, batch=8)
    assert code == 0
    assert max(map(len, screen.splitlines())) <= 80
    lines = [line.split() for line in screen.splitlines()]
    layouts = next(line[3:] for line in lines if line[:3] == ["each", "of", "8"])
    fits = next(line[3:] for line in lines if line[:3] == ["fits", "2", "GB"])
    assert layouts == ["data", "zero1", "zero2", "fsdp", "tensor", "pipeline"]
    for layout, told in zip(layouts, fits, strict=True):
        assert told == ("yes" if found.plan(8, layout).fits(2e9) else "no")
    assert found.memory.checkpointed is not None
    for words in ("8 a device; of tensor and pipeline 8 for all", "no block checkpointed", "as if held at once",
                  f"{bytes_told(found.memory.checkpointed.kept)} a batch, were each block checkpointed"):  # fmt: skip
        assert words in screen


def test_json_has_the_whole(written: Any) -> None:
    code, told = run(written({**GPT2, "n_layer": 2}), "--batch", 3, "--seq", 8, "--json")
    found, expected = json.loads(told), aj.cost({**GPT2, "n_layer": 2}, batch=3, seq=8)
    assert code == 0
    assert found["parameters"] == expected.parameters
    assert found["inputs"] == [[3, 8]]
    assert found["backward"]["multiply_adds"] == expected.backward.multiply_adds
    assert found["memory"]["training_peak"] == expected.memory.training
    assert sum(part["forward"]["bytes"] for part in found["components"].values()) == found["forward"]["bytes"]
    assert found["polynomial"]["forward"] == [int(c) for c in expected.polynomial("seq").forward.coefficients]
    assert {"h.1.mlp.c_fc", "wte"} <= {layer["name"] for layer in found["layers"]}


def test_json_has_the_layouts(written: Any) -> None:
    code, told = run(written(GPT2), "--batch", 8, "--devices", 16, "--memory", "7GB", "--json")
    found, plans = aj.cost(GPT2, batch=8), json.loads(told)["layouts"]
    assert code == 0
    assert plans["fsdp"] == {**asdict(found.plan(16, "fsdp")), "memory": found.plan(16, "fsdp").memory, "fits": True}
    assert not plans["data"]["fits"]
    assert plans["pipeline"] is None  # twelve blocks on sixteen devices


def test_several_sizes(written: Any) -> None:
    """A row each, with what `aj.cost` counts there."""
    code, told = run(written(SMALL), "--batch", "1,3", "--seq", "16, 32,64")
    assert code == 0
    assert max(map(len, told.splitlines())) <= 80
    assert "time on this machine: not measured yet" in told
    lines = [" ".join(line.split()) for line in told.splitlines()]
    for one in aj.costs.sweep(SMALL, batch=(1, 3), seq=(16, 32, 64)):
        batch, seq = one.inputs[0]
        assert one == aj.cost(SMALL, batch=batch, seq=seq)
        figures = [scaled(x) for x in (one.forward.multiply_adds, one.forward.matmul_flops, one.backward.matmul_flops)]
        assert any(line.startswith(f"{batch} {seq} {' '.join(figures)} ") for line in lines)
    found = json.loads(run(written(SMALL), "--batch", "1,3", "--seq", "16,32", "--json")[1])
    assert [size["inputs"] for size in found["sizes"]] == [[[1, 16]], [[1, 32]], [[3, 16]], [[3, 32]]]
    last = aj.cost(SMALL, batch=3, seq=32)
    assert found["sizes"][3]["memory"]["training_peak"] == last.memory.training
    assert found["sizes"][3]["forward"]["bytes"] == last.forward.bytes


def test_several_batches_of_images(written: Any, tmp_path: Path) -> None:
    file = tmp_path / "sizes.svg"
    code, told = run(written(VIT), "--batch", "1,2,4", "--plot", file)
    assert code == 0
    assert file.read_bytes().startswith(b"<?xml")
    assert [line[:5].strip() for line in told.splitlines() if line[:5].strip().isdigit()] == ["1", "2", "4"]


@pytest.mark.parametrize("known", [False, True])
def test_what_is_plotted_of_several_sizes(known: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path))
    if known:
        Roofline(processor(), {"float32": 1e9}, 1e9).keep()
    found = aj.costs.sweep(SMALL, batch=(1, 3), seq=(16, 32, 64))
    axes = swept(found, "toy").axes
    assert len(axes) == 2 + known
    for panel, values in zip(axes, ([x.forward.matmul_flops for x in found], [x.memory.training / 1e9 for x in found]),
                             strict=False):  # fmt: skip
        for line, own in zip(panel.lines, (values[:3], values[3:]), strict=False):
            assert list(line.get_xdata()) == [16, 32, 64]
            assert list(line.get_ydata()) == own
    assert len(axes[1].lines) == 4
    if known:
        assert list(axes[2].lines[0].get_ydata()) == [x.predicted().training for x in found[:3]]


@pytest.mark.parametrize("lengths", [(128, 256), (16, 64, 1024)])
def test_the_axes_are_readable(lengths: tuple[int, ...]) -> None:
    """No two ticks have the same words, and there are some to read by."""
    figure = swept(aj.costs.sweep(SMALL, batch=(1,), seq=lengths), "toy")
    figure.draw_without_rendering()
    for axes in figure.axes:
        low, high = axes.get_ylim()
        told = [x.get_text() for x in axes.get_yticklabels() if low <= x.get_position()[1] <= high]
        assert 3 <= len(told) == len(set(told))


def test_measured_beside_predicted(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arithmetic of the screen on a planted roofline and planted times; then a run by the clock."""
    line = Roofline("toy", {"float32": 1e9}, 1e9)
    monkeypatch.setattr(Roofline, "remembered", lambda: line)
    told = aj.cost(SMALL, seq=16).predicted(line)
    took = Measured(2 * told.forward, 3 * told.backward, 0.5 * told.step, 7)
    with monkeypatch.context() as planted:
        planted.setattr(times, "measure", lambda net, **sizes: took)
        code, screen = run(written(SMALL), "--seq", 16, "--measure")
    lines = [line.split() for line in screen.splitlines()]
    assert code == 0
    assert max(map(len, screen.splitlines())) <= 80
    assert [row[-1] for row in lines if row[:1] == ["forward"]][-1] == "2.00"
    assert [row[-1] for row in lines if row[:1] == ["backward"]][-1] == "3.00"
    assert [row[-1] for row in lines if row[:2] == ["AdamW", "step"]][-1] == "0.50"
    assert "the median of 7 rounds" in " ".join(screen.split())
    found = json.loads(run(written(SMALL), "--seq", 16, "--measure", "--json")[1])
    assert found["predicted_seconds"]["training"] == told.training
    assert found["measured_seconds"]["rounds"] >= 3
    assert found["measured_seconds"]["forward"] > 0


@pytest.mark.covers("E05")
def test_what_memory_bounds(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of ten FLOPs a byte: products of width 192 do some fifty, a norm about one."""
    line = Roofline("toy", {"float32": 10.0}, 1.0)
    monkeypatch.setattr(Roofline, "remembered", lambda: line)
    found = json.loads(run(written({**SMALL, "n_embd": 192}), "--batch", 8, "--seq", 256, "--json")[1])
    waiting = {tuple(names) for names in found["bound_by_memory"]}
    assert {("norms", "layer_norm"), ("other", "add"), ("embeddings", "embedding")} <= waiting
    assert not waiting & {("feed-forward", "linear"), ("attention projections", "linear")}
    code, screen = run(written({**SMALL, "n_embd": 192}), "--batch", 8, "--seq", 256, width=200)
    assert code == 0
    assert "layer_norm (norms)" in screen.partition("memory bounds ")[2]
    assert "linear (feed-forward)" not in screen


def test_a_machine_that_was_not_measured_is(written: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path))
    monkeypatch.setattr(Roofline, "measure", lambda: Roofline(processor(), {"float32": 1e9}, 1e9))
    found = aj.cost(SMALL, seq=4)
    took, told = times.timed(Console(quiet=True), str(written(SMALL)), found)
    assert isinstance(told, Predicted)
    assert told == found.predicted()
    assert took.rounds >= 3


@pytest.mark.parametrize(
    ("config", "options", "told"),
    [
        (VIT, ["--batch", 2], "2 images of 3×24×16"),
        (VIT, [], "a network for images"),
        (T5, ["--seq", 9], "1 sequence of 9 tokens, and as many to its decoder"),
        ({**MISTRAL, "sliding_window": 300}, [], "A window of attention"),
        ({**MISTRAL, "max_position_embeddings": 40}, [], "1 sequence of 40 tokens"),
        ({**MISTRAL, "max_position_embeddings": 40}, ["--seq", 41], "made for 40 positions; rotary ones go on"),
        ({**MISTRAL, "max_position_embeddings": 40}, ["--seq", "20,41"], "made for 40 positions; rotary ones go on"),
        (GPT2, ["--seq", 8, "--dtype", "bfloat16"], "of bfloat16"),
    ],
)
def test_other_networks(written: Any, config: dict[str, Any], options: list[object], told: str) -> None:
    code, found = run(written(config), *options, width=120)
    assert code == 0
    assert told in found


@pytest.mark.covers("E03")
@pytest.mark.parametrize(("end", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_its_plot(written: Any, tmp_path: Path, end: str, begins: bytes) -> None:
    file = tmp_path / f"curves.{end}"
    code, told = run(written(GPT2), "--plot", file, width=200)
    assert code == 0
    assert f"drawn to {file}" in told
    assert file.read_bytes().startswith(begins)


def test_what_is_plotted_is_the_polynomial() -> None:
    found = aj.cost({**GPT2, "n_layer": 2}, batch=3)
    growth = found.polynomial("seq")
    axes = curves(growth, "toy", 3, 4096).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert {"attention projections", "attention scores", "feed-forward", "head", "all"} <= lines.keys()
    lengths, values = lines["attention scores"].get_data()
    assert list(values) == [float(growth.components["attention scores"](n)) for n in lengths]
    at = 1000
    assert growth.forward(at) == aj.cost({**GPT2, "n_layer": 2}, batch=3, seq=at).forward.matmul_flops
    assert [text.get_text().strip() for text in axes.texts] == [
        "attention overtakes, scores alone: 3,072",
        "attention overtakes, with projections: 1,536",
    ]


@pytest.mark.parametrize(
    ("config", "options", "told"),
    [
        (GPT2, ["--plot", "curves.gif"], "a plot's name ends in .png, .svg, .pdf, not 'curves.gif'"),
        (GPT2, ["--plot", "curves.png", "--json"], "give --json or --plot, not both"),
        (VIT, ["--plot", "curves.png"], "takes images: there is no length of a sequence to plot against"),
        ({"model_type": "nonesuch"}, [], "model_type 'nonesuch' is not known"),
        ({**GPT2, "twist": 7}, [], "might change the function: twist=7"),
        (GPT2, ["--seq", 1025], "1024 positions at most"),
        (VIT, ["--seq", 5], "takes images, which have no sequence length"),
        (GPT2, ["--dtype", "floaty"], "floaty is no dtype"),
        (GPT2, ["--batch", 0], "--batch"),
        (GPT2, ["--memory", "2GB"], "give --devices, too"),
        (GPT2, ["--devices", 2, "--memory", "much"], "a size is such as 80GB"),
        (GPT2, ["--devices", 2, "--memory", "80"], "--memory 80 is 80 bytes: its unit is missing, such as 80GB"),
        (GPT2, ["--devices", 2, "--link", "50"], "--link 50 is 50 bytes: its unit is missing"),
        (GPT2, ["--batch", "1,8", "--devices", 2], "give one --batch and one --seq"),
        (GPT2, ["--seq", "16,32", "--measure"], "give one --batch and one --seq"),
        (GPT2, ["--seq", "16;32"], "--seq is a positive integer or several such as 128,256"),
        (GPT2, ["--seq", ",".join(map(str, range(1, 200)))], "are more than 100 rows"),
        ({**GPT2, "n_layer": 2, "n_embd": 49_152}, ["--measure"], "GB are free here"),
    ],
)
def test_what_is_refused(written: Any, config: dict[str, Any], options: list[object], told: str) -> None:
    code, found = run(written(config), *options, width=200)
    assert code != 0
    assert told in found
    assert "Traceback" not in found


@pytest.mark.parametrize(("file", "counts"), [("net.onnx", "aj.cost(aj.open("), ("model.safetensors", "gpt2.")])
def test_what_is_no_configuration(tmp_path: Path, file: str, counts: str) -> None:
    (tmp_path / file).write_bytes(b"x")
    code, found = run(tmp_path / file, width=200)
    assert code == 1
    assert "is no configuration: give a config.json, the folder where it lies, or a name such as gpt2" in found
    assert counts in found


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder has no config\.json"):
        run(tmp_path)


def test_a_damaged_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"model_type": ')
    code, found = run(file)
    assert code == 1
    assert "is not JSON" in found
