"""Operands of samples: how arrays are drawn, away from kinks; odd, empty, broadcast, strided, scalar shapes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Factory = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Sample:
    """Operands of a function (arrays, made fresh for each use, numbers, None) and its options."""

    name: str
    index: int
    operands: tuple[Any, ...]
    options: dict[str, Any]

    def make(self, dtype: str = "float64") -> tuple[Any, ...]:
        """The operands, always the same numbers; they are exact in float32."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name} {self.index}".encode()))
        made = [x(rng) if callable(x) else x for x in self.operands]
        return tuple(x.astype("float32", order="K").astype(dtype, order="K") if floating(x) else x for x in made)

    def __str__(self) -> str:
        shapes = ",".join("x".join(map(str, np.shape(x))) or "_" for x in self.make())
        return f"{self.name}-{self.index}-{shapes}"


def floating(x: Any) -> bool:
    """Whether x is an array to differentiate in."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def s(*operands: Any, **options: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return operands, options


# Operands


def normal(*shape: int) -> Factory:
    return lambda rng: rng.normal(size=shape)


def positive(*shape: int) -> Factory:
    return lambda rng: rng.uniform(0.5, 2.0, shape)


def within(low: float, high: float, *shape: int) -> Factory:
    return lambda rng: rng.uniform(low, high, shape)


def signs(*shape: int) -> Factory:
    return lambda rng: rng.choice([-1.0, 1.0], shape)


def truth(*shape: int) -> Factory:
    return lambda rng: rng.random(shape) < 0.5


def integers(high: int, *shape: int) -> Factory:
    return lambda rng: rng.integers(0, high, shape)


def simplex(*shape: int, axis: int = -1) -> Factory:
    return lambda rng: (e := rng.exponential(size=shape) + 0.1) / e.sum(axis, keepdims=True)


def away(*kinks: float) -> Callable[..., Factory]:
    """Normal numbers that keep a distance of 0.1 from the kinks."""

    def of_shape(*shape: int) -> Factory:
        def make(rng: np.random.Generator) -> Any:
            x = rng.normal(size=shape) * 2.0
            for kink in kinks:
                x = np.where(np.abs(x - kink) < 0.1, kink + 0.15, x)
            return np.asarray(x)

        return make

    return of_shape


def strided(factory: Factory) -> Factory:
    """The same numbers with gaps in memory, in column-major order."""

    def make(rng: np.random.Generator) -> Any:
        x = np.asarray(factory(rng))
        wide = np.zeros((*x.shape[::-1], 2))
        wide[..., 0] = x.T
        return wide[..., 0].T

    return make


# Families


def unary(of_shape: Callable[..., Factory] = normal, **options: Any) -> list[Any]:
    shapes = [(), (5,), (1, 3), (0, 2)]
    return [s(of_shape(*shape), **options) for shape in shapes] + [s(strided(of_shape(3, 2)), **options)]


def binary(left: Callable[..., Factory] = normal, right: Callable[..., Factory] = normal) -> list[Any]:
    shapes = [((2, 3), (2, 3)), ((2, 1, 3), (4, 1)), ((), (3,)), ((0, 3), (1, 3)), ((1, 3), (3,))]
    pairs = [s(left(*a), right(*b)) for a, b in shapes]
    return [*pairs, s(left(3), 1.5), s(0.75, right(2, 2)), s(strided(left(3, 2)), right(2))]


def reduction(of_shape: Callable[..., Factory] = normal, empty: bool = True, **options: Any) -> list[Any]:
    axes = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}, {"axis": (1,), "keepdims": True}]
    samples = [s(of_shape(2, 3, 2), **axis, **options) for axis in axes]
    samples += [s(of_shape(4), axis=0, **options), s(strided(of_shape(3, 2)), axis=1, **options)]
    return samples + [s(of_shape(0, 3), axis=1, **options)] * empty


def matrices(*sizes: int, **options: Any) -> list[Any]:
    n, m = sizes
    return [s(normal(n, m), **options), s(normal(2, n, m), **options), s(strided(normal(n, m)), **options)]


def losses(left: Callable[..., Factory], right: Callable[..., Factory], *modes: str, **options: Any) -> list[Any]:
    samples = [s(left(3, 2), right(3, 2), reduction=mode, **options) for mode in ("mean", "sum", "none", *modes)]
    return [*samples, s(left(1, 3), right(1, 3), **options), s(left(0, 3), right(0, 3), reduction="sum", **options)]


def unit_interval(*shape: int) -> Factory:
    return within(0.1, 0.9, *shape)


def log_simplex(*shape: int) -> Factory:
    return lambda rng: np.log(simplex(*shape)(rng))


def above_one(*shape: int) -> Factory:
    return within(1.2, 3.0, *shape)


def inside(*shape: int) -> Factory:
    return within(-0.9, 0.9, *shape)


def apart(*shape: int) -> Factory:
    """Numbers no two of which are near each other, so that their order is sure."""

    def make(rng: np.random.Generator) -> Any:
        n = int(np.prod(shape))
        return (rng.permutation(n) + rng.uniform(-0.2, 0.2, n)).reshape(shape) / 3.0

    return make


def far(*shape: int) -> Factory:
    """Numbers near a half-integer grid shifted from `apart`'s, so that the two are never equal."""
    return lambda rng: np.asarray(rng.integers(-2, 3, shape) + 0.5 + rng.uniform(-0.1, 0.1, shape))


def whole(*shape: int) -> Factory:
    return lambda rng: np.asarray(rng.integers(-2, 3, shape) + rng.uniform(-0.1, 0.1, shape))
