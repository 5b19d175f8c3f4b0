"""Where a training run stands: all that it needs to go on from there to the very same weights, and its file."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import backend
from adjoint.errors import CheckpointError, ShapeError
from adjoint.interop.checkpoints import hosted, read, save
from adjoint.interop.entries import Path
from adjoint.optim.base import Optimizer

RUN = "adjoint.run"


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave: mean loss over its examples, last learning rate, validation, time in seconds.

    >>> import adjoint as aj
    >>> run = aj.fit(aj.nn.MLP((64, 10), rng=0), aj.data.digits(), epochs=1, progress=False)
    >>> run.history[0].epoch, run.history[0].lr, run.history[0].validation_loss
    (1, 0.001, None)
    """

    epoch: int
    loss: float
    lr: float
    validation_loss: float | None = None
    validation_metric: float | None = None
    seconds: float = 0.0


@dataclass
class State:
    """A run between two steps: `batch` steps of the current epoch are done, `total` is the sum of their losses."""

    net: Any
    optimizer: Optimizer
    history: list[Epoch] = field(default_factory=list)
    batch: int = 0
    total: float = 0.0
    best: dict[str, np.ndarray] | None = None

    @property
    def best_epoch(self) -> Epoch | None:
        """The epoch with the least validation loss."""
        return min((e for e in self.history if e.validation_loss is not None), key=_validation_loss, default=None)

    def count(self, loss: float, examples: int) -> None:
        """Note that a step is done, and its mean loss."""
        self.batch += 1
        self.total += loss * examples

    def exhausted(self, patience: int | None) -> bool:
        """Whether the last `patience` epochs brought no smaller validation loss."""
        best = self.best_epoch
        return patience is not None and best is not None and len(self.history) - best.epoch >= patience

    def close(self, epoch: Epoch, keep_best: bool) -> None:
        """End the current epoch, and keep a copy of the weights where they are the best so far."""
        self.history.append(epoch)
        self.batch, self.total = 0, 0.0
        if keep_best and self.best_epoch is epoch:
            self.best = {name: _copied(x) for name, x in changing(self.net).items()}

    def save(self, path: Path, settings: Mapping[str, str]) -> None:
        """Write the run to one file, whole or not at all."""
        run = {
            "settings": dict(settings),
            "history": [asdict(epoch) for epoch in self.history],
            "batch": self.batch,
            "total": self.total,
        }
        parts = {"net": changing(self.net), "optimizer": self.optimizer, "best": self.best or {}}
        save(path, parts, {RUN: json.dumps(run)})

    def restore(self, path: Path, settings: Mapping[str, str], lr: Callable[[int], float]) -> None:
        """Take over the run in a file; raises CheckpointError where it is not this run.

        `settings` are what makes it this one, `lr` the learning rate at the end of an epoch, counted from 1.
        """
        arrays, metadata = read(path)
        try:
            run = json.loads(metadata[RUN])
            history = [Epoch(**epoch) for epoch in run["history"]]
            batch, total, theirs = int(run["batch"]), float(run["total"]), dict(run["settings"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} holds no training run; for weights alone use aj.load.") from error
        differing = [_difference(k, theirs.get(k, ""), v) for k, v in settings.items() if theirs.get(k, "") != v]
        differing += [_difference("lr", str(e.lr), str(lr(e.epoch))) for e in history if e.lr != lr(e.epoch)][:1]
        if differing:
            raise CheckpointError(
                f"{path} is the checkpoint of another run: {'; '.join(differing)}. "
                "Name another file, or pass resume=False to start over."
            )
        parts: dict[str, dict[str, np.ndarray]] = {"net": {}, "optimizer": {}, "best": {}}
        try:
            for name, array in arrays.items():
                part, _, inner = name.partition(".")
                parts[part][inner] = array
            if lacking := changing(self.net).keys() - parts["net"].keys():
                raise KeyError(f"missing {sorted(lacking)}")
            self.net.load_state_dict(parts["net"], strict=False)
            self.optimizer.load_state_dict(parts["optimizer"])
        except (KeyError, ShapeError) as error:
            raise CheckpointError(f"{path} does not hold the arrays of its run: {error}") from error
        self.history, self.batch, self.total, self.best = history, batch, total, parts["best"] or None


def frozen(net: Any) -> dict[str, Any]:
    """The parameters by name that do not learn.

    >>> import adjoint as aj
    >>> net = aj.nn.MLP((2, 3, 1))
    >>> _ = net[0].freeze("weight")
    >>> list(frozen(net))
    ['0.weight']
    """
    places = [f"{path}.{name}".lstrip(".") for path, module in net.named_modules() for name in module._frozen]
    inside = tuple(f"{place}." for place in places)
    known = set(places)
    return {name: x for name, x in net.named_parameters() if name in known or name.startswith(inside)}


def changing(net: Any) -> dict[str, Any]:
    """The arrays by name that a run changes: parameters that learn, and buffers."""
    still = frozen(net)
    return {name: x for name, x in net.named_arrays() if name not in still}


def checksum(arrays: Mapping[str, Any]) -> str:
    """Eight digits that tell arrays from others, without keeping them."""
    found = 0
    for name, x in arrays.items():
        found = zlib.crc32(
            np.ascontiguousarray(hosted(x)).reshape(-1).view(np.uint8).data, found ^ zlib.crc32(name.encode())
        )
    return f"{found:08x}"


def _validation_loss(epoch: Epoch) -> float:
    return math.inf if epoch.validation_loss is None else epoch.validation_loss


def _copied(x: Any) -> np.ndarray:
    return np.array(backend(type(x)).to_numpy(x))


def _difference(setting: str, theirs: str, ours: str) -> str:
    lines = zip_longest(theirs.splitlines(), ours.splitlines(), fillvalue="nothing")
    was, now = next(((a, b) for a, b in lines if a != b), (theirs, ours))
    return f"{setting} was {was.strip() or 'nothing'}, now {now.strip()}"
