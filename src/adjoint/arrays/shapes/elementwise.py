"""Functions that act entry by entry: the broadcast shape, the dtype of NumPy's own tables, one FLOP an entry."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import FUNCTIONS
from adjoint.arrays.shapes import rules
from adjoint.arrays.shapes.array import kind, made, operand, shape_of
from adjoint.errors import DtypeError

Dtype = np.dtype[Any]
BOOL, FLOAT16, FLOAT64 = np.dtype(np.bool_), np.dtype(np.float16), np.dtype(np.float64)


@functools.lru_cache(maxsize=None, typed=True)
def resolved(function: str, *kinds: Any) -> Dtype:
    """The dtype of NumPy's ufunc for operands of these kinds: dtypes, or Python's number types, which are weak.

    >>> resolved("add", np.dtype("float32"), float)
    dtype('float32')
    """
    narrow = [k for k in kinds if _is_bfloat16(k)]
    if narrow:
        found = resolved(function, *[_beside_bfloat16(k) for k in kinds])
        return narrow[0] if found == FLOAT16 else found
    try:
        ufunc = getattr(np, function)
        return ufunc.resolve_dtypes((*[BOOL if k is bool else k for k in kinds], None))[-1]
    except TypeError:
        named = " and ".join([getattr(k, "name", None) or k.__name__ for k in kinds])
        raise DtypeError(f"{function}: not defined for {named}; cast with aj.astype(x, 'float32').") from None


def _is_bfloat16(kind: Any) -> bool:
    return getattr(kind, "name", None) == "bfloat16"


def _beside_bfloat16(kind: Any) -> Any:
    """NumPy knows no bfloat16: float16 stands for it, and float32 for a true float16, which it meets there."""
    return FLOAT16 if _is_bfloat16(kind) else np.dtype(np.float32) if kind == FLOAT16 else kind


def promoted(*operands: Any) -> Dtype:
    """The common dtype of arrays."""
    return functools.reduce(lambda a, b: resolved("add", a, b), map(kind, operands))


def _floating(kind: Dtype) -> Dtype:
    return FLOAT64 if kind.kind in "biu" else kind


UFUNCS = [name for name in FUNCTIONS if isinstance(getattr(np, name, None), np.ufunc) and name != "matmul"]
DTYPES: dict[str, Callable[..., Dtype]] = {
    **{ufunc: functools.partial(resolved, ufunc) for ufunc in UFUNCS},
    "erf": _floating,
    "relu": lambda x: resolved("maximum", x, float),
    "round": lambda x: FLOAT16 if x == BOOL else x,
    "sigmoid": _floating,
    "where": lambda condition, x, y: resolved("add", x, y),
}


def _elementwise(name: str, dtype: Callable[..., Dtype]) -> Callable[..., Any]:
    def call(*operands: Any) -> Any:
        known = [operand(x) for x in operands]
        shape = rules.broadcast(name, *[shape_of(x) for x in known])
        return made(name, shape, dtype(*[kind(x) for x in known]), math.prod(shape), known)

    return call


ELEMENTWISE = {name: _elementwise(name, dtype) for name, dtype in DTYPES.items()}
