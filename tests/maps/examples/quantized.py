"""Examples of matrices that are stored in 4 or 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.maps import QuantizedDense
from tests.maps.examples.example import Example
from tests.ops.samples.quantized import numbers, packed


def example(weight: Any) -> Example:
    return Example(QuantizedDense, lambda: QuantizedDense(weight), (), lambda: np.asarray(numbers(weight)))


EXAMPLES = [example(packed(5, 7)), example(packed(6, 3, "int4", 2))]
