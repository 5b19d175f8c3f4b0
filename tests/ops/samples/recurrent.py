"""Samples of recurrent networks on projected inputs; the peers are PyTorch's, whose input weight is the identity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.ops.samples.operands import normal, s, strided


def running(carry: Any, x: Any, scale: Any, weight: Any) -> Any:
    """A step with a sequence, one that may be None, and something held."""
    new = carry * weight + (x if scale is None else scale * x)
    return new, new * new, carry - x


def scan(carry: Any, *rest: Any, step: Any, held: int, reverse: bool = False) -> Any:
    *sequences, weight = rest
    found: dict[int, Any] = {}
    times = range(len(sequences[0]))
    for t in times[::-1] if reverse else times:
        carry, *found[t] = step(carry, *[x if x is None else x[t] for x in sequences], weight)
    return carry, *[torch.stack([found[t][k] for t in times]) for k in (0, 1)]


def through(kind: str, a: Any, h0: Any, weight: Any, bias: Any, mask: Any, reverse: bool, **options: Any) -> Any:
    """PyTorch's network with a as its input; where the mask is false the state stays."""
    gates, size = weight.shape[0], h0.shape[-1]
    cell = {"rnn": torch.nn.RNNCell, "gru": torch.nn.GRUCell}[kind](gates, size, True, **options).double()
    zeros = torch.zeros(gates, dtype=a.dtype)
    new = {"weight_ih": torch.eye(gates, dtype=a.dtype), "weight_hh": weight, "bias_ih": zeros}
    new["bias_hh"] = zeros if bias is None else bias
    h, found = h0, {}
    for t in range(len(a))[::-1] if reverse else range(len(a)):
        next_h = torch.func.functional_call(cell, new, (a[t], h))
        h = next_h if mask is None else torch.where(mask[t], next_h, h)
        found[t] = h
    return torch.stack([found[t] for t in range(len(a))])


def lstm(a: Any, state: Any, weight: Any, projection: Any = None, mask: Any = None, reverse: bool = False) -> Any:
    """PyTorch's network, one step after the other where there is a mask."""
    size = a.shape[-1] // 4
    out = state.shape[-1] - size
    weights = [torch.eye(4 * size, dtype=a.dtype), weight, *([] if projection is None else [projection])]
    s, found = state, {}
    for t in range(len(a))[::-1] if reverse else range(len(a)):
        h, c = s[None, :, :out].contiguous(), s[None, :, out:].contiguous()
        _, h, c = torch.lstm(a[t : t + 1], [h, c], weights, False, 1, 0.0, False, False, False)
        new = torch.cat([h[0], c[0]], -1)
        s = new if mask is None else torch.where(mask[t], new, s)
        found[t] = s
    return torch.stack([found[t] for t in range(len(a))])


MASK = np.arange(4)[:, None, None] < np.array([4, 1, 0])[:, None]
TABLE: dict[str, list[Any]] = {
    "scan_apply": [
        s(normal(2, 3), normal(4, 2, 3), None, normal(3), step=running, held=1),
        s(normal(2), normal(3, 2), normal(3, 1), normal(2), step=running, held=1, reverse=True),
        s(normal(2), strided(normal(1, 2)), normal(1, 2), normal(), step=running, held=1),
    ],
    "rnn_states": [
        s(normal(4, 3, 2), normal(3, 2), normal(2, 2), None, nonlinearity="tanh", reverse=False),
        s(normal(4, 3, 5), normal(3, 5), normal(5, 5), MASK, nonlinearity="relu", reverse=True),
        s(strided(normal(3, 1, 3)), normal(1, 3), strided(normal(3, 3)), None, nonlinearity="tanh", reverse=True),
        s(normal(1, 2, 1), normal(2, 1), normal(1, 1), None, nonlinearity="relu", reverse=False),
        s(normal(2, 0, 3), normal(0, 3), normal(3, 3), None, nonlinearity="tanh", reverse=False),
    ],
    "gru_states": [
        s(normal(4, 3, 6), normal(3, 2), normal(6, 2), normal(6), None, reverse=False),
        s(normal(4, 3, 9), normal(3, 3), normal(9, 3), normal(9), MASK, reverse=True),
        s(strided(normal(3, 1, 3)), normal(1, 1), normal(3, 1), None, None, reverse=False),
        s(normal(1, 0, 6), normal(0, 2), normal(6, 2), normal(6), None, reverse=True),
    ],
    "lstm_states": [
        s(normal(4, 3, 8), normal(3, 4), normal(8, 2), None, None, reverse=False),
        s(normal(4, 3, 12), normal(3, 5), normal(12, 2), normal(2, 3), MASK, reverse=True),
        s(strided(normal(3, 1, 4)), normal(1, 2), normal(4, 1), None, None, reverse=True),
        s(normal(2, 2, 8), normal(2, 3), normal(8, 1), normal(1, 2), None, reverse=False),
        s(normal(1, 0, 8), normal(0, 4), normal(8, 2), None, None, reverse=False),
    ],
}
TORCH = {
    "scan_apply": scan,
    "rnn_states": lambda a, h0, w, mask=None, nonlinearity="tanh", reverse=False: through(
        "rnn", a, h0, w, None, mask, reverse, nonlinearity=nonlinearity
    ),
    "gru_states": lambda a, h0, w, b=None, mask=None, reverse=False: through("gru", a, h0, w, b, mask, reverse),
    "lstm_states": lstm,
}
JAX: dict[str, Any] = {}
