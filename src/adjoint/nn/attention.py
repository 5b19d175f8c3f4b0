"""Multi-head attention with PyTorch's names and meanings, and the keys and values of a sequence that it remembers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from adjoint import arrays as xp
from adjoint.arrays.attention_forms import Window, beside
from adjoint.arrays.dispatch import Array
from adjoint.arrays.masks import causal_mask
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.dropout import Dropout
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module


class Cache(NamedTuple):
    """Keys and values of the positions so far, (batch, heads, positions, features): a new one is made at every step.

    >>> import numpy as np, adjoint as aj
    >>> mha = aj.nn.MultiheadAttention(8, 2, batch_first=True, rng=0)
    >>> _, cache = mha.step(np.ones((1, 3, 8), "float32"))
    >>> cache.key.shape, cache.length
    ((1, 2, 3, 4), 3)
    """

    key: Array
    value: Array

    @property
    def length(self) -> int:
        """The number of positions."""
        return int(self.key.shape[-2])


class MultiheadAttention(Module):
    """Concatenated heads, mixed: Σₕ W_Oₕ softmax(Qₕ Kₕᵀ/√d) Vₕ with Q = W_Q x … (Vaswani et al. 2017), as PyTorch's.

    query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim); with `batch_first` N comes first, without a batch it
    is left out. Weights start as Xavier's uniform, biases zero. `add_bias_kv` and `add_zero_attn` append a learned or
    a zero key and value. Raises ValueError where num_heads does not divide embed_dim.

    >>> import numpy as np, adjoint as aj
    >>> mha, x = aj.nn.MultiheadAttention(8, 2, batch_first=True, rng=0), np.ones((5, 3, 8), "float32")
    >>> out, weights = mha(x, x, x)
    >>> out.shape, weights.shape, [name for name, _ in mha.named_parameters()]
    ((5, 3, 8), (5, 3, 3), ['in_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias'])
    """

    q_proj_weight: Array
    k_proj_weight: Array
    v_proj_weight: Array

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        divided("MultiheadAttention", embed_dim, num_heads)
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        rng = init.generator(rng)
        sources = (embed_dim, self.kdim, self.vdim)
        if set(sources) == {embed_dim}:
            self.in_proj_weight: Array | None = xavier((3 * embed_dim, embed_dim), rng, dtype)
        else:
            names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
            for name, source in zip(names, sources, strict=True):
                setattr(self, name, xavier((embed_dim, source), rng, dtype))
            self.in_proj_weight = None
        self.in_proj_bias: Array | None = init.zeros((3 * embed_dim,), dtype) if bias else None
        std = math.sqrt(2.0 / (2 * embed_dim))  # Xavier's, whose fans of (1, 1, embed_dim) are both embed_dim
        self.bias_k: Array | None = init.normal((1, 1, embed_dim), std, rng, dtype) if add_bias_kv else None
        self.bias_v: Array | None = init.normal((1, 1, embed_dim), std, rng, dtype) if add_bias_kv else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype, rng)
        if bias:
            self.out_proj.bias = init.zeros((embed_dim,), dtype)
        self.drop = Dropout(dropout, rng=rng) if dropout else None

    def __call__(
        self, query: Array, key: Array, value: Array, key_padding_mask: Any = None, need_weights: bool = True,
        attn_mask: Any = None, average_attn_weights: bool = True, is_causal: bool = False, *,
        zero_masked_rows: bool = False, dropout_key: Any = None,
    ) -> tuple[Array, Array | None]:  # fmt: skip
        """(result, weights (N, L, S), their mean over the heads, or (N, heads, L, S); None unless `need_weights`).

        In both masks True is left out and numbers are added: `key_padding_mask` (N, S), `attn_mask` (L, S) or
        (N · heads, L, S). `is_causal` hides keys j > i besides. A query that sees nothing gives NaN where weights are
        needed and out_proj's bias where they are not, as in PyTorch; with `zero_masked_rows` the latter always.
        """
        self.check(query, key, value)
        single = len(query.shape) == 2
        if single:
            query, key, value = (xp.expand_dims(x, 0 if self.batch_first else 1) for x in (query, key, value))
        q, k, v = self.heads(query, 0), self.heads(key, 1), self.heads(value, 2)
        mask = self.seen(q, k, key_padding_mask, attn_mask, single)
        if is_causal:
            mask = both(q, mask, beside(q, causal_mask(q.shape[-2], k.shape[-2])))
        k, v, mask = self.extended(k, v, mask)
        if not need_weights:
            drop, drop_key = self.drawn(dropout_key)
            out = xp.scaled_dot_product_attention(q, k, v, mask, drop, dropout_key=drop_key)
            return self.mixed(out, single), None
        weights = xp.attention_weights(q, k, mask)
        if mask is not None and not zero_masked_rows:
            weights = xp.where(xp.any(xp.greater(weights, 0.0), -1, True), weights, math.nan)
        drop, drop_key = self.drawn(dropout_key)
        weights = xp.dropout(weights, drop, drop_key) if drop else weights
        out = self.mixed(xp.matmul(weights, v), single)
        weights = xp.mean(weights, 1) if average_attn_weights else weights
        return out, xp.squeeze(weights, 0) if single else weights

    def step(self, x: Array, cache: Cache | None = None) -> tuple[Array, Cache]:
        """Causal self-attention of the next positions of a sequence: (their result, the cache with them in it).

        x is as for a call, with a batch; what is in the cache precedes it.

        >>> import numpy as np, adjoint as aj
        >>> mha, x = aj.nn.MultiheadAttention(4, 2, rng=0), np.random.default_rng(0).standard_normal((3, 1, 4))
        >>> first, cache = mha.step(x[:2])
        >>> last, cache = mha.step(x[2:], cache)
        >>> whole, _ = mha(x, x, x, is_causal=True)
        >>> np.allclose(whole, np.concatenate([first, last])), cache.length
        (True, 3)
        """
        self.check(x, x, x)
        if self.bias_k is not None or self.add_zero_attn:
            raise ValueError("MultiheadAttention.step: add_bias_kv and add_zero_attn have no place in a sequence.")
        q, cache = self.heads(x, 0), after(cache, self.heads(x, 1), self.heads(x, 2))
        drop, key = self.drawn(None)
        out = xp.scaled_dot_product_attention(q, *cache, dropout_p=drop, window=causal(q, cache), dropout_key=key)
        return self.mixed(out, False), cache

    def heads(self, x: Array, part: int) -> Array:
        """The projection of queries (part 0), keys (1) or values (2), (N, heads, length, head_dim)."""
        own, d = slice(part * self.embed_dim, (part + 1) * self.embed_dim), self.embed_dim
        if self.in_proj_weight is None:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[part]
        else:
            weight = self.in_proj_weight[own]
        y = xp.linear(x, weight, None if self.in_proj_bias is None else self.in_proj_bias[own])
        return split(y, self.num_heads, d // self.num_heads, self.batch_first)

    def mixed(self, out: Array, single: bool) -> Array:
        """Heads joined, in the order of the input's axes, and mixed."""
        y = self.out_proj(merged(out, self.batch_first))
        return xp.squeeze(y, 0 if self.batch_first else 1) if single else y

    def drawn(self, key: Any) -> tuple[float, Any]:
        """The probability of dropout now, and its key."""
        return (self.dropout, self.drop.drawn(key)) if self.training and self.drop is not None else (0.0, None)

    def seen(self, q: Array, k: Array, padding: Any, mask: Any, single: bool) -> Any:
        """Both masks as one, (N or 1, heads or 1, L or 1, S), in which True attends or numbers are added."""
        (n, h, length, _), s = q.shape, k.shape[-2]
        if mask is not None:
            mask = beside(q, mask)
            if tuple(mask.shape) not in ((length, s), (n * h, length, s)):
                raise ShapeError(
                    f"MultiheadAttention: attn_mask is (queries, keys) = ({length}, {s}) or (batch · heads, queries, "
                    f"keys) = ({n * h}, {length}, {s}), not {tuple(mask.shape)}."
                )
            mask = opposite(xp.reshape(mask, (n, h, length, s) if len(mask.shape) == 3 else (1, 1, length, s)))
        if padding is not None:
            padding = beside(q, padding)
            expected = (s,) if single else (n, s)
            if tuple(padding.shape) != expected:
                raise ShapeError(
                    f"MultiheadAttention: key_padding_mask has an entry for every key, {expected}, not "
                    f"{tuple(padding.shape)}."
                )
            padding = opposite(xp.reshape(padding, (n, 1, 1, s)))
        return both(q, mask, padding)

    def extended(self, k: Array, v: Array, mask: Any) -> tuple[Array, Array, Any]:
        """Keys and values with the learned and the zero one at their end, which no mask hides."""
        ends = []
        if self.bias_k is not None:
            ends.append([split(b, self.num_heads, self.head_dim, False) for b in (self.bias_k, self.bias_v)])
        if self.add_zero_attn:
            ends.append([xp.zeros(k, (1, self.num_heads, 1, self.head_dim))] * 2)
        for end in ends:
            k, v = (
                xp.concatenate([x, xp.broadcast_to(e, (x.shape[0], *e.shape[1:]))], -2)
                for x, e in zip((k, v), end, strict=True)
            )
            if mask is not None:
                last = (*mask.shape[:-1], 1)
                free = xp.full(mask, last, True) if is_truth(mask) else xp.zeros(mask, last)
                mask = xp.concatenate([mask, free], -1)
        return k, v, mask

    def check(self, query: Array, key: Array, value: Array) -> None:
        """Raise `ShapeError` unless the operands fit the module and one another."""
        shapes = [tuple(x.shape) for x in (query, key, value)]
        wanted = (self.embed_dim, self.kdim, self.vdim)
        batch = 0 if self.batch_first else 1
        fit = (
            len({len(s) for s in shapes}) == 1
            and len(shapes[0]) in (2, 3)
            and all(s[-1] == n for s, n in zip(shapes, wanted, strict=True))
            and shapes[1][:-1] == shapes[2][:-1]
            and (len(shapes[0]) == 2 or shapes[0][batch] == shapes[1][batch])
        )
        if not fit:
            form = "(N, length, features)" if self.batch_first else "(length, N, features)"
            raise ShapeError(
                f"MultiheadAttention: query {shapes[0]}, key {shapes[1]}, value {shapes[2]}: they are {form} or "
                f"(length, features) with {wanted} features, one batch N, and equally many keys and values"
                f"{'' if self.batch_first else '; where N comes first set batch_first=True'}."
            )


