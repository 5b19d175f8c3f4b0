"""New arrays. Every entry takes in front an array of the backend on which the new one is to lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.interop.aten.promotion import DEFAULT, NUMBERS, cast, name_of
from adjoint.ops.define import plain

Entry = Callable[..., Any]


def _known(dtype: Any, value: Any = 0.0) -> str:
    """The dtype said, or that of a number."""
    return name_of(dtype) if dtype else NUMBERS[type(value)][1]


def full(like: Array, size: Sequence[int], fill_value: Any, dtype: Any = None) -> Array:
    """One value everywhere."""
    if type(fill_value) in NUMBERS:
        return _filled(like, size, fill_value, _known(dtype, fill_value))
    return xp.broadcast_to(cast(fill_value, dtype or name_of(fill_value.dtype)), tuple(size))


def _filled(like: Array, size: Sequence[int], value: Any, dtype: str) -> Array:
    return cast(xp.broadcast_to(xp.asarray(plain(like), _numpy(value, dtype)), tuple(size)), dtype)


def _numpy(value: Any, dtype: str) -> np.ndarray:
    """A number, or NumPy's array, in a dtype that NumPy may not have."""
    return np.asarray(value, "float32" if dtype == "bfloat16" else dtype)


def _arange(like: Array, *bounds: Any, dtype: Any = None) -> Array:
    dtype = name_of(dtype) if dtype else DEFAULT if any(type(b) is float for b in bounds) else "int64"
    start, end, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    steps = np.arange(math.ceil((end - start) / step))
    values = start + step * steps if "int" in dtype else np.float64(start) + np.float64(step) * steps
    return cast(xp.asarray(plain(like), _numpy(values, dtype)), dtype)


def _linspace(like: Array, start: Any, end: Any, steps: int, dtype: Any = None) -> Array:
    dtype = name_of(dtype or DEFAULT)
    return cast(xp.asarray(plain(like), _numpy(np.linspace(start, end, steps), dtype)), dtype)


def _eye(like: Array, n: int, m: int | None = None, dtype: Any = None) -> Array:
    return cast(
        xp.asarray(plain(like), np.eye(n, m, dtype=_numpy(0, name_of(dtype or DEFAULT)).dtype)), dtype or DEFAULT
    )


def _triangle(f: Callable[..., Any]) -> Entry:
    return lambda like, row, col, offset=0, dtype=None: cast(
        xp.asarray(plain(like), np.stack(f(row, offset, col))), dtype or "int64"
    )


CREATION: dict[str, Entry] = {
    "full": full,
    "zeros": lambda like, size, dtype=None: _filled(like, size, 0, _known(dtype)),
    "ones": lambda like, size, dtype=None: _filled(like, size, 1, _known(dtype)),
    "empty": lambda like, size, dtype=None: _filled(like, size, 0, _known(dtype)),
    "empty_strided": lambda like, size, stride, dtype=None: _filled(like, size, 0, _known(dtype)),
    "empty_permuted": lambda like, size, physical_layout, dtype=None: _filled(like, size, 0, _known(dtype)),
    "scalar_tensor": lambda like, s, dtype=None: _filled(like, (), s, _known(dtype)),
    "arange": _arange,
    "linspace": _linspace,
    "eye": _eye,
    "tril_indices": _triangle(np.tril_indices),
    "triu_indices": _triangle(np.triu_indices),
}


def _like(value: Any) -> Entry:
    def entry(self: Array, dtype: Any = None) -> Array:
        return _filled(self, self.shape, value, name_of(dtype or self.dtype))

    return entry


def _new(value: Any) -> Entry:
    def entry(self: Array, size: Sequence[int], dtype: Any = None) -> Array:
        return _filled(self, size, value, name_of(dtype or self.dtype))

    return entry


def _full_like(self: Array, fill_value: Any, dtype: Any = None) -> Array:
    return full(self, self.shape, fill_value, dtype or name_of(self.dtype))


LIKE: dict[str, Entry] = {
    "zeros_like": _like(0),
    "ones_like": _like(1),
    "empty_like": _like(0),
    "full_like": _full_like,
    "fill": lambda self, value: full(self, self.shape, value, name_of(self.dtype)),
    "zero": _like(0),
    "new_zeros": _new(0),
    "new_ones": _new(1),
    "new_empty": _new(0),
    "new_empty_strided": lambda self, size, stride, dtype=None: _new(0)(self, size, dtype),
    "new_full": lambda self, size, fill_value, dtype=None: full(self, size, fill_value, dtype or name_of(self.dtype)),
}

RANDOM = frozenset({
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "normal",
    "normal_functional", "uniform", "exponential", "cauchy", "log_normal", "geometric", "random", "multinomial",
    "poisson", "dropout", "native_dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
    "rrelu_with_noise_functional",
})  # fmt: skip
