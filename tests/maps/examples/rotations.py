"""Examples of rotations."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from adjoint.maps import Rotation
from tests.maps.examples.example import Example


def turns(angles: np.ndarray, interleaved: bool) -> np.ndarray:
    """Blocks [[cos, -sin], [sin, cos]] for each pair of each position, their coordinates in the order asked for."""
    rows = []
    for row in np.atleast_2d(angles):
        matrix = scipy.linalg.block_diag(*[[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in row])
        order = np.arange(matrix.shape[0])
        if not interleaved:
            order = np.concatenate([order[::2], order[1::2]])
        rows.append(matrix[np.ix_(order, order)])
    return np.asarray(scipy.linalg.block_diag(*rows))


EXAMPLES = [
    Example(Rotation, lambda a: Rotation(a, (3, 4)), ((3, 2),), lambda a: turns(a, False)),
    Example(Rotation, lambda a: Rotation(a, (3, 4), True), ((3, 2),), lambda a: turns(a, True)),
    Example(Rotation, lambda a: Rotation(a, (2,)), ((1,),), lambda a: turns(a, False)),
]
