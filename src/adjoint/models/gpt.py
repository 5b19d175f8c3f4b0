"""GPT: a language model of pre-norm transformer blocks, with the names and the initialization of GPT-2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.dispatch import backend as backend_of
from adjoint.arrays.random import Key, categorical, key_of, split_key
from adjoint.arrays.self_attention import packed, unpacked
from adjoint.errors import ShapeError
from adjoint.nn import init
from adjoint.nn.attention import Cache, divided
from adjoint.nn.dropout import Dropout
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm

STD = 0.02


class Attention(Module):
    """Causal self-attention: queries, keys and values by one product, then the heads mixed."""

    def __init__(self, n_embd: int, n_head: int, dropout: float, bias: bool, dtype: Any, rng: Any) -> None:
        divided("GPT", n_embd, n_head)
        self.n_head = n_head
        self.c_attn = Linear(n_embd, 3 * n_embd, bias, dtype, rng)
        self.c_proj = Linear(n_embd, n_embd, bias, dtype, rng)
        self.attn_dropout = Dropout(dropout, rng=rng)
        self.resid_dropout = Dropout(dropout, rng=rng)

    def __call__(self, x: Array) -> Array:
        """x (N, T, n_embd), every position seeing itself and those before it."""
        qkv, drop = self.c_attn(x), self.attn_dropout
        if drop.training and drop.p > 0.0:
            out = xp.scaled_dot_product_attention(
                *unpacked(qkv, self.n_head), dropout_p=drop.p, is_causal=True, dropout_key=drop.drawn(None)
            )
            return self.resid_dropout(self.c_proj(packed(out)))
        return self.resid_dropout(self.c_proj(xp.self_attention(qkv, self.n_head, is_causal=True)))

    def step(self, x: Array, cache: Cache | None) -> tuple[Array, Cache]:
        """The same, without dropout, for the next positions of a sequence: (result, the cache with them in it)."""
        q, k, v = unpacked(self.c_attn(x), self.n_head)
        start = 0 if cache is None else cache.length
        if cache is not None:
            k, v = xp.concatenate([cache.key, k], -2), xp.concatenate([cache.value, v], -2)
        out = xp.scaled_dot_product_attention(q, k, v, window=(None, start))
        return self.c_proj(packed(out)), Cache(k, v)


class FeedForward(Module):
    """Two linear maps with GELU between them, four times as wide inside."""

    def __init__(self, n_embd: int, dropout: float, bias: bool, dtype: Any, rng: Any) -> None:
        self.c_fc = Linear(n_embd, 4 * n_embd, bias, dtype, rng)
        self.c_proj = Linear(4 * n_embd, n_embd, bias, dtype, rng)
        self.dropout = Dropout(dropout, rng=rng)

    def __call__(self, x: Array) -> Array:
        """x position by position."""
        return self.dropout(self.c_proj(xp.gelu(self.c_fc(x), "tanh")))


class Block(Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, n_embd: int, n_head: int, dropout: float, bias: bool, dtype: Any, rng: Any) -> None:
        self.ln_1 = LayerNorm(n_embd, bias=bias, dtype=dtype)
        self.attn = Attention(n_embd, n_head, dropout, bias, dtype, rng)
        self.ln_2 = LayerNorm(n_embd, bias=bias, dtype=dtype)
        self.mlp = FeedForward(n_embd, dropout, bias, dtype, rng)

    def __call__(self, x: Array) -> Array:
        """x through the block."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))

    def step(self, x: Array, cache: Cache | None) -> tuple[Array, Cache]:
        """The next positions of a sequence through the block, and the cache with them in it."""
        mixed, cache = self.attn.step(self.ln_1(x), cache)
        x = x + mixed
        return x + self.mlp(self.ln_2(x)), cache


