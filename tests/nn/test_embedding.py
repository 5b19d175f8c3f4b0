"""Embeddings against PyTorch's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import adjoint as aj

nn, tn = aj.nn, torch.nn
INDICES = [np.array([[1, 0, 6], [6, 6, 2]]), np.array(3), np.zeros((0, 2), int), np.array([[2, 5, 1]]).T[:, ::-1]]


@pytest.mark.covers("N13")
@pytest.mark.parametrize("padding_idx", [None, 0, 6, -1])
@pytest.mark.parametrize("indices", INDICES, ids=lambda x: str(x.shape))
def test_embedding_equals_torch(indices: np.ndarray, padding_idx: int | None) -> None:
    net = nn.Embedding(7, 4, padding_idx, dtype="float64", rng=0)
    peer = tn.Embedding(7, 4, padding_idx, dtype=torch.float64)
    assert net.padding_idx == peer.padding_idx
    if padding_idx is not None:
        assert not net.weight[padding_idx].any()
    net.load_state_dict({"weight": torch.randn(7, 4, dtype=torch.float64)})
    peer.load_state_dict({k: torch.tensor(v) for k, v in net.state_dict().items()})
    expected = peer(torch.tensor(np.array(indices, order="C")))
    u = np.random.default_rng(0).normal(size=tuple(expected.shape))
    expected.backward(torch.tensor(u))
    y, pull = aj.vjp(lambda net: net(indices), net)
    np.testing.assert_array_equal(y, expected.detach())
    np.testing.assert_allclose(pull(u)[0].weight, peer.weight.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("to", ["torch", "jax"])
def test_padding_on_other_backends(to: str) -> None:
    net, indices = nn.Embedding(7, 4, 6, rng=0), INDICES[0]
    grad = lambda net, at: aj.grad(lambda net: aj.sum(net(at) ** 2))(net).weight  # noqa: E731
    there = jax.jit(grad) if to == "jax" else grad
    np.testing.assert_allclose(np.asarray(there(*aj.to((net, indices), to))), grad(net, indices), rtol=1e-6)


@pytest.mark.parametrize("padding_idx", [7, -8])
def test_padding_is_a_row(padding_idx: int) -> None:
    with pytest.raises(ValueError, match=f"padding_idx {padding_idx} is outside of 7 rows"):
        nn.Embedding(7, 4, padding_idx)


@pytest.mark.parametrize("index", [7, -8])
def test_indices_outside_raise(index: int) -> None:
    for kind in (np.asarray, torch.tensor, jnp.asarray):
        with pytest.raises(IndexError, match=r"embedding: .*the table has 7 rows: indices are -7 to 6"):
            aj.embedding(np.array([0, index]) if kind is jnp.asarray else kind([0, index]), kind(np.ones((7, 4))))
    with pytest.raises(IndexError, match="embedding: "):
        aj.grad(lambda net: aj.sum(net(np.array([0, index]))))(nn.Embedding(7, 4))


def test_it_is_a_choice_of_rows() -> None:
    net: Any = nn.Embedding(7, 4, dtype="float64", rng=0)
    J = aj.jacobian(lambda w: aj.embedding(INDICES[0], w), net.weight)
    np.testing.assert_allclose((J.T @ J).dense().reshape(28, 28), np.kron(np.diag([1, 1, 1, 0, 0, 0, 3]), np.eye(4)))
