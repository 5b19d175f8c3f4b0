"""BERT and RoBERTa: encoders of text in which every token sees every other, with Hugging Face's parameter names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from adjoint import arrays as xp
from adjoint.arrays.attention_forms import beside
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.models.checkpoint import Naming
from adjoint.models.config import ACTIVATIONS
from adjoint.models.encoding import Dense, Encoding, Layers, SelfAttention, draw_parameters
from adjoint.nn import init
from adjoint.nn.dropout import Dropout
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm


@dataclass(frozen=True)
class BertConfig:
    """The sizes and choices of a BERT, with the names and defaults of its `config.json` (Devlin et al. 2018).

    `num_labels` counts the classes of a classifier, whose dropout is `classifier_dropout` (None: that of the rest).

    >>> BertConfig().hidden_size, BertConfig(num_hidden_layers=24).num_hidden_layers
    (768, 24)
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True
    classifier_dropout: float | None = None
    num_labels: int = 2
    positions_skip_padding: ClassVar[bool] = False


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """The sizes and choices of a RoBERTa: positions count from pad_token_id + 1 and skip padding (Liu et al. 2019).

    >>> RobertaConfig().vocab_size, RobertaConfig().pad_token_id
    (50265, 1)
    """

    vocab_size: int = 50265
    pad_token_id: int | None = 1
    positions_skip_padding: ClassVar[bool] = True


def naming_of(prefix: str, others: str) -> Naming:
    """Names in files: of old ones those of TensorFlow; `others` begin the names of heads that are not wanted.

    >>> naming_of("bert.", r"cls\\.").candidates("embeddings.LayerNorm.bias")[:2]
    ['embeddings.LayerNorm.bias', 'embeddings.LayerNorm.beta']
    """
    return Naming(
        prefix,
        skipped=rf"(.*\.)?embeddings\.(position|token_type)_ids|({others}).*",
        respelled=((r"LayerNorm\.weight$", "LayerNorm.gamma"), (r"LayerNorm\.bias$", "LayerNorm.beta")),
    )


class Embeddings(Module):
    """norm(word + position + kind of segment) of every token."""

    def __init__(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        width, padding = config.hidden_size, config.pad_token_id
        self.skips = config.positions_skip_padding
        if self.skips and padding is None:
            raise ValueError("RoBERTa: pad_token_id is missing, after which its positions are counted.")
        self.padding = padding
        self.word_embeddings = Embedding(config.vocab_size, width, padding, dtype, rng)
        self.position_embeddings = Embedding(
            config.max_position_embeddings, width, padding if self.skips else None, dtype, rng
        )
        self.token_type_embeddings = Embedding(config.type_vocab_size, width, dtype=dtype, rng=rng)
        self.LayerNorm = LayerNorm(width, config.layer_norm_eps, dtype=dtype)
        self.dropout = Dropout(config.hidden_dropout_prob, rng=rng)

    def __call__(self, tokens: Array, kinds: Array | None, positions: Array | None) -> Array:
        """The vectors of tokens (N, T): segments of these kinds (else the first), at these positions (else in order).

        Where padding is skipped it stands at position `pad_token_id`, and other tokens count from the next one on.
        """
        x = self.word_embeddings(tokens)
        x = x + (self.token_type_embeddings.weight[0] if kinds is None else self.token_type_embeddings(kinds))
        if positions is None and self.skips:
            real = xp.astype(xp.not_equal(tokens, self.padding), tokens.dtype)
            positions = xp.cumulative_sum(real, 1) * real + self.padding
        if positions is None:
            x = x + self.position_embeddings.weight[: tokens.shape[1]]
        else:
            x = x + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(x))

    def check(self, name: str, tokens: Array, **others: Array | None) -> None:
        """Raise `ShapeError` unless tokens are (N, T) with T within the positions, and the others of their shape."""
        shape = tuple(tokens.shape)
        positions = self.position_embeddings.num_embeddings - ((self.padding or 0) + 1 if self.skips else 0)
        if len(shape) != 2 or shape[1] > positions:
            raise ShapeError(f"{name}: tokens are (N, T), {positions} positions at most, not {shape}.")
        for argument, given in others.items():
            if given is not None and tuple(given.shape) not in (shape, (1, *shape[1:])):
                raise ShapeError(f"{name}: {argument} is as the tokens, {shape}, not {tuple(given.shape)}.")


