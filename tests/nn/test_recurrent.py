"""Recurrent modules equal their namesakes in torch.nn: values, gradients through time, names, packed sequences."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import adjoint as aj
from adjoint import trees
from adjoint.arrays.dispatch import backend

BACKENDS = ("numpy", "torch")  # JAX, which compiles every shape anew, has a test of its own
KINDS = ("RNN", "LSTM", "GRU")
CASES: list[Any] = [
    ("RNN", {}, (5, 3)),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2, "bias": False}, (1, 2)),
    ("RNN", {"num_layers": 2, "bidirectional": True, "batch_first": True}, (4, 1)),
    ("LSTM", {}, (5, 3)),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "batch_first": True}, (3, 2)),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 3}, (4, 2)),
    ("LSTM", {"proj_size": 1, "bias": False}, (1, 1)),
    ("LSTM", {}, (2, 0)),
    ("GRU", {}, (5, 3)),
    ("GRU", {"num_layers": 3, "bidirectional": True}, (3, 2)),
    ("GRU", {"bias": False, "batch_first": True}, (1, 0)),
]


def both(kind: str, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """Our module and PyTorch's with the same random parameters, biases too."""
    theirs = getattr(torch.nn, kind)(4, 5, **options).double()
    rng = np.random.default_rng(seed)
    state = {name: rng.normal(size=tuple(p.shape)) * 0.5 for name, p in theirs.state_dict().items()}
    theirs.load_state_dict({name: torch.tensor(x) for name, x in state.items()})
    ours = getattr(aj.nn, kind)(4, 5, dtype="float64", **options)
    ours.load_state_dict(state)
    return ours, theirs


def first(kind: str, net: Any, n: int, rng: np.random.Generator) -> Any:
    layers = net.num_layers * (1 + net.bidirectional)
    h = rng.normal(size=(layers, n, net.proj_size or net.hidden_size))
    return (h, rng.normal(size=(layers, n, net.hidden_size))) if kind == "LSTM" else h


def tensors(tree: Any) -> Any:
    return trees.map(lambda x: torch.tensor(x, requires_grad=True), tree)


def plain(x: Any) -> np.ndarray:
    return x.detach().numpy() if isinstance(x, torch.Tensor) else backend(type(x)).to_numpy(x)


def close(got: Any, wanted: Any) -> None:
    for a, b in zip(trees.flatten(got)[0], trees.flatten(wanted)[0], strict=True):
        a, b = plain(a), plain(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def compared(ours: Any, theirs: Any, x: Any, hx: Any, to: str = "numpy", lengths: Any = None) -> None:
    """Values, and gradients of a random combination of everything returned in everything given."""
    rng = np.random.default_rng(1)
    there, state = tensors(x), tensors(hx)
    expected = packed(theirs, there, state, lengths) if lengths is not None else theirs(there, state)
    c = trees.map(lambda y: rng.normal(size=tuple(y.shape)), expected)
    weighted = trees.map(lambda y, w: (y * torch.tensor(w)).sum(), expected, c)
    sum(trees.flatten(weighted)[0]).backward()

    net, x, hx, c = aj.to((ours, x, hx, c), to)
    more = {} if lengths is None else {"lengths": lengths}

    def loss(net: Any, x: Any, hx: Any) -> Any:
        parts = trees.map(lambda y, w: aj.sum(y * w), net(x, hx, **more), c)
        return sum(trees.flatten(parts)[0])

    close(net(x, hx, **more), expected)
    gradients, in_x, in_hx = aj.grad(loss, (0, 1, 2))(net, x, hx)
    close(in_x, there.grad)
    close(in_hx, trees.map(lambda h: h.grad, state))
    close(gradients.state_dict(), {name: p.grad for name, p in theirs.named_parameters()})


def packed(net: Any, x: Any, hx: Any, lengths: Any) -> Any:
    sequence = pack_padded_sequence(x, torch.tensor(lengths), net.batch_first, enforce_sorted=False)
    y, state = net(sequence, hx)
    steps = x.shape[1 if net.batch_first else 0]
    return pad_packed_sequence(y, net.batch_first, total_length=steps)[0], state


@pytest.mark.covers("N12")
@pytest.mark.parametrize("to", BACKENDS)
@pytest.mark.parametrize(("kind", "options", "sizes"), CASES)
def test_values_and_gradients(kind: str, options: dict[str, Any], sizes: tuple[int, int], to: str) -> None:
    ours, theirs = both(kind, **options)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(*(sizes[::-1] if options.get("batch_first") else sizes), 4))
    compared(ours, theirs, x, first(kind, ours, sizes[1], rng), to)


