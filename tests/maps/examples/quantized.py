"""Examples of matrices that are stored in 4 or 8 bits: codes that are fixed, and scales in the dtype asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.arrays.quantized import format_named
from adjoint.maps import QuantizedDense
from adjoint.quantization import Quantized
from tests.maps.examples.example import Example, Shape
from tests.ops.samples.quantized import packed


def positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.uniform(0.5, 2.0, shape)


def example(weight: Any, codes: np.ndarray) -> Example:
    """A packed matrix with other scales; `codes` are its own, a byte each."""

    def build(scale: Any) -> QuantizedDense:
        kept = {"codes": weight.codes, "zeros": weight.zeros}
        return QuantizedDense(Quantized(weight.format, weight.shape, weight.block, absmax=scale, **kept))

    def matrix(scale: np.ndarray) -> np.ndarray:
        values = format_named(weight.format).levels[codes].astype("float64")
        each = -(-weight.width // weight.block)
        at = [i // weight.width * each + i % weight.width // weight.block for i in range(weight.size)]
        values -= 0 if weight.zeros is None else weight.zeros[at]
        return (values * scale[at]).reshape(weight.shape)

    return Example(QuantizedDense, build, (weight.absmax.shape,), matrix, (positive,), held=True)


def halves(weight: Any) -> np.ndarray:
    return np.stack([weight.codes >> 4, weight.codes & 15], 1).reshape(-1)[: weight.size]


NF4, INT4, INT8 = packed(5, 7, "nf4", 8, False), packed(6, 3, "int4", 2), packed(3, 4, "int8")
EXAMPLES = [example(NF4, halves(NF4)), example(INT4, halves(INT4)), example(INT8, INT8.codes)]
