"""Splits keep class proportions; the order of batches is a function of (seed, epoch) and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from adjoint.data import DataError, Dataset

labels = st.lists(st.integers(0, 4), min_size=2, max_size=120).map(np.array)


def numbered(y: np.ndarray) -> Dataset:
    """A data set whose examples are their own row numbers."""
    return Dataset(np.arange(len(y))[:, None], y)


def test_checks_rows_and_labels() -> None:
    with pytest.raises(DataError, match=r"two: x \(3, 2\) and y \(2,\) differ in length, axis 0"):
        Dataset(np.ones((3, 2)), np.ones(2), "two")
    with pytest.raises(DataError, match="labels run from 0 to 2, but there are 2 classes"):
        Dataset(np.ones((3, 2)), np.arange(3), classes=("a", "b"))
    with pytest.raises(DataError, match="labels run from -1"):
        Dataset(np.ones((1, 2)), np.array([-1]), classes=("a",))
    with pytest.raises(DataError, match="differ in length"):
        Dataset(np.float32(1), np.float32(1))


def test_is_frozen() -> None:
    with pytest.raises(AttributeError):
        numbered(np.zeros(3)).name = "other"  # type: ignore[misc]


def test_take_and_reshape() -> None:
    data = Dataset(np.arange(12.0).reshape(3, 4), np.array([5, 6, 7]), "three")
    assert data.take(data.y > 5).y.tolist() == [6, 7]
    assert data.take(slice(0, 2)).x.shape == (2, 4)
    assert data.reshape(1, 2, -1).x.shape == (3, 1, 2, 2)
    assert len(data.take([])) == len(data.take(slice(0, 0))) == 0
    assert data.take(slice(0, 0)).reshape(-1, 2).x.shape == (0, 2, 2)
    with pytest.raises(ValueError, match="size 4"):
        data.reshape(5)


@given(labels, st.floats(0.01, 0.99), st.integers(0, 2**40))
def test_split_partitions_and_keeps_proportions(y: np.ndarray, test: float, seed: int) -> None:
    size = round(len(y) * test)
    data = numbered(y)
    if not 0 < size < len(y):
        with pytest.raises(ValueError, match="split: test="):
            data.split(test, seed)
        return
    train, held_out = data.split(test, seed)
    assert len(held_out) == size
    assert sorted(np.concatenate([train.x, held_out.x]).ravel()) == list(range(len(y)))
    assert (train.y == y[train.x.ravel()]).all()
    assert (held_out.y == y[held_out.x.ravel()]).all()
    for label in np.unique(y):
        share = (y == label).sum() * size / len(y)
        assert abs((held_out.y == label).sum() - share) <= 1


@given(labels, st.integers(2, 6), st.integers(0, 2**40))
def test_folds_are_as_even_as_those_of_scikit_learn(y: np.ndarray, k: int, seed: int) -> None:
    data = numbered(y)
    counts = np.bincount(y)
    if counts[counts > 0].min() < k:
        with pytest.raises(ValueError, match="folds: "):
            data.folds(k, seed)
        return
    folds = list(data.folds(k, seed))
    theirs = StratifiedKFold(k, shuffle=True, random_state=0).split(data.x, y)
    assert len(folds) == k
    assert sorted(np.concatenate([test.x for _, test in folds]).ravel()) == list(range(len(y)))
    ours_by_class = np.array([np.bincount(test.y, minlength=5) for _, test in folds])
    theirs_by_class = np.array([np.bincount(y[test], minlength=5) for _, test in theirs])
    # The same multiset of counts for every class, and fold sizes even to within one.
    assert (np.sort(ours_by_class, axis=0) == np.sort(theirs_by_class, axis=0)).all()
    assert np.ptp(ours_by_class.sum(axis=1)) <= 1
    for train, test in folds:
        assert not set(train.x.ravel()) & set(test.x.ravel())
        assert len(train) + len(test) == len(y)


def test_targets_that_are_no_labels_are_split_at_random() -> None:
    data = Dataset(np.arange(10.0), np.linspace(0, 1, 10))
    train, test = data.split(0.3)
    assert (len(train), len(test)) == (7, 3)
    assert [len(test) for _, test in data.folds(3)] == [4, 3, 3]


def test_folds_name_what_does_not_fit() -> None:
    data = numbered(np.array([0, 0, 0, 1, 1]))
    with pytest.raises(ValueError, match="class 1 has 2 examples, fewer than k=3 folds; lower k"):
        data.folds(3)
    with pytest.raises(ValueError, match="k=1, but 5 examples allow 2 to 5 folds"):
        data.folds(1)


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 2**70), st.integers(0, 2**40), st.integers(0, 5))
def test_batches_cover_the_data_once_and_resume(n: int, batch_size: int, seed: int, epoch: int, start: int) -> None:
    data = numbered(np.arange(n))
    whole = [x.ravel().tolist() for x, _ in data.batches(batch_size, seed, epoch)]
    assert sorted(row for rows in whole for row in rows) == list(range(n))
    assert all(len(rows) == batch_size for rows in whole[:-1])
    assert whole[start:] == [x.ravel().tolist() for x, _ in data.batches(batch_size, seed, epoch, start=start)]
    full = [x.ravel().tolist() for x, _ in data.batches(batch_size, seed, epoch, drop_last=True)]
    assert full == [rows for rows in whole if len(rows) == batch_size]


def test_batches_pair_x_with_y_and_are_copies() -> None:
    data = Dataset(np.arange(20.0).reshape(10, 2), np.arange(10))
    for x, y in data.batches(3, seed=4):
        assert (x[:, 0] == 2 * y).all()
        x[:] = -1
    assert (data.x >= 0).all()


def test_order_is_pinned() -> None:
    """A training run stored with one version resumes with the same batches in every later one."""
    (x, _), *_ = numbered(np.arange(10)).batches(10, seed=7, epoch=2)
    assert x.ravel().tolist() == [6, 2, 5, 7, 1, 9, 8, 0, 4, 3]
    orders = {
        tuple(next(numbered(np.arange(50)).batches(50, seed, epoch))[1]) for seed in range(4) for epoch in range(4)
    }
    assert len(orders) == 16


def test_order_is_uniform() -> None:
    """Each of 5 rows comes first equally often: χ² with 4 degrees of freedom stays under its 1e-6 quantile."""
    firsts = [next(numbered(np.arange(5)).batches(1, 0, epoch))[1][0] for epoch in range(2000)]
    observed = np.bincount(firsts, minlength=5)
    assert ((observed - 400) ** 2 / 400).sum() < 33.4


@pytest.mark.parametrize(
    "arguments",
    [{"batch_size": 0}, {"batch_size": 2, "start": -1}, {"batch_size": 2, "seed": -1}, {"batch_size": 2, "epoch": -1}],
)
def test_batches_refuse_what_makes_no_sense(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"batch_size|seed"):
        numbered(np.arange(4)).batches(**arguments)
