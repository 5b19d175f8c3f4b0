"""vmap against a loop, on the backends that have it; on NumPy an error that tells what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import trees
from adjoint.arrays.dispatch import backend

nn = aj.nn


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def draw(*shape: int) -> Any:
    return np.random.default_rng([5, *shape]).normal(size=shape)


def plain(x: Any) -> np.ndarray:
    return backend(type(x)).to_numpy(x)


def close(got: Any, wanted: Any) -> None:
    for a, b in zip(trees.flatten(got)[0], trees.flatten(wanted)[0], strict=True):
        np.testing.assert_allclose(plain(a), plain(b), rtol=1e-11, atol=1e-12)


NETS: dict[str, Any] = {
    "dense": (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3)), (3,)),
    "convolutional": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(-3), nn.Linear(8, 3)), (1, 4, 4)),
}
each_backend = pytest.mark.parametrize("to", ["torch", "jax"])


@each_backend
def test_axes(to: str) -> None:
    x, y = aj.to((draw(2, 3), draw(3, 4)), to)
    f = lambda x, y, scale=1.0: scale * aj.outer(x, y)  # noqa: E731
    wanted = np.einsum("in,nj->nij", plain(x), plain(y))
    close(aj.vmap(f, (1, 0))(x, y), wanted)
    close(aj.vmap(f, (-1, 0), 1)(x, y, scale=2.0), 2.0 * np.moveaxis(wanted, 0, 1))
    close(aj.vmap(f, (None, 0))(x[:, 0], y), np.einsum("i,nj->nij", plain(x)[:, 0], plain(y)))
    pair = aj.vmap(lambda d: {"a": d["x"] * 2.0, "b": (aj.sum(d["y"]), None)}, ({"x": 1, "y": 0},), {"a": 1, "b": 0})
    close(pair({"x": x, "y": y}), {"a": 2.0 * plain(x), "b": (plain(y).sum(1), None)})


@each_backend
@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_gradients_inside_are_per_sample_gradients(kind: str, to: str) -> None:
    net, shape = NETS[kind]
    net = aj.to(net, dtype="float64")
    x, t = draw(5, *shape), np.array([0, 2, 1, 1, 0])
    wanted = aj.per_sample_grad(lambda net, x, t: aj.cross_entropy(net(x), t, reduction="none"))(net, x, t)
    one = lambda net, x, t: aj.cross_entropy(net(x), t)  # noqa: E731
    vectorized = aj.vmap(aj.grad(one), (None, 0, 0))
    got = (jax.jit(vectorized) if to == "jax" else vectorized)(*aj.to((net, x, t), to))
    assert type(got) is type(net)
    close(got, wanted)


@each_backend
def test_jacobians_hessians_and_nesting(to: str) -> None:
    x = aj.to(draw(4, 3), to)
    close(
        aj.vmap(lambda x: aj.jacobian(aj.tanh, x).dense())(x),
        np.stack([np.diag(1 - np.tanh(row) ** 2) for row in plain(x)]),
    )
    hessian = aj.vmap(lambda x, v: aj.hvp(lambda x: aj.sum(x**3), x, v))
    close(hessian(x, x), 6.0 * plain(x) ** 2)
    close(aj.vmap(aj.vmap(lambda a, b: a * b, (None, 0)), (0, None))(x[0], x[1]), np.outer(plain(x)[0], plain(x)[1]))


def test_errors() -> None:
    f = aj.vmap(aj.sum)
    with pytest.raises(aj.BackendError, match=r"vmap: sum gets arrays of numpy.*leading batch axes"):
        f(np.ones((2, 3)))
    with pytest.raises(aj.BackendError, match="no backend"):
        f(1.0)
    with pytest.raises(aj.BackendError, match="numpy and torch"):
        aj.vmap(aj.add)(torch.ones(2), np.ones(2))
    with pytest.raises(aj.BackendError, match=r"put vmap outside of the transform, as in aj\.vmap\(aj\.grad"):
        aj.grad(lambda x: aj.sum(aj.vmap(aj.exp)(x)))(torch.ones(2))
    with pytest.raises(ValueError, match=r"in_axes \(0, 0\) does not fit the arguments"):
        aj.vmap(aj.sum, (0, 0))(torch.ones(2, 2))
