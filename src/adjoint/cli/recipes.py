"""What `adjoint train` trains: networks, real data and settings that are known to do well together."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adjoint import nn
from adjoint.arrays.dispatch import Array
from adjoint.arrays.layout import reshape
from adjoint.arrays.losses import cross_entropy
from adjoint.data import Dataset, characters, digits, mnist
from adjoint.models import GPT, EncoderClassifier
from adjoint.training.metrics import accuracy

HELD_OUT = 1 / 12  # of MNIST's training images: 5,000, by which the run is watched


@dataclass(frozen=True)
class Recipe:
    """A network ready to be trained: its data, its settings, and what can be read off it on the way."""

    net: nn.Module
    train: Dataset
    validation: Dataset
    test: Dataset | None
    epochs: int
    batch_size: int
    lr: float
    loss: Callable[[Any, Any], Any] = cross_entropy
    metric: Callable[[Any, Any], Any] | None = accuracy
    sample: Callable[[Any], str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def images(data: Path | None, seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """(train, validation, test) of images (n, 1, h, w): MNIST where its folder is known, else scikit-learn's digits."""
    folder = data or found("mnist")
    if folder is None:
        train, test = digits().reshape(1, 8, 8).split(0.2, seed)
        return *train.split(0.1, seed), test
    train, test = mnist(folder)
    return *train.split(HELD_OUT, seed), test


def found(name: str) -> Path | None:
    """A data set in the folder that ADJOINT_DATA names."""
    path = Path(os.environ.get("ADJOINT_DATA", "")) / name
    return path if "ADJOINT_DATA" in os.environ and path.exists() else None


def cnn(data: Path | None, seed: int) -> Recipe:
    """Two convolutions with max-pooling and two linear layers."""
    train, validation, test = images(data, seed)
    rng = np.random.default_rng(seed)
    side = train.x.shape[-1]
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, rng=rng), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 128, rng=rng), nn.ReLU(), nn.Dropout(0.25, rng=rng),
        nn.Linear(128, len(train.classes) or 10, rng=rng),
    )  # fmt: skip
    small = len(train) < 10_000
    return Recipe(net, train, validation, test, epochs=30 if small else 3, batch_size=64, lr=2e-3)


def encoder(data: Path | None, seed: int) -> Recipe:
    """A transformer encoder that reads an image row by row, as a sequence."""
    parts = images(data, seed)
    height, width = parts[0].x.shape[-2:]
    train, validation, test = (part.reshape(height, width) for part in parts)
    net = EncoderClassifier(
        len(train.classes) or 10, height, in_features=width, d_model=64, nhead=4, num_layers=3, dim_feedforward=128,
        dropout=0.1, rng=seed,
    )  # fmt: skip
    small = len(train) < 10_000
    return Recipe(net, train, validation, test, epochs=60 if small else 12, batch_size=128, lr=2e-3)


CONTEXT = 128


def gpt(data: Path | None, seed: int) -> Recipe:
    """A character language model of four blocks."""
    file = data or found("text/tinyshakespeare.txt")
    if file is None:
        raise FileNotFoundError(
            "train gpt: no text: name a file with --data, or put text/tinyshakespeare.txt into the "
            "folder that ADJOINT_DATA names."
        )
    train, validation, alphabet = characters(file, CONTEXT)
    net = GPT(len(alphabet), CONTEXT, n_layer=4, n_head=4, n_embd=128, dropout=0.0, rng=seed)
    start = alphabet.encode("\n" if "\n" in alphabet.characters else alphabet.characters[0])

    def sample(net: Any) -> str:
        return alphabet.decode(net.generate(start, 240, temperature=0.8, key=seed)).strip()

    return Recipe(
        net, train, validation, None, epochs=6, batch_size=16, lr=3e-3, loss=next_character, metric=None,
        sample=sample, files={"alphabet.txt": alphabet.characters},
    )  # fmt: skip


def next_character(logits: Array, target: Array) -> Array:
    """The cross-entropy of the characters that follow, in nats a character: logits (n, T, C), target (n, T)."""
    return cross_entropy(reshape(logits, (-1, logits.shape[-1])), reshape(target, (-1,)))


RECIPES: dict[str, Callable[[Path | None, int], Recipe]] = {"cnn": cnn, "encoder": encoder, "gpt": gpt}
