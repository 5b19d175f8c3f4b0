"""Normalizations: scaled projections whose maps share what the forward pass has computed."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.maps.algebra import Composition
from adjoint.maps.base import LinearMap
from adjoint.maps.elementary import Diagonal
from adjoint.maps.layout import Broadcast
from adjoint.maps.reductions import Normalization
from adjoint.ops.define import coarse
from adjoint.ops.layout import shape_of


def normalized(x: Any, weight: Any, bias: Any, ndim: int, eps: float, centre: bool) -> Any:
    """The value and the maps of layer normalization, or of RMS normalization."""
    normal, scale = xp.normalize_moments(x, ndim, eps, centre)
    in_x: LinearMap = Normalization(normal, scale, ndim, centre)
    if weight is None:
        z, in_weight = normal, None
    else:
        z = normal * weight
        in_x = Composition([Diagonal(weight), in_x])
        in_weight = Composition([Diagonal(normal), Broadcast(shape_of(weight), shape_of(normal))])
    if bias is None:
        return z, (in_x, in_weight)
    return z + bias, (in_x, in_weight, Broadcast(shape_of(bias), shape_of(normal)))


@coarse(xp.layer_norm)
def layer_norm(x: Any, weight: Any = None, bias: Any = None, ndim: int = 1, eps: float = 1e-5) -> Any:
    """A scaled projection in x."""
    return normalized(x, weight, bias, ndim, eps, True)


@coarse(xp.rms_norm)
def rms_norm(x: Any, weight: Any = None, ndim: int = 1, eps: float = 1e-6) -> Any:
    """A scaled projection in x."""
    return normalized(x, weight, None, ndim, eps, False)
