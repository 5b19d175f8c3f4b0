"""BERT and RoBERTa against transformers, every parameter random: outputs and all gradients; what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.errors import ShapeError
from tests.models.peers import agree, close, randomized, state, tuple_of

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "vocab_size": 37, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "max_position_embeddings": 15, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
KEY_BIAS = r"key\.bias$"  # it shifts all scores of a query alike
RNG = np.random.default_rng(0)


def reference(name: str, dtype: str, **options: Any) -> Any:
    """A network of transformers."""
    kind = "Roberta" if name.startswith("Roberta") else "Bert"
    extra = {"add_pooling_layer": options.pop("add_pooling_layer")} if "add_pooling_layer" in options else {}
    config = getattr(transformers, f"{kind}Config")(**{**SIZES, **options}, attn_implementation="eager")
    config.architectures = [name]
    return randomized(getattr(transformers, name)(config, **extra), dtype)


def opened(model: Any, dtype: str) -> Any:
    """The same network here, from its configuration as a file has it, and its state."""
    net = aj.models.from_config(json.loads(model.config.to_json_string()), dtype=dtype).eval()
    aj.models.load_checkpoint(net, state(model))
    return net


def batch(n: int, length: int, padding: int, types: int) -> dict[str, np.ndarray]:
    """Tokens, of which the last few of each but the first text are padding, and segments."""
    tokens = RNG.integers(3, SIZES["vocab_size"], (n, length))
    mask = np.arange(length) < length - 2 * np.arange(n)[:, None]
    kinds = (np.arange(length) >= length // 2).astype(int) % types
    return {
        "input_ids": np.where(mask, tokens, padding),
        "attention_mask": mask.astype(int),
        "token_type_ids": np.broadcast_to(kinds, (n, length)).copy(),
    }


def compared(model: Any, dtype: str, given: dict[str, np.ndarray]) -> None:
    """Outputs and gradients of both."""
    net = opened(model, dtype)
    expected = tuple(model(**{k: torch.tensor(v) for k, v in given.items()}).values())
    agree(net, lambda net: tuple_of(net(**given)), expected, dict(model.named_parameters()), dtype, vanishing=KEY_BIAS)


NAMES = [
    "BertModel", "BertForMaskedLM", "BertForSequenceClassification", "RobertaModel", "RobertaForMaskedLM",
    "RobertaForSequenceClassification",
]  # fmt: skip


@pytest.mark.covers("A12")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_transformers(name: str, n: int, dtype: str) -> None:
    model = reference(name, dtype, num_labels=4, type_vocab_size=2)
    compared(model, dtype, batch(n, 7, model.config.pad_token_id, 2))


@pytest.mark.parametrize("act", ["gelu_new", "relu", "silu", "tanh"])
def test_activations(act: str) -> None:
    compared(reference("BertForMaskedLM", "float64", hidden_act=act), "float64", batch(2, 5, 0, 2))


@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForMaskedLM"])
def test_a_head_of_its_own(name: str) -> None:
    model = reference(name, "float64", tie_word_embeddings=False, type_vocab_size=1)
    net = opened(model, "float64")
    assert not net._ties
    given = batch(2, 5, model.config.pad_token_id, 1)
    logits = model(**{k: torch.tensor(v) for k, v in given.items()}).logits
    close(net(**given), logits, "float64")
    unused = ("cls.predictions.bias", "lm_head.bias")
    parameters = {k: p for k, p in model.named_parameters() if k not in unused and not re.search(KEY_BIAS, k)}
    grads = dict(aj.grad(lambda net: aj.sum(net(**given) ** 2))(net).named_parameters())
    slopes = torch.autograd.grad((logits**2).sum(), list(parameters.values()))
    for key, g in zip(parameters, slopes, strict=True):
        close(grads[key], g, "float64", key)


def test_without_mask_segments_and_pooler() -> None:
    model = reference("BertModel", "float64", add_pooling_layer=False)
    config = aj.models.BertConfig(**SIZES)
    net = aj.models.BertModel(config, add_pooling_layer=False, dtype="float64").eval()
    net.load_state_dict(state(model))
    tokens = RNG.integers(1, 37, (2, 9))
    hidden, pooled = net(tokens)
    assert pooled is None
    np.testing.assert_allclose(hidden, model(torch.tensor(tokens)).last_hidden_state.detach(), rtol=1e-10, atol=1e-12)


def test_positions_of_roberta() -> None:
    """They count from the padding's index on, and skip padding wherever it stands; given ones are taken."""
    model, tokens = reference("RobertaModel", "float64"), np.array([[1, 1, 5, 6, 1, 7], [4, 5, 6, 7, 8, 9]])
    net = opened(model, "float64")
    expected = model(torch.tensor(tokens)).last_hidden_state.detach()
    np.testing.assert_allclose(net(tokens).hidden, expected, rtol=1e-10, atol=1e-12)
    places = np.array([[3, 2, 9, 4, 5, 5], [0, 1, 2, 3, 4, 5]])
    expected = model(torch.tensor(tokens), position_ids=torch.tensor(places)).last_hidden_state.detach()
    np.testing.assert_allclose(net(tokens, position_ids=places).hidden, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("to", ["torch", "jax"])
def test_other_backends(to: str) -> None:
    net = opened(reference("RobertaForMaskedLM", "float64"), "float64")
    given = batch(3, 7, 1, 2)
    moved = net.to(to)(**aj.to(given, to))
    np.testing.assert_allclose(np.asarray(moved), net(**given), rtol=1e-10, atol=1e-10)


def test_padding_changes_nothing() -> None:
    net = opened(reference("BertModel", "float64"), "float64")
    given = batch(3, 7, 0, 2)
    whole = net(**given).hidden
    for i, mask in enumerate(given["attention_mask"]):
        alone = net(**{k: v[i : i + 1, : mask.sum()] for k, v in given.items()}).hidden
        np.testing.assert_allclose(whole[i, : mask.sum()], alone[0], rtol=1e-10, atol=1e-12)


def test_dropout_while_training() -> None:
    net = aj.models.BertForSequenceClassification(aj.models.BertConfig(11, 8, 1, 2), rng=0)
    tokens = np.array([[1, 2, 3]])
    assert (net(tokens) != net(tokens)).any()
    np.testing.assert_array_equal(net.eval()(tokens), net(tokens))


@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForMaskedLM", "BertModel"])
def test_files_by_name(name: str, tmp_path: Path) -> None:
    """What transformers writes: tied arrays once; other heads, old names and positions are told apart."""
    from safetensors.numpy import load_file

    model = reference(name, "float32")
    model.save_pretrained(tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    net = aj.open(tmp_path)
    for key, array in state(model).items():
        np.testing.assert_array_equal(net.state_dict()[key], array, err_msg=key)
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for k, v in arrays.items()}  # fmt: skip
    other = {
        "BertForMaskedLM": ["cls.seq_relationship.weight", "bert.pooler.dense.bias", "bert.embeddings.position_ids"],
        "RobertaForMaskedLM": ["roberta.pooler.dense.bias", "roberta.embeddings.position_ids"],
        "BertModel": ["embeddings.position_ids", "cls.predictions.bias"],
    }[name]
    net = aj.models.from_config(tmp_path)
    changed = {**{k: v + 1.0 for k, v in old.items()}, **{k: np.ones(3) for k in other}}
    assert aj.models.load_checkpoint(net, changed) == tuple(sorted(other))
    for key, array in state(model).items():
        np.testing.assert_array_equal(net.state_dict()[key], array + 1.0, err_msg=key)
    if name == "BertModel":
        aj.models.load_checkpoint(net, {f"bert.{k}": v for k, v in arrays.items()})
        np.testing.assert_array_equal(net.state_dict()[key], array)
    with pytest.raises(KeyError, match="missing"):
        aj.models.load_checkpoint(net, {k: v for k, v in arrays.items() if "word_embeddings" not in k})
    with pytest.raises(KeyError, match="unexpected"):
        aj.models.load_checkpoint(net, {**arrays, "encoder.layer.9.bias": np.ones(3)})


@pytest.mark.parametrize(
    ("layers", "width", "heads", "expected"), [(12, 768, 12, 109_482_240), (24, 1024, 16, 335_141_888)]
)
def test_published_counts(layers: int, width: int, heads: int, expected: int) -> None:
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": layers, "hidden_size": width,
        "num_attention_heads": heads, "intermediate_size": 4 * width,
    }  # fmt: skip
    with aj.nn.init.only_shapes():
        net = aj.models.from_config(config)
    assert aj.nn.count_parameters(net) == expected
    found = aj.cost(net, np.zeros((1, 128), int))
    per_token = layers * (2 * 12 * width * width + 4 * 128 * width)
    assert found.forward.matmul_flops == 128 * per_token + 2 * width * width


