"""Text as tokens and back: a `tokenizer.json` through the package tokenizers, and the file that llama2.c reads."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Protocol

import numpy as np

FILE_LIMIT = 1 << 26  # bytes of a llama2.c tokenizer
BYTES = 3  # tokens before those of the 256 bytes: unknown, beginning, end


class Tokenizer(Protocol):
    """What `tokenizer` finds: `encode` a text, `decode` tokens; `len` is the size of the vocabulary."""

    def encode(self, text: str) -> np.ndarray:
        """The tokens (T,) of a text, with those that begin it."""

    def decode(self, tokens: Any) -> str:
        """The text of tokens, without those that stand for no text."""

    def __len__(self) -> int: ...


def tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer in a model's folder, or of a file: `tokenizer.json`, or llama2.c's `tok*.bin` or `tokenizer.bin`.

    Raises FileNotFoundError where there is none, ValueError where the file is none, ImportError where the package
    tokenizers is missing that reads a `tokenizer.json`.

    >>> import pathlib, struct, tempfile
    >>> single = [f"<0x{i:02X}>" for i in range(256)]
    >>> tokens = [(0, text) for text in ("<unk>", "<s>", "</s>", *single)] + [(-1, " "), (-2, "a")]
    >>> path = pathlib.Path(tempfile.mkdtemp(), "tokenizer.bin")
    >>> _ = path.write_bytes(struct.pack("i", 6) + b"".join(
    ...     struct.pack("fi", score, len(text.encode())) + text.encode() for score, text in tokens))
    >>> words = tokenizer(path.parent)
    >>> words.encode("aé").tolist(), words.decode([1, 259, 260, 198, 172]), len(words)
    ([1, 259, 260, 198, 172], 'aé', 261)
    """
    path = Path(folder)
    if path.is_dir():
        known = [path / "tokenizer.json", path / "tokenizer.bin", *sorted(path.glob("tok*.bin"))]
        found = [p for p in known if p.is_file()]
        if not found:
            raise FileNotFoundError(f"{path}: no tokenizer.json, nor a tokenizer.bin or tok*.bin of llama2.c.")
        path = found[0]
    return Json(path) if path.suffix == ".json" else Llama2c(path)


