"""Examples of attention's derivative in each of its operands."""

from __future__ import annotations

from typing import Any

import numpy as np

import adjoint as aj
from adjoint.maps import LinearMap
from adjoint.maps.attention import Attended
from tests.maps.examples.example import Example, columns

SEEN = np.array([[True, True, False, True], [False, True, True, True], [True, False, True, True]])


def softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def in_place(place: int, **options: Any) -> Any:
    def build(*operands: Any) -> LinearMap:
        return aj.Attention(Attended(*operands, places=(place,), **options), place)

    return build


def slope(place: int, scale: float = 1.0, softcap: float | None = None, seen: Any = None) -> Any:
    """The Jacobian entry by entry: p (ds - Σ p ds) V for a change of each entry."""

    def matrix(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any = 0.0) -> np.ndarray:
        s = scale * q @ k.swapaxes(-1, -2)
        cap = np.ones_like(s) if softcap is None else 1.0 / np.cosh(s / softcap) ** 2
        s = s if softcap is None else softcap * np.tanh(s / softcap)
        s = s + mask if seen is None else np.where(seen, s, -np.inf)
        p = softmax(s)

        def change(d: np.ndarray) -> np.ndarray:
            if place == 2:
                return p @ d
            if place == 3:
                ds = np.broadcast_to(d, s.shape)
            else:
                ds = scale * cap * (d @ k.swapaxes(-1, -2) if place == 0 else q @ d.swapaxes(-1, -2))
            return (p * (ds - (p * ds).sum(-1, keepdims=True))) @ v

        return columns(change, np.shape((q, k, v, mask)[place]))

    return matrix


SHAPES = ((2, 3, 2), (2, 4, 2), (2, 4, 3))
FLAT = ((3, 2), (4, 2), (4, 1))
EXAMPLES = [
    *(Example(aj.Attention, in_place(i, scale=0.7), SHAPES, slope(i, scale=0.7)) for i in range(3)),
    *(Example(aj.Attention, in_place(i, softcap=1.5), FLAT, slope(i, softcap=1.5)) for i in range(2)),
    Example(
        aj.Attention,
        lambda q, k, v: in_place(1)(q, k, v, aj.asarray(q, SEEN)),
        FLAT,
        slope(1, seen=SEEN),
    ),
    Example(aj.Attention, in_place(3), (*SHAPES, (2, 1, 4)), slope(3)),
]
