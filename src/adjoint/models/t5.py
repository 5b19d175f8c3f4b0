"""T5: an encoder and a decoder of transformer blocks that know positions by a learned bias for each distance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, is_array
from adjoint.arrays.random import Key
from adjoint.arrays.self_attention import heads, packed
from adjoint.models.checkpoint import Naming
from adjoint.models.config import ACTIVATIONS, Fields
from adjoint.models.generation import generated, stream
from adjoint.models.reading import Reading, dropped, reading, truths
from adjoint.nn import init
from adjoint.nn.attention import Cache
from adjoint.nn.dropout import Dropout
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import RMSNorm

NAMING = Naming(
    skipped=r"(en|de)coder\.embed_tokens\.weight|decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    aliases={"shared.weight": ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")},
)


def buckets(distance: np.ndarray, both_ways: bool, num_buckets: int = 32, max_distance: int = 128) -> np.ndarray:
    """The bucket of each distance (key - query): one each for short ones, longer ones share them by their logarithm.

    Keys behind the query have the second half of the buckets where it sees `both_ways`, else none of their own.

    >>> buckets(np.array([-40, -2, -1, 0, 3]), False, 8, 32).tolist()
    [7, 2, 1, 0, 0]
    """
    start: Any = 0
    if both_ways:
        num_buckets //= 2
        start, distance = num_buckets * (distance > 0), np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = num_buckets // 2
    # in float32, as the models were trained: the borders between buckets depend on its rounding
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(max_distance / exact)
    )
    far = np.minimum(exact + (ratio * np.float32(num_buckets - exact)).astype(np.int64), num_buckets - 1)
    return start + np.where(distance < exact, distance, far)


class T5Attention(Module):
    """Attention without a scale, to its own sequence or to another's vectors; the first layer's has the bias."""

    def __init__(
        self, width: int, count: int, d_kv: int, dropout: float, buckets: int | None, dtype: Any, rng: Any
    ) -> None:
        self.count = count
        self.q = Linear(width, count * d_kv, False, dtype, rng)
        self.k = Linear(width, count * d_kv, False, dtype, rng)
        self.v = Linear(width, count * d_kv, False, dtype, rng)
        self.o = Linear(count * d_kv, width, False, dtype, rng)
        self.drop = Dropout(dropout, rng=rng)
        self.relative_attention_bias = None if buckets is None else Embedding(buckets, count, dtype=dtype, rng=rng)

    def remembered(self, x: Array) -> Cache:
        """The keys and values of vectors."""
        return Cache(heads(self.k(x), self.count), heads(self.v(x), self.count))

    def __call__(self, x: Array, known: Cache, mask: Array | None) -> Array:
        """What x (N, L, width) finds among keys and values; `mask` is added to the scores, or truth values."""
        q = heads(self.q(x), self.count)
        out = xp.scaled_dot_product_attention(q, *known, mask, scale=1.0, **dropped(self.drop))
        return self.o(packed(out))


class T5FeedForward(Module):
    """W_o act(W_i x), or gated W_o (act(W_0 x) · W_1 x)."""

    def __init__(
        self, width: int, inner: int, activation: str, gated: bool, dropout: float, dtype: Any, rng: Any
    ) -> None:
        self.activation = activation
        self.dropout = Dropout(dropout, rng=rng)
        if gated:
            self.wi_0 = Linear(width, inner, False, dtype, rng)
            self.wi_1 = Linear(width, inner, False, dtype, rng)
        else:
            self.wi = Linear(width, inner, False, dtype, rng)
        self.gated = gated
        self.wo = Linear(inner, width, False, dtype, rng)

    def __call__(self, x: Array) -> Array:
        """x position by position."""
        act = ACTIVATIONS[self.activation]
        h = act(self.wi_0(x)) * self.wi_1(x) if self.gated else act(self.wi(x))
        return self.wo(self.dropout(h))


class T5Sublayer(Module):
    """What is added to x: attention, or the feed-forward net, of norm(x), under the name that files give it."""

    def __init__(self, name: str, inner: Module, width: int, eps: float, dropout: float, dtype: Any, rng: Any) -> None:
        setattr(self, name, inner)
        self.name = name
        self.layer_norm = RMSNorm(width, eps, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)

    @property
    def inner(self) -> Any:
        """The attention, or the feed-forward net."""
        return self.__dict__[self.name]

    def __call__(self, x: Array, *others: Any) -> Array:
        """x and what is added to it."""
        return x + self.dropout(self.inner(self.layer_norm(x), *others))


class T5Block(Module):
    """Attention to itself, in a decoder then to the encoder's vectors, then the feed-forward net."""

    def __init__(self, parts: list[T5Sublayer]) -> None:
        self.layer: list[Any] = parts


