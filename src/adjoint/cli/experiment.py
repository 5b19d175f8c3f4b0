"""The demo's experiment: a small residual network, trained on handwritten digits and opened as linear maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from adjoint import nn
from adjoint.checks import Report, check
from adjoint.costs import Cost, cost
from adjoint.data import Dataset, digits
from adjoint.inspection import Depth, gradient_flow, inspect
from adjoint.inspection import Report as Inspection
from adjoint.ops.losses import cross_entropy
from adjoint.ops.reductions import softmax
from adjoint.optim import AdamW
from adjoint.optim.schedules import cosine
from adjoint.training import Trained, confusion_matrix, evaluate, fit

WIDTH = 16  # of the stream that the blocks add to: a quarter of the 64 pixels
HIDDEN = 64
BLOCKS = 2
BATCH = 64
RATE = 3e-3
DECAY = 0.1
POINTS = 16  # digits at which layers that are not linear are opened
CHECKED = 4  # digits on which the derivative is checked


def network(seed: int) -> nn.Sequential:
    """64 pixels to a stream of 16 numbers, two blocks that each add to it, ten scores.

    >>> from adjoint.nn import count_parameters
    >>> count_parameters(network(0))
    5562
    """
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(64, WIDTH, rng=rng),
        *(nn.Residual(block(rng)) for _ in range(BLOCKS)),
        nn.LayerNorm(WIDTH),
        nn.Linear(WIDTH, 10, rng=rng),
    )


def block(rng: np.random.Generator) -> nn.Sequential:
    """What one block adds: the feed-forward half of a transformer's layer (normalization first)."""
    return nn.Sequential(
        nn.LayerNorm(WIDTH), nn.Linear(WIDTH, HIDDEN, rng=rng), nn.GELU(), nn.Linear(HIDDEN, WIDTH, rng=rng)
    )


def rates(train: Dataset, epochs: int) -> list[float]:
    """The learning rate at every step of the training."""
    steps = epochs * -(-len(train) // BATCH)
    schedule = cosine(RATE, steps)
    return [schedule(step) for step in range(steps)]


def trained(train: Dataset, test: Dataset, epochs: int, seed: int, progress: bool = False) -> Trained:
    """The network after its training: AdamW with a rate that falls along a cosine; `test` is only watched."""
    rate = rates(train, epochs)
    return fit(
        network(seed),
        train,
        optimizer=partial(AdamW, weight_decay=DECAY),
        epochs=epochs,
        batch_size=BATCH,
        seed=seed,
        schedule=rate.__getitem__,
        validation=test,
        progress=progress,
    )


def cross_validated(folds: int, epochs: int, seed: int) -> Iterator[float]:
    """The test accuracy of a network trained on each of `folds` splits."""
    for train, test in digits().folds(folds, seed):
        yield evaluate(trained(train, test, epochs, seed).net, test)[1] or 0.0


@dataclass(frozen=True)
class Experiment:
    """The data, the network before and after training, and all that was found out about it."""

    train: Dataset
    test: Dataset
    epochs: int
    seed: int
    initial: nn.Sequential
    run: Trained
    logits: np.ndarray
    confusion: np.ndarray
    check: Report
    inspection: Inspection
    untrained: tuple[Depth, ...]
    cost: Cost

    @property
    def net(self) -> nn.Sequential:
        """The trained network."""
        net: nn.Sequential = self.run.net
        return net

    @property
    def predicted(self) -> np.ndarray:
        """The class with the largest score, for every test digit."""
        return np.argmax(self.logits, axis=-1)

    @property
    def accuracy(self) -> float:
        """The fraction of the test digits that the network reads right."""
        return float(np.mean(self.predicted == self.test.y))

    @property
    def mistakes(self) -> np.ndarray:
        """The test digits that it reads wrong, the surest first."""
        wrong = np.flatnonzero(self.predicted != self.test.y)
        return wrong[np.argsort(-self.certainty[wrong], kind="stable")]

    @property
    def certainty(self) -> np.ndarray:
        """The probability that the network gives its answer, for every test digit."""
        return np.max(softmax(self.logits), axis=-1)


def perform(epochs: int, seed: int, tell: Callable[[str], object], progress: bool) -> Experiment:
    """Train on four fifths of the digits, and ask all questions; `tell` hears the name of each step."""
    train, test = digits().split(test=0.2, seed=seed)
    tell("training")
    run = trained(train, test, epochs, seed, progress)
    logits = np.asarray(run.net(test.x))

    def loss(net: nn.Module, x: np.ndarray) -> np.ndarray:
        return cross_entropy(net(x), test.y[:CHECKED])

    tell("checking gradients")
    found = check(loss, run.net, test.x[:CHECKED])
    tell("opening the layers")
    initial = network(seed)
    return Experiment(
        train=train,
        test=test,
        epochs=epochs,
        seed=seed,
        initial=initial,
        run=run,
        logits=logits,
        confusion=np.asarray(confusion_matrix(logits, test.y)),
        check=found,
        inspection=inspect(run.net, test.x, POINTS, progress=False),
        untrained=gradient_flow(initial, test.x, POINTS),
        cost=cost(initial, (BATCH, 64)),
    )
