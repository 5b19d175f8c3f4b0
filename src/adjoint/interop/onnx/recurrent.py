"""Recurrent networks: LSTM, GRU and the plain one, in either direction or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.interop.onnx.operators import Node, beside, hosted, operator, together
from adjoint.ops.define import plain

Function = Callable[[Any], Any]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def activation(name: str, alpha: float | None, beta: float | None) -> Function:
    """An activation by its name and its numbers."""

    def given(x: float | None, default: float) -> float:
        return default if x is None else x

    table: dict[str, Function] = {
        "relu": xp.relu, "tanh": xp.tanh, "sigmoid": xp.sigmoid, "softsign": xp.softsign, "softplus": xp.softplus,
        "affine": lambda x: given(alpha, 1.0) * x + given(beta, 0.0),
        "leakyrelu": lambda x: xp.leaky_relu(x, given(alpha, 0.01)),
        "thresholdedrelu": lambda x: xp.where(xp.greater(x, given(alpha, 1.0)), x, xp.zeros_like(x)),
        "scaledtanh": lambda x: given(alpha, 1.0) * xp.tanh(given(beta, 1.0) * x),
        "hardsigmoid": lambda x: xp.clip(given(alpha, 0.2) * x + given(beta, 0.5), 0.0, 1.0),
        "elu": lambda x: xp.elu(x, given(alpha, 1.0)),
    }  # fmt: skip
    if name.lower() not in table:
        raise ValueError(f"recurrent: activation {name!r} is none of {', '.join(table)}.")
    return table[name.lower()]


def activations(node: Node, directions: int) -> list[list[Function]]:
    """The functions of every direction."""
    names = node.get("activations") or USUAL[node.op] * directions
    alphas, betas = list(node.get("activation_alpha") or []), list(node.get("activation_beta") or [])
    functions = []
    for i, name in enumerate(names):
        functions.append(activation(name, *(x[i] if i < len(x) else None for x in (alphas, betas))))
    each = len(USUAL[node.op])
    return [functions[d * each : (d + 1) * each] for d in range(directions)]


def usual(node: Node) -> bool:
    """Whether the library's own network serves: usual activations, nothing clipped."""
    own = node.get("activations")
    names = USUAL[node.op]
    plainly = own is None or all(a.lower() == names[i % len(names)].lower() for i, a in enumerate(own))
    return plainly and node.get("clip") is None and not node.get("input_forget", 0)


@operator("LSTM", "GRU", "RNN")
def recurrent(
    node: Node, x: Any, weight: Any, recurrence: Any, bias: Any = None, lengths: Any = None, first: Any = None,
    memory: Any = None, peephole: Any = None,
) -> Any:  # fmt: skip
    """(all states, the last ones, the last memories of an LSTM) of a sequence (steps, n, features)."""
    x, weight, recurrence, bias, first, memory, peephole = together(
        x, weight, recurrence, bias, first, memory, peephole
    )
    batch_first = node.get("layout", 0)
    if batch_first:
        x, first, memory = (a if a is None else xp.swapaxes(a, 0, 1) for a in (x, first, memory))
    directions, size, steps, n = int(weight.shape[0]), int(recurrence.shape[-1]), int(x.shape[0]), int(x.shape[1])
    nothing = xp.zeros(plain(x), (n, size))
    mask = None
    if lengths is not None:
        lengths = beside(plain(x), lengths) if hosted(plain(lengths)) else plain(lengths)
        mask = xp.expand_dims(xp.less(beside(lengths, np.arange(steps))[:, None], lengths), -1)
    functions = activations(node, directions)
    states, last, memories = [], [], []
    for d in range(directions):
        back = d == 1 or node.get("direction", "forward") == "reverse"
        gates = GATES[node.op] * size
        b = None if bias is None else bias[d]
        b_in, b_rec = (None, None) if b is None else (b[:gates], b[gates:])
        h0 = nothing if first is None else first[d]
        c0 = nothing if memory is None else memory[d]
        p = None if peephole is None else peephole[d]
        run = RUNS[node.op]
        h, h_last, c_last = run(node, x, weight[d], recurrence[d], b_in, b_rec, h0, c0, p, mask, back, functions[d])
        states.append(h if mask is None else xp.where(mask, h, xp.zeros_like(plain(h))))
        last.append(h_last)
        memories.append(c_last)
    y, ends, cells = xp.stack(states, 1), xp.stack(last, 0), xp.stack(memories, 0)
    if batch_first:
        y, ends, cells = xp.permute(y, (2, 0, 1, 3)), xp.swapaxes(ends, 0, 1), xp.swapaxes(cells, 0, 1)
    return y, ends, cells


def reordered(x: Any, order: str, wanted: str) -> Any:
    """Blocks of rows, named by letters, in another order."""
    size = int(x.shape[0]) // len(order)
    return xp.concatenate([x[order.index(k) * size : (order.index(k) + 1) * size] for k in wanted], 0)


def ended(h: Any, back: bool) -> Any:
    """The last state: where a sequence is over the state stays what it was."""
    return h[0] if back else h[-1]


