"""`adjoint lora plan` and `train` tell how many parameters learn, of how many, as PEFT counts them."""

from __future__ import annotations

import re
from pathlib import Path

import peft
import pytest
import transformers
from typer.testing import CliRunner

from adjoint.cli import app
from tests.cli.lora_models import VERSE, llama

# PEFT asks transformers by an old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def told(*words: object) -> tuple[int, int, float]:
    """(learning, all, per cent) on the screen."""
    done = CliRunner().invoke(app, ["lora", *map(str, words)], catch_exceptions=False)
    found = re.search(r"([\d,]+) of ([\d,]+) parameters[, (]+([\d.]+)%", " ".join(done.output.split()))
    assert found is not None, done.output
    learning, every = (int(number.replace(",", "")) for number in found.groups()[:2])
    return learning, every, float(found[3])


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_one_convention(method: str, tmp_path: Path) -> None:
    model, data, out = llama(tmp_path / "model"), tmp_path / "verse.txt", tmp_path / "out"
    data.write_text(VERSE * 20)
    learning, every, share = told("train", model, "--data", data, "--out", out, "--method", method, "--steps", 1,
                                  "--seq", 16, "--rank", 3)  # fmt: skip
    base = transformers.LlamaForCausalLM.from_pretrained(model)
    whole = sum(p.numel() for p in base.parameters())
    theirs = peft.PeftModel.from_pretrained(base, out, is_trainable=True)
    assert (learning, every) == theirs.get_nb_trainable_parameters()
    assert share == pytest.approx(100 * learning / every, abs=0.01)
    learning, every, share = told("plan", model, "--budget", 500)
    assert every == whole + learning
    assert share == pytest.approx(100 * learning / every, abs=0.001)


def test_all_of_full_fine_tuning(tmp_path: Path) -> None:
    model, data = llama(tmp_path / "model"), tmp_path / "verse.txt"
    data.write_text(VERSE * 20)
    learning, every, share = told("train", model, "--data", data, "--out", tmp_path / "out", "--method", "full",
                                  "--steps", 1, "--seq", 16)  # fmt: skip
    assert learning == every
    assert share == 100.0
