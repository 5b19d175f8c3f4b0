"""The seam's loss of sequences that are not aligned: connectionist temporal classification (Graves et al. 2006)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint.arrays import elementwise as el
from adjoint.arrays import piecewise as pw
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.layout import (
    astype,
    broadcast_to,
    concatenate,
    expand_dims,
    full,
    put_along,
    reshape,
    squeeze,
    stack,
    take,
    take_along,
)
from adjoint.arrays.losses import beside, reduced
from adjoint.arrays.recurrent import scan
from adjoint.arrays.reductions import cumulative_sum, logsumexp, sum
from adjoint.errors import ShapeError

NEVER = -1e30  # the logarithm of a probability of 0, in arithmetic without NaN


@composition
def ctc_loss(
    log_probs: Array,
    /,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    """-log Σ P(way) over all ways to say the target in T steps, repeating and with blanks between (Graves et al. 2006).

    log_probs (T, n, C) or (T, C), as of `log_softmax`; targets integers (n, S), padded, or all on one axis; lengths n
    numbers each. Losses are -log probabilities in nats, infinite where the input is too short, or 0 there with
    `zero_infinity`. "mean" divides each by its target's length first, as PyTorch's. The gradient is the true one;
    PyTorch's adds what `log_softmax` takes away again. Raises `ShapeError` where shapes do not fit.

    >>> import numpy as np, adjoint as aj
    >>> log_probs = np.log(np.full((2, 1, 2), 0.5))  # three of four ways of two steps say "1": 11, 01, 10
    >>> float(np.exp(-aj.ctc_loss(log_probs, np.array([[1]]), [2], [1])))
    0.75
    """
    ways = _Ways(log_probs, targets, input_lengths, target_lengths, blank)
    losses = ways.losses(ways.reached()[0], zero_infinity)
    if reduction == "mean":
        return sum(losses * ways.share())
    return reduced(losses, reduction)


@composition
def ctc_residual(
    log_probs: Array,
    /,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Any:
    """(losses, their derivatives in log_probs, the share of each in a mean): forwards and backwards over the ways."""
    ways = _Ways(log_probs, targets, input_lengths, target_lengths, blank)
    total, before = ways.reached()
    return ways.losses(total, zero_infinity), ways.derivative(total, before, zero_infinity), ways.share()


class _Ways:
    """The ways through the places blank, first symbol, blank, second symbol, …, blank: stay, go on, or skip a blank."""

    def __init__(self, log_probs: Array, targets: Any, input_lengths: Any, target_lengths: Any, blank: int) -> None:
        self.batched = len(log_probs.shape) == 3
        self.log_probs = log_probs if self.batched else expand_dims(log_probs, 1)
        steps, n, self.classes = self.log_probs.shape
        self.lengths, self.sizes = (
            reshape(beside(log_probs, lengths), (-1,)) for lengths in (input_lengths, target_lengths)
        )
        targets = _padded(beside(log_probs, targets), target_lengths, self.sizes, n if self.batched else None, steps)
        if not 0 <= blank < self.classes:
            raise ShapeError(f"ctc_loss: blank={blank} is none of the {self.classes} classes of log_probs.")
        if tuple(self.lengths.shape) != (n,) or tuple(self.sizes.shape) != (n,) or targets.shape[0] != n:
            raise ShapeError(
                f"ctc_loss: log_probs {tuple(log_probs.shape)} are {n} sequences and need as many targets and lengths, "
                f"not targets {tuple(targets.shape)}, {self.lengths.shape[0]} and {self.sizes.shape[0]} lengths."
            )
        blanks = el.where(pw.equal(targets, targets), blank, targets)
        pairs = reshape(stack([blanks, targets], -1), (n, -1))
        self.places = concatenate([pairs, broadcast_to(beside(targets, np.full((1, 1), blank)), (n, 1))], 1)
        width = self.places.shape[1]
        self.emitted = el.maximum(take_along(self.log_probs, expand_dims(self.places, 0), -1), NEVER)
        before = concatenate([self.places[:, :2], self.places[:, :-2]], 1)[:, :width]
        fresh = pw.logical_and(pw.not_equal(self.places, blank), pw.not_equal(self.places, before))
        self.skip = astype(el.where(fresh, 0.0, NEVER), self.emitted.dtype)
        position = beside(log_probs, np.arange(width))[None]
        ends = expand_dims(2 * self.sizes, 1)
        self.last = pw.logical_or(pw.equal(position, ends), pw.equal(position, ends - 1))
        self.first = astype(el.where(pw.equal(position, 0), 0.0, NEVER), self.emitted.dtype)
        time = beside(log_probs, np.arange(steps))[:, None]
        self.running = astype(expand_dims(pw.less(time, self.lengths[None]), -1), self.emitted.dtype)

    def reached(self) -> tuple[Array, Array]:
        """Log-probabilities: of the target (n,), and to be at each place after each step (T, n, places)."""
        start = broadcast_to(self.first, tuple(self.places.shape))
        if not self.log_probs.shape[0]:
            return logsumexp(el.where(self.last, start, NEVER), 1), self.emitted
        end, after = scan(_onwards, start, [self.emitted, self.running], [self.skip])
        return logsumexp(el.where(self.last, end, NEVER), 1), after

    def losses(self, total: Array, zero_infinity: bool) -> Array:
        """-log P, with what cannot be said at all infinite, or 0."""
        losses = el.where(pw.less(total, 0.5 * NEVER), 0.0 if zero_infinity else math.inf, -total)
        return losses if self.batched else squeeze(losses, 0)

    def derivative(self, total: Array, after: Array, zero_infinity: bool) -> Array:
        """-P(place at a time | the target was said), added up for each symbol; NaN where it cannot be said."""
        n = self.places.shape[0]
        if not self.log_probs.shape[0]:
            return self.log_probs if self.batched else squeeze(self.log_probs, 1)
        end = astype(el.where(self.last, 0.0, NEVER), self.emitted.dtype)
        none = full(self.skip, (n, 2), NEVER)
        ahead = concatenate([self.skip, none], 1)[:, 2:]
        _, before = scan(_backwards, end, [self.emitted, self.running], [ahead], reverse=True)
        possible = pw.greater(total, 0.5 * NEVER)[:, None]
        exponent = el.minimum(after + before - el.where(possible, total[:, None], 0.0), 0.0)
        chances = el.where(possible, el.exp(exponent), 0.0 if zero_infinity else math.nan)
        chances = el.where(pw.greater(self.running, 0.0), chances, 0.0)
        places = broadcast_to(expand_dims(self.places, 0), tuple(chances.shape))
        found = -put_along(chances, places, -1, self.classes)
        return found if self.batched else squeeze(found, 1)

    def share(self) -> Array:
        """What each loss is of the mean: one over its target's length and over their number."""
        sizes = astype(el.maximum(self.sizes, 1), self.emitted.dtype)
        share = 1.0 / (sizes * float(max(1, self.sizes.shape[0])))
        return share if self.batched else squeeze(share, 0)


