"""`adjoint open` and `adjoint generate`: what a newcomer sees of a file, and a story from the real Llama."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import adjoint as aj
from adjoint.cli import app
from adjoint.cli.opened import table

LLAMA = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 8192,
    "intermediate_size": 28_672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}


def run(*words: object, width: int = 80) -> tuple[int, str]:
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(app, [*map(str, words)], catch_exceptions=False)
    return done.exit_code, done.output


def program(*words: object) -> subprocess.CompletedProcess[str]:
    code = "from adjoint.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def test_the_real_llama(data_path: Callable[[str], Path]) -> None:
    folder = data_path("stories260K")
    code, told = run("open", folder)
    assert code == 0
    assert "network     Llama, from a configuration of LlamaForCausalLM" in told
    assert "parameters  260,032" in told
    assert "memory      1.04 MB of float32" in told
    assert "model.layers.{0…4}.mlp.up_proj.weight               5 of 172×64   55,040" in told
    assert "lm_head.weight is model.embed_tokens.weight" in told
    assert "adjoint generate" in told
    lines = run("open", folder, "--all")[1]
    assert "model.layers.3.mlp.up_proj.weight" in lines


def test_a_giant_takes_a_moment(tmp_path: Path) -> None:
    """Llama-3-70B in 141 GB of zeros that take no room on the disk."""
    with aj.nn.init.only_shapes():
        net = aj.models.from_config(LLAMA)
    header, end = {}, 0
    for name, x in net.named_parameters():
        begin, end = end, end + 2 * x.size
        header[name] = {"dtype": "BF16", "shape": x.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        try:
            file.truncate(8 + len(text) + end)
        except OSError:
            pytest.skip("no room for sparse files")
    if path.stat().st_blocks > 2**12:
        pytest.skip("the file system knows no sparse files")
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    code, told = run("open", tmp_path)
    assert code == 0
    assert "parameters  70,553,706,496" in told
    assert "memory      141 GB of bfloat16" in told
    assert "80 of 28672×8192  18,790,481,920" in told
    assert max(map(len, told.splitlines()[:-2])) <= 80  # but for the hints, whole so that they can be copied
    opened = aj.open(tmp_path)
    assert not opened.lm_head.weight.flags.owndata
    assert opened.model.layers[79].mlp.up_proj.weight[-1, -1] == 0


def test_keys_of_dropout_are_in_no_file(tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "vocab_size": 5, "n_positions": 4, "n_embd": 4, "n_layer": 1, "n_head": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    aj.save(tmp_path / "model.safetensors", aj.models.from_config(config, rng=0))
    code, told = run("open", tmp_path)
    assert code == 0
    assert "buffers" not in told


def test_weights_of_several_dtypes(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"fc.weight": torch.ones(3, 2).bfloat16(), "ids": torch.arange(4), "scale": torch.tensor(2.0)}, path)
    code, told = run("open", path)
    assert code == 0
    assert "weights  3 arrays by name, without a configuration" in told
    assert "memory   12 bytes of bfloat16, 32 bytes of int64, 4 bytes of float32" in told
    assert "fc.weight    3×2        6  bfloat16" in told
    assert ".map('fc.weight').svdvals(5)" in told


def test_an_onnx_network(data_path: Callable[[str], Path]) -> None:
    code, told = run("open", data_path("onnx") / "basic_pitch_nmp.onnx")
    assert code == 0
    assert "network     graph of" in told
    assert max(map(len, told.splitlines()[:-2])) <= 80  # but for the hints, whole so that they can be copied
    assert "const_fold_opt__738" in told


def test_long_names_keep_their_ends() -> None:
    start = "encoder.blocks.attention.projections.of.every.head.together"
    screen = io.StringIO()
    Console(width=80, file=screen).print(table({f"{start}.{k}": np.ones(2) for k in ("gain", "bias")}))
    cut = [line.split()[0] for line in screen.getvalue().splitlines()[1:]]
    assert [name[-13:] for name in cut] == ["together.gain", "together.bias"]
    assert {len(name) for name in cut} == {52}


def test_layers_that_differ_are_told_apart() -> None:
    arrays = {f"h.{k}.w": np.ones((2, 3 if k == 4 else 2)) for k in range(5)} | {"h.x.w": np.ones(1, "int8")}
    screen = io.StringIO()
    Console(width=80, file=screen).print(table(arrays))
    told = screen.getvalue()
    assert "h.{0…3}.w  4 of 2×2       16  float64" in told
    assert "h.4.w           2×3        6  float64" in told


def test_what_cannot_be_opened_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 20)
    for source, expected in [
        (tmp_path / "nowhere", "there is no"),
        (tmp_path / "w.safetensors", "not a whole safetensors file"),
    ]:
        done = program("open", source)
        assert done.returncode == 1
        assert done.stderr.startswith("adjoint: ")
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


def test_pickles_need_the_flag(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3), tmp_path / "net.pt")
    done = program("open", tmp_path / "net.pt")
    assert done.returncode == 1
    assert "--trust-pickle" in done.stderr
    assert "2 arrays by name" in run("open", tmp_path / "net.pt", "--trust-pickle")[1]


# Text


def test_the_real_llama_writes_a_story(data_path: Callable[[str], Path]) -> None:
    folder = data_path("stories260K")
    code, told = run("generate", folder, "-n", 40, "--temperature", 0)
    assert code == 0
    assert told.startswith("Once upon a time, there was a little girl named Lily.")
    assert "40 tokens in" in told
    code, told = run("generate", folder, "--prompt", "Tom had a red", "-n", 20, "--seed", 3, "--top-k", 5)
    assert told.startswith("Tom had a red ")
    assert (
        run("generate", folder, "--prompt", "Tom had a red", "-n", 20, "--seed", 3, "--top-k", 5)[1][:40] == told[:40]
    )
    assert run("generate", folder, "--prompt", "Tom had a red", "-n", 20, "--seed", 4)[1] != told
    assert run("generate", folder / "model.safetensors", "-n", 5, "--temperature", 0)[1].startswith("Once upon")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_write_the_same(backend: str, data_path: Callable[[str], Path]) -> None:
    code, told = run("generate", data_path("stories260K"), "-n", 12, "--temperature", 0, "--backend", backend)
    assert code == 0
    assert told.startswith("Once upon a time, there was a little")


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_what_reads_the_prompt_apart_answers(backend: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"?": 0, "</s>": 1, "a": 2, "cat": 3, "sat": 4}, unk_token="?"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Whitespace(), decoders.Fuse()
    words.save(str(tmp_path / "tokenizer.json"))
    config = {"model_type": "t5", "vocab_size": 5, "d_model": 4, "d_ff": 6, "num_layers": 1, "num_heads": 2}
    net = aj.models.from_config(config, rng=0)
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": None}))
    aj.save(tmp_path / "model.safetensors", net)
    code, told = run("generate", tmp_path, "--prompt", "a cat", "-n", 6, "--temperature", 0, "--backend", backend)
    answer = net.generate(np.array([[2, 3]]), 6, 0.0, stop=())[0, 1:]
    assert code == 0
    assert told.splitlines()[0] == words.decode(answer.tolist())
    assert "6 tokens in" in told


def test_characters_of_several_tokens_are_told_whole(
    data_path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from adjoint.cli.generation import generate

    written = [198, 172, 229, 151, 173]  # the bytes of é and 好, and then one that is none
    monkeypatch.setattr(
        "adjoint.models.llama.Llama.stream", lambda *args, **how: (np.array([token]) for token in written)
    )
    pieces: list[str] = []
    count, _ = generate(pieces.append, str(data_path("stories260K")), "a", 5)
    assert count == 5
    assert "é" in pieces
    assert "".join(pieces) == "aé" + bytes([226, 148, 170]).decode("utf-8", "replace")


def test_what_writes_no_text(tmp_path: Path, data_path: Callable[[str], Path]) -> None:
    aj.save(tmp_path / "w", {"x": np.ones(2)})
    done = program("generate", tmp_path / "w")
    assert done.returncode == 1
    assert "holds weights without a configuration" in done.stderr
    code, told = run("generate", data_path("onnx"))
    assert code == 1
    assert "holds a Graph, which writes no text" in told
    code, told = run("generate", data_path("stories260K"), "--dtype", "float33")
    assert code == 1
    assert "float33 is no dtype" in told
    assert run("generate", data_path("stories260K"), "-n", 0)[0] == 2
