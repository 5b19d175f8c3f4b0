"""`adjoint lora train`: real digits and texts learned, adapters that PEFT reads, runs that go on, data that are not."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app
from adjoint.cli.door import STATE
from adjoint.lora import METHODS
from adjoint.training import loop
from tests.cli.lora_models import VERSE, bert, llama, masked_bert, t5, vit
from tests.cli.stopping import stopping

# PEFT asks transformers by an old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["lora", "train", *map(str, words)])
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, OSError), done.exc_info
    return done.exit_code, f"{done.output} {done.exception or ''}"


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def verse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "verse.txt"
    path.write_text(VERSE * 20)
    return path


def figures(out: Path) -> Any:
    return json.loads((out / "run.json").read_text())


@pytest.mark.covers("L06")
@pytest.mark.parametrize("method", METHODS)
def test_a_text_is_learned_and_peft_reads_the_adapter(method: str, writer: Path, verse: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, told = run(writer, "--data", verse, "--out", out, "--method", method, "--steps", 20, "--seq", 16, "--rank", 3,
                     "--lr", "1e-2")  # fmt: skip
    assert code == 0, told
    found = figures(out)
    assert found["after"][0] < found["before"][0]
    assert [e["epoch"] for e in found["epochs"]] == [*range(1, 11)]
    assert not (out / STATE).exists()
    assert not list(out.glob(".*"))
    x = np.array([[5, 60, 7, 200, 9]])
    if method == "full":
        ours = aj.open(out)(x)
        theirs = transformers.LlamaForCausalLM.from_pretrained(out)
    else:
        ours = aj.lora.load(aj.open(writer), out)(x)
        theirs = peft.PeftModel.from_pretrained(transformers.LlamaForCausalLM.from_pretrained(writer), out)
    expected = theirs.eval()(torch.tensor(x)).logits.detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())
    assert not np.allclose(ours, aj.open(writer)(x), atol=1e-3)


@pytest.mark.covers("L06")
def test_real_digits_are_learned_by_lora(tmp_path: Path) -> None:
    data, out = tmp_path / "digits.npz", tmp_path / "out"
    digits = aj.data.digits().reshape(1, 8, 8)
    np.savez(data, x=digits.x, y=digits.y)
    model = vit(tmp_path / "vit")
    code, told = run(model, "--data", data, "--out", out, "--epochs", 5, "--batch", 32, "--lr", "1e-2", "--seed", 3)
    assert code == 0, told
    found = figures(out)
    losses = [e["validation_loss"] for e in found["epochs"]]
    assert losses == sorted(losses, reverse=True)
    assert found["before"][1] < 0.25 < 0.6 < found["after"][1]
    net = aj.lora.load(aj.open(model), out)
    _, held_out = digits.split(0.1, 3)
    loss, right = aj.training.evaluate(net, held_out, batch_size=32)
    assert [loss, right] == pytest.approx(found["after"], rel=1e-5)
    whole = json.loads((out / "adapter_config.json").read_text())["modules_to_save"]
    assert whole == ["classifier"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_labelled_texts(kind: str, tmp_path: Path) -> None:
    rows = [(word * (k % 4 + 1), label) for k in range(20) for label, word in enumerate(("no, ", "yes; ", "maybe? "))]
    data, out = tmp_path / f"texts.{kind}", tmp_path / "out"
    with data.open("w", newline="") as file:
        if kind == "csv":
            csv.writer(file).writerows([("label", "text"), *((label, text) for text, label in rows)])
        else:
            file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    code, told = run(bert(tmp_path / "bert"), "--data", data, "--out", out, "--epochs", 12, "--lr", "2e-2", "--seq", 12)
    assert code == 0, told
    found = figures(out)
    assert found["after"][0] < found["before"][0]
    assert found["after"][1] > 0.8


def test_pixels_in_a_csv_become_images(tmp_path: Path) -> None:
    digits, data = aj.data.digits(), tmp_path / "digits.csv"
    with data.open("w", newline="") as file:
        rows = [[y, *x] for x, y in zip(digits.x[:60].tolist(), digits.y[:60].tolist(), strict=True)]
        csv.writer(file).writerows([["label", *(f"p{k}" for k in range(64))], *rows])
    code, told = run(vit(tmp_path / "vit"), "--data", data, "--out", tmp_path / "out", "--steps", 2)
    assert code == 0, told


# What then


def generated(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(
        app, ["generate", *map(str, words), "--prompt", "Shall", "-n", "12", "--temperature", "0"]
    )
    return done.exit_code, f"{done.output}{done.exception or ''}"


def test_an_adapter_is_used_by_the_command_that_is_told(writer: Path, verse: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--data", verse, "--seq", 16, "--steps", 20, "--rank", 3, "--lr", "3e-2")
    code, told = run(writer, *words, "--out", out)
    assert code == 0, told
    assert f"adjoint generate {writer} --adapter {out}\n" in told
    assert f"net = aj.lora.load(aj.open({str(writer)!r}), {str(out)!r})\n" in told
    net = aj.lora.load(aj.open(writer), out).eval()
    tokens = aj.models.tokenizer(writer).encode("Shall")
    expected = aj.models.tokenizer(writer).decode(net.generate(tokens[None], 12, 0.0)[0].tolist())
    for backend in ("numpy", "torch"):
        code, told = generated(writer, "--adapter", out, "--backend", backend)
        assert code == 0, told
        assert told.startswith(expected)
    assert not generated(writer)[1].startswith(expected)


def test_an_adapter_is_no_model(writer: Path, verse: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(writer, "--data", verse, "--seq", 16, "--steps", 1, "--out", out)[0] == 0
    expected = (
        f"{out} is an adapter for {writer}, not a model; to write text with it: adjoint generate {writer} --adapter "
    )
    code, told = generated(out)
    assert code == 1
    assert expected in told
    assert expected in run(out, "--data", verse, "--out", tmp_path / "second")[1]
    assert expected in CliRunner().invoke(app, ["lora", "plan", str(out)]).output
    told = CliRunner().invoke(app, ["open", str(out)]).output
    assert "".join(told.split()).count(f"28arrays,for{writer}") == 1  # however long, over several lines
    assert f"adjoint generate {writer} --adapter {out}\n" in told
    code, told = generated(writer, "--adapter", tmp_path / "nowhere")
    assert code == 1
    assert "nowhere" in told
    other = aj.lora.add(aj.nn.MLP((4, 3, 2)), rank=2)
    aj.lora.save(other, tmp_path / "other")
    assert "another network" in generated(writer, "--adapter", tmp_path / "other")[1]
    assert "an adapter for BASE" in generated(tmp_path / "other")[1]
    (out / "adapter_config.json").write_text("{")
    assert "adapter_config.json" in generated(out)[1]


# Going on


@pytest.mark.covers("L06")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [3, 12])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    method: str, after: int, writer: Path, verse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--data", verse, "--method", method, "--steps", 20, "--seq", 16, "--rank", 2)
    assert run(writer, *words, "--out", tmp_path / "straight")[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(loop, "interruptions", lambda: stopping(after))
        code, told = run(writer, *words, "--out", tmp_path / "broken")
    assert code == 130, told
    assert "--resume goes on" in told
    assert [path.name for path in (tmp_path / "broken").iterdir()] == [STATE]
    code, told = run(writer, *words, "--out", tmp_path / "broken")
    assert code == 1
    assert "--resume" in told
    code, told = run(writer, *words, "--out", tmp_path / "broken", "--resume")
    assert code == 0, told
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    losses = [[e["loss"] for e in figures(tmp_path / kind)["epochs"]] for kind in ("straight", "broken")]
    assert losses[0] == losses[1]


INTERRUPTED = """
import signal
from adjoint.cli import main
from adjoint.training.progress import Lines
told = Lines.epoch
def epoch(self, record):
    told(self, record)
    signal.raise_signal(signal.SIGINT)
