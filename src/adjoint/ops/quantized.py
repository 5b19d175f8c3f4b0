"""Products with packed matrices: linear in what is multiplied, and the matrix a constant."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.maps.base import LinearMap
from adjoint.maps.quantized import QuantizedDense
from adjoint.ops.define import operation


def rule(z: Any, x: Any, weight: Any, transposed: bool = False) -> LinearMap:
    """The matrix itself, or its transpose."""
    return QuantizedDense(weight).T if transposed else QuantizedDense(weight)


quantized_linear = operation(xp.quantized_linear, rule)