@pytest.mark.covers("N12")
@pytest.mark.parametrize("to", BACKENDS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RNN", {"bidirectional": True, "nonlinearity": "relu"}),
        ("LSTM", {"bidirectional": True, "num_layers": 2, "proj_size": 2}),
        ("LSTM", {"batch_first": True}),
        ("GRU", {"bidirectional": True, "num_layers": 2, "batch_first": True}),
    ],
)
def test_lengths_are_packed_sequences(kind: str, options: dict[str, Any], to: str) -> None:
    ours, theirs = both(kind, **options)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 5, 4) if options.get("batch_first") else (5, 4, 4))
    compared(ours, theirs, x, first(kind, ours, 4, rng), to, [2, 5, 1, 3])


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_and_no_first_state(kind: str) -> None:
    ours, theirs = both(kind, num_layers=2, bidirectional=True, batch_first=True)
    x = np.random.default_rng(0).normal(size=(6, 4))
    close(ours(x), theirs(torch.tensor(x)))
    close(ours(np.stack([x, x])), theirs(torch.tensor(np.stack([x, x]))))
    hx = trees.map(lambda h: h[:, 0], first(kind, ours, 1, np.random.default_rng(1)))
    compared(ours, theirs, x, hx)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_sequence_keeps_its_state(kind: str) -> None:
    net = both(kind)[0]
    rng = np.random.default_rng(0)
    hx = first(kind, net, 2, rng)
    y, state = net(rng.normal(size=(3, 2, 4)), hx, lengths=np.array([0, 3]))
    assert not y[:, 0].any()
    close(trees.map(lambda h: h[:, 0], state), trees.map(lambda h: h[:, 0], hx))


@pytest.mark.covers("N12")
@pytest.mark.parametrize("to", BACKENDS)
@pytest.mark.parametrize("lead", [(3,), (), (0,)])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}), ("LSTMCell", {}), ("GRUCell", {})],
)
def test_cells(kind: str, options: dict[str, Any], lead: tuple[int, ...], to: str) -> None:
    ours, theirs = both(kind, **options)
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=(*lead, 4)), rng.normal(size=(*lead, 5))
    compared(ours, theirs, x, (h, 0.5 * h) if kind == "LSTMCell" else h, to)
    close(ours(x), theirs(torch.tensor(x)))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kind", [*KINDS, "RNNCell", "LSTMCell", "GRUCell"])
def test_names_order_and_initial_distribution(kind: str) -> None:
    options = {} if kind.endswith("Cell") else {"num_layers": 2, "bidirectional": True, "dropout": 0.5}
    options |= {"proj_size": 7} if kind == "LSTM" else {}
    ours, theirs = getattr(aj.nn, kind)(30, 25, rng=0, **options), getattr(torch.nn, kind)(30, 25, **options)
    assert [(k, x.shape) for k, x in ours.state_dict().items()] == [
        (k, tuple(x.shape)) for k, x in theirs.state_dict().items()
    ]
    drawn = np.concatenate([x.ravel() for x in ours.state_dict().values()])
    assert drawn.dtype == "float32"
    assert stats.kstest(drawn, stats.uniform(-0.2, 0.4).cdf).pvalue > 0.01
    theirs.load_state_dict({k: torch.tensor(x) for k, x in ours.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(6, 30)).astype("float32")
    for a, b in zip(trees.flatten(ours.eval()(x))[0], trees.flatten(theirs.eval()(torch.tensor(x)))[0], strict=True):
        np.testing.assert_allclose(a, b.detach(), atol=1e-5)


def test_dropout_acts_between_layers_in_training_only() -> None:
    net = aj.nn.GRU(4, 5, num_layers=2, dropout=0.5, rng=0)
    x = np.ones((3, 2, 4), "float32")
    (y, h), (other, same) = net(x), net(x)
    assert (y != other).any()
    np.testing.assert_array_equal(h[0], same[0])  # the first layer has none
    net.eval()
    np.testing.assert_array_equal(net(x)[0], net(x)[0])


@pytest.mark.covers("N12")
def test_truncated_backpropagation_is_the_sum_over_chunks() -> None:
    """Carried through stop_gradient, the state of every chunk counts as a constant: gradients add chunk by chunk."""
    net = both("LSTM")[0]
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(6, 3, 4)), rng.normal(size=(6, 3, 5))

    def truncated(net: Any) -> Any:
        total, state = 0.0, None
        for t in range(0, 6, 2):
            y, state = net(x[t : t + 2], state)
            total, state = total + aj.sum(y * c[t : t + 2]), aj.stop_gradient(state)
        return total

    chunks, state = [], None
    for t in range(0, 6, 2):
        part = lambda net, t=t, state=state: aj.sum(net(x[t : t + 2], state)[0] * c[t : t + 2])  # noqa: E731
        chunks.append(aj.grad(part)(net).state_dict())
        state = net(x[t : t + 2], state)[1]
    got = aj.grad(truncated)(net).state_dict()
    full = aj.grad(lambda net: aj.sum(net(x)[0] * c))(net).state_dict()
    for name in got:
        np.testing.assert_allclose(got[name], sum(chunk[name] for chunk in chunks), rtol=1e-12, atol=1e-13)
        assert np.abs(got[name] - full[name]).max() > 1e-3


