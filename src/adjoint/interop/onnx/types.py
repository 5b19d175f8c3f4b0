"""ONNX's element types as NumPy's dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint.errors import CheckpointError
from adjoint.interop.entries import dtype_of

PLAIN = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
}  # fmt: skip
SMALL = {
    16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4",
    22: "int4", 23: "float4_e2m1fn", 24: "float8_e8m0fnu", 25: "uint2", 26: "int2", 27: "float6_e2m3fn",
    28: "float6_e3m2fn",
}  # fmt: skip
STRING = 8
WORKING = ("float16", "bfloat16", "float32", "float64")


class Types:
    """The dtypes of a file; with `working` given every float16, bfloat16, float32 and float64 counts as that one.

    >>> Types().dtype(1), Types("float64").dtype(10), Types("float64").dtype(7)
    (dtype('float32'), dtype('float64'), dtype('int64'))
    """

    __slots__ = ("working",)

    def __init__(self, working: Any = None) -> None:
        self.working = None if working is None else dtype_of(working)

    def dtype(self, code: int) -> np.dtype[Any]:
        """The dtype of ONNX's number; raises `CheckpointError` for one that is no number's."""
        name = PLAIN.get(code) or SMALL.get(code)
        if name is None:
            what = "text" if code == STRING else f"unknown ({code})"
            raise CheckpointError(f"the element type is {what}; known are {', '.join((PLAIN | SMALL).values())}.")
        return dtype_of(name) if self.working is None or name not in WORKING else self.working
