"""One step of recurrent networks: the parameters of a layer, its states along a sequence, and the cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.layers import Rng, _positive
from adjoint.nn.module import Module

States = Callable[..., Array]


def draw(
    module: Module, suffix: str, rows: int, columns: int, out: int, hidden: int, bias: bool, dtype: Any, rng: Rng
) -> None:
    """Give a module the parameters of one layer and direction, uniform in ±1/√hidden."""
    bound = init.fan_in_bound(hidden)
    setattr(module, f"weight_ih{suffix}", init.uniform((rows, columns), bound, rng, dtype))
    setattr(module, f"weight_hh{suffix}", init.uniform((rows, out), bound, rng, dtype))
    for name in ("bias_ih", "bias_hh") if bias else ():
        setattr(module, f"{name}{suffix}", init.uniform((rows,), bound, rng, dtype))


def parameters(module: Any, suffix: str) -> tuple[Array, Array, Array | None, Array | None]:
    """weight_ih, weight_hh, bias_ih and bias_hh of one layer and direction."""
    fields = module.__dict__
    return (
        fields[f"weight_ih{suffix}"],
        fields[f"weight_hh{suffix}"],
        fields.get(f"bias_ih{suffix}"),
        fields.get(f"bias_hh{suffix}"),
    )


def rnn(
    module: Any, x: Array, first: Array, suffix: str = "", mask: Array | None = None, reverse: bool = False
) -> Array:
    """The states h of a layer for x (T, n, in), all inputs projected in one product."""
    w_in, w, b_in, b = parameters(module, suffix)
    a = xp.linear(x, w_in, None if b is None else b_in + b)
    return xp.rnn_states(a, first, w, mask, nonlinearity=module.nonlinearity, reverse=reverse)


def lstm(
    module: Any, x: Array, first: Array, suffix: str = "", mask: Array | None = None, reverse: bool = False
) -> Array:
    """The states h and c, side by side."""
    w_in, w, b_in, b = parameters(module, suffix)
    a = xp.linear(x, w_in, None if b is None else b_in + b)
    return xp.lstm_states(a, first, w, module.__dict__.get(f"weight_hr{suffix}"), mask, reverse=reverse)


def gru(
    module: Any, x: Array, first: Array, suffix: str = "", mask: Array | None = None, reverse: bool = False
) -> Array:
    """The states h."""
    w_in, w, b_in, b = parameters(module, suffix)
    return xp.gru_states(xp.linear(x, w_in, b_in), first, w, b, mask, reverse=reverse)


def valid(name: str, x: Array, lengths: Array | Sequence[int]) -> Array:
    """Which steps of x (T, n, …) belong to their sequence: truth values (T, n, 1).

    Raises `ShapeError` unless lengths is (n,), ValueError for one that is not within 0 … T (looked at in NumPy only).
    """
    steps, n = x.shape[:2]
    if isinstance(lengths, (list, tuple, np.ndarray)):
        lengths = np.asarray(lengths)
        if lengths.size and not 0 <= lengths.min() <= lengths.max() <= steps:
            raise ValueError(f"{name}: lengths are within 0 and the input's {steps} steps, not {lengths.tolist()}.")
    if tuple(lengths.shape) != (n,):  # type: ignore[union-attr]
        raise ShapeError(
            f"{name}: lengths has a number of steps for each of the {n} sequences, not the shape "
            f"{tuple(lengths.shape)}."  # type: ignore[union-attr]
        )
    t = xp.asarray(x, np.arange(steps)[:, None, None])
    return xp.less(t, xp.reshape(xp.asarray(x, lengths), (1, n, 1)))


def pair(name: str, hx: Any) -> tuple[Array, Array]:
    """h and c of a state that must be both."""
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError(f"{name}: the state is the pair (h, c), not a value of type {type(hx).__name__}.")
    return hx[0], hx[1]


def check_nonlinearity(name: str, nonlinearity: str) -> str:
    """The nonlinearity, when it is one."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"{name}: the nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}.")
    return nonlinearity


class RecurrentCell(Module):
    """What the cells have in common: one step for x (n, input_size) or (input_size,), the state of the same form."""

    gates: ClassVar[int]
    states: ClassVar[States]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = "float32", rng: Rng = None
    ) -> None:
        _positive(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.gates * hidden_size
        draw(self, "", rows, input_size, hidden_size, hidden_size, bias, dtype, init.generator(rng))

    def _enter(self, x: Array, *states: Array | None) -> tuple[Array, list[Array]]:
        """x and the states as a sequence of one step and the batch's first states."""
        name, shape = type(self).__name__, tuple(x.shape)
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: the input is (n, input_size) or (input_size,) with input_size {self.input_size}, not {shape}."
            )
        expected = (*shape[:-1], self.hidden_size)
        found = [xp.zeros(x, expected) if state is None else state for state in states]
        for state in found:
            if tuple(state.shape) != expected:
                raise ShapeError(f"{name}: a state of shape {tuple(state.shape)} for an input of {shape}: {expected}.")
        n = 1 if len(shape) == 1 else shape[0]
        return xp.reshape(x, (1, n, shape[-1])), [xp.reshape(state, (n, self.hidden_size)) for state in found]


class RNNCell(RecurrentCell):
    """One step h ← φ(W_ih x + b_ih + W_hh h + b_hh): weight_ih (hidden_size, input_size), weight_hh; see `RNN`.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.RNNCell(3, 4, rng=0)(np.ones((2, 3), "float32")).shape
    (2, 4)
    """

    gates = 1
    states = rnn

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:
        self.nonlinearity = check_nonlinearity("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias, dtype, rng)

    def __call__(self, x: Array, hx: Array | None = None) -> Array:
        """The next h."""
        sequence, (h,) = self._enter(x, hx)
        return xp.reshape(self.states(sequence, h), (*x.shape[:-1], self.hidden_size))


class LSTMCell(RecurrentCell):
    """One step of long short-term memory, (h, c) to (h, c); see `LSTM`.

    >>> import numpy as np, adjoint as aj
    >>> h, c = aj.nn.LSTMCell(3, 4, rng=0)(np.ones(3, "float32"))
    >>> h.shape, c.shape
    ((4,), (4,))
    """

    gates = 4
    states = lstm

    def __call__(self, x: Array, hx: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """The next (h, c)."""
        sequence, states = self._enter(x, *((None, None) if hx is None else pair("LSTMCell", hx)))
        s = self.states(sequence, xp.concatenate(states, -1))
        s = xp.reshape(s, (*x.shape[:-1], 2 * self.hidden_size))
        return s[..., : self.hidden_size], s[..., self.hidden_size :]


class GRUCell(RecurrentCell):
    """One step of gated recurrent units; see `GRU`.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.GRUCell(3, 4, rng=0)(np.ones((2, 3), "float32"), np.ones((2, 4), "float32")).shape
    (2, 4)
    """

    gates = 3
    states = gru

    def __call__(self, x: Array, hx: Array | None = None) -> Array:
        """The next h."""
        sequence, (h,) = self._enter(x, hx)
        return xp.reshape(self.states(sequence, h), (*x.shape[:-1], self.hidden_size))