class Attention(Module):
    """norm(x + mixed(attention(x)))."""

    def __init__(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        dropout = config.attention_probs_dropout_prob
        self.self = SelfAttention("BERT", config.hidden_size, config.num_attention_heads, dropout, dtype=dtype, rng=rng)
        self.output = Added(config.hidden_size, config, dtype, rng)

    def __call__(self, x: Array, mask: Array | None) -> Array:
        """x among the positions that the mask leaves."""
        return self.output(self.self(x, mask), x)


class Added(Module):
    """norm(x + dropout(dense(y)))."""

    def __init__(self, inputs: int, config: BertConfig, dtype: Any, rng: Rng) -> None:
        self.dense = Linear(inputs, config.hidden_size, dtype=dtype, rng=rng)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps, dtype=dtype)
        self.dropout = Dropout(config.hidden_dropout_prob, rng=rng)

    def __call__(self, y: Array, x: Array) -> Array:
        """What y adds to x."""
        return self.LayerNorm(self.dropout(self.dense(y)) + x)


class Layer(Module):
    """Attention, then two linear maps with an activation between them, each added and normalized after."""

    def __init__(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        self.act = config.hidden_act
        self.attention = Attention(config, dtype, rng)
        self.intermediate = Dense(config.hidden_size, config.intermediate_size, dtype, rng)
        self.output = Added(config.intermediate_size, config, dtype, rng)

    def __call__(self, x: Array, mask: Array | None) -> Array:
        """x through the layer."""
        x = self.attention(x, mask)
        return self.output(ACTIVATIONS[self.act](self.intermediate(x)), x)


class BertModel(Module):
    """Tokens (N, T) as `Encoding`: vectors (N, T, hidden_size), and tanh(dense(first vector)) unless without pooler.

    In `attention_mask` (N, T) 0 is padding, which nobody sees; `token_type_ids` (N, T) tell first and second segment;
    `position_ids` (N, T) else count from 0. Weights start N(0, 0.02²), biases 0. Raises `ShapeError` for tokens beyond
    the positions, ValueError for sizes that do not fit (Devlin et al. 2018).

    >>> import numpy as np, adjoint as aj
    >>> config = aj.models.BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> net = aj.models.BertModel(config, rng=0).eval()
    >>> hidden, pooled = net(np.array([[1, 2, 0]]), attention_mask=np.array([[1, 1, 0]]))
    >>> hidden.shape, pooled.shape
    ((1, 3, 8), (1, 8))
    """

    naming: ClassVar[Naming] = naming_of("bert.", r"cls\.|pooler\.|classifier\.")

    def __init__(
        self, config: BertConfig | None = None, add_pooling_layer: bool = True, dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:  # fmt: skip
        config, rng = config or BertConfig(), init.generator(rng)
        if config.hidden_act not in ACTIVATIONS:
            raise ValueError(f"BERT: hidden_act is one of {', '.join(ACTIVATIONS)}, not {config.hidden_act!r}.")
        self.embeddings = Embeddings(config, dtype, rng)
        self.encoder = Layers([Layer(config, dtype, rng) for _ in range(config.num_hidden_layers)])
        self.pooler = Dense(config.hidden_size, config.hidden_size, dtype, rng) if add_pooling_layer else None
        draw_parameters(self, rng, dtype)

    def __call__(
        self, input_ids: Array, attention_mask: Array | None = None, token_type_ids: Array | None = None,
        position_ids: Array | None = None,
    ) -> Encoding:  # fmt: skip
        """The vectors of all positions, and the pooled one."""
        given = {"token_type_ids": token_type_ids, "position_ids": position_ids}
        self.embeddings.check("BERT", input_ids, attention_mask=attention_mask, **given)
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        if attention_mask is not None:
            n, length = attention_mask.shape
            attention_mask = xp.reshape(xp.not_equal(beside(x, attention_mask), 0), (n, 1, 1, length))
        x = self.encoder(x, attention_mask)
        return Encoding(x, None if self.pooler is None else xp.tanh(self.pooler(x[:, 0])))


class RobertaModel(BertModel):
    """A `BertModel` of a `RobertaConfig`, whose positions count from pad_token_id + 1 and skip padding.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.RobertaModel(aj.models.RobertaConfig(11, 8, 1, 2), add_pooling_layer=False, rng=0).eval()
    >>> net(np.array([[0, 5, 2, 1]])).hidden.shape
    (1, 4, 8)
    """

    naming = naming_of("roberta.", r"lm_head\.|pooler\.|classifier\.")

    def __init__(
        self, config: BertConfig | None = None, add_pooling_layer: bool = True, dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:  # fmt: skip
        super().__init__(config or RobertaConfig(), add_pooling_layer, dtype, rng)
