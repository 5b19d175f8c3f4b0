"""BERT and RoBERTa with what stands on top of them, and from their configurations, with Hugging Face's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.bert_encoder import BertConfig, BertModel, RobertaConfig, RobertaModel, naming_of
from adjoint.models.config import ACTIVATIONS, Fields
from adjoint.models.encoding import Encoding, draw_parameters, labels
from adjoint.nn import init
from adjoint.nn.dropout import Dropout
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm


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

    naming = naming_of("", r"cls\.seq_relationship\.|bert\.pooler\.")

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
    naming = naming_of("", r"cls\.")

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
    naming = naming_of("", r"roberta\.pooler\.")

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
    naming = naming_of("", r"lm_head\.|roberta\.pooler\.")

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
