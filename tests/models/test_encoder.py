"""The classifier of sequences: what it computes, what padding means, that it learns."""

from __future__ import annotations

import numpy as np
import pytest

import adjoint as aj

RNG = np.random.default_rng(0)


def test_padding_is_neither_seen_nor_counted() -> None:
    net = aj.models.EncoderClassifier(3, 10, vocab_size=7, d_model=8, nhead=2, dtype="float64", rng=0)
    tokens = RNG.integers(0, 7, (2, 6))
    mask = np.zeros((2, 6), bool)
    mask[1, 4:] = True
    scores = net(tokens, mask)
    np.testing.assert_allclose(scores[0], net(tokens[:1])[0], rtol=1e-12)
    np.testing.assert_allclose(scores[1], net(tokens[1:, :4])[0], rtol=1e-12)
    other = np.where(mask, 0, tokens)
    np.testing.assert_allclose(net(other, mask), scores, rtol=1e-12)


@pytest.mark.covers("A11")
def test_it_learns_to_tell_an_order() -> None:
    """Whether the largest entry comes before the smallest: a matter of positions alone."""
    net = aj.models.EncoderClassifier(2, 6, in_features=2, d_model=16, nhead=2, num_layers=1, rng=0)
    x = RNG.normal(size=(128, 6, 2)).astype("float32")
    y = (x[..., 0].argmax(1) < x[..., 0].argmin(1)).astype(int)
    optimizer = aj.optim.AdamW(net, 1e-2)
    for _ in range(120):
        net, optimizer = optimizer.step(net, aj.grad(lambda net: aj.cross_entropy(net(x), y))(net))
    assert (net(x).argmax(1) == y).mean() > 0.95


@pytest.mark.parametrize("given", [{}, {"vocab_size": 5, "in_features": 3}])
def test_tokens_or_vectors(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="vocab_size for tokens or in_features for vectors"):
        aj.models.EncoderClassifier(3, 10, **given)
