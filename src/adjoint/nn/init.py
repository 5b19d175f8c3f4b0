"""Initial values, drawn by NumPy so that every backend starts from the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_generator: np.random.Generator | None = None


def seed(value: int) -> None:
    """Seed the generator that modules draw from when they are given none.

    >>> import adjoint as aj
    >>> aj.seed(0)
    """
    global _generator
    _generator = np.random.default_rng(value)


def generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """The generator meant: itself, a new one from a seed, or the library's own for None.

    >>> import adjoint as aj
    >>> draw = aj.nn.init.generator(0)
    >>> aj.nn.init.generator(draw) is draw
    True
    """
    global _generator
    if rng is None:
        _generator = _generator or np.random.default_rng()
        return _generator
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def uniform(shape: tuple[int, ...], bound: float, rng: Any = None, dtype: Any = "float32") -> np.ndarray:
    """Independent entries, uniform in [-bound, bound].

    >>> import adjoint as aj
    >>> aj.nn.init.uniform((2, 3), bound=0.5, rng=0).shape
    (2, 3)
    """
    return generator(rng).uniform(-bound, bound, shape).astype(dtype)


def normal(shape: tuple[int, ...], std: float = 1.0, rng: Any = None, dtype: Any = "float32") -> np.ndarray:
    """Independent normal entries with mean 0 and standard deviation `std`.

    >>> import adjoint as aj
    >>> x = aj.nn.init.normal((10_000,), std=0.02, rng=0)
    >>> bool(0.019 < aj.std(x) < 0.021)
    True
    """
    return (std * generator(rng).standard_normal(shape)).astype(dtype)


def fan_in_bound(fan_in: int) -> float:
    """1/√fan_in, the bound of PyTorch's layers: Kaiming's uniform initialization with a = √5 (He et al. 2015).

    >>> import adjoint as aj
    >>> aj.nn.init.fan_in_bound(16)
    0.25
    """
    return 1.0 / math.sqrt(fan_in) if fan_in else 0.0
