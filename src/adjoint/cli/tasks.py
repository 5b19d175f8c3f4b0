"""What `adjoint lora train` learns from: a text or labelled examples in a file, as a task for a network."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array
from adjoint.cli.recipes import next_character
from adjoint.data import DataError, Dataset, windows
from adjoint.errors import ShapeError
from adjoint.inspection.watching import needed
from adjoint.interop.npz_files import entries
from adjoint.models import GPT, Llama
from adjoint.models.tokenizer import Tokenizer, tokenizer
from adjoint.nn.convolution import Conv
from adjoint.nn.module import Module
from adjoint.ops.losses import cross_entropy
from adjoint.training.metrics import accuracy

KINDS = (".txt", ".csv", ".jsonl", ".npz")
LEAST = 2  # labelled examples, one to learn from and one to watch


@dataclass(frozen=True)
class Task:
    """Examples to learn from and to watch, and what is measured; `masked` where they are tokens with a mask."""

    train: Dataset
    validation: Dataset
    loss: Callable[[Any, Any], Any]
    metric: Callable[[Any, Any], Any] | None
    masked: bool = False

    def taking(self, net: Any) -> Any:
        """The network as one that takes these examples."""
        return Masked(net) if self.masked else net

    def bare(self, net: Any) -> Any:
        """The network itself."""
        return net.inner if self.masked else net


class Masked(Module):
    """A network of tokens (n, T) with a mask (n, T), as one of a single array (n, 2, T) of both."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, x: Array) -> Array:
        """The network where the mask is 1."""
        return self.inner(x[:, 0], attention_mask=x[:, 1])


def task(net: Any, model: Path, data: Path, seq: int, share: float, seed: int) -> Task:
    """The task in a file, of which `share` is held out: .txt, .csv, .jsonl or .npz. Nothing is learned yet.

    Raises OSError where a file is missing, DataError where it cannot be learned from, naming line or array, ValueError
    where it does not fit the network.
    """
    kind = data.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{data}: data are text (.txt), or examples with labels ({', '.join(KINDS[1:])}).")
    if not data.exists():
        raise FileNotFoundError(f"{data}: there is no such file.")
    if kind == ".txt":
        return _language(net, model, data, seq, share)
    if isinstance(net, (GPT, Llama)):
        raise ValueError(
            f"{data} has labels, but {model} holds a {type(net).__name__}, which writes text: labels need a "
            "classifier; give this network a text (.txt)."
        )
    if len(names := needed(net)) > 1:
        raise ValueError(
            f"{model} holds a {type(net).__name__}, which takes {' and '.join(names)}: labels need a classifier that "
            "takes one array."
        )
    if kind == ".npz":
        return _labelled(net, data, *_arrays(data), share, seed)
    rows = list(_csv(data) if kind == ".csv" else _jsonl(data))
    if len(rows) < LEAST:
        raise DataError(f"{data}: {len(rows)} examples are too few.")
    labels = np.array([label for _, label in rows], np.int64)
    if isinstance(rows[0][0], str):
        words = words_of(model)
        texts = [words.encode(text) for text, _ in rows]
        if empty := [k for k, tokens in enumerate(texts, 1) if not len(tokens)]:
            raise DataError(f"{data}: the text of example {empty[0]} is empty.")
        return _labelled(net, data, _padded(texts, seq), labels, share, seed, masked=True)
    return _labelled(net, data, _shaped(net, np.array([x for x, _ in rows], "float32")), labels, share, seed)


def words_of(model: Path) -> Tokenizer:
    """The tokenizer that belongs to a model."""
    return tokenizer(model if model.is_dir() else model.parent)


# Text


def _language(net: Any, model: Path, data: Path, seq: int, share: float) -> Task:
    if not isinstance(net, (GPT, Llama)):
        raise ValueError(
            f"{data} is text to go on with, and {model} holds a {type(net).__name__}, which does not write text: give "
            "examples with labels (.csv or .jsonl with text and label, .npz with x and y)."
        )
    codes = tokens_of(model, data)
    try:
        train, validation = windows(codes, seq, share, name=str(data))
    except DataError as error:
        raise DataError(f"{error}: a smaller --seq takes less, or give a longer text.") from None
    known = _scores(net, data, train.x[:1] * 0)[-1]
    if codes.max() >= known:
        raise ValueError(f"{model}: its tokenizer gives token {codes.max()}, but the network knows {known}.")
    return Task(train, validation, next_character, None)


def tokens_of(model: Path, data: Path) -> np.ndarray:
    """A text in the tokens of a model. Raises DataError where there is none, or it is not UTF-8."""
    try:
        text = data.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{data} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}.") from None
    if not text.strip():
        raise DataError(f"{data} is empty: there is no text to learn from.")
    return words_of(model).encode(text)


# Examples with labels


