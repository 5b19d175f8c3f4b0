"""The seam's recurrent networks: a state that is carried along a sequence, time on the first axis."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from adjoint.arrays import elementwise as el
from adjoint.arrays.activations import relu, sigmoid
from adjoint.arrays.dispatch import Array, composition
from adjoint.arrays.layout import concatenate, reshape
from adjoint.arrays.products import linear

Step = Callable[..., tuple[Array, ...]]


@composition
def scan_apply(arrays: Sequence[Array | None], /, step: Step, held: int = 0, reverse: bool = False) -> Any:
    """`scan` with the carry, the sequences and the held arrays as one sequence."""
    carry, *rest = arrays
    sequences, constants = rest[: len(rest) - held], rest[len(rest) - held :]
    length = sequences[0].shape[0]  # type: ignore[union-attr]
    found: list[tuple[Array, ...]] = []
    for t in reversed(range(length)) if reverse else range(length):
        carry, *y = step(carry, *[x if x is None else x[t] for x in sequences], *constants)
        found.append(tuple(y))
    if reverse:
        found.reverse()
    return (carry, *[_joined(ys) for ys in zip(*found, strict=True)])


def _joined(ys: Sequence[Array]) -> Array:
    return reshape(concatenate(list(ys), 0), (len(ys), *ys[0].shape))


def scan(
    step: Step,
    carry: Array,
    sequences: Sequence[Array | None],
    held: Sequence[Array | None] = (),
    reverse: bool = False,
) -> Any:
    """(last carry, outputs …): carry, *y = step(carry, *xₜ, *held) for every t along the sequences' first axis.

    Time runs backwards with `reverse`; outputs stand at their own t all the same. Sequences and held arrays may be
    None. `step` is a function that lasts (no lambda made anew), so that JAX compiles it once.

    >>> import numpy as np
    >>> total, sums = scan(lambda s, x: (s + x, s + x), np.zeros(1), [np.array([[1.0], [2.0], [4.0]])])
    >>> total.tolist(), sums[:, 0].tolist()
    ([7.0], [1.0, 3.0, 7.0])
    """
    return scan_apply([carry, *sequences, *held], step=step, held=len(held), reverse=reverse)


# Elman's network: h ← φ(a + W h)


@functools.cache
def rnn_step(nonlinearity: str) -> Step:
    """The step of a plain network with that nonlinearity."""
    activation = {"tanh": el.tanh, "relu": relu}[nonlinearity]

    def step(h: Array, a: Array, mask: Array | None, weight: Array) -> tuple[Array, ...]:
        new = unless(mask, activation(a + linear(h, weight)), h)
        return new, new

    return step


@composition
def rnn_states(
    a: Array, h0: Array, weight: Array, mask: Array | None = None, /, nonlinearity: str = "tanh", reverse: bool = False
) -> Array:
    """States hₜ = φ(aₜ + W hₜ₋₁) of projected inputs a (T, n, H): (T, n, H) from h0 (n, H), W (H, H) (Elman 1990).

    Where mask (T, n, 1) is false the state stays what it was. φ is "tanh" or "relu".
    """
    return scan(rnn_step(nonlinearity), h0, [a, mask], [weight], reverse)[1]


# Gated recurrent units


def gru_step(h: Array, a: Array, mask: Array | None, weight: Array, bias: Array | None) -> tuple[Array, ...]:
    """(state, state, gates): gates are r, z, n and the part m = Wₙ h + bₙ of n that r acts on, side by side."""
    size = h.shape[-1]
    q = linear(h, weight, bias)
    rz = sigmoid(a[..., : 2 * size] + q[..., : 2 * size])
    r, z, m = rz[..., :size], rz[..., size:], q[..., 2 * size :]
    n = el.tanh(a[..., 2 * size :] + r * m)
    new = unless(mask, n + z * (h - n), h)
    return new, new, concatenate([rz, n, m], -1)


def gru_state_step(h: Array, *operands: Any) -> tuple[Array, ...]:
    """`gru_step` without its gates."""
    return gru_step(h, *operands)[:2]


@composition
def gru_states(
    a: Array, h0: Array, weight: Array, bias: Array | None = None, mask: Array | None = None, /, reverse: bool = False
) -> Array:
    """States of gated recurrent units (Cho et al. 2014), PyTorch's form: h ← (1 - z) n + z h.

    r, z = σ(a + W h + b), n = tanh(aₙ + r (Wₙ h + bₙ)); a (T, n, 3H), h0 (n, H), W (3H, H) and b (3H,) in the order
    r, z, n; result (T, n, H). Where mask (T, n, 1) is false the state stays what it was.
    """
    return scan(gru_state_step, h0, [a, mask], [weight, bias], reverse)[1]


# Long short-term memory


def lstm_step(state: Array, a: Array, mask: Array | None, weight: Array, projection: Array | None) -> tuple[Array, ...]:
    """(state, state, gates): the state is h and c, the gates i, f, g and o, side by side."""
    size = a.shape[-1] // 4
    out = state.shape[-1] - size
    c = state[..., out:]
    z = a + linear(state[..., :out], weight)
    i_f, g, o = sigmoid(z[..., : 2 * size]), el.tanh(z[..., 2 * size : 3 * size]), sigmoid(z[..., 3 * size :])
    c = i_f[..., size:] * c + i_f[..., :size] * g
    h = o * el.tanh(c)
    new = unless(mask, concatenate([h if projection is None else linear(h, projection), c], -1), state)
    return new, new, concatenate([i_f, g, o], -1)


def lstm_state_step(state: Array, *operands: Any) -> tuple[Array, ...]:
    """`lstm_step` without its gates."""
    return lstm_step(state, *operands)[:2]


@composition
def lstm_states(
    a: Array,
    state: Array,
    weight: Array,
    projection: Array | None = None,
    mask: Array | None = None,
    /,
    reverse: bool = False,
) -> Array:
    """States h, c side by side of long short-term memory (Hochreiter & Schmidhuber 1997): (T, n, P + H).

    i, f, o = σ(a + W h), g = tanh(a + W h), c ← f c + i g, h ← o tanh c, or its projection R h (Sak et al. 2014);
    a (T, n, 4H) and W (4H, P) in the order i, f, g, o, first state (n, P + H), R (P, H) or None: then P = H. Where mask
    (T, n, 1) is false the state stays what it was.
    """
    return scan(lstm_state_step, state, [a, mask], [weight, projection], reverse)[1]


def unless(mask: Array | None, new: Array, old: Array) -> Array:
    """The new state; the old one where the mask is false."""
    return new if mask is None else el.where(mask, new, old)


# The derivative of a step, in both directions; coefficients as `adjoint.ops.recurrent` makes them


def units_push(ds: Array, e: Array, k: Array, z: Array | None, weight: Array) -> tuple[Array, ...]:
    """A perturbation e of what enters the units, and the state's ds, to the next state's: Σ k (e + W ds) + z ds."""
    size, gates = ds.shape[-1], weight.shape[-2]
    q = linear(ds, weight)
    e = e + q if gates == e.shape[-1] else concatenate([e[..., :gates] + q, e[..., gates:]], -1)
    e = k * e
    new = e[..., :size]
    for j in range(1, e.shape[-1] // size):
        new = new + e[..., j * size : (j + 1) * size]
    new = new if z is None else new + z * ds
    return new, new


def units_pull(c: Array, u: Array, k: Array, z: Array | None, weight: Array) -> tuple[Array, ...]:
    """The adjoint: cotangents of the next state and of this step's output to the state's, and to those of e."""
    c = c + u
    blocks = k.shape[-1] // c.shape[-1]
    e = k * (c if blocks == 1 else concatenate([c] * blocks, -1))
    gates = weight.shape[-2]
    before = (e if gates == e.shape[-1] else e[..., :gates]) @ weight
    return before if z is None else before + z * c, e


def memory_push(
    ds: Array, e: Array, k: Array, f: Array, d: Array, keep: Array | None, weight: Array, projection: Array | None
) -> tuple[Array, ...]:
    """The same for long short-term memory: e of the four gates and, where h is projected, of the projection."""
    size = f.shape[-1]
    out = ds.shape[-1] - size
    h, c = ds[..., :out], ds[..., out:]
    z = k * (e[..., : 4 * size] + linear(h, weight))
    c = f * c + z[..., :size] + z[..., size : 2 * size] + z[..., 2 * size : 3 * size]
    new = z[..., 3 * size :] + d * c
    if projection is not None:
        new = linear(new, projection) + _active(keep, e[..., 4 * size :])
    new = concatenate([new if keep is None else new + keep * h, c], -1)
    return new, new


def memory_pull(
    s: Array, u: Array, k: Array, f: Array, d: Array, keep: Array | None, weight: Array, projection: Array | None
) -> tuple[Array, ...]:
    """The adjoint of `memory_push`."""
    s = s + u
    out = s.shape[-1] - f.shape[-1]
    h, c = s[..., :out], s[..., out:]
    m = h if projection is None else h @ projection
    c = c + d * m
    e = k * concatenate([c, c, c, m], -1)
    before = e @ weight
    if projection is not None:
        e = concatenate([e, _active(keep, h)], -1)
    return concatenate([before if keep is None else before + keep * h, f * c], -1), e


def _active(keep: Array | None, x: Array) -> Array:
    return x if keep is None else x - keep * x
