"""How often a run that is counted in steps reads what is held out: no longer than its steps take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adjoint.cli.tuning import Options, planned
from adjoint.data import Dataset


@pytest.mark.parametrize(
    ("steps", "held_out", "rounds"),
    [(20, 541, 1), (60, 541, 2), (1000, 541, 10), (3, 5, 3), (1, 1, 1), (5, 10_000, 1)],
)
def test_measuring_takes_no_longer_than_learning(steps: int, held_out: int, rounds: int) -> None:
    options = Options(Path("model"), Path("data.txt"), Path("out"), steps=steps, batch=8)
    examples = Dataset(np.zeros((100, 4), "int64"), np.zeros((100, 4), "int64"))
    train, found, whole = planned(examples, held_out, options)
    assert found == rounds
    assert steps <= whole < steps + found
    assert len(train) == whole // found * 8
    assert found == 1 or found * held_out <= 3 * whole * 8  # a step is worth three forward passes
