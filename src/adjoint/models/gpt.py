"""GPT: a language model of pre-norm transformer blocks, with the names and the initialization of GPT-2."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.self_attention import packed, unpacked
from adjoint.errors import ShapeError
from adjoint.models.causal import CausalLM
from adjoint.models.checkpoint import Naming
from adjoint.models.config import ACTIVATIONS, Fields
from adjoint.models.reading import Reading, attended, dropped, reading
from adjoint.nn import init
from adjoint.nn.attention import divided
from adjoint.nn.dropout import Dropout
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm

STD = 0.02


class Attention(Module):
    """Causal self-attention: queries, keys and values by one product, then the heads mixed."""

    def __init__(
        self, n_embd: int, n_head: int, dropout: float, bias: bool, dtype: Any, rng: Any, layer: int = 0,
        scale: float | None = None,
    ) -> None:  # fmt: skip
        divided("GPT", n_embd, n_head)
        self.n_head, self.layer, self.scale = n_head, layer, scale
        self.c_attn = Linear(n_embd, 3 * n_embd, bias, dtype, rng)
        self.c_proj = Linear(n_embd, n_embd, bias, dtype, rng)
        self.attn_dropout = Dropout(dropout, rng=rng)
        self.resid_dropout = Dropout(dropout, rng=rng)

    def __call__(self, x: Array, at: Reading | None = None) -> Array:
        """x (N, L, n_embd), every position seeing itself and those before it."""
        qkv, drop = self.c_attn(x), self.attn_dropout
        if at is None and self.scale is None and not dropped(drop):
            return self.resid_dropout(self.c_proj(xp.self_attention(qkv, self.n_head, is_causal=True)))
        out = attended(at, self.layer, *unpacked(qkv, self.n_head), scale=self.scale, drop=drop)
        return self.resid_dropout(self.c_proj(packed(out)))


class FeedForward(Module):
    """Two linear maps with an activation between them."""

    def __init__(
        self, n_embd: int, n_inner: int, activation: str, dropout: float, bias: bool, dtype: Any, rng: Any
    ) -> None:
        self.activation = activation
        self.c_fc = Linear(n_embd, n_inner, bias, dtype, rng)
        self.c_proj = Linear(n_inner, n_embd, bias, dtype, rng)
        self.dropout = Dropout(dropout, rng=rng)

    def __call__(self, x: Array) -> Array:
        """x position by position."""
        return self.dropout(self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x))))


class Block(Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(
        self, n_embd: int, n_head: int, n_inner: int, activation: str, eps: float, dropout: float, bias: bool,
        dtype: Any, rng: Any, layer: int, scale: float | None,
    ) -> None:  # fmt: skip
        self.ln_1 = LayerNorm(n_embd, eps, bias=bias, dtype=dtype)
        self.attn = Attention(n_embd, n_head, dropout, bias, dtype, rng, layer, scale)
        self.ln_2 = LayerNorm(n_embd, eps, bias=bias, dtype=dtype)
        self.mlp = FeedForward(n_embd, n_inner, activation, dropout, bias, dtype, rng)

    def __call__(self, x: Array, at: Reading | None = None) -> Array:
        """x (N, L, n_embd) through the block."""
        y = self.ln_1(x)
        x = x + (self.attn(y) if at is None else self.attn(y, at))
        return x + self.mlp(self.ln_2(x))


class GPT(CausalLM):
    """Logits of the next token at every position: token and position embeddings, `n_layer` blocks, a norm, the head.

    tokens (N, T) of integers, T at most block_size; logits (N, T, vocab_size). With `tied` the head's weight is the
    embedding's. Weights start N(0, 0.02²), those before a residual sum with 1/√(2 n_layer) of it, biases zero (Radford
    et al. 2019); GELU in its tanh form. Raises ShapeError for longer sequences.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.GPT(vocab_size=65, block_size=16, n_layer=2, n_head=2, n_embd=8, rng=0)
    >>> net(np.zeros((3, 5), int)).shape, net.generate(np.array([1, 2]), 4, top_k=5, key=0).shape
    ((3, 5, 65), (6,))
    """

    naming: ClassVar[Naming] = Naming(
        "transformer.", r".*\.c_(attn|proj|fc)\.weight", r"h\.\d+\.attn\.(bias|masked_bias)"
    )  # fmt: skip

    def __init__(
        self, vocab_size: int, block_size: int = 1024, n_layer: int = 12, n_head: int = 12, n_embd: int = 768,
        dropout: float = 0.0, bias: bool = True, tied: bool = True, dtype: Any = "float32", rng: Rng = None, *,
        n_inner: int | None = None, activation: str = "gelu_new", eps: float = 1e-5,
        scales: tuple[float | None, ...] | None = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.block_size = self.limit = block_size
        self.wte = Embedding(vocab_size, n_embd, dtype=dtype, rng=rng)
        self.wpe = Embedding(block_size, n_embd, dtype=dtype, rng=rng)
        self.drop = Dropout(dropout, rng=rng)
        shape = (n_embd, n_head, n_inner or 4 * n_embd, activation, eps, dropout, bias, dtype, rng)
        scales = scales or (None,) * n_layer
        self.h: list[Any] = [Block(*shape, i, scale) for i, scale in enumerate(scales)]
        self.ln_f = LayerNorm(n_embd, eps, bias=bias, dtype=dtype)
        self.lm_head = Linear(n_embd, vocab_size, False, dtype, rng)
        for name, p in self.named_parameters():
            if len(p.shape) > 1:
                p[...] = init.normal(p.shape, STD / math.sqrt(2 * n_layer) if "c_proj" in name else STD, rng, dtype)
            elif name.endswith("bias"):
                p[...] = 0.0
        if tied:
            self.tie("lm_head.weight", "wte.weight")

    def __call__(self, tokens: Array, attention_mask: Any = None) -> Array:
        """The logits; tokens where `attention_mask` (N, T) is 0 are padding, which no other sees."""
        return self.logits(tokens, reading("GPT", tokens, attention_mask))

    def hidden(self, tokens: Array, at: Reading | None) -> Array:
        """The vectors (N, L, n_embd) of tokens (N, L), normalized."""
        x = self.drop(self.embedded(tokens, at))
        for block in self.h:
            x = block(x) if at is None else block(x, at)
        return self.ln_f(x)

    def heads(self) -> tuple[int, int, int]:
        """(blocks, heads, their width)."""
        n_head = self.h[0].attn.n_head
        return len(self.h), n_head, self.wte.embedding_dim // n_head

    def embedded(self, tokens: Array, at: Reading | None = None) -> Array:
        """Tokens and their positions as vectors."""
        start = 0 if at is None else at.start
        stop = start + tokens.shape[-1] if isinstance(start, int) else 0
        if len(tokens.shape) != 2 or stop > self.block_size:
            raise ShapeError(
                f"GPT: tokens are (N, T), {self.block_size} positions at most, not {tuple(tokens.shape)}"
                f"{f' after {start}' if stop and start else ''}."
            )
        if at is None or (at.positions is None and isinstance(start, int)):
            return self.wte(tokens) + self.wpe.weight[start:stop]
        return self.wte(tokens) + self.wpe(xp.asarray(tokens, at.numbers(tokens.shape[-1])))


def gpt2(fields: Fields, dtype: Any, rng: Rng) -> GPT:
    """GPT-2 from its configuration (`GPT2LMHeadModel`).

    >>> import adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     net = gpt2(Fields({"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}),
    ...                "float32", None)
    >>> aj.nn.count_parameters(net)
    124439808
    """
    fields.architecture({"GPT2LMHeadModel": GPT})
    for name in fields.left & {"summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout",
                               "summary_proj_to_labels", "n_ctx", "reorder_and_upcast_attn"}:  # fmt: skip
        fields.get(name)  # of other heads, of the positions again, of rounding
    fields.only("add_cross_attention", False)
    fields.only("is_decoder", False, True)
    width, heads = fields.integer("n_embd"), fields.integer("n_head")
    layers = fields.layers("n_layer")
    scaled = fields.flag("scale_attn_weights", True)
    by_layer = fields.flag("scale_attn_by_inverse_layer_idx", False)
    base = 1.0 / math.sqrt(max(width // heads, 1)) if scaled else 1.0
    plain = scaled and not by_layer
    net = GPT(
        fields.integer("vocab_size"), fields.integer("n_positions"), layers, heads, width,
        bias=True, tied=fields.flag("tie_word_embeddings", True), dtype=dtype, rng=rng,
        n_inner=fields.integer("n_inner", 4 * width), activation=fields.activation("activation_function", "gelu_new"),
        eps=fields.number("layer_norm_epsilon", 1e-5),
        scales=tuple(None if plain else base / (i + 1 if by_layer else 1) for i in range(layers)),
    )  # fmt: skip
    embd, attn, resid = (fields.number(f"{part}_pdrop", 0.1, 0.0, 1.0) for part in ("embd", "attn", "resid"))
    net.drop.p = embd
    for block in net.h:
        block.attn.attn_dropout.p = attn
        block.attn.resid_dropout.p = block.mlp.dropout.p = resid
    net.stop, net.pad = fields.tokens("eos_token_id", 50256), next(iter(fields.tokens("pad_token_id")), None)
    return net
