"""Gradients of a large batch from small ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from adjoint.arrays.dispatch import Array
from adjoint.transforms import value_and_grad
from adjoint.trees import flatten
from adjoint.trees import map as tree_map


def _examples(*batch: Any) -> int:
    """The size of the first axis."""
    n: int = flatten(batch)[0][0].shape[0]
    return n


def accumulate(
    loss: Callable[..., Array], count: Callable[..., Any] = _examples
) -> Callable[[Any, Iterable[tuple[Any, ...]]], tuple[Array, Any]]:
    """A function (net, batches) ↦ (value, gradient) of loss(net, *batch), a mean, over all batches as if they were one.

    Each batch, a tuple, counts by how many it is a mean over: Σ nₖ ∇lossₖ / Σ nₖ. That is count(*batch), by default the
    examples, the size of the first axis; where the mean is over something else (tokens that are not padding), say so.
    One batch's activations are in memory at a time. Raises ValueError where there is no batch.

    >>> import numpy as np, adjoint as aj
    >>> loss = lambda w, x: aj.mean(w * x)
    >>> aj.optim.accumulate(loss)(np.array(1.0), [(np.array([1.0, 2.0]),), (np.array([6.0]),)])
    (np.float64(3.0), np.float64(3.0))
    """
    with_gradient = value_and_grad(loss)

    @functools.wraps(loss)
    def over_batches(net: Any, batches: Iterable[tuple[Any, ...]]) -> tuple[Array, Any]:
        total: Any = None
        examples: Any = 0
        for batch in batches:
            n = count(*batch)
            weighted = tree_map(lambda x, n=n: x * n, with_gradient(net, *batch))
            total = weighted if total is None else tree_map(lambda a, b: a + b, total, weighted)
            examples = examples + n
        if total is None:
            raise ValueError("accumulate: there is no batch.")
        value, gradient = tree_map(lambda x: x * (1.0 / examples), total)
        return value, gradient

    return over_batches
