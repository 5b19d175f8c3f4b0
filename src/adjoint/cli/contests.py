"""What `adjoint lora compare` adapts, and to what: a network that knows an old task, and examples of a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adjoint import nn
from adjoint.cli.extracted import network
from adjoint.cli.recipes import found, images, next_character
from adjoint.cli.tasks import tokens_of
from adjoint.data import DataError, Dataset, windows
from adjoint.lora.placing import replace
from adjoint.models import GPT, Llama
from adjoint.nn.module import to
from adjoint.ops.losses import cross_entropy
from adjoint.optim import AdamW
from adjoint.training import fit
from adjoint.training.metrics import accuracy

SPLIT = 5  # digits below it are the old task, the others the new one
WIDTH = 512
EXAMPLES, WATCHED = 2_000, 1_000  # of the new digits, to learn from and to choose a learning rate by
SEQ, STORIES = 64, 32  # tokens in a block; blocks of the old task
BLOCKS, BLOCKS_WATCHED, BLOCKS_TESTED = 2_000, 32, 256  # to learn from, to choose a learning rate by, to judge by


@dataclass(frozen=True)
class Contest:
    """A network that was trained on an old task, which methods then adapt to a new one in the same steps.

    What `also` names learns whole in all of them; `back` makes of an adapted network one for the old task.
    """

    net: Any
    train: Dataset
    validation: Dataset
    test: Dataset
    old: Dataset
    told: dict[str, str]
    rates: tuple[float, ...]
    steps: int
    batch: int
    also: tuple[str, ...] = ()
    back: Callable[[Any], Any] = lambda net: net
    loss: Callable[[Any, Any], Any] = cross_entropy
    metric: Callable[[Any, Any], Any] | None = accuracy


def digits(data: Path | None, steps: int | None, seed: int) -> Contest:
    """A perceptron that reads the digits 0 to 4, to be adapted to 5 to 9: MNIST, or scikit-learn's where it is missing.

    For the new digits it gets a new last layer, which learns whole; what it still knows of the old ones is told by the
    old last layer on the adapted ones below.
    """
    train, _, test = images(data, seed)
    size = int(np.prod(train.x.shape[1:]))
    (train, more), (test, old) = (_parted(part.reshape(size)) for part in (train, test))
    small = len(more) < 10_000
    rng = np.random.default_rng(seed)
    run = fit(
        nn.MLP((size, WIDTH, WIDTH, SPLIT), rng=rng), more, optimizer=partial(AdamW, lr=1e-3),
        epochs=20 if small else 2, batch_size=64, seed=seed, progress=False,
    )  # fmt: skip
    last = str(len(run.net) - 1)
    net = replace(to(run.net), {last: nn.Linear(WIDTH, SPLIT, rng=rng)})
    rows = rng.permutation(len(train))
    count = min(EXAMPLES, len(rows) * 3 // 4)
    told = {
        "network": f"perceptron {size} → {WIDTH} → {WIDTH} → {SPLIT}, trained on {len(more):,} digits 0 to 4",
        "new task": f"digits 5 to 9 of {train.name or 'the images'}, {count:,} of them, with a new last layer",
        "old task": "digits 0 to 4, by the old last layer",
    }
    return Contest(
        net, train.take(rows[:count]), train.take(rows[count : count + WATCHED]), test, old, told,
        (3e-4, 1e-3, 3e-3, 1e-2), steps or 300, 64, (last,), lambda net: replace(to(net), {last: run.net[-1]}),
    )  # fmt: skip


def _parted(data: Dataset) -> tuple[Dataset, Dataset]:
    """(the new digits, numbered from 0, the old ones)."""
    new = data.y >= SPLIT
    if new.all() or not new.any():
        raise DataError(f"{data.name}: there are none of the digits {'0 to 4' if new.all() else '5 to 9'}.")
    return Dataset(data.x[new], data.y[new] - SPLIT, data.name), Dataset(data.x[~new], data.y[~new], data.name)


def text(data: Path | None, model: Path | None, steps: int | None, seed: int) -> Contest:
    """A small language model, to be adapted to another text.

    What it has forgotten is measured on stories that it wrote itself before: by as much as its loss on them rises, in
    the mean, its distribution has moved (the Kullback–Leibler divergence a token).
    """
    model, data = model or found("stories260K"), data or found("text/tinyshakespeare.txt")
    if model is None or data is None:
        raise FileNotFoundError(
            "lora compare: name a language model's folder with --model and a text with --data, or put stories260K/ and "
            "text/tinyshakespeare.txt into the folder that ADJOINT_DATA names."
        )
    net = network(str(model)).to(dtype="float32")
    if not isinstance(net, (GPT, Llama)):
        raise ValueError(f"lora compare: {model} holds a {type(net).__name__}, which does not write text.")
    codes = tokens_of(model, data)
    train, rest = windows(codes, SEQ, 0.2, name=str(data))
    train = train.take(slice(0, BLOCKS))
    watched = rest.take(np.arange(0, len(rest), 2)[:BLOCKS_WATCHED])
    tested = rest.take(np.arange(1, len(rest), 2)[:BLOCKS_TESTED])
    start = np.repeat(codes[None, :1], STORIES, 0)
    written = np.asarray(net.generate(start, SEQ, temperature=1.0, key=seed))
    told = {
        "network": f"{model.name}, a {type(net).__name__}",
        "new task": f"{data.name}, from {len(train) * SEQ:,} tokens of it",
        "old task": f"{STORIES} stories that the network wrote before",
    }
    return Contest(
        net, train, watched, tested, Dataset(written[:, :-1], written[:, 1:]), told, (1e-3, 3e-3, 1e-2, 3e-2),
        steps or 60, 8, loss=next_character, metric=None,
    )  # fmt: skip
