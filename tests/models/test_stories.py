"""A real Llama of 260,000 parameters writes stories: its tokens and logits are those of transformers."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import adjoint as aj
from tests.models import peers  # noqa: F401  # first of all: it keeps transformers offline

transformers = pytest.importorskip("transformers")

START = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)


@pytest.fixture(scope="module")
def folder(data_path: Callable[[str], Path]) -> Path:
    return data_path("stories260K")


@pytest.fixture(scope="module")
def net(folder: Path) -> Any:
    net = aj.models.from_config(folder)
    assert aj.models.load_checkpoint(net, load_file(folder / "model.safetensors"), assign=True) == ()
    return net


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return transformers.LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def story(reference: Any) -> np.ndarray:
    """What transformers writes, the likeliest token 200 times."""
    reference.generation_config.eos_token_id = None
    with torch.no_grad():
        whole = reference.generate(
            torch.tensor([[1]]), attention_mask=torch.ones(1, 1, dtype=int), max_new_tokens=200, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
    return whole.numpy()


@pytest.mark.covers("A12")
@pytest.mark.parametrize("to", ["numpy", "torch"])
def test_it_writes_token_by_token_as_transformers_does(net: Any, story: np.ndarray, to: str) -> None:
    assert story.shape == (1, 201)
    found = net.to(to).generate(np.array([[1]]), 200, temperature=0.0, stop=())
    np.testing.assert_array_equal(found, story)


def test_its_logits_are_those_of_transformers(net: Any, reference: Any, story: np.ndarray) -> None:
    with torch.no_grad():
        expected = reference(torch.tensor(story)).logits.numpy()
    np.testing.assert_allclose(net(story), expected, atol=1e-5 * np.abs(expected).max())


def test_what_it_writes_is_a_story(net: Any, folder: Path, story: np.ndarray) -> None:
    words = aj.models.tokenizer(folder)
    text = words.decode(net.generate(np.array([1]), 200, temperature=0.0))
    assert text == words.decode(story[0])
    assert text.startswith(START)
    np.testing.assert_array_equal(words.encode(text), story[0])
    ended = list(net.stream(words.encode("Once upon a time"), 400, temperature=0.0))
    assert len(ended) < 400
    assert ended[-1].tolist() == [1]


def test_the_tokenizer_reads_every_piece(folder: Path) -> None:
    words = aj.models.tokenizer(folder / "tok512.bin")
    assert len(words) == json.loads((folder / "config.json").read_text())["vocab_size"]
    for text in ("", "a", " two  spaces\nand a line", "naïve 日本 🙂", "The quick brown fox."):
        tokens = words.encode(text)
        assert tokens[0] == 1
        assert words.decode(tokens) == text
    with pytest.raises(IndexError, match="no token 512, only 0 to 511"):
        words.decode([512])


def test_a_long_text_is_joined_as_llama2c_does(folder: Path) -> None:
    """The best pair of all, the first of several, again and again: as written in run.c."""
    words = aj.models.tokenizer(folder / "tok512.bin")
    text = ("Once upon a time, there was a naïve aaaa aaaaaaaa bear.\n" * 5)[:-1]
    tokens = [t for c in f" {text}" for t in ([words.index[c.encode()]] if c.encode() in words.index else
                                              [b + 3 for b in c.encode()])]  # fmt: skip
    while True:
        pairs = [words.index.get(words.pieces[a] + words.pieces[b], -1) for a, b in itertools.pairwise(tokens)]
        best = max((words.scores[t], -i) for i, t in enumerate(pairs) if t >= 0) if max(pairs) >= 0 else None
        if best is None:
            break
        tokens[-best[1] : 2 - best[1]] = [pairs[-best[1]]]
    assert words.encode(text).tolist() == [1, *tokens]


def test_it_joins_the_pair_of_the_best_score(tmp_path: Path) -> None:
    pieces = [(0.0, t) for t in ("<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)))]
    pieces += [
        (-9.0, " "),
        (-9.0, "a"),
        (-9.0, "b"),
        (-9.0, "c"),
        (-3.0, "ab"),
        (-2.0, "bc"),
        (-5.0, "abc"),
        (-8.0, " a"),
    ]
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(struct.pack("<i", 8) + b"".join(struct.pack("<fi", s, len(t)) + t.encode() for s, t in pieces))
    words = aj.models.tokenizer(tmp_path)
    assert [words.pieces[t] for t in words.encode("abc")] == [b"<s>", b" ", b"abc"]  # bc before ab, then a and bc
    assert [words.pieces[t] for t in words.encode("ab")] == [b"<s>", b" ", b"ab"]


@pytest.mark.parametrize("change", ["cut", "empty", "negative", "huge", "swapped"])
def test_damaged_tokenizers_are_refused(folder: Path, tmp_path: Path, change: str) -> None:
    data = bytearray((folder / "tok512.bin").read_bytes())
    path = tmp_path / "tok512.bin"
    if change == "cut":
        del data[-3:]
    elif change == "empty":
        data.clear()
    elif change == "swapped":
        data[4:] = data[:3:-1]
    else:
        data[8:12] = struct.pack("<i", -1 if change == "negative" else 1 << 30)
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"tok512.bin is no tokenizer of llama2.c: (token \d+ at byte|it has \d+ tokens)"
    ):
        aj.models.tokenizer(tmp_path)


def test_tokenizer_json(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]", "<s>"], show_progress=False)
    made.train_from_iterator([START], trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    made.save(str(tmp_path / "tokenizer.json"))
    words = aj.models.tokenizer(tmp_path)
    assert words.encode("a little ball").tolist() == made.encode("a little ball").ids
    assert words.decode(words.encode("a little ball")).strip() == "a little ball"
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer.json is not a tokenizer.json: "):
        aj.models.tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no tokenizer.json, nor"):
        aj.models.tokenizer(tmp_path / "..")
