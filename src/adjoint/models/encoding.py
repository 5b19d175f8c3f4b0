"""What BERT and ViT share: attention of every position to every other, their result and their initial values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.config import Fields
from adjoint.nn import init
from adjoint.nn.attention import divided, merged, split
from adjoint.nn.dropout import Dropout
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module

STD = 0.02


class Encoding(NamedTuple):
    """What an encoder gives: `hidden` (N, T, hidden_size), and `pooled`, the first position through a pooler, or None.

    >>> import numpy as np
    >>> Encoding(np.ones((2, 5, 8)), None).hidden.shape
    (2, 5, 8)
    """

    hidden: Array
    pooled: Array | None


class SelfAttention(Module):
    """softmax(Q Kᵀ/√d) V in `heads` heads, with Q, K and V linear in x; what follows mixes them (Vaswani et al. 2017).

    >>> import numpy as np
    >>> SelfAttention("toy", 8, 2, rng=0)(np.ones((3, 5, 8), "float32")).shape
    (3, 5, 8)
    """

    def __init__(
        self, name: str, width: int, heads: int, dropout: float = 0.0, bias: bool = True, dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:  # fmt: skip
        divided(name, width, heads)
        self.heads, self.head_dim = heads, width // heads
        self.query, self.key, self.value = (Linear(width, width, bias, dtype, rng) for _ in range(3))
        self.dropout = Dropout(dropout, rng=rng)

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """x (N, T, width); a boolean mask (N, 1, 1, T) says what is attended to."""
        parts = (self.query, self.key, self.value)
        q, k, v = (split(part(x), self.heads, self.head_dim, True) for part in parts)
        drop = self.dropout
        drops = drop.training and drop.p > 0.0
        key = drop.drawn(None) if drops else None
        out = xp.scaled_dot_product_attention(q, k, v, mask, drop.p if drops else 0.0, dropout_key=key)
        return merged(out, True)


class Dense(Module):
    """A linear layer with a name of its own, where Hugging Face's has one: `dense`.

    >>> list(Dense(3, 2).state_dict())
    ['dense.weight', 'dense.bias']
    """

    def __init__(self, in_features: int, out_features: int, dtype: Any = "float32", rng: Rng = None) -> None:
        self.dense = Linear(in_features, out_features, dtype=dtype, rng=rng)

    def __call__(self, x: Array) -> Array:
        """The layer of x."""
        return self.dense(x)


class Layers(Module):
    """Layers one after the other, with Hugging Face's name for them: `layer`.

    >>> list(Layers([Dense(2, 2)]).state_dict())
    ['layer.0.dense.weight', 'layer.0.dense.bias']
    """

    def __init__(self, layers: list[Any]) -> None:
        self.layer = layers

    def __call__(self, x: Array, *args: Any) -> Array:
        """x through all of them."""
        for layer in self.layer:
            x = layer(x, *args)
        return x


def draw_parameters(net: Module, rng: Rng, dtype: Any) -> None:
    """Draw all weights anew, N(0, 0.02²), with biases 0, as BERT and ViT start (Devlin et al. 2018).

    >>> net = Linear(100, 100)
    >>> draw_parameters(net, 0, "float32")
    >>> bool(abs(net.weight.std() / 0.02 - 1) < 0.1), net.bias.any()
    (True, np.False_)
    """
    for name, p in net.named_parameters():
        if len(p.shape) > 1:
            p[...] = init.normal(p.shape, STD, rng, dtype)
        elif name.endswith("bias"):
            p[...] = 0.0
    for _, module in net.named_modules():
        if isinstance(module, Embedding) and module.padding_idx is not None:
            module.weight[module.padding_idx] = 0.0


def labels(fields: Fields) -> int:
    """The number of classes: the entries of `id2label`, else `num_labels`, else 2.

    >>> labels(Fields({"id2label": {"0": "cat", "1": "dog", "2": "none"}}))
    3
    """
    named = fields.get("id2label")
    given = fields.integer("num_labels", 2 if not isinstance(named, Mapping) else len(named))
    return len(named) if isinstance(named, Mapping) and named else given