class T5Stack(Module):
    """The blocks of an encoder or of a decoder, and a norm."""

    def __init__(
        self, layers: int, decoder: bool, width: int, inner: int, count: int, d_kv: int, activation: str, gated: bool,
        num_buckets: int, max_distance: int, eps: float, dropout: float, dtype: Any, rng: Any,
    ) -> None:  # fmt: skip
        def part(name: str, module: Module) -> T5Sublayer:
            return T5Sublayer(name, module, width, eps, dropout, dtype, rng)

        def attention(count_of: int | None = None) -> T5Attention:
            return T5Attention(width, count, d_kv, dropout, count_of, dtype, rng)

        self.decoder, self.num_buckets, self.max_distance = decoder, num_buckets, max_distance
        self.block: list[Any] = [
            T5Block(
                [
                    part("SelfAttention", attention(num_buckets if i == 0 else None)),
                    *([part("EncDecAttention", attention())] if decoder else []),
                    part("DenseReluDense", T5FeedForward(width, inner, activation, gated, dropout, dtype, rng)),
                ]
            )
            for i in range(layers)
        ]
        self.final_layer_norm = RMSNorm(width, eps, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)

    def __call__(
        self, x: Array, at: Reading | None = None, memory: Array | Sequence[Cache] | None = None,
        memory_mask: Array | None = None,
    ) -> Array:  # fmt: skip
        """x (N, L, width) through the blocks; a decoder looks at `memory`, vectors or their keys and values a block."""
        bias, x = None, self.dropout(x)
        for i, block in enumerate(self.block):
            first, *second, last = block.layer
            known = first.inner.remembered(first.layer_norm(x))
            if at is not None:
                known = Cache(*at.remembered(i, *known))
            if bias is None:
                bias = self.bias(at, int(x.shape[-2]), int(known.key.shape[-2]))
            x = first(x, known, bias)
            for part in second:
                known = memory[i] if isinstance(memory, (list, tuple)) else part.inner.remembered(memory)
                x = part(x, known, memory_mask)
            x = last(x)
        return self.dropout(self.final_layer_norm(x))

    def bias(self, at: Reading | None, length: int, keys: int) -> Array:
        """What is added to the scores of `length` tokens: the bias of each distance, -∞ where nothing is seen."""
        table = self.block[0].layer[0].inner.relative_attention_bias.weight
        start, columns = 0 if at is None else at.start, np.arange(keys)
        rows = start + np.arange(length) if isinstance(start, int) else columns
        found = buckets(columns - rows[:, None], not self.decoder, self.num_buckets, self.max_distance)
        index = xp.asarray(table, found)
        if not isinstance(start, int):
            index = xp.take(index, start + np.arange(length), 0)
        bias = xp.expand_dims(xp.permute(xp.embedding(index, table), (2, 0, 1)), 0)
        if self.decoder:
            seen = (at or Reading()).mask(table, length, keys, None)
        elif at is None:
            return bias
        else:
            seen = truths(table, at.seen)[:, None, None, :]
        return xp.where(seen, bias, -math.inf)


