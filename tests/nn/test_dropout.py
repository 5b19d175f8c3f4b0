"""Dropout: a fresh mask every step, compiled or not; the same one where a call is run again; PyTorch's layouts."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray, count
from adjoint.errors import ShapeError

nn, tn = aj.nn, torch.nn
X = np.ones((64, 32), "float32")


def network(p: float = 0.5) -> Any:
    return nn.Sequential(nn.Linear(32, 16, rng=0), nn.Dropout(p, rng=1), nn.ReLU(), nn.Linear(16, 1, rng=2))


def loss(net: Any, x: Any) -> Any:
    return aj.sum(net(x) ** 2)


def test_a_fresh_mask_every_call_and_under_every_transform() -> None:
    net = nn.Dropout(0.5, rng=0)
    uses = (net, lambda x: aj.grad(lambda x: aj.sum(net(x)))(x), lambda x: aj.jvp(net, (x,), (x,))[1], net)
    assert len({np.asarray(use(X)).tobytes() for use in uses}) == 4


def test_a_fresh_mask_every_compiled_step() -> None:
    """The step is traced once and returns the network; the masks are those of the uncompiled steps."""
    traces = []

    @jax.jit
    def step(net: Any, x: Any) -> Any:
        traces.append(1)
        return net(x), net

    drop = nn.Dropout(0.5, rng=3)
    compiled, masks = drop.to("jax"), []
    for _ in range(4):
        y, compiled = step(compiled, jnp.asarray(X))
        np.testing.assert_array_equal(np.asarray(y), drop(X))
        masks.append(np.asarray(y).tobytes())
    assert len(traces) == 1
    assert len(set(masks)) == 4


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
def test_checkpointing_replays_the_mask(to: str) -> None:
    net, x = network().to(to), nn.Linear(1, 1).to(to).weight * 0.0 + aj.to(X, to)
    other = copy.deepcopy(net)
    straight = aj.grad(loss)(net, x)
    again = aj.grad(lambda net, x: aj.sum(aj.checkpoint(lambda net, x: net(x))(net, x) ** 2))(other, x)
    for g, h in zip(straight.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(np.asarray(g), np.asarray(h))
    assert np.asarray(net[1].key).tolist() == np.asarray(other[1].key).tolist()
    assert np.asarray(net[1].key).tolist() != network()[1].key.tolist()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_expectation_and_variance(p: float) -> None:
    x = np.full(200_000, 2.0)
    y = nn.Dropout(p, rng=0)(x)
    kept = (y != 0.0).mean()
    deviation = np.sqrt(p * (1 - p) / x.size)
    assert abs(kept - (1 - p)) < 4 * deviation
    np.testing.assert_allclose(y[y != 0.0], 2.0 / (1 - p), rtol=1e-15)
    assert abs(y.mean() - 2.0) < 4 * 2.0 * deviation / (1 - p)
    assert abs(y.var() / (4.0 * p / (1 - p)) - 1.0) < 0.05


def test_evaluation_and_no_dropout_are_the_identity() -> None:
    net = nn.Dropout(0.9)
    key = net.key
    assert net.eval()(X) is X
    assert nn.Dropout(0.0)(X) is X
    assert net.key is key


@pytest.mark.parametrize("kind", ["Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout"])
def test_everything_dropped(kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    assert not getattr(nn, kind)(1.0)(x).any()
    g = aj.grad(lambda x: aj.sum(getattr(nn, kind)(1.0)(x)))(x)
    assert not g.any()


def test_seeds_copies_and_state() -> None:
    one, other, copied = nn.Dropout(rng=5), nn.Dropout(rng=5), copy.deepcopy(nn.Dropout(rng=5))
    expected = one(X)
    assert (other(X) == expected).all()
    assert (copied(X) == expected).all()
    assert (nn.Dropout(rng=6)(X) != expected).any()
    assert one.state_dict() == {}
    aj.seed(7)
    first = nn.Dropout()(X)
    aj.seed(7)
    assert (nn.Dropout()(X) == first).all()


def test_a_given_key_overrides_and_generators_go_on() -> None:
    net = nn.Dropout(rng=0)
    held, key = net.key, aj.random.key(3)
    np.testing.assert_array_equal(net(X, key), aj.dropout(X, 0.5, key))
    assert net.key is held
    for generator in (np.random.default_rng(0), torch.Generator().manual_seed(0)):
        assert (aj.dropout(X, 0.5, generator) != aj.dropout(X, 0.5, generator)).any()


def test_the_derivative_is_the_mask() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    y, J = aj.linearize(lambda x: aj.dropout(x, 0.5, 11), x)
    assert isinstance(J, aj.Diagonal)
    np.testing.assert_allclose(y, J.d * x)


FEATURES = [
    (nn.Dropout1d, (6, 50, 4)),
    (nn.Dropout1d, (300, 4)),
    (nn.Dropout2d, (6, 50, 3, 2)),
    (nn.Dropout2d, (6, 50, 4)),
    (nn.Dropout3d, (6, 50, 2, 2, 2)),
    (nn.Dropout3d, (300, 2, 2, 2)),
    (nn.FeatureAlphaDropout, (6, 50, 4)),
    (nn.FeatureAlphaDropout, (6, 50, 2, 3)),
]


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize(("kind", "shape"), FEATURES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_channels_fall_together_as_in_torch(kind: Any, shape: tuple[int, ...]) -> None:
    """The same values in the same places: how many distinct ones a channel has, and which there are at all."""
    x = np.full(shape, 1.5)
    with torch.no_grad():
        peer = getattr(tn, kind.__name__)(0.25)(torch.tensor(x)).numpy()
    y = kind(0.25, rng=0)(x)
    np.testing.assert_allclose(np.unique(y.round(12)), np.unique(peer.round(12)), rtol=1e-12)
    assert spread(y) == spread(peer)
    assert abs((y == y.max()).mean() - 0.75) < 0.1


def spread(y: np.ndarray) -> list[bool]:
    """Over how many trailing axes the mask is constant."""
    return [bool((np.ptp(y, axis=tuple(range(k, y.ndim))) == 0).all()) for k in range(y.ndim)]


def test_alpha_dropout_equals_torchs_formula() -> None:
    x = np.random.default_rng(0).normal(size=100_000)
    y = nn.AlphaDropout(0.3)(x, key=0)
    kept = (aj.dropout(np.ones(x.shape), 0.3, 0) > 0).astype("float64")
    alpha = 1.7580993408473766
    a = ((alpha**2 * 0.3 + 1) * 0.7) ** -0.5
    np.testing.assert_allclose(y, x * kept * a + (kept - 1) * alpha * a + alpha * a * 0.3, rtol=1e-12, atol=1e-12)
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1.0) < 0.02


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_probability_is_between_zero_and_one(p: float) -> None:
    for make in (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, lambda p: aj.dropout(X, p, 0)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            make(p)


def test_axes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="2 or 3 axes, not 1"):
        nn.Dropout1d()(np.ones(3))
    with pytest.raises(ShapeError, match="at least two axes"):
        nn.FeatureAlphaDropout()(np.ones(3))


def test_what_dropout_costs() -> None:
    """A comparison, the mask's scale and the product for every entry; integers are not counted."""
    with count() as tally:
        y = nn.Dropout(0.5)(ShapeArray((3, 4), "float32"))
    assert (y.shape, y.dtype.name, tally.flops) == ((3, 4), "float32", 3 * 12)
