"""`adjoint train` on small real data: what it prints, what it writes, and that it goes on where it stood."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app
from adjoint.cli.recipes import RECIPES
from adjoint.training import loop
from tests.cli.stopping import stopping

VERSE = "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n"


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADJOINT_DATA", raising=False)


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["train", *map(str, words)])
    return done.exit_code, done.output


def history(out: Path) -> dict:
    return json.loads((out / "history.json").read_text())


@pytest.mark.parametrize("name", ["cnn", "encoder"])
def test_images(name: str, tmp_path: Path) -> None:
    code, told = run(name, "--epochs", 2, "--out", tmp_path)
    assert code == 0, told
    assert "digits of" in told
    figures = history(tmp_path)
    assert [e["epoch"] for e in figures["epochs"]] == [1, 2]
    assert figures["epochs"][1]["loss"] < figures["epochs"][0]["loss"] < np.log(10) * 1.1
    net = RECIPES[name](None, 5).net
    net.load_state_dict(aj.load(tmp_path / "weights.safetensors"))
    recipe = RECIPES[name](None, 0)
    loss, accuracy = aj.training.evaluate(net, recipe.test)
    assert [loss, accuracy] == pytest.approx(figures["test"], rel=1e-5)
    again, told = run(name, "--epochs", 2, "--out", tmp_path)
    assert again == 0
    assert history(tmp_path)["epochs"] == figures["epochs"]


def test_text(tmp_path: Path) -> None:
    text = tmp_path / "sonnet.txt"
    text.write_text(VERSE * 200)
    code, told = run("gpt", "--data", text, "--epochs", 2, "--out", tmp_path / "out")
    assert code == 0, told
    assert (tmp_path / "out" / "alphabet.txt").read_text() == "".join(sorted(set(VERSE)))
    losses = [e["validation_loss"] for e in history(tmp_path / "out")["epochs"]]
    assert losses[-1] < losses[0] < np.log(len(set(VERSE))) * 1.1


def test_bad_calls(tmp_path: Path) -> None:
    assert run("rnn")[0] == 2
    assert run("cnn", "--epochs", 0)[0] == 2
    code, _ = run("cnn", "--epochs", 1, "--out", tmp_path)
    assert code == 0
    code, told = run("cnn", "--epochs", 1, "--seed", 1, "--out", tmp_path)
    assert code == 1
    assert "another run" in told


def test_without_data_it_says_what_to_do(tmp_path: Path) -> None:
    code = "from adjoint.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "gpt", "--out", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "--data" in done.stderr
    assert "ADJOINT_DATA" in done.stderr


def test_interrupted_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the midst of a run leaves a checkpoint; the same command ends at the weights of an unbroken run."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert run("cnn", "--epochs", 3, "--out", straight)[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(loop, "interruptions", lambda: stopping(40))
        code, told = run("cnn", "--epochs", 3, "--out", broken)
    assert code == 130, told
    assert "go on" in told
    assert 0 < aj.load(broken / "checkpoint.safetensors")["optimizer.t"] <= 40
    assert run("cnn", "--epochs", 3, "--out", broken)[0] == 0
    losses = [[e["loss"] for e in history(out)["epochs"]] for out in (straight, broken)]
    assert losses[0] == losses[1]
    a, b = aj.load(straight / "weights.safetensors"), aj.load(broken / "weights.safetensors")
    for name, x in a.items():
        np.testing.assert_array_equal(x, b[name])