def _moved(x: Array, by: int) -> Array:
    """Columns moved to the right, or to the left, what comes in being impossible."""
    none = full(x, (x.shape[0], abs(by)), NEVER)
    return concatenate([none, x], 1)[:, : x.shape[1]] if by > 0 else concatenate([x, none], 1)[:, -by:]


def _onwards(at: Array, emitted: Array, running: Array, skip: Array) -> tuple[Array, Array]:
    came = el.logaddexp(el.logaddexp(at, _moved(at, 1)), _moved(at, 2) + skip)
    new = el.where(pw.greater(running, 0.0), came + emitted, at)
    return new, new


def _backwards(to: Array, emitted: Array, running: Array, ahead: Array) -> tuple[Array, Array]:
    goes = to + emitted
    came = el.logaddexp(el.logaddexp(goes, _moved(goes, -1)), _moved(goes, -2) + ahead)
    return el.where(pw.greater(running, 0.0), came, to), to


def _padded(targets: Array, given: Any, sizes: Array, n: int | None, steps: int) -> Array:
    """Targets (n, S); those on one axis, one after another, cut up. What is longer than the steps cannot be said."""
    if len(targets.shape) == 2:
        return targets
    if n is None:
        return expand_dims(targets, 0)
    total = targets.shape[0]
    if not total:
        return full(targets, (n, 0), 0)
    longest = max(given, default=0) if isinstance(given, (list, tuple)) else min(total, steps)
    starts = expand_dims(cumulative_sum(sizes, 0) - sizes, 1)
    return take(targets, el.minimum(starts + beside(targets, np.arange(longest)), total - 1))
