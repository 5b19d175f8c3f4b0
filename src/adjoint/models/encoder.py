"""A classifier of sequences: a transformer encoder, the mean of its positions, a linear head."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn import init
from adjoint.nn.dropout import Dropout
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm
from adjoint.nn.positions import LearnedPositions
from adjoint.nn.transformer import TransformerEncoderLayer


class EncoderClassifier(Module):
    """Scores of classes for sequences of tokens (N, T), or of vectors (N, T, in_features): result (N, num_classes).

    Give `vocab_size` for tokens or `in_features` for vectors. Pre-norm layers with GELU; T is at most max_len.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.EncoderClassifier(10, 28, in_features=28, d_model=16, nhead=2, num_layers=1, rng=0)
    >>> net(np.zeros((5, 28, 28), "float32")).shape
    (5, 10)
    """

    def __init__(
        self, num_classes: int, max_len: int, vocab_size: int | None = None, in_features: int | None = None,
        d_model: int = 64, nhead: int = 4, num_layers: int = 2, dim_feedforward: int | None = None,
        dropout: float = 0.0, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        if (vocab_size is None) == (in_features is None):
            raise ValueError("EncoderClassifier: give vocab_size for tokens or in_features for vectors, one of them.")
        rng = init.generator(rng)
        self.embed: Any = (
            Embedding(vocab_size, d_model, dtype=dtype, rng=rng)
            if vocab_size is not None
            else Linear(in_features or 0, d_model, dtype=dtype, rng=rng)
        )
        self.positions = LearnedPositions(max_len, d_model, dtype, rng)
        self.drop = Dropout(dropout, rng=rng)
        layers = [
            TransformerEncoderLayer(
                d_model, nhead, dim_feedforward or 4 * d_model, dropout, "gelu", batch_first=True, norm_first=True,
                dtype=dtype, rng=rng,
            )
            for _ in range(num_layers)
        ]  # fmt: skip
        self.layers: list[Any] = layers
        self.norm = LayerNorm(d_model, dtype=dtype)
        self.head = Linear(d_model, num_classes, dtype=dtype, rng=rng)

    def __call__(self, x: Array, key_padding_mask: Array | None = None) -> Array:
        """The scores; positions where `key_padding_mask` (N, T) is True are neither seen nor counted in the mean."""
        h = self.drop(self.positions(self.embed(x)))
        for layer in self.layers:
            h = layer(h, None, key_padding_mask)
        h = self.norm(h)
        if key_padding_mask is None:
            return self.head(xp.mean(h, 1))
        kept = xp.astype(xp.logical_not(key_padding_mask), h.dtype)
        return self.head(xp.sum(h * xp.expand_dims(kept, -1), 1) / xp.sum(kept, 1, True))
