"""Examples of convolutions as maps; matrices from sums over the kernel written out in NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import adjoint as aj
from tests.maps.examples.example import Example, Shape, columns

ODD: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}


def convolved(
    x: np.ndarray, w: np.ndarray, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> np.ndarray:
    """The sum over the kernel, entry by entry, for x (N, C, *sizes) and numbers or a tuple an axis."""
    n = w.ndim - 2
    stride, padding, dilation = ((p,) * n if isinstance(p, int) else p for p in (stride, padding, dilation))
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    spans = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    positions = [(m - r) // s + 1 for m, r, s in zip(x.shape[2:], spans, stride, strict=True)]
    y = np.zeros((len(x), len(w), *positions))
    per, share = w.shape[1], len(w) // groups
    for o, c, *rest in itertools.product(*map(range, (len(w), per, *w.shape[2:], *positions))):
        k, t = rest[:n], rest[n:]
        seen = [a * s + b * d for a, s, b, d in zip(t, stride, k, dilation, strict=True)]
        y[(slice(None), o, *t)] += w[(o, c, *k)] * x[(slice(None), o // share * per + c, *seen)]
    return y


def matrix(shape: Shape, **options: Any) -> Any:
    return lambda w: columns(lambda x: convolved(x[None], w, **options)[0], shape)


def weighting(shape: Shape, **options: Any) -> Any:
    return lambda x: columns(lambda w: convolved(x, w, **options), shape)


def spreading(u: np.ndarray, shape: Shape, sizes: Shape, **options: Any) -> np.ndarray:
    """w ↦ x of ⟨convolved(x, w), u⟩: its entries are those sums at pairs of basis vectors."""
    channels = (len(u), shape[1] * options.get("groups", 1), *sizes)
    return columns(
        lambda w: (u.ravel() @ columns(lambda x: convolved(x, w, **options), channels)).reshape(channels), shape
    )


def unfolded(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, [(0, 0), (1, 1)])
    return np.stack([padded[c, k : k + 5 : 2] for c in range(2) for k in (0, 2)])


EXAMPLES: list[Example] = [
    Example(aj.Convolution, lambda w: aj.Convolution(w, (2, 6)), ((3, 2, 3),), matrix((2, 6))),
    Example(aj.Convolution, lambda w: aj.Convolution(w, (4, 4, 3), **ODD), ((2, 2, 3, 2),), matrix((4, 4, 3), **ODD)),
    Example(
        aj.Convolution,
        lambda w: aj.Convolution(w, (1, 3, 2, 2), padding=(1, 0, 1)),
        ((2, 1, 3, 2, 2),),
        matrix((1, 3, 2, 2), padding=(1, 0, 1)),
    ),
    Example(
        aj.ConvolutionTranspose,
        lambda w: aj.ConvolutionTranspose(aj.Convolution(w, (4, 4, 3), **ODD)),
        ((2, 2, 3, 2),),
        lambda w: matrix((4, 4, 3), **ODD)(w).T,
    ),
    Example(
        aj.ConvolutionWeighting,
        lambda x: aj.ConvolutionWeighting(x, (2, 2, 3, 2), **ODD),
        ((2, 4, 4, 3),),
        weighting((2, 2, 3, 2), **ODD),
    ),
    Example(
        aj.TransposedWeighting,
        lambda u: aj.TransposedWeighting(u, (2, 1, 2), (4,), padding=1, groups=2),
        ((2, 2, 5),),
        lambda u: spreading(u, (2, 1, 2), (4,), padding=1, groups=2),
    ),
    Example(
        aj.Unfold,
        lambda: aj.Unfold((2, 5), (2,), dilation=2, padding=1, stride=2),
        (),
        lambda: columns(unfolded, (2, 5)),
    ),
]
