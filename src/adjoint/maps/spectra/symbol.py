"""Convolutions on a torus: at every frequency a small matrix, the symbol, and together these have all the values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from adjoint.maps.spectra.gram import of_gram
from adjoint.maps.spectra.spectrum import EPSILON, svd_error

BLOCK = 1 << 17  # complex numbers of symbols that are held at a time, or one matrix where that has more
GRAM_SIZE = 16  # shorter side above which the Gram matrices of a stack take less time than its decompositions


class Symbol:
    """The symbol of convolutions with weights of a shape (O, C/groups, *kernel), of inputs around which a torus closes.

    The torus has `positions` · `stride` points on every axis. By its remainders modulo the stride an input falls into
    phases, of which the convolution is one of stride 1, y[t] = Σ W[p, j] xₚ[t + j]. At a frequency f of the `positions`
    it is therefore the matrix S(f) = [Σⱼ W[p, j] exp(2πi f·j)]ₚ, (O, C · phases) for every group, and the singular
    values of S(f) at all f are those of the map (Sedghi, Gupta & Long 2018, for stride 1). S(-f) is the conjugate of
    S(f): half of them are computed, the others counted.

    `shape` is that of a matrix: phases that the kernel never meets are left out. `span` is how far taps of one phase
    lie apart on each axis; where that is 0 the values do not depend on f, and one matrix stands for all. `overlap` is
    how many outputs of a channel an entry of the input goes into at most.

    >>> s = Symbol((1, 1, 3), (4,), (1,), (1,))
    >>> values, _, counts = s.values(np.ones((1, 1, 3)))
    >>> s.count, values.round(6).ravel().tolist(), counts.tolist()
    (3, [3.0, 1.0, 1.0], [1, 1, 2])
    """

    def __init__(
        self, weight: Sequence[int], positions: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
        groups: int = 1,
    ) -> None:  # fmt: skip
        out, per, *kernel = weight
        self.groups, self.positions = groups, tuple(positions)
        self._phases, self.span = phases(kernel, stride, dilation)
        self.shape = out // groups, per * len(self._phases)
        self.overlap = max(len(taps) for taps, _ in self._phases)
        self._grid = tuple(n if far else 1 for n, far in zip(positions, self.span, strict=True))
        self._copies = math.prod(positions) // math.prod(self._grid)
        places = np.arange(math.prod(self._grid)).reshape(self._grid)
        axes = tuple(range(len(self._grid)))
        mirrored = np.roll(np.flip(places, axes), 1, axes)
        self._real, self._paired = places[places == mirrored], places[places < mirrored]

    @property
    def count(self) -> int:
        """How many matrices are computed, one for a frequency and group."""
        return (len(self._real) + len(self._paired)) * self.groups

    @property
    def between(self) -> float:
        """How many times the largest value of the torus the values at all other frequencies are at most.

        Along an axis of n positions uᵀ S(f) v is, but for a phase, a trigonometric polynomial of degree span/2. Around
        its largest value it falls no faster than a cosine of that degree (M. Riesz), and the nearest of the n
        frequencies is at most half a step away: 1/cos(π span / 2n) for each axis.

        >>> round(Symbol((1, 1, 3, 3), (32, 32), (1, 1), (1, 1)).between, 4)
        1.0097
        """
        pairs = list(zip(self.span, self._grid, strict=True))
        if any(span >= n for span, n in pairs):
            return math.inf
        return math.prod(1.0 / math.cos(0.5 * math.pi * span / n) for span, n in pairs)

    def values(
        self, weight: np.ndarray, narrow: bool = False, stop: Callable[[], None] = lambda: None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(singular values, their error bounds, how often each row counts), the first two (matrices, min(shape)).

        `narrow` says that the weight's numbers have 32 bits or fewer, for which Gram matrices in float64 serve. `stop`
        is called between matrices, and may raise.
        """
        taps = weight.reshape(*weight.shape[:2], -1)
        total, top = taps.shape[-1], max(float(np.max(taps)), -float(np.min(taps)))
        sizes = [float(np.sum((one.astype(np.float64) / top) ** 2)) for one in taps] if top else [0.0]
        rounding = EPSILON * (total + 2.0) * math.sqrt(total) * top * math.sqrt(sum(sizes))
        found: list[tuple[np.ndarray, np.ndarray, int]] = []
        for frequencies, copies in ((self._real, 1), (self._paired, 2)):
            for matrices in self._stacks(taps, frequencies, copies == 1):
                stop()
                values, bound = _decomposed(matrices, narrow)
                found.append((values, bound + rounding, copies * self._copies))
        counts = np.concatenate([np.full(len(x[0]), x[2]) for x in found])
        return np.concatenate([x[0] for x in found]), np.concatenate([x[1] for x in found]), counts

    def _stacks(self, weight: np.ndarray, frequencies: np.ndarray, real: bool) -> Iterator[np.ndarray]:
        """The matrices (…, *shape) at some frequencies, a stack of few at a time."""
        rows, per = self.shape[0], weight.shape[1]
        step = max(1, BLOCK // max(math.prod(self.shape), self.overlap))
        at = np.stack(np.unravel_index(frequencies, self._grid), -1)
        for group, start in itertools.product(range(self.groups), range(0, len(at), step)):
            f = at[start : start + step]
            stack = np.empty((len(f), *self.shape), np.float64 if real else np.complex128)
            panel = max(1, BLOCK // (per * weight.shape[-1]))
            for top in range(0, rows, panel):
                taps = weight[group * rows + top : group * rows + min(top + panel, rows)].astype(np.float64)
                for k, (chosen, offsets) in enumerate(self._phases):
                    # whole turns are taken off before anything is rounded
                    turns = sum((np.outer(f[:, i], offsets[:, i]) % n) / n for i, n in enumerate(self._grid))
                    part = np.moveaxis(taps[..., chosen], -1, 0).reshape(len(chosen), -1)
                    goal = stack[:, top : top + len(taps), k * per : (k + 1) * per]
                    goal.real = (np.cos(2.0 * np.pi * turns) @ part).reshape(goal.shape)
                    if not real:
                        goal.imag = (np.sin(2.0 * np.pi * turns) @ part).reshape(goal.shape)
            yield stack


def _decomposed(matrices: np.ndarray, narrow: bool) -> tuple[np.ndarray, np.ndarray]:
    """(values, bounds) of a stack."""
    a, b = matrices.shape[-2:]
    if not narrow or min(a, b) <= GRAM_SIZE:
        values = np.linalg.svd(matrices, compute_uv=False)
        return values, svd_error((a, b), values)
    wide = matrices if a <= b else np.swapaxes(matrices, -1, -2)
    return of_gram(wide @ np.swapaxes(wide.conj(), -1, -2), 2 * max(a, b))  # a complex product is a sum of two


def phases(
    kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[int, ...]]:
    """(the flat places of a phase's taps and their offsets (taps, axes), for each phase that is met; the spans).

    An offset is counted from the phase's first tap: a shift of a phase changes no singular value.

    >>> found, span = phases((3,), (2,), (1,))
    >>> [(taps.tolist(), offsets.ravel().tolist()) for taps, offsets in found], span
    ([([0, 2], [0, 1]), ([1], [0])], (1,))
    """
    axes: list[list[tuple[np.ndarray, np.ndarray]]] = []
    for k, s, d in zip(kernel, stride, dilation, strict=True):
        remainder, quotient = np.arange(k) * d % s, np.arange(k) * d // s
        taps = [np.flatnonzero(remainder == p) for p in np.unique(remainder)]
        axes.append([(x, quotient[x] - quotient[x[0]]) for x in taps])
    found = []
    for phase in itertools.product(*axes):
        places = np.meshgrid(*(taps for taps, _ in phase), indexing="ij")
        offsets = np.meshgrid(*(far for _, far in phase), indexing="ij")
        flat = np.ravel_multi_index([x.ravel() for x in places], tuple(kernel))
        found.append((flat, np.stack([x.ravel() for x in offsets], -1)))
    return found, tuple(max(int(far[-1]) for _, far in axis) for axis in axes)
