"""Embeddings: rows of a table, picked by integers."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn import init
from adjoint.nn.layers import Rng, _positive
from adjoint.nn.module import Module
from adjoint.transforms import stop_gradient


class Embedding(Module):
    """Rows of a table: integer indices of any shape to (*shape, embedding_dim); the table starts N(0, 1).

    The row `padding_idx` starts as zeros and gets no gradient. Raises IndexError for an index outside the table (where
    the backend looks at values: JAX under jit does not), ValueError for such a padding_idx.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Embedding(10, 4, rng=0)(np.array([[1, 2, 1]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:
        _positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"Embedding: padding_idx {padding_idx} is outside of {num_embeddings} rows.")
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight: Array = init.normal((num_embeddings, embedding_dim), 1.0, rng, dtype)
        if padding_idx is not None:
            self.weight[padding_idx] = 0.0

    def __call__(self, indices: Array) -> Array:
        """The rows at the indices."""
        rows = xp.embedding(indices, self.weight)
        if self.padding_idx is None:
            return rows
        learns = xp.expand_dims(xp.not_equal(indices, self.padding_idx), -1)
        return xp.where(learns, rows, stop_gradient(rows))
