"""Examples of selections and resamplings; matrices by NumPy's indexing and products."""

from __future__ import annotations

import numpy as np

import adjoint as aj
from adjoint.arrays.pooling_windows import windows
from adjoint.arrays.resampling_taps import averaging, interpolating
from tests.maps.examples.example import Example, columns

PICKED = np.array([[[3, 0], [5, 5]], [[0, 1], [2, 4]]])
HALVES = averaging(windows("avg_pool1d", 5, 2, 2, 1, 1, True), True, None)
HALVED = np.array([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]) / 2.0
MIDDLE = interpolating("linear", 2, 3, None, True, False)

EXAMPLES: list[Example] = [
    Example(
        aj.Selection,
        lambda: aj.Selection(PICKED, (2, 2, 3), 2),
        (),
        lambda: columns(lambda x: np.stack([x[i].ravel()[PICKED[i]] for i in (0, 1)]), (2, 2, 3)),
    ),
    Example(aj.Selection, lambda: aj.Selection(PICKED[1], (2, 5), 1), (), lambda: columns(
        lambda x: np.take_along_axis(x, PICKED[1], 1), (2, 5)),
    ),
    Example(aj.Resampling, lambda: aj.Resampling([HALVES], (5,)), (), lambda: HALVED),
    Example(
        aj.Resampling,
        lambda: aj.Resampling([MIDDLE, HALVES], (3, 2, 5)),
        (),
        lambda: np.kron(np.eye(3), np.kron([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], HALVED)),
    ),
    Example(aj.Resampling, lambda: aj.Resampling([HALVES, MIDDLE], (5, 2)).T, (), lambda: np.kron(
        HALVED, [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]).T,
    ),
]  # fmt: skip