def walked(
    step: Callable[..., tuple[Any, ...]], state: tuple[Any, ...], a: Any, mask: Any, back: bool
) -> tuple[Any, tuple[Any, ...]]:
    """(all first parts of the state, the last state) of steps that the library has no fused form of."""
    steps = int(a.shape[0])
    found: list[Any] = [None] * steps
    for t in range(steps)[::-1] if back else range(steps):
        new = step(a[t], *state)
        if mask is not None:
            new = tuple(xp.where(mask[t], x, old) for x, old in zip(new, state, strict=True))
        state = new
        found[t] = state[0]
    return xp.stack(found, 0), state


def clipped(node: Node, x: Any) -> Any:
    """What enters an activation, limited where the node says so."""
    limit = node.get("clip")
    return x if limit is None else xp.clip(x, -limit, limit)


def added(x: Any, *biases: Any) -> Any:
    """x and the biases that there are."""
    for b in biases:
        x = x if b is None else x + b
    return x


def rnn(
    node: Node, x: Any, w: Any, r: Any, b: Any, rb: Any, h: Any, c: Any, p: Any, mask: Any, back: bool, functions: Any
) -> Any:  # fmt: skip
    """h ← f(W x + R h + b)."""
    a = added(xp.linear(x, w, b), rb)
    if usual(node):
        states = xp.rnn_states(a, h, r, mask, nonlinearity="tanh", reverse=back)
        return states, ended(states, back), c
    (f,) = functions
    states, last = walked(lambda e, h: (f(clipped(node, e + xp.linear(h, r))),), (h,), a, mask, back)
    return states, last[0], c


def gru(
    node: Node, x: Any, w: Any, r: Any, b: Any, rb: Any, h: Any, c: Any, p: Any, mask: Any, back: bool, functions: Any
) -> Any:  # fmt: skip
    """Gates z, r, h: h ← (1 - z) g(…) + z h; the reset acts before the product, or after with `linear_before_reset`."""
    after = node.get("linear_before_reset", 0)
    if usual(node) and after:
        w, r = reordered(w, "zrh", "rzh"), reordered(r, "zrh", "rzh")
        b, rb = (k if k is None else reordered(k, "zrh", "rzh") for k in (b, rb))
        states = xp.gru_states(xp.linear(x, w, b), h, r, rb, mask, reverse=back)
        return states, ended(states, back), c
    f, g = functions
    size = int(h.shape[-1])
    a = xp.linear(x, w, b)
    rb_zr, rb_h = (None, None) if rb is None else (rb[: 2 * size], rb[2 * size :])

    def step(e: Any, h: Any) -> tuple[Any]:
        zr = f(clipped(node, added(e[..., : 2 * size] + xp.linear(h, r[: 2 * size]), rb_zr)))
        z, reset = zr[..., :size], zr[..., size:]
        if after:
            inner = reset * added(xp.linear(h, r[2 * size :]), rb_h)
        else:
            inner = added(xp.linear(reset * h, r[2 * size :]), rb_h)
        new = g(clipped(node, e[..., 2 * size :] + inner))
        return (new + z * (h - new),)

    states, last = walked(step, (h,), a, mask, back)
    return states, last[0], c


def lstm(
    node: Node, x: Any, w: Any, r: Any, b: Any, rb: Any, h: Any, c: Any, p: Any, mask: Any, back: bool, functions: Any
) -> Any:  # fmt: skip
    """Gates i, o, f, c: c ← f c + i g(…), h ← o h(c), with peepholes where they are given."""
    size = int(h.shape[-1])
    if usual(node) and p is None:
        w, r = reordered(w, "iofc", "ifco"), reordered(r, "iofc", "ifco")
        b, rb = (k if k is None else reordered(k, "iofc", "ifco") for k in (b, rb))
        a = added(xp.linear(x, w, b), rb)
        states = xp.lstm_states(a, xp.concatenate([h, c], -1), r, None, mask, reverse=back)
        last = ended(states, back)
        return states[..., :size], last[..., :size], last[..., size:]
    f, g, out = functions
    a = added(xp.linear(x, w, b), rb)
    peep_i, peep_o, peep_f = (None,) * 3 if p is None else (p[:size], p[size : 2 * size], p[2 * size :])

    def seen(e: Any, weight: Any, c: Any) -> Any:
        return clipped(node, e if weight is None else e + weight * c)

    def step(e: Any, h: Any, c: Any) -> tuple[Any, Any]:
        e = e + xp.linear(h, r)
        i = f(seen(e[..., :size], peep_i, c))
        forget = 1.0 - i if node.get("input_forget", 0) else f(seen(e[..., 2 * size : 3 * size], peep_f, c))
        new = forget * c + i * g(clipped(node, e[..., 3 * size :]))
        o = f(seen(e[..., size : 2 * size], peep_o, new))
        return o * out(new), new

    states, last = walked(step, (h, c), a, mask, back)
    return states, *last


RUNS: dict[str, Callable[..., Any]] = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
