"""Encodings of positions against their closed forms, and rotary ones against Hugging Face's formula."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.errors import ShapeError

nn = aj.nn


@pytest.mark.covers("A10")
def test_sinusoidal_encoding_is_the_papers() -> None:
    pe = nn.PositionalEncoding(6, max_len=50, dtype="float64")
    for pos in (0, 1, 49):
        for i in range(3):
            angle = pos / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(pe.table[pos, 2 * i : 2 * i + 2], [math.sin(angle), math.cos(angle)], atol=1e-15)
    x = np.random.default_rng(0).normal(size=(2, 7, 6))
    np.testing.assert_array_equal(pe(x, start=3), x + pe.table[3:10])
    assert pe.state_dict() == {}


@pytest.mark.covers("A10")
@given(k=st.integers(-400, 400), t=st.integers(400, 500), d=st.sampled_from([2, 4, 10]))
def test_a_shift_of_positions_is_a_rotation(k: int, t: int, d: int) -> None:
    pe = nn.PositionalEncoding(d, max_len=1000, dtype="float64")
    M = pe.shift(k)
    np.testing.assert_allclose(M @ pe.table[t], pe.table[t + k], atol=1e-11)
    np.testing.assert_allclose(M.T @ pe.table[t + k], pe.table[t], atol=1e-11)
    np.testing.assert_allclose((M @ pe.shift(5)).dense(), pe.shift(k + 5).dense(), atol=1e-12)


def hugging_face(x: Any, positions: Any, theta: float) -> Any:
    """`LlamaRotaryEmbedding` and `apply_rotary_pos_emb` of transformers, in double precision."""
    dim = x.shape[-1]
    inv_freq = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    freqs = positions[..., None].double() * inv_freq
    emb = torch.cat((freqs, freqs), dim=-1)
    x1, x2 = x[..., : dim // 2], x[..., dim // 2 :]
    return x * emb.cos() + torch.cat((-x2, x1), dim=-1) * emb.sin()


@pytest.mark.covers("A10")
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_rotary_encoding_is_hugging_faces(theta: float) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 8))
    rope, given = nn.RotaryEmbedding(8, theta), torch.tensor(x, requires_grad=True)
    expected = hugging_face(given, torch.arange(5), theta)
    np.testing.assert_allclose(rope(x), expected.detach(), rtol=1e-12, atol=1e-14)
    positions = np.array([3, 1, 4, 1000, 5])
    later = hugging_face(given, torch.tensor(positions), theta)
    np.testing.assert_allclose(rope(x, positions), later.detach(), rtol=1e-10, atol=1e-12)
    g = aj.grad(lambda x: aj.sum(rope(x) ** 3))(x)
    np.testing.assert_allclose(g, torch.autograd.grad((expected**3).sum(), given)[0], rtol=1e-10, atol=1e-12)


@pytest.mark.covers("A10")
def test_interleaved_rotary_encoding_is_the_papers() -> None:
    """Coordinates x₂ᵢ, x₂ᵢ₊₁ are one complex number, multiplied by exp(i m θᵢ)."""
    x = np.random.default_rng(0).normal(size=(5, 8))
    turned = (x[:, ::2] + 1j * x[:, 1::2]) * np.exp(1j * np.outer(np.arange(5), 10000.0 ** (-np.arange(4) / 4)))
    y = nn.RotaryEmbedding(8, interleaved=True)(x)
    np.testing.assert_allclose(y, np.stack([turned.real, turned.imag], -1).reshape(5, 8), rtol=1e-12, atol=1e-14)


@pytest.mark.covers("A10")
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_encoding_is_orthogonal_and_relative(interleaved: bool) -> None:
    q, k = np.random.default_rng(0).normal(size=(2, 1, 6))
    rope = nn.RotaryEmbedding(6, interleaved=interleaved)
    at = lambda x, t: rope(x, np.array([t]))[0]  # noqa: E731
    for s, t in ((0, 3), (10, 13), (97, 100)):
        np.testing.assert_allclose(at(q, s) @ at(k, t), at(q, 0) @ at(k, 3), rtol=1e-12)
    J = aj.jacobian(rope, np.random.default_rng(1).normal(size=(4, 6)))
    assert "orthogonal" in J.properties
    np.testing.assert_allclose((J.T @ J).dense().reshape(24, 24), np.eye(24), atol=1e-14)


def test_rotary_encoding_on_backends_and_in_programs() -> None:
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
    rope, positions = nn.RotaryEmbedding(8), np.arange(3, 8)
    expected = rope(x, positions)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(rope(torch.tensor(x), torch.tensor(positions)), expected, atol=1e-6)
    compiled = jax.jit(lambda x, start: rope(x, start + jnp.arange(5)))
    np.testing.assert_allclose(compiled(x, 3), expected, atol=1e-6)
    half = rope(torch.tensor(x, dtype=torch.bfloat16), torch.tensor(positions + 1000))
    np.testing.assert_allclose(half.float(), rope(half.float() * 0 + torch.tensor(x), positions + 1000), atol=0.05)


def test_learned_positions() -> None:
    net = nn.LearnedPositions(10, 4, rng=0)
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype("float32")
    np.testing.assert_array_equal(net(x, 5), x + net.weight[5:7])
    g = aj.grad(lambda net: aj.sum(net(x, 5)))(net).weight
    np.testing.assert_array_equal(g, np.repeat([0.0, 3.0, 0.0], [5, 2, 3])[:, None] * np.ones((10, 4)))
    assert abs(nn.LearnedPositions(1000, 8, rng=0).weight.std() - 0.02) < 0.001


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: nn.PositionalEncoding(5), "even, not 5"),
        (lambda: nn.RotaryEmbedding(7), "even, not 7"),
        (lambda: nn.PositionalEncoding(4, max_len=3)(np.zeros((5, 4))), "3 positions are known, not 0 to 4"),
        (lambda: nn.LearnedPositions(3, 4)(np.zeros((2, 4)), start=2), "not 2 to 3"),
        (lambda: nn.LearnedPositions(3, 4)(np.zeros((2, 5))), r"\(…, T, 4\), not \(2, 5\)"),
        (lambda: nn.RotaryEmbedding(4)(np.zeros((2, 6))), r"\(…, T, 4\), not \(2, 6\)"),
        (lambda: aj.rotate(np.zeros((2, 5)), np.zeros(2)), "must be even"),
        (lambda: aj.rotate(np.zeros((2, 6)), np.zeros(2)), "3 pairs"),
    ],
)
def test_what_does_not_fit(call: Any, told: str) -> None:
    with pytest.raises((ShapeError, ValueError), match=told):
        call()
