"""`adjoint inspect --sample`: gradients of a loss, what a layer cannot see, files that are not what is needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import Losses, app
from adjoint.cli.inspected import LOSSES, cross_entropy
from adjoint.inspection import sampled


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJOINT_CACHE", str(tmp_path / "cache"))


def run(*words: object, width: int = 100) -> tuple[int, str]:
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(app, ["inspect", *map(str, words)], catch_exceptions=False)
    return done.exit_code, done.output


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network in an ONNX file whose first layer has a rank of 3."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    first = (rng.standard_normal((8, 3)) @ rng.standard_normal((3, 6))).astype("float32")
    second = rng.standard_normal((6, 4)).astype("float32")
    make, numpy = onnx.helper, onnx.numpy_helper
    nodes = [
        make.make_node("MatMul", ["x", "first.weight"], ["h"], "first"),
        make.make_node("Tanh", ["h"], ["a"], "squash"),
        make.make_node("MatMul", ["a", "second.weight"], ["y"], "second"),
    ]
    values = [make.make_tensor_value_info(k, 1, ["n", size]) for k, size in (("x", 8), ("y", 4))]
    held = [numpy.from_array(first, "first.weight"), numpy.from_array(second, "second.weight")]
    graph = make.make_graph(nodes, "g", values[:1], values[1:], held)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 20)]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    x = np.random.default_rng(1).standard_normal((10, 8)).astype("float32")
    np.savez(tmp_path / "s.npz", x=x, target=np.arange(10) % 4)
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "s.npz"


def test_a_sample_a_loss_and_what_a_layer_cannot_see(model: Path, sample: Path) -> None:
    code, text = run(model, "--sample", sample, "--loss", "cross_entropy", "--unseen", "first")
    assert code == 0
    assert max(len(line) for line in text.splitlines() if "in Python" not in line) <= 100
    flat = " ".join(text.split())
    for told in (
        "10 examples of 8, float32; gradients of cross_entropy (",
        "first MatMul",
        "squash Tanh",
        "What first (MatMul) cannot see of the sample",
        "the matrix (6×8) has rank 3 and sends 5 of 8 directions to zero",
    ):
        assert told in flat
    code, told = run(model, "--sample", sample.parent / "x.npy", "--unseen", "first.weight", "--json")
    figures = json.loads(told)
    net, x = aj.open(model), np.load(sample)["x"]
    found = aj.inspect(net, x, cache=False).unseen("first")
    assert figures["unseen"]["nullity"] == 5
    assert figures["unseen"]["share"] == pytest.approx(found.share)
    assert figures["sample"] == {"shape": [10, 8], "dtype": "float32", "loss": None, "value": None}


def test_the_mean_square_too(model: Path, tmp_path: Path) -> None:
    assert [x.value for x in Losses] == list(LOSSES)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "s.npz", x=rng.random((3, 8), "float32"), target=rng.random((3, 4), "float32"))
    code, text = run(model, "--sample", tmp_path / "s.npz", "--loss", "mse")
    assert code == 0
    assert "gradients of MSELoss" in text


def test_interrupted_it_shows_what_there_is(model: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(at: sampled.AtSample) -> Iterator[float]:
        yield 1.0
        raise KeyboardInterrupt

    monkeypatch.setattr(sampled.AtSample, "_work", interrupted)
    code, text = run(model, "--sample", sample)
    assert code == 130
    assert "what follows is what was found at the sample until then" in text
    assert "interrupted before they were examined" in " ".join(text.split())


def test_what_is_wrong_with_it_is_told_in_a_line(model: Path, sample: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "lone.npz", y=np.ones(3))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    np.save(tmp_path / "wide.npy", np.ones((2, 9), "float32"))
    np.save(tmp_path / "nan.npy", np.full((2, 8), np.nan, "float32"))
    np.save(tmp_path / "none.npy", np.ones((0, 8), "float32"))
    for words, told in (
        (["--loss", "mse"], "--loss is asked of a sample: add --sample FILE."),
        (["--unseen", "first"], "--unseen is asked of a sample: add --sample FILE."),
        (["--sample", tmp_path / "x.npy", "--loss", "mse"], "a loss needs an .npz file with the arrays x and target"),
        (["--sample", tmp_path / "lone.npz"], "it has no array x, only y"),
        (["--sample", tmp_path / "lone.npz", "--loss", "mse"], "it has no array x and no array target, only y"),
        (["--sample", tmp_path / "objects.npz"], "objects.npz"),
        (["--sample", tmp_path / "broken.npz"], "broken.npz"),
        (["--sample", tmp_path / "wide.npy"], "(2, 9)"),
        (["--sample", tmp_path / "nan.npy"], "the first layer that meets it is first (MatMul)"),
        (["--sample", tmp_path / "none.npy"], "x is a batch of examples, leading axis first, but has shape (0, 8)"),
        (["--sample", sample, "--unseen", "third"], "no layer 'third' maps floating numbers to others at this sample"),
        (["--sample", sample, "--unseen", "third"], "and the like."),
        (["--sample", sample, "--unseen", "squash"], "is another map at every example"),
    ):
        code, text = run(model, *words)
        assert code == 1, words
        assert told in " ".join(text.split()), words


@pytest.fixture
def language(tmp_path: Path) -> Path:
    """A small language model in a folder, and beside it samples of its ids."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    ids = np.random.default_rng(0).integers(0, 40, (3, 9))
    np.savez(tmp_path / "lm.npz", x=ids[:, :-1], target=ids[:, 1:])
    np.savez(tmp_path / "far.npz", x=ids[:, :-1], target=ids[:, 1:] + 40)
    np.save(tmp_path / "ids.npy", np.array([[1, 2, 70]]))
    return tmp_path / "m"