@pytest.mark.covers("N12")
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_gradients_vanish_or_explode_with_the_powers_of_the_weight(scale: float) -> None:
    """A linear network's state after T steps has the Jacobian W^T in its first one."""
    rng = np.random.default_rng(0)
    net = aj.nn.RNN(4, 5, nonlinearity="relu", bias=False, dtype="float64")
    net.weight_hh_l0 = W = rng.uniform(0.0, 1.0, (5, 5)) * scale / 2.5  # everything positive: ReLU changes nothing
    net.weight_ih_l0 = np.abs(net.weight_ih_l0)
    norms = []
    for steps in (1, 8, 32):
        x, h0 = rng.uniform(0.1, 1.0, (steps, 1, 4)), rng.uniform(0.1, 1.0, (1, 1, 5))
        J = aj.jacobian(lambda h, x=x: net(x, h)[1], h0)
        power = np.linalg.matrix_power(W, steps)
        np.testing.assert_allclose(J.dense().reshape(5, 5), power, rtol=1e-12, atol=0)
        norms.append(float(J.norm()))
        assert norms[-1] == pytest.approx(np.linalg.norm(power, 2), rel=1e-9)
    assert norms[2] < 1e-6 if scale < 1 else norms[2] > 1e4


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind: str) -> None:
    ours, theirs = both(kind, num_layers=2)
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 3, 2, 4))
    got = aj.hvp(lambda x: aj.sum(aj.square(ours(x, lengths=[3, 2])[0])), x, v)
    there = torch.tensor(x)
    loss = lambda x: packed(theirs, x, None, [3, 2])[0].square().sum()  # noqa: E731
    np.testing.assert_allclose(got, torch.autograd.functional.hvp(loss, there, torch.tensor(v))[1], atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_jax_compiles_a_step_with_lengths_that_are_traced(kind: str) -> None:
    net = both(kind, bidirectional=True)[0]
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(7, 3, 4)), np.array([7, 2, 4])

    def loss(net: Any, x: Any, lengths: Any) -> Any:
        return aj.sum(aj.square(net(x, lengths=lengths)[0]))

    wanted = aj.grad(loss)(net, x, lengths)
    got = jax.jit(aj.grad(loss))(*aj.to((net, x, lengths), "jax"))
    close(got.state_dict(), wanted.state_dict())


def test_errors() -> None:
    net, x = aj.nn.LSTM(4, 5), np.ones((3, 2, 4), "float32")
    with pytest.raises(aj.ShapeError, match=r"LSTM: the input is \(T, n, input_size\).*input_size 4, not \(3, 2, 5\)"):
        net(np.ones((3, 2, 5), "float32"))
    with pytest.raises(aj.ShapeError, match=r"one step at least, the input is \(0, 2, 4\)"):
        net(x[:0])
    with pytest.raises(aj.ShapeError, match=r"first state of shape \(1, 3, 5\), expected \(1, 2, 5\)"):
        net(x, (np.zeros((1, 3, 5)), np.zeros((1, 3, 5))))
    with pytest.raises(TypeError, match=r"LSTM: the state is the pair \(h, c\)"):
        net(x, np.zeros((1, 2, 5)))
    with pytest.raises(ValueError, match=r"lengths are within 0 and the input's 3 steps, not \[4, 1\]"):
        net(x, lengths=[4, 1])
    with pytest.raises(aj.ShapeError, match=r"each of the 2 sequences, not the shape \(3,\)"):
        net(x, lengths=[1, 1, 1])
    with pytest.raises(ValueError, match="'tanh' or 'relu', not 'gelu'"):
        aj.nn.RNN(4, 5, nonlinearity="gelu")
    with pytest.raises(ValueError, match="proj_size 5 is to be smaller than hidden_size 5"):
        aj.nn.LSTM(4, 5, proj_size=5)
    with pytest.raises(ValueError, match="num_layers are 1 or more, not 4, 5 and 0"):
        aj.nn.GRU(4, 5, num_layers=0)
    with pytest.raises(aj.ShapeError, match=r"GRUCell: a state of shape \(3, 5\) for an input of \(2, 4\): \(2, 5\)"):
        aj.nn.GRUCell(4, 5)(x[0], np.ones((3, 5)))
    with pytest.raises(aj.ShapeError, match=r"RNNCell: the input is \(n, input_size\).* not \(2, 3\)"):
        aj.nn.RNNCell(4, 5)(np.ones((2, 3)))
