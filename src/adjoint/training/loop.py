"""The training loop: minibatches, validation, early stopping, and checkpoints from which a killed run goes on."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, backend, is_floating
from adjoint.data.dataset import Dataset
from adjoint.interop.entries import Path
from adjoint.nn.module import Module, apart, register_with_jax, to
from adjoint.ops.losses import cross_entropy
from adjoint.optim.adam import AdamW
from adjoint.optim.base import Optimizer
from adjoint.optim.clipping import clip_grad_norm
from adjoint.optim.schedules import Schedule
from adjoint.training.metrics import accuracy
from adjoint.training.progress import display, interruptions
from adjoint.training.state import Epoch, State, checksum, frozen
from adjoint.transforms import value_and_grad

Compare = Callable[[Any, Any], Any]  # of a network's values and their targets: a loss, a metric


@dataclass(frozen=True)
class Trained:
    """A finished run: the trained network in evaluation mode, the optimizer as it stood last, one record an epoch.

    `best` is the epoch with the least validation loss, None without validation; with patience, `net` is from it.

    >>> import adjoint as aj
    >>> run = aj.fit(aj.nn.MLP((64, 10), rng=0), aj.data.digits(), epochs=1, progress=False)
    >>> len(run.history), run.best
    (1, None)
    """

    net: Any
    optimizer: Optimizer
    history: tuple[Epoch, ...]
    best: Epoch | None


def fit(
    net: Module,
    train: Dataset,
    *,
    loss: Compare = cross_entropy,
    optimizer: Optimizer | Callable[[Any], Optimizer] = AdamW,
    epochs: int = 10,
    batch_size: int = 64,
    seed: int = 0,
    schedule: Schedule | None = None,
    max_norm: float | None = None,
    validation: Dataset | None = None,
    metric: Compare | None = accuracy,
    patience: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = True,
    progress: bool = True,
    sample: Callable[[Any], str] | None = None,
    penalty: Callable[[Any], Any] | None = None,
) -> Trained:
    """Train a copy of `net`, on the backend and device where its arrays are; neither it nor `optimizer` is changed.

    Each step takes the next `batch_size` examples, in an order that depends on (seed, epoch) alone, and descends on
    loss(net(x), y), a mean over the examples, plus `penalty(net)` where there is one, with `schedule(step)` as learning
    rate (else the optimizer's own) and gradients clipped to `max_norm`. `optimizer` is one made for `net`, or what
    makes it: `AdamW`, or `functools.partial(SGD, lr=0.1)`. After each epoch loss and `metric` (accuracy only of
    classes) are measured on `validation`; when `patience` epochs brought no smaller loss there, training stops and the
    best weights are taken.

    With a `checkpoint` the run, but what is frozen, is written to that file after each epoch and on Ctrl-C, all or
    nothing. Called again, a run that was killed goes on from there (unless `resume` is False) and ends at bitwise the
    weights of one that was not; more `epochs` prolong it. `progress` goes to standard error: a bar, or a line an epoch
    in a file; and after each epoch what `sample` tells of the network in evaluation mode.

    Raises CheckpointError where the file is of another run or is corrupt; FloatingPointError naming epoch and step when
    the loss or a weight is not finite; ValueError for settings that cannot be. None of them touches the file.

    >>> import adjoint as aj
    >>> train, test = aj.data.digits().split(test=0.2, seed=0)
    >>> run = aj.fit(aj.nn.MLP((64, 32, 10), rng=0), train, validation=test, progress=False)
    >>> len(run.history), run.best.validation_metric > 0.85
    (10, True)
    """
    _check(train, validation, epochs, batch_size, patience)
    like = _first(net)
    home = backend(type(like)).name
    net = apart(net).train()
    state = State(net, to(optimizer, home) if isinstance(optimizer, Optimizer) else optimizer(net))
    steps = -(-len(train) // batch_size)

    def rate(n: int) -> float:
        return float(state.optimizer.lr if schedule is None else schedule(n))

    settings = _described(
        net,
        loss=loss if penalty is None else (loss, penalty),
        optimizer=state.optimizer,
        backend=home,
        batch_size=batch_size,
        seed=seed,
        max_norm=max_norm,
        train=train,
        validation=validation,
        patience=patience,
    )
    if checkpoint is not None and (still := frozen(net)):
        settings["frozen weights"] = checksum(still)
    if checkpoint is not None and resume and os.path.exists(checkpoint):
        state.restore(checkpoint, settings, lambda epoch: rate(epoch * steps - 1))
    step = _compiled(stepping(loss, max_norm, penalty), home)
    measure = _compiled(_measuring(loss, metric), home)

    with display(progress, state, steps, epochs, train.unit) as shown, interruptions() as asked:
        while len(state.history) < epochs and not state.exhausted(patience) and not asked:
            began, epoch = time.perf_counter(), len(state.history)
            for x, y in _beside(like, train.batches(batch_size, seed, epoch, start=state.batch)):
                n = epoch * steps + state.batch
                lr = None if schedule is None else rate(n)
                state.net, state.optimizer, value = step(state.net, state.optimizer, x, y, lr)
                _check_finite("the loss", value, epoch, n)
                state.count(float(value), len(x))
                shown.step()
                if asked:
                    break
            else:
                n = (epoch + 1) * steps - 1
                for name, weight in state.net.named_parameters():
                    _check_finite(name, weight, epoch, n)
                seen: tuple[float | None, float | None] = (None, None)
                if validation is not None:
                    seen = _evaluate(measure, state.net, validation, batch_size)
                    _check_finite("the validation loss", seen[0], epoch, n)
                record = Epoch(
                    epoch=epoch + 1,
                    loss=state.total / len(train),
                    lr=rate(n),
                    validation_loss=seen[0],
                    validation_metric=seen[1],
                    seconds=time.perf_counter() - began,
                )
                state.close(record, keep_best=patience is not None)
                shown.epoch(record)
                if sample is not None and progress:
                    shown.say(sample(to(state.net).eval()))
            if checkpoint is not None:
                state.save(checkpoint, settings)
    if asked:
        raise KeyboardInterrupt
    if state.best is not None:
        state.net.load_state_dict(state.best, strict=False)
    return Trained(state.net.eval(), state.optimizer, tuple(state.history), state.best_epoch)


def evaluate(
    net: Module,
    data: Dataset,
    *,
    loss: Compare = cross_entropy,
    metric: Compare | None = accuracy,
    batch_size: int = 256,
) -> tuple[float, float | None]:
    """(loss, metric) of a network in evaluation mode over all of `data`, means over the examples, batch by batch.

    >>> import adjoint as aj
    >>> loss, accuracy = aj.training.evaluate(aj.nn.MLP((64, 10), rng=0), aj.data.digits())
    >>> accuracy < 0.5
    True
    """
    if not len(data):
        raise ValueError("evaluate: the data set is empty.")
    measure = _compiled(_measuring(loss, metric), backend(type(_first(net))).name)
    return _evaluate(measure, net, data, batch_size)


def _evaluate(measure: Any, net: Any, data: Dataset, batch_size: int) -> tuple[float, float | None]:
    net = to(net).eval()  # a tree of its own, of the same arrays
    losses, metrics = [], []
    for x, y in _beside(_first(net), data.batches(batch_size, seed=None)):
        loss, metric = measure(net, x, y)
        losses.append(float(loss) * len(x))
        if metric is not None:
            metrics.append(float(metric) * len(x))
    return sum(losses) / len(data), sum(metrics) / len(data) if metrics else None


# The two functions that run once a batch


def stepping(
    loss: Compare, max_norm: float | None = None, penalty: Callable[[Any], Any] | None = None
) -> Callable[..., Any]:
    """A step of `fit`: (net, optimizer, x, y, lr) ↦ (net, optimizer, the loss before it).

    >>> import numpy as np, adjoint as aj
    >>> net, data = aj.nn.MLP((64, 10), rng=0), aj.data.digits()
    >>> first = stepping(aj.cross_entropy)(net, aj.optim.SGD(net, 0.1), data.x, data.y, None)
    >>> float(stepping(aj.cross_entropy)(*first[:2], data.x, data.y, None)[2]) < float(first[2])
    True
    """

    def whole(net: Any, x: Array, y: Array) -> Any:
        value = loss(net(x), y)
        return value if penalty is None else value + penalty(net)

    def step(net: Any, optimizer: Any, x: Array, y: Array, lr: Any) -> tuple[Any, Any, Array]:
        value, grads = value_and_grad(lambda net: whole(net, x, y))(net)
        if max_norm is not None:
            grads, _ = clip_grad_norm(grads, max_norm)
        return *optimizer.step(net, grads, lr), value

    return step


def _measuring(loss: Compare, metric: Compare | None) -> Callable[..., Any]:
    def measure(net: Any, x: Array, y: Array) -> tuple[Array, Array | None]:
        values = net(x)
        if metric is None or (metric is accuracy and is_floating(y.dtype)):
            return loss(values, y), None
        return loss(values, y), metric(values, y)

    return measure


def _compiled(f: Callable[..., Any], home: str) -> Callable[..., Any]:
    if home != "jax":
        return f
    import jax

    register_with_jax()
    return jax.jit(f)


# Around them


def _first(net: Any) -> Array:
    for x in net.parameters():
        if is_floating(x.dtype):
            return x
    raise ValueError(f"{type(net).__name__} has no floating array, so there is nothing to train.")


def _beside(like: Array, batches: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Array, Array]]:
    """The batches on the network's backend and device, floating numbers in its dtype."""
    for batch in batches:
        x, y = (xp.asarray(like, part, like.dtype if is_floating(part.dtype) else None) for part in batch)
        yield x, y


def _check_finite(name: str, x: Any, epoch: int, n: int) -> None:
    values = backend(type(x)).to_numpy(x)
    if not np.isfinite(values).all():
        raise FloatingPointError(
            f"fit: {name} is {'not finite' if values.ndim else values} in epoch {epoch + 1}, at step {n}: lower the "
            "learning rate, clip gradients with max_norm, or look for nan in the data."
        )


def _check(train: Dataset, validation: Dataset | None, epochs: int, batch_size: int, patience: int | None) -> None:
    if epochs < 0 or batch_size < 1 or (patience is not None and patience < 1):
        raise ValueError(f"fit: epochs={epochs}, batch_size={batch_size} and patience={patience} must be positive.")
    for name, data in (("training", train), ("validation", validation)):
        if data is not None and not len(data):
            raise ValueError(f"fit: the {name} data are empty.")
    if patience is not None and validation is None:
        raise ValueError(f"fit: patience={patience} watches the loss on the validation data: give some.")


def _described(net: Module, **settings: Any) -> dict[str, str]:
    """What makes a run this one, in words that are the same in another process."""
    settings["parameters"] = "\n".join(f"{name} {x.dtype} {tuple(x.shape)}" for name, x in net.named_parameters())
    settings["frozen"] = "\n".join(f"{name} {sorted(m._frozen)}" for name, m in net.named_modules() if m._frozen)
    settings["network"] = net
    return {name: re.sub(r" at 0x[0-9a-f]+", "", str(value)) for name, value in settings.items()}