def test_a_language_model_has_its_classes_on_the_last_axis(language: Path) -> None:
    sample = language.parent / "lm.npz"
    code, told = run(language, "--sample", sample, "--loss", "cross_entropy", "--json")
    assert code == 0
    with np.load(sample) as held:
        scores = torch.from_numpy(np.asarray(aj.open(language)(held["x"])))
        target = torch.from_numpy(held["target"])
    theirs = torch.nn.functional.cross_entropy(scores.reshape(-1, 40), target.reshape(-1))
    assert json.loads(told)["sample"]["value"] == pytest.approx(float(theirs), rel=1e-5)


def test_on_80_columns_every_block_has_a_line(language: Path) -> None:
    code, text = run(language, "--sample", language.parent / "lm.npz", "--loss", "cross_entropy", width=80)
    assert code == 0
    assert re.search(r"^model\.layers\.0 LlamaLayer( +[\d.]+){5} *$", text, re.MULTILINE)
    told = " ".join(text.split())
    assert "activation: √(mean y²) of the block's output y; gradient:" in told
    assert "mean σ²" not in told
    assert "then of each kind the 3 of the largest σ₁ and the 3 of the smallest stable rank." in told


def test_what_is_left_out_of_the_sample_is_told_in_words(
    model: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled, "OPENED", 7)
    _, text = run(model, "--sample", sample)
    told = " ".join(text.split())
    assert "3 layers at the sample; the Jacobians from each depth to the output: their Jacobians have more" in told


def test_labels_that_do_not_fit_are_told_in_a_line(language: Path) -> None:
    tokens = np.zeros((2, 5), "int64")
    np.savez(language.parent / "short.npz", x=tokens, target=tokens[:, 1:])
    code, text = run(language, "--sample", language.parent / "short.npz", "--loss", "cross_entropy")
    assert code == 1
    assert "with this target, int64 (2, 4)" in text
    assert "go with labels (2, 5) where the classes are on the last axis" in text


def test_classes_on_axis_1_stay_there() -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.standard_normal((3, 5, 4)), rng.integers(0, 5, (3, 4))
    theirs = torch.nn.functional.cross_entropy(torch.from_numpy(scores), torch.from_numpy(target))
    assert float(cross_entropy(scores, target)) == pytest.approx(float(theirs))


def test_ids_and_classes_that_are_too_large_are_told_in_a_line(language: Path) -> None:
    code, text = run(language, "--sample", language.parent / "ids.npy")
    assert code == 1
    told = "the sample's ids run to 70, but the vocabulary of model.embed_tokens has 40, which count from 0."
    assert told in " ".join(text.split())
    with pytest.raises(ValueError, match="the sample's ids run to 70, but the vocabulary"):
        aj.inspect(aj.open(language), np.array([[1, 2, 70]]), cache=False)
    code, text = run(language, "--sample", language.parent / "far.npz", "--loss", "cross_entropy")
    assert code == 1
    assert "the scores have 40 classes, which count from 0" in " ".join(text.split())


def test_the_name_of_a_layer_may_be_its_end_and_is_checked_first(
    language: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = language.parent / "lm.npz"
    code, text = run(language, "--sample", sample, "--unseen", "layers.1.mlp.gate_proj")
    assert code == 0
    assert "What model.layers.1.mlp.gate_proj (Linear) cannot see" in text
    monkeypatch.setattr("adjoint.cli.inspected.inspect", None)  # not reached
    code, text = run(language, "--sample", sample, "--unseen", "gate_proj")
    assert code == 1
    told = "'gate_proj' may be 3 layers: model.layers.0.mlp.gate_proj, model.layers.1.mlp.gate_proj,"
    assert told in " ".join(text.split())
