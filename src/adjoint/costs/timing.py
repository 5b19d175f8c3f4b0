"""Time measured beside time predicted: a network's forward pass, backward pass and optimizer step on this machine."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape, is_array, is_floating
from adjoint.arrays.shapes import ShapeArray, like
from adjoint.costs.components import watched
from adjoint.costs.memory import summed
from adjoint.costs.passes import learns
from adjoint.costs.roofline import Predicted
from adjoint.costs.subjects import example, shaped
from adjoint.inspection.watching import evaluated
from adjoint.nn.embedding import Embedding
from adjoint.nn.module import Module, apart
from adjoint.optim import AdamW
from adjoint.transforms import value_and_grad
from adjoint.trees import flatten

ROUNDS = (3, 25)  # at least and at most
BUDGET = 2.0  # seconds of rounds, where the least of them take no longer


@dataclass(frozen=True)
class Measured:
    """Median seconds of a forward pass, a backward pass and a step of AdamW, over so many `rounds`.

    `backward` is what the gradient takes beyond the forward pass alone, as `Cost.backward` counts it.

    >>> Measured(0.1, 0.2, 0.1, 5).training
    0.4
    """

    forward: float
    backward: float
    step: float
    rounds: int

    @property
    def training(self) -> float:
        """Forward pass, backward pass and step."""
        return self.forward + self.backward + self.step

    def over(self, told: Predicted) -> Mapping[str, float]:
        """Measured time over predicted time, by pass; those that take no time by prediction left out.

        >>> Measured(0.2, 0.6, 0.0, 5).over(Predicted(0.1, 0.2, 0.0, {}, {}))
        {'forward': 2.0, 'backward': 3.0, 'training': 2.6666666666666665}
        """
        names = ("forward", "backward", "step", "training")
        return {name: getattr(self, name) / x for name in names if (x := getattr(told, name)) > 0}


def measure(
    model: Module, x: Array | Shape | None = None, *, batch: int | None = None, seq: int | None = None,
    budget: float = BUDGET,
) -> Measured:  # fmt: skip
    """What `aj.cost` counts, timed where the arrays are: forward pass, gradient of the parameters, step of AdamW.

    It is given x, an array or a shape (of float32 numbers, drawn at random), or a `batch` of `seq` tokens or of images,
    as in `aj.cost`. After one round that is not counted, the three take turns for about `budget` seconds, 3 rounds at
    least. The network is in evaluation mode and stays as it is. Raises ValueError for a network that only has shapes,
    TypeError for what is no module of this library.

    >>> import adjoint as aj
    >>> net = aj.nn.MLP((32, 64, 10), rng=0)
    >>> took = measure(net, (16, 32), budget=0.01)
    >>> took.forward > 0 and took.training > took.forward and took.rounds >= 3
    True
    """
    if not isinstance(model, Module):
        raise TypeError(f"measure: a module of this library is timed, not {type(model).__name__}: aj.open makes one.")
    if any(isinstance(p, ShapeArray) for p in model.parameters()):
        raise ValueError(
            "measure: this network only has shapes; build it outside only_shapes, with numbers to compute."
        )
    if x is not None and (batch is not None or seq is not None):
        raise ValueError("measure: give x, or batch and seq, not both.")
    net = apart(evaluated(model))
    if x is None:
        args = sample(net, example(net, batch, seq))
    else:
        args = (x,) if is_array(x) else sample(net, (ShapeArray(x),))
    optimizer, run = None, None
    if learns(net):
        optimizer, run = AdamW(net, lr=0.0), value_and_grad(lambda net: summed(net(*args)))
    took: list[tuple[float, float, float]] = []
    start = time.perf_counter()
    while len(took) <= ROUNDS[0] or (len(took) <= ROUNDS[1] and time.perf_counter() - start < budget):
        forward, _ = _timed(net, *args)
        both, stepped = forward, 0.0
        if run is not None and optimizer is not None:
            both, (_, grads) = _timed(run, net)
            stepped, (net, optimizer) = _timed(optimizer.step, net, grads)
            del grads
        took.append((forward, both - forward, stepped))
        if len(took) == 1:
            start = time.perf_counter()
    parts = [statistics.median(column) for column in zip(*took[1:], strict=True)]
    return Measured(parts[0], max(parts[1], 0.0), parts[2], len(took) - 1)


def sample(net: Module, args: tuple[ShapeArray, ...]) -> tuple[Array, ...]:
    """Arrays of numbers in the shapes given, on the network's backend: normal ones, or tokens within its table.

    >>> import adjoint as aj
    >>> net = aj.models.GPT(5, 16, n_layer=1, n_head=1, n_embd=4)
    >>> tokens, = sample(net, example(net, 2, 8))
    >>> tokens.shape, bool(tokens.max() < 5)
    ((2, 8), True)
    """
    rng = np.random.default_rng(0)
    home = next(net.parameters(), np.zeros(0))
    found: list[Array] = []
    for a in args:
        drawn = (
            rng.standard_normal(a.shape) if is_floating(a.dtype) else rng.integers(0, _tokens(net, args, a), a.shape)
        )
        found.append(xp.asarray(home, drawn, str(a.dtype)))
    return tuple(found)


def _tokens(net: Module, args: tuple[ShapeArray, ...], ids: ShapeArray) -> int:
    """How many rows the table has in which the network looks an argument up; 1 where none is known."""
    own = [
        call.module.num_embeddings
        for call in watched(shaped(net), [like(a) if a is not ids else ids for a in args])
        if isinstance(call.module, Embedding) and call.args and call.args[0] is ids
    ]
    return min(own, default=1)


def _timed(work: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds of a call that has finished, and its result."""
    start = time.perf_counter()
    found = work(*args)
    for leaf in flatten(found)[0]:
        if hasattr(leaf, "block_until_ready"):
            leaf.block_until_ready()
        elif getattr(getattr(leaf, "device", None), "type", "cpu") == "cuda":
            sys.modules["torch"].cuda.synchronize(leaf.device)
            break
    return time.perf_counter() - start, found