def test_roberta_base_has_its_parameters() -> None:
    """124,697,433: 50,265 + 514 + 1 rows of 768, 12 layers, the head's dense layer, norm and biases."""
    config = {"model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "max_position_embeddings": 514,
              "type_vocab_size": 1, "layer_norm_eps": 1e-5}  # fmt: skip
    with aj.nn.init.only_shapes():
        net = aj.models.from_config(config)
        peer = transformers.RobertaConfig(max_position_embeddings=514, type_vocab_size=1)
    with torch.device("meta"):
        model = transformers.RobertaForMaskedLM(peer)
    expected = sum(p.numel() for p in model.parameters())
    assert aj.nn.count_parameters(net) == expected == 124_697_433


def test_what_does_not_fit() -> None:
    net = opened(reference("BertModel", "float32"), "float32")
    with pytest.raises(ShapeError, match=r"BERT: tokens are \(N, T\), 15 positions at most, not \(1, 16\)"):
        net(np.ones((1, 16), int))
    with pytest.raises(ShapeError, match=r"not \(5,\)"):
        net(np.ones(5, int))
    with pytest.raises(ShapeError, match=r"attention_mask is as the tokens, \(2, 5\), not \(2, 4\)"):
        net(np.ones((2, 5), int), np.ones((2, 4)))
    with pytest.raises(IndexError, match="37"):
        net(np.full((2, 5), 37))
    net = opened(reference("RobertaModel", "float32"), "float32")
    with pytest.raises(ShapeError, match="13 positions at most"):
        net(np.ones((1, 14), int))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"num_attention_heads": 5}, "num_heads 5 is to divide embed_dim 12"),
        ({"hidden_act": "xielu"}, "hidden_act is to be one of gelu.*not 'xielu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key' is not supported"),
        ({"is_decoder": True}, "is_decoder = True is not supported"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"hidden_dropout_prob": 1.5}, "hidden_dropout_prob is to be a number from 0 to 1"),
        ({"vocab_size": -3}, "vocab_size is to be an integer from 1"),
        ({"pad_token_id": 37}, "pad_token_id is to be an integer from 0 to 36"),
        ({"architectures": ["BertForSleeping"]}, "architectures is to be a list of one of BertModel"),
        ({"twist": 2}, "twist=2"),
    ],
)
def test_configurations_that_are_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        aj.models.from_config({"model_type": "bert", **SIZES, **changed})
    if "hidden_act" in changed:
        with pytest.raises(ValueError, match="hidden_act is one of"):
            aj.models.BertModel(aj.models.BertConfig(**{**SIZES, **changed}))


def test_a_bert_learns_by_heart() -> None:
    config = aj.models.BertConfig(11, 16, 1, 2, 32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    net = aj.models.BertForSequenceClassification(config, rng=0)
    x, y = RNG.integers(1, 11, (12, 6)), RNG.integers(0, 2, 12)
    optimizer = aj.optim.AdamW(net, 1e-2)
    for _ in range(60):
        net, optimizer = optimizer.step(net, aj.grad(lambda net: aj.cross_entropy(net(x), y))(net))
    assert (net(x).argmax(1) == y).all()
