"""Recurrent networks as one operator: layers, directions and PyTorch's flat list of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array

Entry = Callable[..., Any]
States = Callable[[Array, Array, Sequence[Any], bool], Array]


def _plain_states(nonlinearity: str) -> States:
    def states(x: Array, first: Array, p: Sequence[Any], reverse: bool) -> Array:
        w_in, w, b_in, b = p
        a = xp.linear(x, w_in, None if b is None else xp.add(b_in, b))
        return xp.rnn_states(a, first, w, None, nonlinearity=nonlinearity, reverse=reverse)

    return states


def _gated_states(x: Array, first: Array, p: Sequence[Any], reverse: bool) -> Array:
    w_in, w, b_in, b = p
    return xp.gru_states(xp.linear(x, w_in, b_in), first, w, b, None, reverse=reverse)


def _memory_states(x: Array, first: Array, p: Sequence[Any], reverse: bool) -> Array:
    w_in, w, b_in, b, *projection = p
    a = xp.linear(x, w_in, None if b is None else xp.add(b_in, b))
    return xp.lstm_states(a, first, w, projection[0] if projection else None, None, reverse=reverse)


def _run(
    states: States, input: Array, first: Array, params: Sequence[Any], has_biases: bool, layers: int,
    bidirectional: bool, batch_first: bool, out: int, projected: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """(outputs of the last layer, last states of all layers and directions)."""
    each = 2 + 2 * has_biases + projected
    x, last = xp.swapaxes(input, 0, 1) if batch_first else input, []
    for layer in range(layers):
        outputs = []
        for way in range(1 + bidirectional):
            k = layer * (1 + bidirectional) + way
            p = list(params[k * each : (k + 1) * each])
            if not has_biases:
                p[2:2] = [None, None]
            s = states(x, first[k], p, way == 1)
            last.append(s[0 if way else -1])
            outputs.append(xp.getitem(s, (..., slice(0, out))))
        x = xp.concatenate(outputs, -1) if bidirectional else outputs[0]
    return (xp.swapaxes(x, 0, 1) if batch_first else x), xp.stack(last)


def _without_dropout(dropout: float, train: bool, layers: int) -> None:
    if dropout and train and layers > 1:
        raise ValueError("dropout between the layers draws random numbers: export the module in evaluation mode.")


def _recurrent(states: States) -> Entry:
    def entry(
        input: Array, hx: Array, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool,
    ) -> Any:  # fmt: skip
        _without_dropout(dropout, train, num_layers)
        out = hx.shape[-1]
        return _run(
            states, input, hx, params, has_biases, num_layers, bidirectional, batch_first, out, False
        )  # fmt: skip

    return entry


def _lstm(
    input: Array, hx: Sequence[Array], params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float,
    train: bool, bidirectional: bool, batch_first: bool,
) -> Any:  # fmt: skip
    _without_dropout(dropout, train, num_layers)
    h, c = hx
    out = h.shape[-1]
    first = xp.concatenate([h, c], -1)
    y, last = _run(
        _memory_states, input, first, params, has_biases, num_layers, bidirectional, batch_first, out,
        out != c.shape[-1],
    )  # fmt: skip
    return y, xp.getitem(last, (..., slice(0, out))), xp.getitem(last, (..., slice(out, None)))


RECURRENT: dict[str, Entry] = {
    "rnn_tanh.input": _recurrent(_plain_states("tanh")),
    "rnn_relu.input": _recurrent(_plain_states("relu")),
    "gru.input": _recurrent(_gated_states),
    "lstm.input": _lstm,
}
