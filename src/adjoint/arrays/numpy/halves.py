"""Half precision on NumPy: functions of float16 and bfloat16 arrays compute in float32 and round their value once.

NumPy's own loops round at every step, add up in half precision, leave matrix products to scalar loops, and take a
bfloat16 array times a Python number for float32. Here the value has its operands' dtype, as PyTorch's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import FUNCTIONS, is_floating

LAST = 22  # NumPy's number of datetimes: float16 and the dtypes of ml_dtypes come after it
HALVES = ("float16", "bfloat16")
EXACT = ("adjoint.arrays.layout", "adjoint.arrays.updates")  # nothing is computed; or written back, dtype by dtype
CHOSEN = ("relu", "max", "min", "any", "all")  # whose values are their operand's
FOLLOWS = ("rotate",)  # whose value has the dtype of the first operand, whatever the others have
SUMS = ("segment_sum", "put_along", "cumulative_sum")
ndarray = np.ndarray
ARRAYS = (ndarray, np.generic)


def fitted(name: str, function: Callable[..., Any], kinds: Any) -> Callable[..., Any]:
    """The function itself where it needs no care, else one that computes in float32 where it meets half precision."""
    declared = FUNCTIONS.get(name)
    if declared is None:
        return function
    home = declared.__module__
    if name in CHOSEN or (home in EXACT and name not in SUMS):
        return function
    kinds = (kinds,) if isinstance(kinds, type) else kinds
    native = isinstance(function, np.ufunc) or getattr(function, "__module__", "") == "numpy"
    if native and name != "matmul" and not {int, float}.intersection(kinds):
        return function
    if next(iter(inspect.signature(declared).parameters)) == "arrays" or ndarray not in kinds:
        return _general(function, name, home)
    if declared.arity == 1:
        return _unary(function, name, home)
    if declared.bare and len(kinds) in (2, 3):
        return (_binary if len(kinds) == 2 else _ternary)(function, kinds, name, home)
    return _general(function, name, home)


def _unary(f: Callable[..., Any], name: str, home: str) -> Callable[..., Any]:
    def call(x, *args, **options):  # type: ignore[no-untyped-def]
        if x.dtype.num > LAST:
            return rounded(f, (x, *args), options, name, home)
        return f(x, *args, **options)

    return call


def _binary(f: Callable[..., Any], kinds: Any, name: str, home: str) -> Callable[..., Any]:
    def both(x, y):  # type: ignore[no-untyped-def]
        if x.dtype.num > LAST or y.dtype.num > LAST:
            return rounded(f, (x, y), {}, name, home)
        return f(x, y)

    def left(x, y):  # type: ignore[no-untyped-def]
        if x.dtype.num > LAST:
            return rounded(f, (x, y), {}, name, home)
        return f(x, y)

    def right(x, y):  # type: ignore[no-untyped-def]
        if y.dtype.num > LAST:
            return rounded(f, (x, y), {}, name, home)
        return f(x, y)

    if kinds[0] is not ndarray:
        return right
    return both if kinds[1] is ndarray else left


def _ternary(f: Callable[..., Any], kinds: Any, name: str, home: str) -> Callable[..., Any]:
    def call(x, y, z):  # type: ignore[no-untyped-def]
        if (x if first else y).dtype.num > LAST or (y if second else z).dtype.num > LAST:
            return rounded(f, (x, y, z), {}, name, home)
        return f(x, y, z)

    first, second = kinds[0] is ndarray, kinds[1] is ndarray  # two arrays at most decide: the third has their dtype
    return call if sum(kind is ndarray for kind in kinds) > 1 else _general(f, name, home)


def _general(f: Callable[..., Any], name: str, home: str) -> Callable[..., Any]:
    def call(*operands, **options):  # type: ignore[no-untyped-def]
        for x in operands:
            if type(x) is list:
                if any(_half(part) for part in x):
                    return rounded(f, operands, options, name, home)
            elif isinstance(x, ARRAYS) and x.dtype.num > LAST and _half(x):
                return rounded(f, operands, options, name, home)
        return f(*operands, **options)

    return call


def _half(x: Any) -> bool:
    return isinstance(x, ARRAYS) and x.dtype.num > LAST and x.dtype.name in HALVES


def rounded(f: Callable[..., Any], operands: Any, options: dict[str, Any], name: str, home: str) -> Any:
    """f's value for the operands in float32, rounded; of several values the first (all in linear algebra).

    The others are what a backward pass needs: they stay as exact as they are. Operands of more than half precision
    among floating ones make it f's own dtype, as in NumPy and PyTorch.
    """
    every = home == "adjoint.arrays.linalg"
    found: list[np.dtype[Any]] = []
    operands = [_wide(x, found) for x in operands]
    options = {name: _wide(x, found) for name, x in options.items()}
    value = f(*operands, **options)
    dtypes = {dtype.name: dtype for dtype in (found[:1] if name in FOLLOWS else found)}
    if len(dtypes) != 1 or next(iter(dtypes)) not in HALVES:
        return value
    (dtype,) = dtypes.values()
    if not isinstance(value, tuple):
        return _round(value, dtype)
    parts = [_round(part, dtype) if every or not k else part for k, part in enumerate(value)]
    return value._make(parts) if hasattr(value, "_make") else tuple(parts)


def _wide(x: Any, found: list[np.dtype[Any]]) -> Any:
    if type(x) is list:
        return [_wide(part, found) for part in x]
    if not isinstance(x, ARRAYS) or not is_floating(x.dtype):
        return x
    found.append(x.dtype)
    return x.astype(np.float32) if x.dtype.name in HALVES else x


def _round(x: Any, dtype: np.dtype[Any]) -> Any:
    if not isinstance(x, ARRAYS) or not is_floating(x.dtype) or x.dtype == dtype:
        return x
    if dtype.num > LAST + 1:
        return x.astype(dtype)
    with np.errstate(over="ignore"):  # beyond float16 there is infinity
        return x.astype(dtype)
