"""Rounds of so many batches serve the very batches of whole passes, one after the other."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint as aj
from adjoint.data import DataError, Dataset, Rounds


@pytest.mark.parametrize(("n", "every", "size"), [(10, 3, 2), (11, 4, 3), (7, 5, 7), (5, 1, 1)])
def test_the_batches_are_those_of_passes(n: int, every: int, size: int) -> None:
    data = Dataset(np.arange(n), np.arange(n))
    rounds = Rounds.of(data, every, size)
    found = [x.tolist() for epoch in range(4) for x, _ in rounds.batches(size, 3, epoch)]
    passes = [x.tolist() for k in range(40) for x, _ in data.batches(size, 3, k, drop_last=True)]
    assert found == passes[: 4 * every]
    assert len(rounds) == every * size
    resumed = [x.tolist() for x, _ in rounds.batches(size, 3, 2, start=1)]
    assert resumed == found[2 * every + 1 : 3 * every]


def test_fit_counts_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    run = aj.fit(aj.nn.MLP((64, 10), rng=0), Rounds.of(aj.data.digits(), 5, 16), batch_size=16, epochs=3)
    assert [e.epoch for e in run.history] == [1, 2, 3]
    assert int(run.optimizer.t) == 15
    assert "round 3/3" in capsys.readouterr().err


def test_what_cannot_be() -> None:
    data = Dataset(np.arange(3), np.arange(3), "three")
    with pytest.raises(DataError, match="three: 3 examples make no 2 batches of 4"):
        Rounds.of(data, 2, 4)
    with pytest.raises(ValueError, match="batches of 2, not 3"):
        list(Rounds.of(data, 2, 2).batches(3))
