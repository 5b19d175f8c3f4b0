"""Per-sample gradients equal a loop over the examples and torch.func's vmap(grad); mixed examples are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.func import grad as torch_grad
from torch.func import vmap as torch_vmap

import adjoint as aj
from adjoint import trees
from adjoint.arrays.dispatch import backend
from adjoint.maps.examples import Examples, each, plainly

N = 5


class Pieces(aj.nn.Module):
    """Parameters that enter in every way."""

    def __init__(self, **arrays: Any) -> None:
        self.__dict__.update(arrays)


def draw(*shape: int) -> Any:
    return np.random.default_rng([3, *shape]).normal(size=shape)


def tied(net: Any, i: Any) -> Any:
    h = aj.embedding(i, net.table)  # (n, 4, 3), and the table again on the way out
    return aj.cross_entropy(aj.moveaxis(h @ net.table.T, -1, 1), i, reduction="none").mean(1)


def joined_rows(net: Any, x: Any) -> Any:
    rows = aj.reshape(x, (-1, 3))
    y = aj.tanh(aj.linear(rows, net.w, net.b)) * net.s
    return aj.mean(aj.reshape(y, (-1, 4 * 2)), -1)


def joined_after(net: Any, x: Any) -> Any:
    """Time first, then time and batch in one axis: the examples are the inner part of it."""
    h = aj.tanh(aj.swapaxes(aj.linear(x, net.w), 0, 1))
    y = aj.linear(aj.reshape(h, (-1, 2)), net.v, net.b)
    return aj.sum(aj.reshape(y, (4, -1)), 0)


def products(net: Any, x: Any) -> Any:
    left = net.a @ aj.swapaxes(x, 1, 2)  # (2, 3) @ (n, 3, 4)
    right = aj.exp(x) @ net.b  # (n, 4, 3) @ (3, 2)
    between = aj.einsum("nij,jk,nil->nkl", x, net.a.T, x)
    inner = aj.sum(aj.softplus(net.c) * x[:, 0], -1) + x[:, 1] @ net.c
    return aj.sum(left, (1, 2)) + aj.sum(right * right, (1, 2)) + aj.sum(between, (1, 2)) * net.s + inner


def recurrent(net: Any, x: Any, lengths: Any) -> Any:
    y, (h, _) = net(x, lengths=lengths)
    return aj.sum(aj.square(y), (1, 2)) + aj.sum(h, (0, 2))


def classified(net: Any, x: Any, t: Any) -> Any:
    return aj.cross_entropy(net(x), t, reduction="none")


nn = aj.nn
LABELS = np.array([2, 0, 1, 1, 2])
TOKENS = np.random.default_rng(0).integers(-6, 6, (N, 4)) % 6
CASES: dict[str, tuple[Callable[..., Any], Any, tuple[Any, ...]]] = {
    "mlp": (classified, nn.MLP((3, 6, 3), nn.GELU, rng=0), (draw(N, 3), LABELS)),
    "sequence": (
        lambda net, x: aj.sum(aj.square(net(x)), (1, 2)),
        nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.Residual(nn.Linear(6, 6)), nn.RMSNorm(6), nn.Linear(6, 2)),
        (draw(N, 4, 3),),
    ),
    "convolution": (
        classified,
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, (2, 1), stride=2),
            nn.ConvTranspose2d(3, 4, 2, stride=2, groups=1), nn.Flatten(), nn.Linear(4 * 4 * 6, 3),
        ),
        (draw(N, 2, 5, 6), LABELS),
    ),
    "running statistics": (
        lambda net, x: aj.sum(net(x), -1),
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval(),
        (draw(N, 3),),
    ),
    "tied": (tied, Pieces(table=draw(6, 3)), (TOKENS,)),
    "joined rows": (joined_rows, Pieces(w=draw(2, 3), b=draw(2), s=draw()), (draw(N, 4, 3),)),
    "joined after": (joined_after, Pieces(w=draw(2, 3), v=draw(1, 2), b=draw(1)), (draw(N, 4, 3),)),
    "products": (products, Pieces(a=draw(2, 3), b=draw(3, 2), c=draw(3), s=draw()), (draw(N, 4, 3),)),
    "lstm": (
        recurrent,
        nn.LSTM(3, 2, num_layers=2, bidirectional=True, batch_first=True),
        (draw(N, 4, 3), np.array([4, 1, 3, 2, 4])),
    ),
    "gru": (
        lambda net, x: aj.sum(net(x)[0], (1, 2)),
        nn.GRU(3, 2, batch_first=True),
        (draw(N, 4, 3),),
    ),
    "checkpoint": (
        lambda net, x: aj.sum(aj.checkpoint(lambda net, x: net(x))(net, x), -1),
        nn.MLP((3, 4, 2), rng=0),
        (draw(N, 3),),
    ),
    "nothing": (lambda net, x: aj.sum(x, -1), Pieces(w=draw(2)), (draw(N, 3),)),
}  # fmt: skip
cases = pytest.mark.parametrize("case", CASES)


def plain(x: Any) -> np.ndarray:
    return backend(type(x)).to_numpy(x)


def close(got: Any, wanted: Any) -> None:
    got, wanted = trees.flatten(got)[0], trees.flatten(wanted)[0]
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(plain(a), plain(b), rtol=1e-11, atol=1e-12)


def loop(f: Callable[..., Any], net: Any, batch: tuple[Any, ...]) -> Any:
    """One gradient after the other, of batches of one."""
    rows = [aj.grad(lambda net, i=i: aj.sum(f(net, *[x[i : i + 1] for x in batch])))(net) for i in range(len(batch[0]))]
    return trees.map(lambda *parts: np.stack([plain(x) for x in parts]), *rows)


@pytest.mark.parametrize("to", ["numpy", "torch"])
@cases
def test_equal_to_a_loop(case: str, to: str) -> None:
    f, net, batch = CASES[case]
    net = aj.to(net, dtype="float64")
    wanted = loop(f, net, batch)
    got = aj.per_sample_grad(f)(*aj.to((net, *batch), to))
    assert {backend(type(x)).name for x in trees.flatten(got)[0]} == {to}
    close(got, wanted)


@pytest.mark.parametrize("case", ["convolution", "gru"])
def test_compiled_by_jax(case: str) -> None:
    f, net, batch = CASES[case]
    net = aj.to(net, dtype="float64")
    with jax.enable_x64(True):
        got = jax.jit(aj.per_sample_grad(f))(*aj.to((net, *batch), "jax"))
        close(got, loop(f, net, batch))


def test_equal_to_torch_func() -> None:
    ours = aj.to(
        nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)), dtype="float64"
    )
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(48, 3)
    ).double()
    theirs.load_state_dict({k: torch.tensor(x) for k, x in ours.state_dict().items()})
    x = draw(N, 1, 4, 4)

    def loss(parameters: Any, x: Any, t: Any) -> Any:
        return torch.nn.functional.cross_entropy(functional_call(theirs, parameters, (x[None],)), t[None])

    state = {k: p.detach() for k, p in theirs.named_parameters()}
    wanted = torch_vmap(torch_grad(loss), (None, 0, 0))(state, torch.tensor(x), torch.tensor(LABELS))
    got = aj.per_sample_grad(classified)(ours, x, LABELS)
    close(got.state_dict(), wanted)
    close(trees.map(lambda g: g.sum(0), got), aj.grad(lambda net: aj.sum(classified(net, x, LABELS)))(ours))


def test_differentiated_again() -> None:
    """The gradient of Σᵢ ‖gᵢ‖², a penalty on the gradients of single examples."""
    net = aj.to(nn.MLP((3, 4, 2), nn.Tanh, rng=0), dtype="float64")
    x, t = draw(N, 3), np.array([0, 1, 1, 0, 1])
    size = lambda g: sum(aj.sum(aj.square(part)) for part in g.parameters())  # noqa: E731
    got = aj.grad(lambda net: size(aj.per_sample_grad(classified)(net, x, t)))(net)
    one = lambda net, i: size(aj.grad(lambda net: classified(net, x[i : i + 1], t[i : i + 1])[0])(net))  # noqa: E731
    close(got, aj.grad(lambda net: sum(one(net, i) for i in range(N)))(net))


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one(n: int) -> None:
    net = nn.MLP((3, 4, 3), rng=0)
    x, t = draw(n, 3).astype("float32"), LABELS[:n]
    got = aj.per_sample_grad(classified)(net, x, t)
    assert [g.shape for g in got.parameters()] == [(n, *p.shape) for p in net.parameters()]
    assert {g.dtype.name for g in got.parameters()} == {"float32"}
    if n:
        close(got, loop(classified, net, (x, t)))


def test_frozen_shared_and_arrays() -> None:
    net = nn.MLP((3, 4, 3), rng=0)
    net[0].freeze("weight")
    got = aj.per_sample_grad(classified)(net, draw(2, 3), LABELS[:2])
    assert got[0].weight is None
    assert got[0].bias.shape == (2, 4)
    scaled = aj.per_sample_grad(lambda w, x, scale: scale * aj.sum(w * x, -1))
    x = draw(2, 3)
    close(scaled(np.ones(3), x, scale=np.array(2.0)), 2.0 * x)


# Rules by hand against the one that serves every map

RULES: list[tuple[Any, Examples]] = [
    (aj.Weighting(draw(6, 3), (2, 3)), Examples(-2, 3)),
    (aj.Weighting(draw(6, 3), (2, 3)), Examples(-2, 3, 2)),
    (aj.Weighting(draw(4, 3, 2, 5), (2, 5)), Examples(-3, 3)),
    (aj.LeftProduct(draw(4, 3, 2), (2, 5)), Examples(-3, 4)),
    (aj.LeftProduct(draw(4, 3, 2), (2, 5)), Examples(-2, 3)),
    (aj.LeftProduct(draw(4, 3, 2), (4, 2, 1)), Examples(-2, 3)),
    (aj.RightProduct(draw(4, 3, 2), (5, 3)), Examples(-3, 4)),
    (aj.RightProduct(draw(2, 4, 3, 2), (5, 3)), Examples(-3, 2, 2)),
    (aj.RightProduct(draw(4, 3, 2), (5, 3)), Examples(-1, 2)),
    (aj.Dense(draw(4, 3)), Examples(-1, 4)),
    (aj.Dense(draw(4, 3)), Examples(-1, 2)),
    (aj.Einsum("nij,jk->nik", [draw(4, 2, 3), None], (3, 5)), Examples(-3, 4)),
    (aj.Einsum("ij,ni->n", [None, draw(4, 2)], (2, 3)), Examples(-1, 4)),
    (aj.Einsum("nij,jk->nik", [draw(4, 2, 3), None], (3, 5)), Examples(-3, 2)),
    (aj.Einsum("ii,ni->n", [None, draw(4, 2)], (2, 2)), Examples(-1, 4)),
    (aj.Broadcast((3,), (4, 2, 3)), Examples(-3, 4)),
    (aj.Broadcast((2, 1, 3), (2, 6, 3)), Examples(-2, 2, 3)),
    (aj.Broadcast((), (4,)), Examples(-1, 4)),
    (aj.Take(np.array([[1, -1], [0, 1], [1, 1]]), 0, (3, 2)), Examples(-3, 3)),
    (aj.Take(np.array([[1, -1], [0, 1], [1, 1]]), 0, (3, 2)), Examples(-2, 2)),
    (aj.Take(np.array([1, -1, 0, 2]), 0, (3,)), Examples(-1, 2, 2)),
    (aj.Take(np.array([1, -1, 0, 2]), 1, (2, 3)), Examples(-1, 4)),
    (aj.Take(np.array([1, -1, 0, 2]), 0, (3, 0)), Examples(-2, 4)),
    (aj.ConvolutionWeighting(draw(4, 6, 5), (4, 3, 2), 2, 1, 1, 2), Examples(-3, 4)),
    (aj.ConvolutionWeighting(draw(4, 2, 5, 4), (3, 2, 2, 3)), Examples(-4, 2)),
    (aj.ConvolutionWeighting(draw(4, 2, 5), (3, 2, 2)), Examples(-1, 4)),
    (aj.TransposedWeighting(draw(4, 2, 3), (2, 3, 2), (6,), 2, 0, 1, 2), Examples(-3, 4)),
    (aj.TransposedWeighting(draw(4, 2, 3), (2, 3, 2), (6,), 2, 0, 1, 2), Examples(-3, 2, 2)),
    (aj.Reduce(draw(4, 3, 2), (0, -1), (4, 3, 2)).T, Examples(-3, 2, 2)),
    (aj.Reduce(None, (0,), (4, 3), keepdims=True).T, Examples(-2, 4)),
    (aj.Reduce(draw(4, 3), 0, (4, 3)).T, Examples(-1, 3)),
    (aj.Slice((slice(1, 3), slice(None)), (4, 3)).T, Examples(-1, 3)),
    (aj.Softmax(np.full((2, 3), 1 / 3), -1), Examples(-1, 3)),
]


@pytest.mark.parametrize(("map", "examples"), RULES, ids=lambda x: str(x) if isinstance(x, Examples) else x.describe())
def test_rules(map: Any, examples: Examples) -> None:
    u = draw(*map.out_shape)
    got = each(map, u, examples)
    np.testing.assert_allclose(got, plainly(map, u, examples), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got.sum(0), map.adjoint(u), rtol=1e-12, atol=1e-13)


# What has no gradients of single examples

MIXED: dict[str, Callable[..., Any]] = {
    "Normalization": lambda w, x: aj.sum(aj.layer_norm(aj.swapaxes(x * w, 0, 1)), 0),
    "Softmax": lambda w, x: aj.sum(aj.softmax(x * w, 0), -1),
    "Flip": lambda w, x: aj.sum(aj.flip(x * w, 0), -1),
    "Roll": lambda w, x: aj.sum(aj.roll(x * w, 1, 0), -1),
    "CumulativeSum": lambda w, x: aj.sum(aj.cumulative_sum(x * w, 0), -1),
    "Reduce": lambda w, x: aj.sum(x * w - aj.mean(x * w, 0), -1),
    "entries for 5 examples": lambda w, x: aj.sum((x * w) @ aj.swapaxes(x * w, 0, 1), -1),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_examples_are_refused(name: str) -> None:
    with pytest.raises(aj.TraceError, match=f"mixes examples in .*{name}.*batch statistics"):
        aj.per_sample_grad(MIXED[name])(draw(3), draw(N, 3))


def test_batch_normalization_is_refused_in_training() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), draw(N, 3)
    f = aj.per_sample_grad(lambda net, x: aj.sum(net(x), -1))
    with pytest.raises(aj.TraceError, match=r"mixes examples in .*net\.eval\(\)"):
        f(net, x)
    assert f(net.eval(), x)[0].weight.shape == (N, 4, 3)
    with pytest.raises(aj.TraceError, match="mixes examples"):
        f(net.train(), x)


def test_errors() -> None:
    w, x = draw(3), draw(N, 3)
    with pytest.raises(aj.ShapeError, match=r"one loss an example, shape \(5,\), not a value of shape \(\).*reduction"):
        aj.per_sample_grad(lambda w, x: aj.sum(w * x))(w, x)
    with pytest.raises(aj.ShapeError, match=r"examples on their first axis, as many in each, got \(5, 3\), \(4,\)"):
        aj.per_sample_grad(lambda w, x, t: aj.sum(w * x, -1) * t)(w, x, np.ones(4))
    with pytest.raises(aj.ShapeError, match="got none"):
        aj.per_sample_grad(lambda w: w)(w)
    with pytest.raises(aj.TraceError, match=r"only have shapes, with 5 and 6 examples.*give it all arrays"):
        aj.per_sample_grad(lambda w, y: aj.sum(w * x * y, -1))(w, x)
    with pytest.raises(aj.TraceError, match="takes different steps for 5 examples and for 6"):
        aj.per_sample_grad(lambda w, x: aj.sum(aj.exp(w * x) if len(x) == N else w * x, -1))(w, x)
    with pytest.raises(aj.TraceError, match="in no clear order"):
        aj.per_sample_grad(lambda w, x: aj.cumulative_sum(aj.reshape(x, (-1,)) * w)[::3])(np.array(1.0), x)
