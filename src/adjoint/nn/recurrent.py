"""Recurrent networks with PyTorch's names, arguments, parameters and order of gates (Elman 1990; LSTM; GRU).

Backpropagation through time is the adjoint of one map along the sequence (`adjoint.Recurrence`). For truncated
backpropagation, cut the sequence into chunks and carry the state from one to the next through `aj.stop_gradient`:

>>> import numpy as np, adjoint as aj
>>> net, x = aj.nn.GRU(3, 4, rng=0), np.ones((6, 2, 3), "float32")
>>> def loss(net, steps):
...     total, state = 0.0, None
...     for start in range(0, 6, steps):
...         y, state = net(x[start : start + steps], state)
...         total, state = total + aj.sum(y * y), aj.stop_gradient(state)
...     return total
>>> aj.grad(loss)(net, steps=2).weight_hh_l0.shape
(12, 4)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.cells import States, check_nonlinearity, draw, gru, lstm, pair, rnn, valid
from adjoint.nn.dropout import Dropout
from adjoint.nn.layers import Rng, _positive
from adjoint.nn.module import Module

State = Any  # h, or (h, c)


class Recurrent(Module):
    """What RNN, LSTM and GRU have in common: layers, directions, the layout of inputs, outputs and states."""

    gates: ClassVar[int]
    states: ClassVar[States]
    remembers: ClassVar[bool] = False  # whether there is a second state c beside h

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: Any,
        rng: Rng,
        proj_size: int = 0,
    ) -> None:
        name = type(self).__name__
        _positive(name, input_size=input_size, hidden_size=hidden_size, proj_size=proj_size)
        for option, given in {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}.items():
            if not isinstance(given, bool):
                raise TypeError(f"{name}: {option} is True or False, not {given!r}.")
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(
                f"{name}: input_size, hidden_size and num_layers are 1 or more, not {input_size}, {hidden_size} and "
                f"{num_layers}."
            )
        if proj_size >= hidden_size:
            raise ValueError(f"{name}: proj_size {proj_size} is to be smaller than hidden_size {hidden_size}.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        rng = init.generator(rng)
        out = proj_size or hidden_size
        for k, suffix in enumerate(self.suffixes):
            layer = k // self.directions
            rows, columns = self.gates * hidden_size, input_size if layer == 0 else out * self.directions
            draw(self, suffix, rows, columns, out, hidden_size, bias, dtype, rng)
            if proj_size:
                bound = init.fan_in_bound(hidden_size)
                setattr(self, f"weight_hr{suffix}", init.uniform((out, hidden_size), bound, rng, dtype))
        if dropout:
            self.between = Dropout(dropout, rng=rng)

    @property
    def directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 1 + self.bidirectional

    @property
    def suffixes(self) -> list[str]:
        """How the names of the parameters end, layer by layer and direction by direction."""
        ways = ("", "_reverse")[: self.directions]
        return [f"_l{layer}{way}" for layer in range(self.num_layers) for way in ways]

    def __call__(self, x: Array, hx: State = None, lengths: Array | Sequence[int] | None = None) -> Any:
        """(outputs, last state): the outputs of the last layer at all times, the state of all layers at the end.

        x (T, n, input_size), with batch_first (n, T, input_size), or of one sequence (T, input_size). With `lengths`,
        one number of steps a sequence (0 to T), outputs beyond are 0, the last state is that at each sequence's end,
        and the reverse direction starts there: as PyTorch's packed sequences.
        """
        single = self._check(x)
        x = xp.expand_dims(x, 1) if single else xp.swapaxes(x, 0, 1) if self.batch_first else x
        first = self._first(x, hx, single)
        mask = None if lengths is None else valid(type(self).__name__, x, lengths)
        out, last = self.proj_size or self.hidden_size, []
        for layer in range(self.num_layers):
            x = self.between(x) if layer and self.dropout else x
            outputs = []
            for k in range(layer * self.directions, (layer + 1) * self.directions):
                reverse = k % self.directions == 1
                s = self.states(x, first[k], self.suffixes[k], mask, reverse)
                last.append(s[0 if reverse else -1])
                h = s[..., :out] if self.remembers else s
                outputs.append(h if mask is None else xp.where(mask, h, 0.0))
            x = xp.concatenate(outputs, -1) if self.bidirectional else outputs[0]
        state = xp.stack(last)
        if single:
            x, state = xp.squeeze(x, 1), xp.squeeze(state, 1)
        elif self.batch_first:
            x = xp.swapaxes(x, 0, 1)
        return x, (state[..., :out], state[..., out:]) if self.remembers else state

    def _check(self, x: Array) -> bool:
        shape, name = tuple(x.shape), type(self).__name__
        form = "(n, T, input_size)" if self.batch_first else "(T, n, input_size)"
        if len(shape) not in (2, 3) or shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: the input is {form} or (T, input_size) with input_size {self.input_size}, not {shape}."
            )
        if shape[1 if self.batch_first and len(shape) == 3 else 0] == 0:
            raise ShapeError(f"{name}: a sequence has one step at least, the input is {shape}.")
        return len(shape) == 2

    def _first(self, x: Array, hx: State, single: bool) -> Array:
        count, n, name = len(self.suffixes), x.shape[1], type(self).__name__
        out = self.proj_size or self.hidden_size
        if hx is None:
            return xp.zeros(x, (count, n, out + self.hidden_size * self.remembers))
        sizes = (out, self.hidden_size)[: 1 + self.remembers]
        parts = pair(name, hx) if self.remembers else (hx,)
        for part, size in zip(parts, sizes, strict=True):
            expected = (count, size) if single else (count, n, size)
            if tuple(part.shape) != expected:
                raise ShapeError(
                    f"{name}: a first state of shape {tuple(part.shape)}, expected {expected}: layers times directions"
                    f"{'' if single else ', batch'}, size{'; batch_first does not concern it' * self.batch_first}."
                )
        state = xp.concatenate(list(parts), -1) if self.remembers else hx
        return xp.expand_dims(state, 1) if single else state


class RNN(Recurrent):
    """h ← φ(W_ih x + b_ih + W_hh h + b_hh), φ tanh or relu, in layers (Elman 1990); see `Recurrent` for the call.

    Parameters weight_ih_l0 (hidden_size, input_size), weight_hh_l0, bias_ih_l0, bias_hh_l0, …, and with _reverse for
    the other direction, start uniform in ±1/√hidden_size; `dropout` acts between layers while training.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.RNN(3, 4, num_layers=2, bidirectional=True, rng=0)
    >>> y, h = net(np.ones((5, 2, 3), "float32"), lengths=[5, 2])
    >>> y.shape, h.shape, bool((y[2:, 1] == 0).all())
    ((5, 2, 8), (4, 2, 4), True)
    """

    gates = 1
    states = rnn

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:
        self.nonlinearity = check_nonlinearity("RNN", nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng)


class LSTM(Recurrent):
    """Long short-term memory in layers (Hochreiter & Schmidhuber 1997): i, f, o = σ(·), g = tanh(·) of
    W_ih x + b_ih + W_hh h + b_hh; c ← f c + i g; h ← o tanh c, or W_hr (o tanh c) with proj_size (Sak et al. 2014).

    The state is (h, c): `y, (h, c) = net(x)`. Parameters as those of `RNN`, the four gates in the order i, f, g, o.

    >>> import numpy as np, adjoint as aj
    >>> y, (h, c) = aj.nn.LSTM(3, 4, proj_size=2, rng=0)(np.ones((5, 2, 3), "float32"))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 2), (1, 2, 2), (1, 2, 4))
    """

    gates = 4
    states = lstm
    remembers = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng, proj_size
        )


class GRU(Recurrent):
    """Gated recurrent units in layers (Cho et al. 2014), in PyTorch's form: r, z = σ(W_ih x + b_ih + W_hh h + b_hh),
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h ← (1 - z) n + z h.

    Parameters as those of `RNN`, the three gates in the order r, z, n.

    >>> import numpy as np, adjoint as aj
    >>> y, h = aj.nn.GRU(3, 4, batch_first=True, rng=0)(np.ones((2, 5, 3), "float32"))
    >>> y.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    """

    gates = 3
    states = gru

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng)