class Json:
    """A tokenizer of the package tokenizers, from its `tokenizer.json`.

    >>> import pathlib, tempfile
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> made = Tokenizer(models.WordLevel({"a": 0, "cat": 1, "?": 2}, unk_token="?"))
    >>> made.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> path = pathlib.Path(tempfile.mkdtemp(), "tokenizer.json")
    >>> made.save(str(path))
    >>> words = Json(path)
    >>> words.encode("a cat sat").tolist(), words.decode([0, 1]), len(words)
    ([0, 1, 2], 'a cat', 3)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            from tokenizers import Tokenizer as Read
        except ImportError as error:
            raise ImportError(f"{path}: it takes the package tokenizers to read it: pip install tokenizers.") from error
        text = Path(path).read_bytes()
        try:
            self.inner: Any = Read.from_buffer(text)
        except Exception as error:  # the package raises Exception itself
            raise ValueError(f"{path} is not a tokenizer.json: {error}.") from error

    def __len__(self) -> int:
        return int(self.inner.get_vocab_size())

    def encode(self, text: str) -> np.ndarray:
        """The tokens (T,) of a text, with those that the file puts around it."""
        return np.array(self.inner.encode(text).ids, np.int64)

    def decode(self, tokens: Any) -> str:
        """The text of tokens, without special ones."""
        return str(self.inner.decode([int(t) for t in np.ravel(np.asarray(tokens))], skip_special_tokens=True))


class Llama2c:
    """The tokenizer of llama2.c: pieces of text with scores; the pair whose joint piece has the best score is joined.

    The file is a 32-bit count, then for each token a 32-bit float, its score, a 32-bit count and as many bytes. Token 1
    begins every text; tokens 3 to 258 are the single bytes. Source: https://github.com/karpathy/llama2.c, `run.c`.
    See `tokenizer` for an example. Raises ValueError for a file of another form, naming the token and the place.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "tokenizer.bin")
    >>> _ = path.write_bytes(b"text")
    >>> Llama2c(path)
    Traceback (most recent call last):
        ...
    ValueError: ...tokenizer.bin is no tokenizer of llama2.c: it has 0 tokens, ...
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if path.stat().st_size > FILE_LIMIT:
            raise ValueError(f"{path} is no tokenizer of llama2.c: it has more than {FILE_LIMIT >> 20} MiB.")
        data, at = path.read_bytes(), 4
        self.pieces: list[bytes] = []
        self.scores: list[float] = []
        while at < len(data):
            score, count = struct.unpack_from("<fi", data, at) if at + 8 <= len(data) else (0.0, -1)
            at += 8
            if count < 0 or at + count > len(data):
                told = f"token {len(self.pieces)} at byte {at - 8} is cut off, or says that it has {count} bytes"
                raise ValueError(f"{path} is no tokenizer of llama2.c: {told}.")
            self.pieces.append(data[at : at + count])
            self.scores.append(score)
            at += count
        single = [f"<0x{i:02X}>".encode() for i in range(256)]
        if self.pieces[BYTES : BYTES + 256] != single:
            told = f"it has {len(self.pieces)} tokens, of which those from {BYTES} on are not the 256 bytes"
            raise ValueError(f"{path} is no tokenizer of llama2.c: {told}.")
        self.index = {piece: i for i, piece in reversed(list(enumerate(self.pieces)))}

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> np.ndarray:
        """The tokens (T,) of a text, token 1 before them."""
        tokens: list[int] = []
        for character in f" {text}" if text else "":  # as SentencePiece, it begins with a space
            piece = character.encode()
            known = self.index.get(piece)
            tokens += [known] if known is not None else [byte + BYTES for byte in piece]
        return np.array([1, *self._joined(tokens)], np.int64)

    def _joined(self, tokens: list[int]) -> Iterator[int]:
        """The tokens after the best pair of neighbours, the first of several, was joined again and again."""
        after = [*range(1, len(tokens)), -1]
        before = [*range(-1, len(tokens) - 1)]
        waiting: list[tuple[float, int, int, int, int]] = []  # what is best stands first; it may be out of date

        def offer(i: int, k: int) -> None:
            if (
                i >= 0
                and k >= 0
                and (new := self.index.get(self.pieces[tokens[i]] + self.pieces[tokens[k]])) is not None
            ):
                heappush(waiting, (-self.scores[new], i, k, tokens[i], tokens[k]))

        for i, k in enumerate(after):
            offer(i, k)
        while waiting:
            _, i, k, first, second = heappop(waiting)
            if after[i] != k or tokens[i] != first or tokens[k] != second:
                continue
            tokens[i] = self.index[self.pieces[first] + self.pieces[second]]
            tokens[k], after[i] = -1, after[k]
            if after[k] >= 0:
                before[after[k]] = i
            offer(before[i], i)
            offer(i, after[i])
        return (token for token in tokens if token >= 0)

    def decode(self, tokens: Any) -> str:
        """The text of tokens; that of token 1 and of 2, which begin and end it, is empty."""
        parts: list[bytes] = []
        before = None
        for token in self.checked(tokens):
            piece = self.pieces[token]
            if token in (1, 2):
                piece = b""
            elif re.fullmatch(rb"<0x[0-9A-F]{2}>", piece):
                piece = bytes([int(piece[3:5], 16)])
            elif before == 1:
                piece = piece.removeprefix(b" ")
            parts.append(piece)
            before = token
        return b"".join(parts).decode(errors="replace")

    def checked(self, tokens: Any) -> Sequence[int]:
        """The tokens as integers; raises IndexError for one that there is not."""
        found = [int(t) for t in np.ravel(np.asarray(tokens))]
        for token in found:
            if not 0 <= token < len(self.pieces):
                raise IndexError(f"decode: there is no token {token}, only 0 to {len(self.pieces) - 1}.")
        return found