class GPT(Module):
    """Logits of the next token at every position: token and position embeddings, `n_layer` blocks, a norm, the head.

    tokens (N, T) of integers, T at most block_size; logits (N, T, vocab_size). With `tied` the head's weight is the
    embedding's. Weights start N(0, 0.02²), those before a residual sum with 1/√(2 n_layer) of it, biases zero (Radford
    et al. 2019); GELU in its tanh form. Raises ShapeError for longer sequences.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.GPT(vocab_size=65, block_size=16, n_layer=2, n_head=2, n_embd=8, rng=0)
    >>> net(np.zeros((3, 5), int)).shape, net.generate(np.array([1, 2]), 4, top_k=5, key=0).shape
    ((3, 5, 65), (6,))
    """

    def __init__(
        self, vocab_size: int, block_size: int = 1024, n_layer: int = 12, n_head: int = 12, n_embd: int = 768,
        dropout: float = 0.0, bias: bool = True, tied: bool = True, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.block_size = block_size
        self.wte = Embedding(vocab_size, n_embd, dtype=dtype, rng=rng)
        self.wpe = Embedding(block_size, n_embd, dtype=dtype, rng=rng)
        self.drop = Dropout(dropout, rng=rng)
        self.h: list[Any] = [Block(n_embd, n_head, dropout, bias, dtype, rng) for _ in range(n_layer)]
        self.ln_f = LayerNorm(n_embd, bias=bias, dtype=dtype)
        self.lm_head = Linear(n_embd, vocab_size, False, dtype, rng)
        for name, p in self.named_parameters():
            if len(p.shape) > 1:
                p[...] = init.normal(p.shape, STD / math.sqrt(2 * n_layer) if "c_proj" in name else STD, rng, dtype)
            elif name.endswith("bias"):
                p[...] = 0.0
        if tied:
            self.tie("lm_head.weight", "wte.weight")

    def __call__(self, tokens: Array) -> Array:
        """The logits."""
        x = self.drop(self.embedded(tokens, 0))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))

    def step(self, tokens: Array, caches: list[Cache] | None = None) -> tuple[Array, list[Cache]]:
        """The logits of the next tokens of a sequence, and the caches with them in it, one a block; for evaluation."""
        x, kept = self.embedded(tokens, 0 if caches is None else caches[0].length), []
        for i, block in enumerate(self.h):
            x, cache = block.step(x, caches and caches[i])
            kept.append(cache)
        return self.lm_head(self.ln_f(x)), kept

    def embedded(self, tokens: Array, start: int) -> Array:
        """Tokens and their positions, counted from `start`, as vectors."""
        stop = start + tokens.shape[-1]
        if len(tokens.shape) != 2 or stop > self.block_size:
            raise ShapeError(
                f"GPT: tokens are (N, T), {self.block_size} positions at most, not {tuple(tokens.shape)}"
                f"{f' after {start}' if start else ''}."
            )
        return self.wte(tokens) + self.wpe.weight[start:stop]

    def loss(self, tokens: Array, targets: Array) -> Array:
        """The mean cross-entropy of the tokens (N, T) that follow: targets (N, T), in nats a token."""
        logits = self(tokens)
        return xp.cross_entropy(xp.reshape(logits, (-1, logits.shape[-1])), xp.reshape(targets, (-1,)))

    def generate(
        self, tokens: Array, n: int, temperature: float = 1.0, top_k: int | None = None, key: Key = 0
    ) -> Array:
        """`n` tokens drawn one after the other behind `tokens`, (T,) or (N, T): all T + n of them.

        Logits are divided by `temperature` (0 takes the likeliest token), of which only the `top_k` largest count. Keys
        and values of the positions so far are kept. Beyond block_size positions the model sees the last half of them.

        >>> import numpy as np, adjoint as aj
        >>> net = aj.models.GPT(5, 4, n_layer=1, n_head=1, n_embd=4, rng=0)
        >>> net.generate(np.array([0]), 9, temperature=0.0).shape
        (10,)
        """
        net, key = self.to().eval(), key_of(key)
        rows = tokens if len(tokens.shape) == 2 else xp.reshape(tokens, (1, -1))
        caches, seen = None, rows[:, -self.block_size :]
        for _ in range(n):
            if caches is not None and caches[0].length == self.block_size:
                caches, seen = None, rows[:, -max(self.block_size // 2, 1) :]
            logits, caches = net.step(seen, caches)
            key, now = split_key(key)
            last = backend_of(type(logits)).to_numpy(logits[:, -1])
            seen = xp.asarray(rows, _drawn(last, temperature, top_k, now)[:, None], rows.dtype)
            rows = xp.concatenate([rows, seen], 1)
        return rows if len(tokens.shape) == 2 else xp.reshape(rows, (-1,))


def _drawn(logits: np.ndarray, temperature: float, top_k: int | None, key: Any) -> np.ndarray:
    """A token for each row of logits."""
    if temperature == 0.0:
        return np.argmax(logits, -1)
    if top_k is not None and top_k < logits.shape[-1]:
        least = np.partition(logits, -top_k, -1)[:, -top_k, None]
        logits = np.where(logits < least, -np.inf, logits)
    return np.asarray(categorical(logits / temperature, np.asarray(backend_of(type(key)).to_numpy(key))))
