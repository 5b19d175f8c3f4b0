"""Rotations by position: linear in what is turned; in the angles, a quarter turn further."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Composition
from adjoint.maps.elementary import Diagonal
from adjoint.maps.layout import Broadcast, Take
from adjoint.maps.rotations import Rotation
from adjoint.ops.define import operation
from adjoint.ops.layout import shape_of


def turned_rule(z: Any, x: Any, angles: Any, interleaved: bool = False) -> LinearMap:
    """The rotation itself."""
    return Rotation(angles, shape_of(x), interleaved)


def angles_rule(z: Any, x: Any, angles: Any, interleaved: bool = False) -> LinearMap:
    """The result a quarter turn further, times the angle of each coordinate's pair."""
    shape, d = shape_of(angles), int(z.shape[-1])
    pair = np.arange(d) // 2 if interleaved else np.arange(d) % (d // 2)
    of_coordinate = Take(np.minimum(pair, shape[-1] - 1), -1, shape)
    ahead = lambda: xp.rotate(z, xp.full(angles, (1,), math.pi / 2), interleaved)  # noqa: E731
    return Composition([Diagonal(ahead), Broadcast((*shape[:-1], d), shape_of(z)), of_coordinate])


rotate = operation(xp.rotate, turned_rule, angles_rule)
