"""`adjoint train` on small real data: what it prints, what it writes, and that it goes on where it stood."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app
from adjoint.cli.recipes import RECIPES

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


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate()
    return process.returncode


def program(*words: object) -> subprocess.Popen[str]:
    code = "from adjoint.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "train", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_without_data_it_says_what_to_do(tmp_path: Path) -> None:
    process = program("gpt", "--out", tmp_path)
    _, told = process.communicate()
    assert process.returncode == 1
    assert "--data" in told
    assert "ADJOINT_DATA" in told


def test_interrupted_it_goes_on(tmp_path: Path) -> None:
    """Ctrl-C in the midst of a run leaves a checkpoint; the same command ends at the weights of an unbroken run."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert ended(program("cnn", "--epochs", 8, "--out", straight)) == 0
    process = program("cnn", "--epochs", 8, "--out", broken)
    assert process.stderr is not None
    process.stderr.readline()  # the first epoch is done
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert "go on" in told
    assert ended(program("cnn", "--epochs", 8, "--out", broken)) == 0
    a, b = aj.load(straight / "weights.safetensors"), aj.load(broken / "weights.safetensors")
    for name, x in a.items():
        np.testing.assert_array_equal(x, b[name])