def split(x: Array, heads: int, d: int, batch_first: bool) -> Array:
    """(N, L, heads · d), or (L, N, heads · d), as (N, heads, L, d)."""
    a, b = x.shape[:2]
    return xp.permute(xp.reshape(x, (a, b, heads, d)), (0, 2, 1, 3) if batch_first else (1, 2, 0, 3))


def merged(x: Array, batch_first: bool) -> Array:
    """(N, heads, L, d) as (N, L, heads · d), or (L, N, heads · d)."""
    n, heads, length, d = x.shape
    lead = (n, length) if batch_first else (length, n)
    return xp.reshape(xp.permute(x, (0, 2, 1, 3) if batch_first else (2, 0, 1, 3)), (*lead, heads * d))


def after(cache: Cache | None, key: Array, value: Array) -> Cache:
    """A cache with keys and values at its end."""
    if cache is None:
        return Cache(key, value)
    return Cache(xp.concatenate([cache.key, key], -2), xp.concatenate([cache.value, value], -2))


def causal(q: Array, cache: Cache) -> Window:
    """The window of queries that stand at the end of a cache."""
    return None, cache.length - q.shape[-2]


def is_truth(mask: Array) -> bool:
    """Whether a mask is boolean."""
    return "bool" in str(mask.dtype)


def opposite(mask: Array) -> Array:
    """A boolean mask in which True is left out as one in which True attends; numbers stay."""
    return xp.logical_not(mask) if is_truth(mask) else mask


def both(like: Array, x: Any, y: Any) -> Any:
    """Two masks as one: boolean where both are, else added, None where there is neither."""
    if x is None or y is None:
        return y if x is None else x
    if is_truth(x) and is_truth(y):
        return xp.logical_and(x, y)
    x, y = (xp.where(m, xp.zeros(like, ()), -math.inf) if is_truth(m) else m for m in (x, y))
    return x + y


def xavier(shape: tuple[int, int], rng: Rng, dtype: Any) -> Array:
    """Entries uniform in ±√(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return init.uniform(shape, math.sqrt(6.0 / sum(shape)), rng, dtype)


def divided(name: str, embed_dim: int, num_heads: int) -> None:
    """Raise ValueError unless both are positive and num_heads divides embed_dim."""
    if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
        raise ValueError(f"{name}: num_heads {num_heads} is to divide embed_dim {embed_dim}, both of them positive.")
