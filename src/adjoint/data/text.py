"""Text as a sequence of characters, cut into windows from which the next character is to be told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .dataset import Dataset
from .errors import DataError


@dataclass(frozen=True)
class Alphabet:
    """The characters of a text in order: character i has the code i.

    >>> alphabet = Alphabet("abc")
    >>> alphabet.encode("cab"), alphabet.decode([2, 0, 1])
    (array([2, 0, 1]), 'cab')
    """

    characters: str

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The codes of a text; raises `DataError` naming the first character that has none."""
        codes = {character: code for code, character in enumerate(self.characters)}
        try:
            return np.array([codes[character] for character in text], np.int64)
        except KeyError as missing:
            raise DataError(f"encode: {missing.args[0]!r} is none of the {len(self)} characters of the text") from None

    def decode(self, codes: object) -> str:
        """The text of codes, any sequence of integers."""
        return "".join([self.characters[int(code)] for code in np.ravel(np.asarray(codes))])


def characters(
    path: str | os.PathLike[str], context: int = 128, validation: float = 0.1, stride: int | None = None
) -> tuple[Dataset, Dataset, Alphabet]:
    """Return (train, validation, alphabet) of a UTF-8 text file: the last share `validation` of it is held out.

    An example is a window of `context` characters, `x` (n, context) int64, its target the same moved on by one,
    `y` (n, context); windows start every `stride` characters (`context` unless given), and share one memory.

    Raises `DataError` where the text is not UTF-8 or too short for one window of each part.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "text.txt")
    ...     _ = file.write_text("abcabcabca")
    ...     train, held_out, alphabet = characters(file, context=2, validation=0.3)
    >>> alphabet.characters, [alphabet.decode(x) + ">" + alphabet.decode(y) for x, y in zip(train.x, train.y)]
    ('abc', ['ab>bc', 'ca>ab', 'bc>ca'])
    """
    if context < 1 or not 0 < validation < 1 or (stride is not None and stride < 1):
        raise ValueError(f"characters: context={context}, stride={stride} are at least 1, and 0 < {validation=} < 1")
    file = Path(path)
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"characters: {file} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}"
        ) from None
    alphabet = Alphabet("".join(sorted(set(text))))
    place = np.zeros(max(map(ord, alphabet.characters), default=0) + 1, np.int64)
    place[[ord(character) for character in alphabet.characters]] = np.arange(len(alphabet))
    codes = place[np.frombuffer(text.encode("utf-32-le"), "<u4")]
    return *windows(codes, context, validation, stride, str(file), "characters"), alphabet


def windows(
    codes: NDArray[np.int64], context: int, validation: float = 0.1, stride: int | None = None, name: str = "text",
    unit: str = "tokens",
) -> tuple[Dataset, Dataset]:  # fmt: skip
    """Return (train, validation) of a text as codes (n,), the next of which is to be told: see `characters`.

    Raises `DataError` where the text is too short for one window of each part.

    >>> train, held_out = windows(np.arange(10), context=2, validation=0.3)
    >>> train.x.tolist(), train.y.tolist()
    ([[0, 1], [2, 3], [4, 5]], [[1, 2], [3, 4], [5, 6]])
    """
    end = len(codes) - round(len(codes) * validation)
    parts = []
    for part, some in (("train", codes[:end]), ("validation", codes[end:])):
        if len(some) <= context:
            raise DataError(f"{name} has {len(some)} {unit} for {part}, fewer than a window of {context + 1}")
        views = sliding_window_view(some, context + 1)[:: stride or context]
        parts.append(Dataset(views[:, :-1], views[:, 1:], name=f"{Path(name).stem} {part}"))
    return parts[0], parts[1]
