"""How often a classifier is right: figures from its logits (…, classes) and the true classes (…), on any backend."""

from __future__ import annotations

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError


def accuracy(logits: Array, target: Array) -> Array:
    """The fraction whose largest logit is the true class's; the first counts where several are largest.

    >>> import numpy as np, adjoint as aj
    >>> aj.training.accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    np.float64(0.5)
    """
    _fit("accuracy", logits, target)
    return xp.mean(xp.astype(xp.equal(xp.argmax(logits, -1), target), logits.dtype))


def top_k_accuracy(logits: Array, target: Array, k: int = 5) -> Array:
    """The fraction for which fewer than k classes have a larger logit than the true one.

    >>> import numpy as np, adjoint as aj
    >>> aj.training.top_k_accuracy(np.array([[0.3, 0.2, 0.1]]), np.array([1]), k=2)
    np.float64(1.0)
    """
    _fit("top_k_accuracy", logits, target)
    larger = xp.greater(logits, xp.take_along(logits, xp.expand_dims(target, -1), -1))
    return xp.mean(xp.astype(xp.less(xp.sum(xp.astype(larger, logits.dtype), -1), k), logits.dtype))


def confusion_matrix(logits: Array, target: Array) -> Array:
    """Counts (classes, classes): entry (i, j) of those of class i that were taken for j.

    >>> import numpy as np, adjoint as aj
    >>> aj.training.confusion_matrix(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1])).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    _fit("confusion_matrix", logits, target)
    n = logits.shape[-1]
    pairs = xp.reshape(target * n + xp.argmax(logits, -1), (-1,))
    return xp.reshape(xp.segment_sum(xp.full(logits, tuple(pairs.shape), 1.0), pairs, n * n), (n, n))


def _fit(name: str, logits: Array, target: Array) -> None:
    if tuple(logits.shape[:-1]) != tuple(target.shape) or not logits.shape:
        raise ShapeError(
            f"{name}: logits {tuple(logits.shape)} and classes {tuple(target.shape)} do not fit: the classes have the "
            "logits' shape without its last axis (are they one-hot? take their argmax)."
        )
