"""Initial values, drawn by NumPy so that every backend starts from the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_generator = np.random.default_rng()


def seed(value: int) -> None:
    """Seed the generator that modules draw from when they are given none.

    >>> import adjoint as aj
    >>> aj.seed(0)
    """
    global _generator
    _generator = np.random.default_rng(value)


def generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """The generator meant: itself, a new one from a seed, or the library's own for None."""
    if rng is None:
        return _generator
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def uniform(shape: tuple[int, ...], bound: float, rng: Any = None, dtype: Any = "float32") -> np.ndarray:
    """Independent entries, uniform in [-bound, bound]."""
    return generator(rng).uniform(-bound, bound, shape).astype(dtype)


def normal(shape: tuple[int, ...], std: float = 1.0, rng: Any = None, dtype: Any = "float32") -> np.ndarray:
    """Independent normal entries with mean 0 and standard deviation `std`."""
    return (std * generator(rng).standard_normal(shape)).astype(dtype)


def fan_in_bound(fan_in: int) -> float:
    """1/√fan_in, the bound of PyTorch's layers: Kaiming's uniform initialization with a = √5 (He et al. 2015)."""
    return 1.0 / math.sqrt(fan_in) if fan_in else 0.0
