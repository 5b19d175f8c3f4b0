"""Products with packed matrices: the product's FLOPs, two more an entry that is unpacked, and the packed bytes."""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays import quantized
from adjoint.arrays.shapes.array import made, operand


def quantized_linear(x: Any, weight: Any, transposed: bool = False) -> Any:
    """2·n·out·in, and for every entry of the matrix its scale and zero point."""
    x = operand(x)
    n_out, n_in = quantized.fitting(x, weight, transposed)
    shape = (*x.shape[:-1], n_in if transposed else n_out)
    products = 2 * math.prod(x.shape[:-1]) * n_out * n_in
    names = ("codes", "absmax", "zeros", "nested_absmax", "offset")
    read = [operand(part) for name in names if (part := getattr(weight, name)) is not None]
    return made("quantized_linear", shape, x.dtype, products + 2 * n_out * n_in, (x, *read), products)
