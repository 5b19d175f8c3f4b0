"""BERT and RoBERTa: encoders of text in which every token sees every other, with Hugging Face's parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from adjoint import arrays as xp
from adjoint.arrays.attention_forms import beside
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
from adjoint.models.checkpoint import Naming
from adjoint.models.config import ACTIVATIONS, Fields
from adjoint.models.encoding import Dense, Encoding, Layers, SelfAttention, draw_parameters, labels
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


def _naming(prefix: str, others: str) -> Naming:
    """Names in files: of old ones those of TensorFlow; `others` begin the names of heads that are not wanted."""
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

    naming: ClassVar[Naming] = _naming("bert.", r"cls\.|pooler\.|classifier\.")

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

    naming = _naming("roberta.", r"lm_head\.|pooler\.|classifier\.")

    def __init__(
        self, config: BertConfig | None = None, add_pooling_layer: bool = True, dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:  # fmt: skip
        super().__init__(config or RobertaConfig(), add_pooling_layer, dtype, rng)


class Head(Module):
    """A network on top of a `BertModel`, which stands under the name `base`."""

    base: ClassVar[str] = "bert"
    pooled: ClassVar[bool] = False

    def __init__(self, config: BertConfig | None = None, dtype: Any = "float32", rng: Rng = None) -> None:
        network, defaults = (BertModel, BertConfig) if self.base == "bert" else (RobertaModel, RobertaConfig)
        config, rng = config or defaults(), init.generator(rng)
        setattr(self, self.base, network(config, self.pooled, dtype, rng))
        self.build(config, dtype, rng)

    def build(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        """Add the parts of the head."""
        raise NotImplementedError

    def encoded(self, input_ids: Array, *given: Any, **named: Any) -> Encoding:
        """What the `BertModel` gives."""
        return self.__dict__[self.base](input_ids, *given, **named)


class Predictions(Module):
    """Scores of the words at every position: norm(act(dense(x))) times the embeddings, plus a bias for every word."""

    def __init__(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        self.transform = Transform(config, dtype, rng)
        self.decoder = Linear(config.hidden_size, config.vocab_size, dtype=dtype, rng=rng)
        self.bias: Array = init.zeros((config.vocab_size,), dtype)

    def __call__(self, x: Array) -> Array:
        """The scores."""
        return self.decoder(self.transform(x))


class Transform(Module):
    """norm(act(dense(x)))."""

    def __init__(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        self.act = config.hidden_act
        self.dense = Linear(config.hidden_size, config.hidden_size, dtype=dtype, rng=rng)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps, dtype=dtype)

    def __call__(self, x: Array) -> Array:
        """The vectors to compare words with."""
        return self.LayerNorm(ACTIVATIONS[self.act](self.dense(x)))


class BertForMaskedLM(Head):
    """Scores (N, T, vocab_size) of the words that may stand at each position; arguments are those of `BertModel`.

    The words' vectors are the embeddings, unless `tie_word_embeddings` is false.

    >>> import numpy as np, adjoint as aj
    >>> config = aj.models.BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> aj.models.BertForMaskedLM(config, rng=0).eval()(np.array([[1, 2, 0]])).shape
    (1, 3, 11)
    """

    naming = _naming("", r"cls\.seq_relationship\.|bert\.pooler\.")

    def build(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        """The scores."""
        self.cls = {"predictions": Predictions(config, dtype, rng)}
        draw_parameters(self.cls["predictions"], rng, dtype)
        if config.tie_word_embeddings:
            self.tie("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight")
            self.tie("cls.predictions.decoder.bias", "cls.predictions.bias")

    def __call__(self, *given: Any, **named: Any) -> Array:
        """The scores."""
        return self.cls["predictions"](self.encoded(*given, **named).hidden)


class BertForSequenceClassification(Head):
    """Scores (N, num_labels) of classes of texts, linear in the pooled vector; arguments are those of `BertModel`.

    >>> import numpy as np, adjoint as aj
    >>> config = aj.models.BertConfig(11, 8, 1, 2, num_labels=3)
    >>> aj.models.BertForSequenceClassification(config, rng=0).eval()(np.array([[1, 2, 0]])).shape
    (1, 3)
    """

    pooled = True
    naming = _naming("", r"cls\.")

    def build(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        """Dropout and a linear layer."""
        self.dropout = Dropout(_classifier_dropout(config), rng=rng)
        self.classifier = Linear(config.hidden_size, config.num_labels, dtype=dtype, rng=rng)
        draw_parameters(self.classifier, rng, dtype)

    def __call__(self, *given: Any, **named: Any) -> Array:
        """The scores."""
        return self.classifier(self.dropout(self.encoded(*given, **named).pooled))


class LMHead(Module):
    """Scores of the words at every position: norm(gelu(dense(x))) times the embeddings, plus a bias for every word."""

    def __init__(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, dtype=dtype, rng=rng)
        self.layer_norm = LayerNorm(config.hidden_size, config.layer_norm_eps, dtype=dtype)
        self.decoder = Linear(config.hidden_size, config.vocab_size, dtype=dtype, rng=rng)
        self.bias: Array = init.zeros((config.vocab_size,), dtype)

    def __call__(self, x: Array) -> Array:
        """The scores."""
        return self.decoder(self.layer_norm(xp.gelu(self.dense(x))))


class RobertaForMaskedLM(Head):
    """Scores (N, T, vocab_size) of the words that may stand at each position; arguments are those of `BertModel`.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.RobertaForMaskedLM(aj.models.RobertaConfig(11, 8, 1, 2), rng=0).eval()
    >>> net(np.array([[0, 5, 2, 1]]), attention_mask=np.array([[1, 1, 1, 0]])).shape
    (1, 4, 11)
    """

    base = "roberta"
    naming = _naming("", r"roberta\.pooler\.")

    def build(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        """The scores."""
        self.lm_head = LMHead(config, dtype, rng)
        draw_parameters(self.lm_head, rng, dtype)
        if config.tie_word_embeddings:
            self.tie("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight")
            self.tie("lm_head.decoder.bias", "lm_head.bias")

    def __call__(self, *given: Any, **named: Any) -> Array:
        """The scores."""
        return self.lm_head(self.encoded(*given, **named).hidden)


class Classifier(Module):
    """Scores of classes from the first position: dense, tanh, linear, with dropout before each layer."""

    def __init__(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, dtype=dtype, rng=rng)
        self.dropout = Dropout(_classifier_dropout(config), rng=rng)
        self.out_proj = Linear(config.hidden_size, config.num_labels, dtype=dtype, rng=rng)

    def __call__(self, x: Array) -> Array:
        """The scores."""
        return self.out_proj(self.dropout(xp.tanh(self.dense(self.dropout(x[:, 0])))))


class RobertaForSequenceClassification(Head):
    """Scores (N, num_labels) of classes of texts, from the first position; arguments are those of `BertModel`.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.models.RobertaForSequenceClassification(aj.models.RobertaConfig(11, 8, 1, 2), rng=0).eval()
    >>> net(np.array([[0, 5, 2]])).shape
    (1, 2)
    """

    base = "roberta"
    naming = _naming("", r"lm_head\.|roberta\.pooler\.")

    def build(self, config: BertConfig, dtype: Any, rng: Rng) -> None:
        """The classifier."""
        self.classifier = Classifier(config, dtype, rng)
        draw_parameters(self.classifier, rng, dtype)

    def __call__(self, *given: Any, **named: Any) -> Array:
        """The scores."""
        return self.classifier(self.encoded(*given, **named).hidden)


def _classifier_dropout(config: BertConfig) -> float:
    return config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout


# From a configuration

BERT: Mapping[str, type[Module]] = {
    "BertModel": BertModel,
    "BertForMaskedLM": BertForMaskedLM,
    "BertForSequenceClassification": BertForSequenceClassification,
}
ROBERTA: Mapping[str, type[Module]] = {
    "RobertaModel": RobertaModel,
    "RobertaForMaskedLM": RobertaForMaskedLM,
    "RobertaForSequenceClassification": RobertaForSequenceClassification,
}


def bert(fields: Fields, dtype: Any = "float32", rng: Rng = None) -> Any:
    """The BERT of a configuration, of the class that it names.

    >>> net = bert(Fields({"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}))
    >>> type(net).__name__
    'BertModel'
    """
    return _built(fields, BERT, BertConfig, dtype, rng)


def roberta(fields: Fields, dtype: Any = "float32", rng: Rng = None) -> Any:
    """The RoBERTa of a configuration, of the class that it names.

    >>> net = roberta(Fields({"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,
    ...                       "architectures": ["RobertaForMaskedLM"]}))
    >>> type(net).__name__
    'RobertaForMaskedLM'
    """
    return _built(fields, ROBERTA, RobertaConfig, dtype, rng)


def _built(
    fields: Fields, known: Mapping[str, type[Any]], config: type[BertConfig], dtype: Any, rng: Rng
) -> Any:  # fmt: skip
    _, network = fields.architecture(known)
    d = config()
    fields.only("position_embedding_type", "absolute")
    fields.only("is_decoder", False)
    fields.only("add_cross_attention", False)
    fields.only("pruned_heads", {})
    for unread in ("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
                   "pooler_size_per_head", "pooler_type"):  # fmt: skip
        fields.get(unread)  # of the first TensorFlow files; no network has ever depended on them
    dropout = fields.get("classifier_dropout")
    pad = fields.config.get("pad_token_id", d.pad_token_id)
    vocabulary = fields.integer("vocab_size", d.vocab_size)
    return network(
        config(
            vocabulary,
            fields.integer("hidden_size", d.hidden_size),
            fields.layers("num_hidden_layers", d.num_hidden_layers),
            fields.integer("num_attention_heads", d.num_attention_heads),
            fields.integer("intermediate_size", d.intermediate_size),
            fields.activation("hidden_act", d.hidden_act),
            fields.number("hidden_dropout_prob", d.hidden_dropout_prob, most=1.0),
            fields.number("attention_probs_dropout_prob", d.attention_probs_dropout_prob, most=1.0),
            fields.integer("max_position_embeddings", d.max_position_embeddings),
            fields.integer("type_vocab_size", d.type_vocab_size),
            fields.number("layer_norm_eps", d.layer_norm_eps),
            None if pad is None else fields.integer("pad_token_id", pad, 0, vocabulary - 1),
            fields.flag("tie_word_embeddings", True),
            None if dropout is None else fields.number("classifier_dropout", None, most=1.0),
            labels(fields),
        ),
        dtype=dtype,
        rng=rng,
    )
