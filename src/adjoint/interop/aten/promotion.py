"""PyTorch's rules for dtypes, on arrays of every backend: what operands of several dtypes become before they meet.

Arrays with axes outrank arrays without, which outrank Python's numbers; a lower rank decides only where its category
(truth value, integer, floating number) is the higher one. NumPy and JAX have other rules, so operands are cast first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, backend, is_array
from adjoint.errors import BackendError, DtypeError
from adjoint.ops.define import plain

DEFAULT = "float32"  # what PyTorch makes of integers where floating numbers are needed
BOOL, INTEGER, FLOATING = range(3)
NUMBERS = {bool: (BOOL, "bool"), int: (INTEGER, "int64"), float: (FLOATING, DEFAULT)}


@functools.cache
def name_of(dtype: Any) -> str:
    """NumPy's name for a dtype of any backend.

    >>> name_of(np.dtype("int64")), name_of("torch.bfloat16")
    ('int64', 'bfloat16')
    """
    return str(dtype).removeprefix("torch.")


@functools.cache
def category(dtype: str) -> int:
    """Truth value, integer or floating number; raises `DtypeError` for what is none of them.

    >>> category("bool"), category("uint8"), category("bfloat16")
    (0, 1, 2)
    """
    if "complex" in dtype:
        raise DtypeError(f"{dtype}: operators from PyTorch compute in real numbers here.")
    return BOOL if dtype == "bool" else INTEGER if "int" in dtype else FLOATING


@functools.cache
def wider(x: str, y: str) -> str:
    """The dtype that two arrays of one rank share.

    >>> wider("int64", "float16"), wider("float16", "bfloat16"), wider("uint8", "int8")
    ('float16', 'float32', 'int16')
    """
    if category(x) != category(y):
        return max(x, y, key=category)
    if x == y:
        return x
    if {x, y} <= {"float16", "bfloat16"}:
        return "float32"
    if "bfloat16" in (x, y):
        return x if y == "bfloat16" else y
    return np.promote_types(x, y).name


def result_type(operands: Iterable[Any]) -> str:
    """The dtype that PyTorch computes in.

    >>> result_type([np.ones(2, "float32"), np.float64(1.0)]), result_type([np.ones(2, "int64"), 0.5])
    ('float32', 'float32')
    """
    ranks: list[str | None] = [None, None, None]
    for x in operands:
        rank, dtype = (0, NUMBERS[type(x)][1]) if type(x) in NUMBERS else (2 if x.shape else 1, name_of(x.dtype))
        found = ranks[rank]
        ranks[rank] = dtype if found is None else wider(found, dtype)
    low, middle, high = ranks
    best = high
    for lower in (middle, low):
        if lower is not None and (best is None or category(lower) > category(best)):
            best = lower
    return best or DEFAULT


def promoted(*operands: Any) -> Sequence[Any]:
    """The operands in the dtype that they share; numbers stay numbers, which every backend takes beside an array.

    >>> [x.dtype.name for x in promoted(np.ones(2, "int64"), np.ones(2, "float32"))]
    ['float32', 'float32']
    """
    dtypes = {name_of(x.dtype) for x in operands if type(x) not in NUMBERS}
    if len(dtypes) == 1:
        highest = max((NUMBERS[type(x)][0] for x in operands if type(x) in NUMBERS), default=BOOL)
        if highest <= category(next(iter(dtypes))):
            return operands
    dtype = result_type(operands)
    return [x if type(x) in NUMBERS else cast(x, dtype) for x in operands]


def cast(x: Array, dtype: Any) -> Array:
    """x in a dtype; where it is no floating one the value is a constant for derivatives."""
    dtype = name_of(dtype)
    if name_of(x.dtype) == dtype:
        return x
    if "64" in dtype and backend(type(plain(x))).name == "jax":
        from jax.dtypes import canonicalize_dtype

        dtype = canonicalize_dtype(dtype).name
        if name_of(x.dtype) == dtype:
            return x
    category(dtype)
    return xp.astype(x, dtype)


def floating(x: Any) -> Any:
    """x, or its integers or truth values as floating numbers."""
    return x if not is_array(x) or category(name_of(x.dtype)) == FLOATING else cast(x, DEFAULT)


def is_integral(x: Any) -> bool:
    """Whether x is, or holds, integers or truth values."""
    return type(x) in (int, bool) or (type(x) is not float and category(name_of(x.dtype)) < FLOATING)


def concrete(x: Array, what: str) -> np.ndarray:
    """The array in NumPy, for what depends on its values; raises `BackendError` where a compiled program has none."""
    x = plain(x)
    try:
        return np.asarray(backend(type(x)).to_numpy(x))
    except Exception as error:
        raise BackendError(f"{what}: its result's shape depends on values, which are not known here.") from error