Lines.epoch = epoch
main()
"""


def test_ctrl_c_is_heard(writer: Path, verse: Path, tmp_path: Path) -> None:
    """After the first round of a program of its own."""
    words = [writer, "--data", verse, "--out", tmp_path / "out", "--steps", 20, "--seq", 16]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "lora", "train", *map(str, words)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "go" in done.stderr
    assert (tmp_path / "out" / STATE).exists()


def test_the_state_holds_no_base_weights_and_knows_them(
    writer: Path, verse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--data", verse, "--steps", 20, "--seq", 16)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "interruptions", lambda: stopping(5))
        assert run(writer, *words, "--out", tmp_path / "out")[0] == 130
    state = tmp_path / "out" / STATE
    assert not [name for name in aj.load(state) if "base_layer" in name or "embed" in name]
    other = llama(tmp_path / "other")
    arrays = aj.load(other / "model.safetensors")
    arrays["model.norm.weight"][0] += 1
    aj.save(other / "model.safetensors", arrays)
    code, told = run(other, *words, "--out", tmp_path / "out", "--resume")
    assert (code, "frozen weights was" in told) == (1, True)
    code, told = run(writer, *words, "--out", tmp_path / "out", "--resume", "--lr", "1e-2")
    assert (code, "another run" in told) == (1, True)
    whole = state.read_bytes()
    for broken in (whole[:100], whole[:-9], whole[:-40] + bytes(40)):
        state.write_bytes(broken)
        code, told = run(writer, *words, "--out", tmp_path / "out", "--resume")
        assert code == 1, told
        assert STATE in told
        assert [path.name for path in (tmp_path / "out").iterdir()] == [STATE]
    state.write_bytes(whole)
    assert run(writer, *words, "--out", tmp_path / "out", "--resume")[0] == 0


# What cannot be


BAD_TEXTS = {
    "empty.txt": (b"  \n", "is empty"),
    "short.txt": (b"too short", "a smaller --seq takes less"),
    "latin.txt": (b"caf\xe9 " * 99, "not UTF-8"),
    "unknown.docx": (b"x", "data are text"),
}
BAD_EXAMPLES = {
    "none.csv": (b"", "names the columns"),
    "nolabel.csv": (b"text,class\nyes,1\n", "names the columns"),
    "one.csv": (b"text,label\nyes,1\n", "too few"),
    "two.csv": (b"text,label\nyes,1\nno,0\n", "--validation 0.1 of 2 examples holds out 0"),
    "ragged.csv": (b"text,label\nyes,1\nno\n", "line 3: 1 fields"),
    "words.csv": (b"text,label\nyes,good\nno,1\n", "line 2: the label 'good'"),
    "minus.csv": (b"text,label\nyes,-1\nno,1\n", "line 2: the label '-1'"),
    "range.csv": (
        b"text,label\nyes,0\nno,7\nno,1\n",
        "labels run from 0 to 7, but BertForSequenceClassification has 3",
    ),
    "blank.csv": (b"text,label\nyes,0\n,1\n", "text of example 2 is empty"),
    "numbers.csv": (b"a,label\nx,1\n2,1\n", "line 2: could not convert"),
    "latin.csv": (b"text,label\n\xff,1\n", "not UTF-8"),
    "latin.jsonl": (b'{"text": "\xff", "label": 1}\n', "not UTF-8"),
    "broken.jsonl": (b'{"text": "yes", "label": 1}\n{"text":\n', "line 2 is not JSON"),
    "list.jsonl": (b"[1]\n", "line 1: a line is an object"),
    "float.jsonl": (b'{"text": "yes", "label": 1.5}\n', "line 1: the label 1.5"),
    "damaged.npz": (b"PK\x03\x04 no", "damaged.npz"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_texts_that_cannot_be_learned(name: str, writer: Path, tmp_path: Path) -> None:
    content, expected = BAD_TEXTS[name]
    (tmp_path / name).write_bytes(content)
    code, told = run(writer, "--data", tmp_path / name, "--out", tmp_path / "out")
    assert code == 1
    assert expected in told
    assert name in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_examples_that_cannot_be_learned(name: str, tmp_path: Path) -> None:
    content, expected = BAD_EXAMPLES[name]
    (tmp_path / name).write_bytes(content)
    code, told = run(bert(tmp_path / "bert"), "--data", tmp_path / name, "--out", tmp_path / "out")
    assert code == 1
    assert expected in told
    assert name in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_model_itself_is_not_overwritten(method: str, writer: Path, verse: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in writer.iterdir()}
    (tmp_path / "link").symlink_to(writer)
    for model in (writer, writer / "model.safetensors"):
        for out in (writer, tmp_path / "link", writer / ".." / writer.name):
            code, told = run(model, "--data", verse, "--out", out, "--method", method, "--seq", 16, "--steps", 1)
            assert code == 1
            assert "the folder of the model itself" in told
            assert "name another folder with --out" in told
    assert before == {path.name: path.read_bytes() for path in writer.iterdir()}


def test_what_a_folder_holds_is_not_replaced(writer: Path, verse: Path, tmp_path: Path) -> None:
    words = ("--data", verse, "--seq", 16, "--steps", 12, "--rank", 2)
    assert run(writer, *words, "--out", tmp_path / "out")[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    code, told = run(writer, *words, "--out", tmp_path / "out")
    assert code == 1
    assert "holds an adapter or a model already (adapter_config.json" in told
    code, told = run(writer, *words, "--out", tmp_path / "out", "--resume")
    assert code == 1
    assert "a run that is finished, 20 of 20 steps" in told  # ten rounds of two
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "run.json").write_text("[]")
    assert "holds no run to go on with" in run(writer, *words, "--out", tmp_path / "out", "--resume")[1]
    other = llama(tmp_path / "other")
    assert "holds an adapter or a model already (config.json" in run(writer, *words, "--out", other)[1]


def test_a_folder_that_cannot_be_made(writer: Path, verse: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out in ("file", "file/inside", "file/deep/inside", "dangling"):
        code, told = run(writer, "--data", verse, "--out", tmp_path / out, "--seq", 16, "--steps", 1)
        assert code == 1
        assert "is not a folder" in told
        assert "step" not in told


def test_arrays_that_cannot_be_learned(tmp_path: Path) -> None:
    model, data = vit(tmp_path / "vit"), tmp_path / "x.npz"
    images = np.zeros((4, 1, 8, 8), "float32")
    for arrays, expected in (
        ({"x": images}, "holds x"),
        ({"x": images, "y": np.zeros(3, int)}, "y is a whole number"),
        ({"x": images, "y": np.zeros(4)}, "y is a whole number"),
        ({"x": images[:, 0], "y": np.zeros(4, int)}, "does not take"),
        ({"x": images, "y": np.array([0, 1, 2, 10])}, "has 10 classes"),
        ({"x": images[:1], "y": np.zeros(1, int)}, "too few"),
        ({"x": np.zeros((4, 0)), "y": np.zeros(4, int)}, "no numbers"),
        ({"x": images, "y": np.array([None] * 4)}, "y"),
    ):
        np.savez(data, **arrays)
        code, told = run(model, "--data", data, "--out", tmp_path / "out")
        assert code == 1, told
        assert expected in told
        assert not (tmp_path / "out").exists()


def test_labels_for_a_network_with_a_score_for_each_token(tmp_path: Path) -> None:
    np.savez(tmp_path / "xy.npz", x=np.zeros((6, 5), "int64"), y=np.arange(6) % 3)
    code, told = run(masked_bert(tmp_path / "bert"), "--data", tmp_path / "xy.npz", "--out", tmp_path / "out")
    assert code == 1
    assert "labels (6,), one for each example, need scores (1, classes)" in told
    assert "BertForMaskedLM gives (1, 5, 256)" in told
    assert not (tmp_path / "out").exists()


def test_tokens_that_the_network_does_not_know(tmp_path: Path) -> None:
    model, data = bert(tmp_path / "bert"), tmp_path / "x.npz"
    np.savez(data, x=np.array([[1, 2], [3, 256], [4, 5]]), y=np.array([0, 1, 2]))
    code, told = run(model, "--data", data, "--out", tmp_path / "out")
    assert code == 1, told
    assert "does not take int64 of shape (1, 2)" in told


def test_what_does_not_go_together(writer: Path, verse: Path, tmp_path: Path) -> None:
    out, labelled = tmp_path / "out", tmp_path / "labelled.csv"
    labelled.write_text("text,label\nyes,1\nno,0\n")
    aj.save(tmp_path / "weights.safetensors", {"w": np.ones((2, 2))})
    for words, expected in (
        ((writer, "--data", tmp_path / "no.txt"), "no.txt"),
        ((tmp_path / "nowhere", "--data", verse), "nowhere"),
        ((tmp_path / "weights.safetensors", "--data", verse), "no network"),
        ((bert(tmp_path / "bert"), "--data", verse), "does not write text"),
        ((t5(tmp_path / "t5"), "--data", labelled), "T5, which takes tokens and decoder_tokens: labels need a class"),
        ((writer, "--data", labelled), "has labels, but"),
        ((writer, "--data", labelled), "which writes text: labels need a classifier"),
        ((writer, "--data", verse, "--seq", 16, "--targets", "query"), "matches no layer"),
        ((writer, "--data", verse, "--seq", 16, "--rank", 17), "rank 17 is above"),
        ((writer, "--data", verse, "--seq", 5000), "fewer than a window"),
        ((writer, "--data", verse, "--seq", 16, "--resume"), "no run to go on with"),
        ((writer, "--data", verse, "--seq", 16, "--steps", 2, "--epochs", 1), "not both"),
    ):
        code, told = run(*words, "--out", out)
        assert code == 1, told
        assert expected in told
        assert not out.exists() or not list(out.glob("adapter*"))


def test_validation_is_above_zero(writer: Path, verse: Path, tmp_path: Path) -> None:
    code, told = run(writer, "--data", verse, "--out", tmp_path / "out", "--validation", 0)
    assert code == 2
    assert "--validation" in told


def test_a_loss_that_rose_is_told(writer: Path, verse: Path, tmp_path: Path) -> None:
    words = ("--data", verse, "--seq", 16, "--steps", 10, "--lr", 20, "--method", "full")
    code, told = run(writer, *words, "--out", tmp_path / "out")
    assert code == 0, told
    before, after = figures(tmp_path / "out")["before"][0], figures(tmp_path / "out")["after"][0]
    assert before < after
    assert "the loss rose: the learning rate is likely too large; try --lr 2 " in " ".join(told.split())


@pytest.mark.parametrize("method", METHODS)
def test_before_is_of_the_network_that_learns(method: str, writer: Path, verse: Path, tmp_path: Path) -> None:
    """At a rate of zero nothing changes, quantized or not; of AdaLoRA alone the loss has a penalty, and says so."""
    out = tmp_path / "out"
    code, told = run(writer, "--data", verse, "--seq", 16, "--steps", 12, "--lr", 0, "--out", out, "--method", method,
                     "--rank", 3)  # fmt: skip
    assert code == 0, told
    assert figures(out)["before"][0] == pytest.approx(figures(out)["after"][0], rel=1e-5)
    assert ("loss with penalty" in told) == (method == "adalora")


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_rate_that_makes_it_diverge(writer: Path, verse: Path, tmp_path: Path) -> None:
    code, told = run(writer, "--data", verse, "--seq", 16, "--steps", 20, "--lr", "1e30", "--out", tmp_path / "out")
    assert code == 1
    assert "lower the learning rate" in told
    assert not list((tmp_path / "out").glob("adapter*"))
