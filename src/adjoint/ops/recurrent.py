"""Recurrent networks: what enters every step on one node, and one map along the sequence from there to the states.

So a network of any length is a handful of edges, backpropagation through time is one sweep whatever is differentiated,
and the gradient of the recurrent weight is one matrix product over all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays import recurrent
from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Composition
from adjoint.maps.layout import Broadcast, Roll, Slice
from adjoint.maps.matrices import Weighting
from adjoint.maps.recurrent import MEMORY, UNITS, Recurrence
from adjoint.ops.define import _register, highest, record, unwrapped
from adjoint.ops.layout import shape_of
from adjoint.ops.losses import as_like

Trace = Callable[..., tuple[Any, Recurrence, Sequence[LinearMap | None]]]


def through_time(fn: Any) -> Callable[[Trace], Any]:
    """Decorates trace(*operands, **options) -> (states, the map along the sequence, one map an operand into it)."""

    def with_trace(trace: Trace) -> Any:
        def traced(*operands: Any, **options: Any) -> Any:
            tape = highest(operands[: fn.arity])
            states, solve, entries = trace(*unwrapped(operands, tape, fn.arity), **options)
            return record(tape, states, (record(tape, None, operands, entries),), (solve,))

        return _register(fn, traced)

    return with_trace


class Entry:
    """Where operands enter: rows of e (steps + 1, n, width)."""

    def __init__(self, a: Any, width: int) -> None:
        self.shape = (a.shape[0] + 1, a.shape[1], width)

    def first(self, state: Any) -> LinearMap:
        """The first state in row 0."""
        return Slice((0, slice(None), slice(0, state.shape[-1])), self.shape).T

    def steps(self, start: int, stop: int) -> LinearMap:
        """What enters the steps, in the columns from start to stop."""
        return Slice((slice(1, None), slice(None), slice(start, stop)), self.shape).T


def before(states: Any, first: Any, reverse: bool) -> Any:
    """The state that every step started from."""
    first = xp.expand_dims(first, 0)
    return xp.concatenate([states[1:], first] if reverse else [first, states[:-1]])


def kept(mask: Any, like: Any) -> Any:
    """1 where the mask is false and the state stays what it was, 0 elsewhere."""
    return None if mask is None else xp.astype(xp.logical_not(mask), like.dtype)


def active(mask: Any, slopes: Any, otherwise: float = 0.0) -> Any:
    """The slopes where the mask is true."""
    return slopes if mask is None else xp.where(mask, slopes, otherwise)


@through_time(xp.rnn_states)
def rnn_states(
    a: Any, h0: Any, weight: Any, mask: Any = None, nonlinearity: str = "tanh", reverse: bool = False
) -> Any:
    """Slopes φ' of every step, from its state."""
    h = xp.rnn_states(a, h0, weight, mask, nonlinearity=nonlinearity, reverse=reverse)

    def coefficients() -> Any:
        k = 1.0 - xp.square(h) if nonlinearity == "tanh" else xp.astype(xp.greater(h, 0.0), h.dtype)
        return active(mask, k), kept(mask, h)

    size = h.shape[-1]
    entry = Entry(a, size)
    solve = Recurrence(UNITS, coefficients, (weight,), entry.shape, shape_of(h), reverse)
    steps = entry.steps(0, size)
    weighting = Weighting(before(h, h0, reverse), shape_of(weight))
    return h, solve, (steps, entry.first(h0), Composition([steps, weighting]))


@through_time(xp.gru_states)
def gru_states(a: Any, h0: Any, weight: Any, bias: Any = None, mask: Any = None, reverse: bool = False) -> Any:
    """What enters is ordered m, r, z, n: the recurrent product, rolled by one gate, is the first three of it."""
    _, h, gates = recurrent.scan(recurrent.gru_step, h0, [a, mask], [weight, bias], reverse)
    size = h.shape[-1]
    past = before(h, h0, reverse)

    def coefficients() -> Any:
        r, z, n, m = xp.split(gates, 4, -1)
        in_n = (1.0 - z) * (1.0 - xp.square(n))
        k = xp.concatenate([in_n * r, in_n * m * r * (1.0 - r), (past - n) * z * (1.0 - z), in_n], -1)
        return active(mask, k), active(mask, z, 1.0)

    entry = Entry(a, 4 * size)
    solve = Recurrence(UNITS, coefficients, (xp.roll(weight, size, 0),), entry.shape, shape_of(h), reverse)
    products = entry.steps(0, 3 * size)
    in_weight = Composition([products, Weighting(past, shape_of(weight)), Roll(size, -2, shape_of(weight))])
    maps = [entry.steps(size, 4 * size), entry.first(h0), in_weight]
    if bias is not None:
        maps.append(Composition([products, Broadcast((3 * size,), shape_of(a)), Roll(size, -1, (3 * size,))]))
    return as_like(h, h0), solve, maps


@through_time(xp.lstm_states)
def lstm_states(
    a: Any, state: Any, weight: Any, projection: Any = None, mask: Any = None, reverse: bool = False
) -> Any:
    """What enters is the four gates and, where h is projected, the projection."""
    _, s, gates = recurrent.scan(recurrent.lstm_step, state, [a, mask], [weight, projection], reverse)
    size = a.shape[-1] // 4
    out = s.shape[-1] - size
    past = before(s, state, reverse)
    o = gates[..., 3 * size :]

    def coefficients() -> Any:
        i, f, g, _ = xp.split(gates, 4, -1)
        tanh = xp.tanh(s[..., out:])
        k = [g * i * (1.0 - i), past[..., out:] * f * (1.0 - f), i * (1.0 - xp.square(g)), tanh * o * (1.0 - o)]
        slope = o * (1.0 - xp.square(tanh))
        return active(mask, xp.concatenate(k, -1)), active(mask, f, 1.0), active(mask, slope), kept(mask, s)

    entry = Entry(a, 4 * size if projection is None else 4 * size + out)
    solve = Recurrence(MEMORY, coefficients, (weight, projection), entry.shape, shape_of(s), reverse)
    steps = entry.steps(0, 4 * size)
    maps = [steps, entry.first(state), Composition([steps, Weighting(past[..., :out], shape_of(weight))])]
    if projection is not None:
        hidden = o * xp.tanh(s[..., out:])
        into = entry.steps(4 * size, 4 * size + out)
        maps.append(Composition([into, Weighting(hidden, shape_of(projection))]))
    return as_like(s, state), solve, maps
