"""`adjoint inspect`: what a newcomer sees of a model's weights, for every kind of file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import Sorts, app
from adjoint.inspection import running
from adjoint.inspection.screen import SORTS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path / "cache"))


def run(*words: object, width: int = 80) -> tuple[int, str]:
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(app, ["inspect", *map(str, words)], catch_exceptions=False)
    return done.exit_code, done.output


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    net = {f"h.{i}.fc.weight": rng.standard_normal((40, 60), dtype=np.float32) for i in range(5)}
    net["h.3.fc.weight"][:, 7] = 0.0
    net["h.3.fc.weight"][12] = net["h.3.fc.weight"][11]
    return net | {"ln.weight": np.ones(40, np.float32), "ids": np.arange(4)}


def saved(folder: Path, ending: str) -> Path:
    path = folder / f"w{ending}"
    if ending == ".npz":
        np.savez(path, **arrays())
    elif ending == ".pt":
        torch.save({name: torch.from_numpy(x) for name, x in arrays().items()}, path)
    else:
        aj.save(path, arrays())
    return path


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pt"])
def test_a_file_on_one_screen(tmp_path: Path, ending: str) -> None:
    code, text = run(saved(tmp_path, ending))
    assert code == 0
    for told in (
        "12,044 in 7 arrays",
        "5 weights (99.6 % of the parameters)",
        "ids  int64: integers",
        "1 of 200 directions (0.5 %) are lost, in h.3.fc.weight",
        "1 of 40 directions is lost (rank 39); 1 column is",
        "layer('h.3.fc.weight').kernel()",
    ):
        assert told in text
    assert re.search(r"^h\.4\.fc +40×60 +40 ", text, re.MULTILINE)
    assert all(len(line) <= 80 for line in text.splitlines() if "in Python" not in line)


def test_a_folder(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=20, n_embd=32, n_layer=2, n_head=2))
    theirs.save_pretrained(tmp_path / "gpt")
    code, text = run(tmp_path / "gpt", width=120)
    parameters = sum(p.numel() for p in theirs.parameters())
    assert code == 0
    assert f"{parameters:,} in" in text
    assert "tied, counted once" in text
    assert "No weight stands out." in text


def test_a_graph(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(arrays()["h.0.fc.weight"], "fc.weight")
    node = onnx.helper.make_node("MatMul", ["x", "fc.weight"], ["y"])
    values = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", [1, 40]), ("y", [1, 60]))
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [weight])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]), tmp_path / "m.onnx")
    code, text = run(tmp_path / "m.onnx")
    assert code == 0
    assert re.search(r"^fc +40×60 ", text, re.MULTILINE)


def test_json(tmp_path: Path) -> None:
    code, text = run(saved(tmp_path, ".npz"), "--json", "--jobs", 1, "--no-cache")
    told = json.loads(text)
    assert code == 0
    assert (told["name"], told["parameters"], len(told["rows"])) == ("w.npz", 12_044, 5)
    assert told["findings"][0]["name"] == "h.3.fc.weight"


def test_sorted_and_whole(tmp_path: Path) -> None:
    assert [x.value for x in Sorts] == list(SORTS)
    path = saved(tmp_path, ".safetensors")
    for sort in SORTS:
        assert run(path, "--sort", sort, "--all")[0] == 0
    _, text = run(path, "--sort", "lost")
    rows = [line.split()[0] for line in text.splitlines() if "40×60" in line]
    assert rows[0] == "h.3.fc"
    assert run(path, "--sort", "colour")[0] == 2


def test_many_weights_are_cut_to_a_screen(tmp_path: Path) -> None:
    aj.save(
        tmp_path / "w.safetensors",
        {f"a.very.long.name.of.layer.{i}.which.is.even.longer": np.eye(3) for i in range(30)},
    )
    _, text = run(tmp_path / "w.safetensors")
    assert "… and 14 more" in text
    assert re.search(r"^0\.which\.is\.even\.longer +3×3 ", text, re.MULTILINE)
    _, text = run(tmp_path / "w.safetensors", "--all", width=140)
    assert "… and" not in text
    assert "a.very.long.name.of.layer.29.which.is.even.longer" in text


def test_interrupted_it_shows_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = running.Work._take

    def interrupted(work: running.Work, *args: object) -> None:
        take(work, *args)  # type: ignore[arg-type]
        if len(work.rows) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(running.Work, "_take", interrupted)
    code, text = run(saved(tmp_path, ".npz"), "--jobs", 1)
    assert code == 130
    assert "what follows is of the weights examined until then" in text


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(aj.CheckpointError, match=r"w\.safetensors"):
        run(tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "missing")


def test_a_page(tmp_path: Path) -> None:
    code, text = run(saved(tmp_path, ".npz"), "--html", tmp_path / "report.html")
    assert code == 0
    assert "report.html" in text.splitlines()[-1]
    assert "h.3.fc.weight" in (tmp_path / "report.html").read_text(encoding="utf-8")
    code, text = run(saved(tmp_path, ".npz"), "--html", tmp_path / "report.html", "--json")
    assert json.loads(text)["parameters"] == 12_044
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run(saved(tmp_path, ".npz"), "--html", tmp_path / "none" / "report.html")


def test_a_sample_needs_a_network_that_it_passes_through(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    code, text = run(saved(tmp_path, ".npz"), "--sample", tmp_path / "x.npy", width=100)
    assert code == 1
    assert "aj.open makes one" in " ".join(text.split())


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\x03\x04"])
def test_a_sample_that_is_no_array_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    code, text = run(saved(tmp_path, ".npz"), "--sample", tmp_path / "x.npy")
    assert code == 1
    assert "--sample" in text


def test_the_legend_explains_the_columns_that_are_shown(tmp_path: Path) -> None:
    path = saved(tmp_path, ".safetensors")
    for width in (80, 100, 160):
        _, text = run(path, width=width)
        header = next(line for line in text.splitlines() if line.startswith("weight "))
        legend = " ".join(text[text.index("All singular values") :].split())
        for column, told in (("stable", "stable: "), ("α", "α: "), ("random", "random: "), ("NF4", "‖Ŵ − W‖")):
            assert (column in header.split()) == (told in legend), (width, column)
        assert "FLOPs" not in text