def _labelled(
    net: Any, data: Path, x: np.ndarray, y: np.ndarray, share: float, seed: int, masked: bool = False
) -> Task:
    if len(x) < LEAST or not x.size:
        raise DataError(
            f"{data}: {len(x)} examples are too few." if x.size else f"{data}: its examples have no numbers."
        )
    largest = int(np.argmax(x.reshape(len(x), -1).max(1)))  # of tokens the one that a table may lack
    shape = _scores(Masked(net) if masked else net, data, x[[largest]])
    if len(shape) > 2:
        raise ValueError(
            f"{data}: labels {y.shape}, one for each example, need scores (1, classes) of an example, but "
            f"{type(net).__name__} gives {shape}: take a model that classifies, such as …ForSequenceClassification."
        )
    classes = shape[-1]
    if y.min() < 0 or y.max() >= classes:
        raise DataError(
            f"{data}: labels run from {y.min()} to {y.max()}, but {type(net).__name__} has {classes} classes, numbered "
            "from 0: mend num_labels in its configuration, or the labels."
        )
    held_out = round(len(x) * share)
    if not 0 < held_out < len(x):
        raise DataError(
            f"{data}: --validation {share:g} of {len(x)} examples holds out {held_out}, and each part needs at least "
            "one: give more examples, or another share."
        )
    train, validation = Dataset(x, y, data.stem).split(share, seed)
    return Task(train, validation, cross_entropy, accuracy, masked)


def _scores(net: Any, data: Path, x: np.ndarray) -> tuple[int, ...]:
    """The shape of a network's scores of one example, classes last."""
    try:
        values = net(x)
    except (ShapeError, TypeError, IndexError) as error:
        raise ValueError(f"{data}: {type(net).__name__} does not take {x.dtype} of shape {x.shape}: {error}") from error
    if not hasattr(values, "shape") or len(values.shape) < 2:
        raise ValueError(f"{data}: {type(net).__name__} has no scores of classes to be learned.")
    return tuple(map(int, values.shape))


def _arrays(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """x and y of an .npz file."""
    found, _ = entries(data)
    if found.keys() != {"x", "y"}:
        raise DataError(f"{data} holds {', '.join(found) or 'nothing'}: examples are x, their labels y.")
    x, y = (np.array(found[name].read()) for name in ("x", "y"))
    if y.ndim != 1 or y.dtype.kind not in "iu" or x.ndim < 1 or len(x) != len(y):
        raise DataError(f"{data}: x {x.shape} and y {y.dtype} {y.shape}: y is a whole number, from 0, for each x.")
    return x.astype("float32") if x.dtype.kind == "f" else x.astype("int64"), y.astype("int64")


def _csv(data: Path) -> Iterator[tuple[Any, int]]:
    """(text or numbers, label) of each row below a heading that has label, and text or the names of columns."""
    with data.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        try:
            heading = [name.strip().lower() for name in next(rows, [])]
            if "label" not in heading or len(heading) < LEAST:
                raise DataError(f"{data}: the first line names the columns: label, and text or those with numbers.")
            where = heading.index("label")
            for row in rows:
                if len(row) != len(heading):
                    raise DataError(f"{data}, line {rows.line_num}: {len(row)} fields, not {len(heading)}.")
                place = f"{data}, line {rows.line_num}"
                others = [field for k, field in enumerate(row) if k != where]
                text = row[heading.index("text")] if "text" in heading else _numbers(place, others)
                yield text, _label(place, row[where])
        except csv.Error as error:
            raise DataError(f"{data}, line {rows.line_num}: {error}.") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{data} is not UTF-8 text: {error}.") from None


def _jsonl(data: Path) -> Iterator[tuple[Any, int]]:
    """(text, label) of each line."""
    with data.open(encoding="utf-8") as file:
        try:
            for k, line in enumerate(file, 1):
                place = f"{data}, line {k}"
                if not line.strip():
                    continue
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{place} is not JSON: {error}.") from None
                if not isinstance(found, dict) or not isinstance(found.get("text"), str) or "label" not in found:
                    raise DataError(f"{place}: a line is an object with text and label.")
                yield found["text"], _label(place, found["label"])
        except UnicodeDecodeError as error:
            raise DataError(f"{data} is not UTF-8 text: {error}.") from None


def _numbers(place: str, fields: list[str]) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError as error:
        raise DataError(f"{place}: {error}; without a column text, all but label are numbers.") from None


def _label(place: str, given: Any) -> int:
    try:
        label = int(given)
    except (TypeError, ValueError):
        label = -1
    if label < 0 or (isinstance(given, float) and given != label) or isinstance(given, bool):
        raise DataError(f"{place}: the label {given!r} is not a whole number from 0 on.")
    return label


def _padded(texts: list[np.ndarray], seq: int) -> np.ndarray:
    """Tokens and mask (n, 2, T), cut to `seq` tokens but for the last one, which ends a text."""
    cut = [t if len(t) <= seq else np.append(t[: seq - 1], t[-1:]) for t in texts]
    x = np.zeros((len(cut), 2, max(map(len, cut))), np.int64)
    for k, tokens in enumerate(cut):
        x[k, 0, : len(tokens)], x[k, 1, : len(tokens)] = tokens, 1
    return x


def _shaped(net: Any, x: np.ndarray) -> np.ndarray:
    """Rows of pixels as square images, where the network begins with a convolution."""
    conv = next((module for _, module in net.named_modules() if isinstance(module, Conv)), None)
    if conv is None:
        return x
    side = round((x.shape[1] / conv.in_channels) ** 0.5)
    return x.reshape(-1, conv.in_channels, side, side) if conv.in_channels * side * side == x.shape[1] else x
