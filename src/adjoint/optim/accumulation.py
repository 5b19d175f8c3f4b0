"""Gradients of a large batch from small ones, one after the other or at the same time."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from adjoint.arrays.dispatch import Array, backend, is_array
from adjoint.transforms import value_and_grad
from adjoint.trees import flatten
from adjoint.trees import map as tree_map

Together = Callable[[Sequence[Callable[[], Any]]], list[Any]]


def _examples(*batch: Any) -> int:
    """The size of the first axis."""
    n: int = flatten(batch)[0][0].shape[0]
    return n


def accumulate(
    loss: Callable[..., Array], count: Callable[..., Any] = _examples, workers: int = 1
) -> Callable[[Any, Iterable[tuple[Any, ...]]], tuple[Array, Any]]:
    """A function (net, batches) ↦ (value, gradient) of loss(net, *batch), a mean, over all batches as if they were one.

    Each batch, a tuple, counts by how many it is a mean over: Σ nₖ ∇lossₖ / Σ nₖ. That is count(*batch), by default the
    examples, the size of the first axis; where the mean is over something else (tokens that are not padding), say so.
    One batch's activations are in memory at a time. With `workers`, so many batches are at work at the same time, a
    thread each: on NumPy two halves of a batch on two cores take less time than the whole, whose every operation would
    share the cores anew. PyTorch and JAX keep the cores busy themselves: there one batch follows the other as before.

    Raises ValueError where there is no batch, and where several workers would each leave another state (the statistics
    of BatchNorm, the keys of dropout) in the network.

    >>> import numpy as np, adjoint as aj
    >>> loss = lambda w, x: aj.mean(w * x)
    >>> aj.optim.accumulate(loss)(np.array(1.0), [(np.array([1.0, 2.0]),), (np.array([6.0]),)])
    (np.float64(3.0), np.float64(3.0))
    """
    if workers < 1:
        raise ValueError(f"accumulate: workers is 1 or more, not {workers}.")
    with_gradient = value_and_grad(lambda net, share, batch: loss(net, *batch) * share)

    @functools.wraps(loss)
    def over_batches(net: Any, batches: Iterable[tuple[Any, ...]]) -> tuple[Array, Any]:
        total: Any = None
        examples: Any = 0
        for batch in batches:
            n = count(*batch)
            total = _sum(total, with_gradient(net, n, batch))
            examples = examples + n
        if total is None:
            raise ValueError("accumulate: there is no batch.")
        value, gradient = tree_map(lambda x: x * (1.0 / examples), total)
        return value, gradient

    @functools.wraps(loss)
    def at_once(net: Any, batches: Iterable[tuple[Any, ...]]) -> tuple[Array, Any]:
        together = _together(net)
        if together is None:
            return over_batches(net, batches)
        batches = list(batches)
        counts = [count(*batch) for batch in batches]
        total: Any = None
        for start in range(0, len(batches), workers):
            stop = start + workers
            nets = [tree_map(lambda x: x, net) for _ in batches[start:stop]]
            shares = [n / sum(counts) for n in counts[start:stop]]
            each = zip(nets, shares, batches[start:stop], strict=True)
            parts = together([functools.partial(with_gradient, *given) for given in each])
            _unchanged(net, nets)
            for part in parts:
                total = part if total is None else _sum_together(together, workers, total, part)
        if total is None:
            raise ValueError("accumulate: there is no batch.")
        value, gradient = total
        return value, gradient

    return over_batches if workers == 1 else at_once


def _sum(total: Any, part: Any) -> Any:
    """The sum, in the memory of the first where the backend can."""
    return part if total is None else tree_map(operator.iadd, total, part)


def _sum_together(together: Together, workers: int, total: Any, part: Any) -> Any:
    """The same, each worker at some of the arrays."""
    leaves, treedef = flatten(total)
    others = flatten(part)[0]
    order = sorted(range(len(leaves)), key=lambda k: -math.prod(leaves[k].shape))

    def add(first: int) -> None:
        for k in order[first::workers]:
            leaves[k] += others[k]

    together([functools.partial(add, first) for first in range(workers)])
    return treedef.unflatten(leaves)


def _together(net: Any) -> Together | None:
    """What runs several functions at the same time on the network's backend; None where it uses all cores for one."""
    first = next((x for x in flatten(net)[0] if is_array(x)), None)
    return None if first is None else getattr(backend(type(first)), "together", None)


def _unchanged(net: Any, copies: Sequence[Any]) -> None:
    before = flatten(net)[0]
    for copied in copies:
        if any(a is not b for a, b in zip(before, flatten(copied)[0], strict=True)):
            raise ValueError(
                "accumulate: a call changed a buffer of the network (statistics, a key of dropout), which goes from "
                "one batch to the next: take workers=1, or eval() and dropout 0."
            )
