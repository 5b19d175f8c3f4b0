"""Windows of text: each target is its window moved on by one; the whole of a real text is served."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=20, max_size=200),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_windows_are_the_text(text: str, context: int, stride: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "text.txt")
        file.write_bytes(text.encode())
        train, held_out, alphabet = aj.data.characters(file, context, 0.5, stride)
    half = len(text) - round(len(text) * 0.5)
    assert sorted(set(text)) == list(alphabet.characters)
    for data, part in ((train, text[:half]), (held_out, text[half:])):
        for k, (x, y) in enumerate(zip(data.x, data.y, strict=True)):
            assert alphabet.decode(x) == part[k * stride : k * stride + context]
            assert alphabet.decode(y) == part[k * stride + 1 : k * stride + context + 1]
        assert len(data) == (len(part) - context - 1) // stride + 1
    np.testing.assert_array_equal(alphabet.encode(text), [alphabet.characters.index(c) for c in text])


def test_shakespeare(data_path: Callable[[str], Path]) -> None:
    train, held_out, alphabet = aj.data.characters(data_path("text/tinyshakespeare.txt"), 64)
    assert len(alphabet) == 65
    assert alphabet.decode(train.x[0]).startswith("First Citizen:\nBefore we proceed any further")
    assert (len(train) + len(held_out)) * 64 > 1_115_394 - 130
    x, y = next(train.batches(8))
    assert x.shape == y.shape == (8, 64)


def test_bad_texts(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"abc\xff\xfe" * 50)
    with pytest.raises(aj.data.DataError, match=r"byte 3 is 0xff"):
        aj.data.characters(file)
    file.write_text("too short")
    with pytest.raises(aj.data.DataError, match="fewer than a window of 129"):
        aj.data.characters(file)
    with pytest.raises(FileNotFoundError):
        aj.data.characters(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="context=0"):
        aj.data.characters(file, context=0)
    with pytest.raises(aj.data.DataError, match="'z' is none of the 3"):
        aj.data.Alphabet("abc").encode("abz")
