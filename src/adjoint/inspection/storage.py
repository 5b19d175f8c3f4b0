"""What a weight would lose if it were stored in fewer bits."""

from __future__ import annotations

import numpy as np

from adjoint.arrays.numpy.updates import COMPILED

FORMATS = {"nf4_error": "nf4", "int8_error": "int8"}


def errors(array: np.ndarray) -> dict[str, float]:
    """‖Ŵ - W‖/‖W‖ for Ŵ stored as NF4 and as int8, as `aj.quantize(array, …)` stores it; of all numbers, none drawn.

    NF4 has blocks of 64 over the array in row-major order and scales that are quantized themselves, int8 a scale and a
    zero point for each row of the matrix of the first axis by all others. Nothing is lost of an array of zeros.

    >>> found = errors(np.random.default_rng(0).standard_normal((64, 64)))
    >>> {name: round(error, 4) for name, error in found.items()}
    {'nf4_error': 0.092, 'int8_error': 0.0052}
    """
    from adjoint.quantization import quantize
    from adjoint.quantization.lost import LARGEST, LEAST, lost

    x = array.reshape(len(array), -1)
    large = x.size >= COMPILED
    found = lost(x) if large else None
    if found is None:
        top = max(float(np.max(x)), -float(np.min(x)))
        if not top:
            return dict.fromkeys(FORMATS, 0.0)
        if not LEAST < top < LARGEST:  # of size 1, which changes no code
            x = x / np.asarray(top, x.dtype)
        found = lost(x) if large else None
    if found is None:  # what is small; of what is not finite this raises its error
        return {name: quantize(x, format).error(x) for name, format in FORMATS.items()}
    return dict(zip(FORMATS, found, strict=True))


def load(shape: tuple[int, int]) -> bool:
    """Load what `errors` of an array of such a shape needs, most of a second; whether that was necessary.

    >>> load((3, 4))
    False
    """
    large = shape[0] * shape[1] >= COMPILED
    if large:
        errors(np.ones((COMPILED, 1), np.float32))
    return large
