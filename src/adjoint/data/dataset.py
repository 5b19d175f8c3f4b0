"""Examples and their targets, split and served in an order that depends on nothing but the seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DataError


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples `x` of shape (n, ...) and targets `y` of shape (n, ...), row by row.

    Targets that are a vector of integers are class labels: they index `classes` (where given), and `split` and
    `folds` keep their proportions. Other targets are split at random.

    Raises `DataError` where `x` and `y` differ in length or a label has no class.

    >>> data = Dataset([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], name="parity", classes=("even", "odd"))
    >>> data
    Dataset('parity', x=(4, 1) float64, y=(4,) int64, 2 classes)
    >>> train, test = data.split(test=0.5, seed=0)
    >>> sorted(test.y.tolist())
    [0, 1]
    """

    x: NDArray[Any]
    y: NDArray[Any]
    name: str = ""
    classes: tuple[str, ...] = ()

    unit: ClassVar[str] = "epoch"  # what `fit` calls all its batches

    def __post_init__(self) -> None:
        for field in ("x", "y"):
            object.__setattr__(self, field, np.asarray(getattr(self, field)))
        if self.x.ndim == 0 or self.y.ndim == 0 or len(self.x) != len(self.y):
            raise DataError(f"{self.name or 'Dataset'}: x {self.x.shape} and y {self.y.shape} differ in length, axis 0")
        if self.classes and self._labelled and len(self) and not 0 <= self.y.min() <= self.y.max() < len(self.classes):
            raise DataError(
                f"{self.name or 'Dataset'}: labels run from {self.y.min()} to {self.y.max()}, "
                f"but there are {len(self.classes)} classes, numbered from 0"
            )

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"Dataset({self.name!r}, x={self.x.shape} {self.x.dtype}, y={self.y.shape} {self.y.dtype}{classes})"

    def take(self, rows: ArrayLike | slice) -> Dataset:
        """Return the data set of these rows: indices, a mask or a slice.

        >>> Dataset([[0.0], [1.0], [2.0]], [0, 1, 2]).take([2, 0]).y
        array([2, 0])
        """
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            rows = rows if rows.size else rows.astype(np.intp)  # an empty list has no dtype of its own
        return replace(self, x=self.x[rows], y=self.y[rows])

    def reshape(self, *shape: int) -> Dataset:
        """Return the same data with every example in this shape: (n, ...) becomes (n, *shape), -1 as in NumPy.

        >>> Dataset(np.zeros((5, 64)), np.zeros(5)).reshape(1, 8, 8).x.shape
        (5, 1, 8, 8)
        """
        one = np.empty(self.x.shape[1:], bool).reshape(shape)  # -1 is undecided where n = 0
        return replace(self, x=self.x.reshape(len(self), *one.shape))

    def split(self, test: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Return (train, test), with round(n · test) examples in the test set and every class within one of its share.

        Raises `ValueError` where either part would be empty.
        """
        size = round(len(self) * test)
        if not 0 < size < len(self):
            raise ValueError(f"split: test={test} of {len(self)} examples leaves {size} to test; choose 0 < test < 1")
        # Taking every (n/size)-th row of the classes laid end to end takes its share of each.
        place = np.arange(len(self) + 1) * size // len(self)
        chosen = place[1:] > place[:-1]
        rows = self._by_class(seed)
        return self.take(np.sort(rows[~chosen])), self.take(np.sort(rows[chosen]))

    def folds(self, k: int = 5, seed: int = 0) -> Iterator[tuple[Dataset, Dataset]]:
        """Yield k pairs (train, test); the test sets partition the data, each class and each fold even to within one.

        Raises `ValueError` where k < 2 or a class has fewer than k examples.
        """
        if not 2 <= k <= len(self):
            raise ValueError(f"folds: k={k}, but {len(self)} examples allow 2 to {len(self)} folds")
        if self._labelled:
            labels, counts = np.unique(self.y, return_counts=True)
            if counts.min() < k:
                label, count = labels[counts.argmin()], counts.min()
                raise ValueError(f"folds: class {label} has {count} examples, fewer than k={k} folds; lower k")
        rows = self._by_class(seed)
        fold = np.arange(len(self)) % k
        return ((self.take(np.sort(rows[fold != i])), self.take(np.sort(rows[fold == i]))) for i in range(k))

    def batches(
        self, batch_size: int, seed: int | None = 0, epoch: int = 0, *, start: int = 0, drop_last: bool = False
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield minibatches (x, y) of `batch_size` rows, the last one shorter unless `drop_last`.

        The order is a function of (seed, epoch) alone, on every machine and NumPy, so a run resumed at batch `start`
        of an epoch meets what it would have met. `seed=None` keeps the rows in order.

        >>> data = Dataset(np.arange(5.0), np.arange(5))
        >>> [y.tolist() for x, y in data.batches(2, seed=None)]
        [[0, 1], [2, 3], [4]]
        >>> whole = [y.tolist() for x, y in data.batches(2, seed=1, epoch=3)]
        >>> whole[1:] == [y.tolist() for x, y in data.batches(2, seed=1, epoch=3, start=1)]
        True
        """
        if batch_size < 1 or start < 0:
            raise ValueError(f"batches: batch_size={batch_size} must be at least 1 and start={start} at least 0")
        rows = np.arange(len(self)) if seed is None else _shuffled(len(self), seed, epoch)
        end = len(self) - len(self) % batch_size if drop_last else len(self)
        pieces = (rows[i : i + batch_size] for i in range(start * batch_size, end, batch_size))
        return ((self.x[piece], self.y[piece]) for piece in pieces)

    @property
    def _labelled(self) -> bool:
        return self.y.ndim == 1 and self.y.dtype.kind in "iu"

    def _by_class(self, seed: int) -> NDArray[np.intp]:
        """All rows, class after class, shuffled within each."""
        rows = _shuffled(len(self), seed, 0)
        return rows[np.argsort(self.y[rows], kind="stable")] if self._labelled else rows


def _shuffled(n: int, seed: int, epoch: int) -> NDArray[np.intp]:
    if seed < 0 or epoch < 0:
        raise ValueError(f"seed={seed} and epoch={epoch} must not be negative")
    # NumPy keeps a bit generator's raw stream for ever, but not the algorithm of `permutation` (NEP 19).
    keys = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(epoch,))).random_raw(n)
    return np.argsort(keys, kind="stable")