class T5Encoder(Module):
    """The encoder of T5 alone: tokens (N, T) as vectors (N, T, d_model); its arguments are `T5`'s.

    >>> import numpy as np, adjoint as aj
    >>> aj.models.T5Encoder(11, 8, 16, num_layers=1, num_heads=2, d_kv=3, rng=0)(np.zeros((2, 5), int)).shape
    (2, 5, 8)
    """

    naming: ClassVar[Naming] = NAMING

    def __init__(
        self, vocab_size: int, d_model: int, d_ff: int, num_layers: int, num_heads: int, d_kv: int = 64, *,
        activation: str = "relu", gated: bool = False, num_buckets: int = 32, max_distance: int = 128,
        eps: float = 1e-6, dropout: float = 0.0, dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        self.shared = Embedding(vocab_size, d_model, dtype=dtype, rng=rng)
        self.encoder = T5Stack(
            num_layers, False, d_model, d_ff, num_heads, d_kv, activation, gated, num_buckets, max_distance, eps,
            dropout, dtype, rng,
        )  # fmt: skip
        _begun(self, d_model, num_heads, d_kv, rng, dtype)

    def __call__(self, tokens: Array, attention_mask: Any = None) -> Array:
        """The vectors; tokens where `attention_mask` (N, T) is 0 are padding, which no other sees."""
        return self.encoder(self.shared(tokens), reading("T5", tokens, attention_mask))


class T5(Module):
    """Text to text: logits (N, L, vocab_size) of the token after each of `decoder_tokens`, given tokens (N, T).

    Blocks of an encoder and a decoder (`num_decoder_layers`, as many unless given) add to the scores of attention a
    learned bias for each distance (Raffel et al. 2020). `gated` with GELU and not `tied` is version 1.1; where the head
    is the embedding (`tied`), vectors are scaled by 1/√d_model before it.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.T5(11, 8, 16, num_layers=1, num_heads=2, d_kv=3, rng=0)
    >>> net(np.zeros((2, 5), int), np.zeros((2, 3), int)).shape, net.generate(np.array([[1, 2]]), 4, stop=()).shape
    ((2, 3, 11), (1, 5))
    """

    naming: ClassVar[Naming] = NAMING
    stop: tuple[int, ...] = (1,)
    pad: int | None = 0

    def __init__(
        self, vocab_size: int, d_model: int, d_ff: int, num_layers: int, num_heads: int, d_kv: int = 64, *,
        num_decoder_layers: int | None = None, tied: bool = True, activation: str = "relu", gated: bool = False,
        num_buckets: int = 32, max_distance: int = 128, eps: float = 1e-6, dropout: float = 0.0, start: int = 0,
        dtype: Any = "float32", rng: Rng = None,
    ) -> None:  # fmt: skip
        rng = init.generator(rng)
        shape = (d_model, d_ff, num_heads, d_kv, activation, gated, num_buckets, max_distance, eps, dropout, dtype, rng)
        self.shared = Embedding(vocab_size, d_model, dtype=dtype, rng=rng)
        self.encoder = T5Stack(num_layers, False, *shape)
        self.decoder = T5Stack(num_decoder_layers or num_layers, True, *shape)
        self.lm_head = Linear(d_model, vocab_size, False, dtype, rng)
        self.scale = d_model**-0.5 if tied else 1.0
        self.start = start
        _begun(self, d_model, num_heads, d_kv, rng, dtype)
        if tied:
            self.tie("lm_head.weight", "shared.weight")

    def __call__(
        self, tokens: Array, decoder_tokens: Array, attention_mask: Any = None, decoder_attention_mask: Any = None
    ) -> Array:
        """The logits; where a mask of tokens, (N, T) or (N, L), is 0 they are padding, which no other sees."""
        memory = self.encoded(tokens, attention_mask)
        at = reading("T5", decoder_tokens, decoder_attention_mask)
        y = self.decoder(self.shared(decoder_tokens), at, memory, self.over(tokens, attention_mask))
        return self.scored(y)

    def encoded(self, tokens: Array, attention_mask: Any = None) -> Array:
        """The encoder's vectors (N, T, d_model) of tokens."""
        return self.encoder(self.shared(tokens), reading("T5", tokens, attention_mask))

    def scored(self, y: Array) -> Array:
        """The logits of the decoder's vectors."""
        return self.lm_head(y if self.scale == 1.0 else xp.multiply(y, self.scale))

    def over(self, tokens: Array, attention_mask: Any) -> Array | None:
        """Which of the encoder's vectors a decoder sees, (N, 1, 1, T)."""
        at = reading("T5", tokens, attention_mask)
        return None if at is None else truths(self.lm_head.weight, at.seen)[:, None, None, :]

    def decoding(self, tokens: Any, attention_mask: Any = None) -> Decoding:
        """The decoder with what the encoder made of tokens (N, T), to generate from."""
        tokens = tokens if is_array(tokens) and not isinstance(tokens, list) else np.asarray(tokens)
        if type(tokens) is np.ndarray:
            tokens = xp.asarray(self.lm_head.weight, tokens)
        memory = self.encoded(tokens, attention_mask)
        known = [block.layer[1].inner.remembered(memory) for block in self.decoder.block]
        return Decoding(self, known, self.over(tokens, attention_mask))

    def generate(
        self, tokens: Any, n: int, temperature: float = 1.0, top_k: int | None = None, key: Key = 0, *,
        top_p: float | None = None, stop: Sequence[int] | int | None = None, attention_mask: Any = None,
        decoder_tokens: Any = None,
    ) -> Any:  # fmt: skip
        """`n` tokens at most in answer to `tokens` (N, T), behind the one that begins every answer: (N, 1 + n).

        `decoder_tokens` (N, L) begin it where they are given. Temperature and the rest are as in `GPT.generate`.

        >>> import numpy as np, adjoint as aj
        >>> net = aj.models.T5(11, 8, 16, num_layers=1, num_heads=2, d_kv=3, rng=0)
        >>> net.generate(np.array([[1, 2]]), 4, temperature=0.0, stop=()).shape
        (1, 5)
        """
        return generated(
            self.evaluated().decoding(tokens, attention_mask), self.begun(tokens, decoder_tokens), n,
            temperature=temperature, top_k=top_k, top_p=top_p, stop=stop, key=key,
        )  # fmt: skip

    def stream(
        self, tokens: Any, n: int, *, attention_mask: Any = None, decoder_tokens: Any = None, **options: Any
    ) -> Iterator[np.ndarray]:
        """The tokens of `generate`'s answer, each (N,) as soon as it is known."""
        net = self.evaluated().decoding(tokens, attention_mask)
        return stream(net, self.begun(tokens, decoder_tokens), n, **options)

    def begun(self, tokens: Any, decoder_tokens: Any) -> Any:
        """How the answers begin."""
        if decoder_tokens is not None:
            return decoder_tokens
        beginning = np.full((len(tokens), 1), self.start, np.int64)
        return xp.asarray(tokens, beginning) if is_array(tokens) and not isinstance(tokens, list) else beginning

    def evaluated(self) -> T5:
        """A copy in evaluation mode, with the same arrays."""
        copy: T5 = self.to().eval()
        return copy


class Decoding(Module):
    """T5's decoder before the keys and values that it made of the encoder's vectors: what generation reads with."""

    limit: int | None = None

    def __init__(self, net: T5, memory: list[Cache], mask: Array | None) -> None:
        self.net = net
        self.memory = memory
        self.mask = mask
        self.stop, self.pad = net.stop, net.pad

    def logits(self, tokens: Array, at: Reading | None = None, last: bool = False) -> Array:
        """The logits of the token after each of `tokens` (N, L), or after the `last` one alone."""
        y = self.net.decoder(self.net.shared(tokens), at, self.memory, self.mask)
        return self.net.scored(y[:, -1:] if last else y)

    def caches(self, n: int, length: int) -> list[Cache]:
        """Zeros for the keys and values of n answers of `length` tokens, one pair a block."""
        like = self.memory[0].key
        shape = (n, like.shape[1], length, like.shape[3])
        return [Cache(xp.zeros(like, shape), xp.zeros(like, shape)) for _ in self.memory]


def _begun(net: Module, width: int, count: int, d_kv: int, rng: Any, dtype: Any) -> None:
    """Draw matrices as T5 does: products keep the variance of their input; the embedding N(0, 1)."""
    for name, p in net.named_parameters():
        if len(p.shape) > 1 and name != "shared.weight":
            part = name.rsplit(".", 2)[-2]
            fan = {"q": width * d_kv, "o": count * d_kv, "wo": p.shape[1]}.get(part, width)
            p[...] = init.normal(p.shape, fan**-0.5, rng, dtype)


def t5(fields: Fields, dtype: Any, rng: Rng) -> Any:
    """T5, its version 1.1 and their kin from a configuration.

    >>> import adjoint as aj
    >>> config = {"vocab_size": 32_128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
    >>> with aj.nn.init.only_shapes():
    ...     net = t5(Fields(config), "float32", None)
    >>> aj.nn.count_parameters(net)
    60506624
    """
    built: Any = fields.architecture(
        {"T5ForConditionalGeneration": T5, "T5WithLMHeadModel": T5, "T5EncoderModel": T5Encoder}
    )[1]
    fields.get("n_positions")  # T5 has no limit of positions
    fields.get("classifier_dropout")
    for derived in ("dense_act_fn", "is_gated_act"):
        fields.get(derived)  # from the fields below
    fields.only("is_decoder", False)
    fields.only("relative_attention_bias", True)
    spelled = fields.text("feed_forward_proj", "relu")
    gated = spelled.startswith("gated-")
    activation = "gelu_new" if spelled == "gated-gelu" else spelled.removeprefix("gated-")
    if activation not in ACTIVATIONS:
        raise fields.error(
            f"feed_forward_proj is to be one of {', '.join(ACTIVATIONS)}, or that after 'gated-', not {spelled!r}"
        )
    layers = fields.layers("num_layers")
    decoder_layers = fields.layers("num_decoder_layers", layers)
    tied = fields.flag("tie_word_embeddings", True)
    scaled = fields.flag("scale_decoder_outputs", tied)  # transformers 5 writes it, and that all are tied
    options: dict[str, Any] = {}
    if built is T5:
        start = fields.tokens("decoder_start_token_id", 0) or fields.tokens("pad_token_id", 0)
        options = {"num_decoder_layers": decoder_layers, "tied": tied, "start": start[0] if start else 0}
    net = built(
        fields.integer("vocab_size"), fields.integer("d_model"), fields.integer("d_ff"), layers,
        fields.integer("num_heads"), fields.integer("d_kv", 64), activation=activation, gated=gated,
        num_buckets=fields.integer("relative_attention_num_buckets", 32, 4),
        max_distance=fields.integer("relative_attention_max_distance", 128, 2),
        eps=fields.number("layer_norm_epsilon", 1e-6), dropout=fields.number("dropout_rate", 0.1, 0.0, 1.0),
        dtype=dtype, rng=rng, **options,
    )  # fmt: skip
    if built is T5:
        net.scale = fields.integer("d_model") ** -0.5 if scaled else 1.0
        net.stop, net.pad = fields.tokens("eos_token_id", 1), next(iter(fields.tokens("pad_token_id", 0)), None)
    return net
