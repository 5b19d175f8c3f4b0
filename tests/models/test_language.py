"""GPT-2, Llama, Mistral, Qwen2 and T5 against transformers: logits, gradients of every parameter, generation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import adjoint as aj
from tests.models import peers  # noqa: F401  # first of all: it keeps transformers offline
from tests.models.language import agree, made, opened, wide

transformers = pytest.importorskip("transformers")

RNG = np.random.default_rng(0)
SHAPE = {"vocab_size": 23, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 6}
T5_SHAPE = {"vocab_size": 23, "d_model": 12, "d_kv": 5, "d_ff": 17, "num_layers": 2, "num_heads": 3}
TOKENS = RNG.integers(3, 23, (3, 9))
MASK = np.array([[0] * 4 + [1] * 5, [1] * 9, [0] + [1] * 8])
ENDLESS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}


def gpt2(**options: Any) -> Any:
    sizes = {"vocab_size": 23, "n_positions": 40, "n_embd": 12, "n_layer": 3, "n_head": 3}
    return transformers.GPT2LMHeadModel, transformers.GPT2Config(**{**sizes, **ENDLESS, **options})


def kin(name: str, **options: Any) -> Any:
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **ENDLESS, **options})
    config.head_dim_ = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return getattr(transformers, f"{name}ForCausalLM"), config


CAUSAL = {
    "gpt2": lambda: gpt2(),
    "gpt2 scaled by layer": lambda: gpt2(
        scale_attn_by_inverse_layer_idx=True, n_inner=17, activation_function="gelu", layer_norm_epsilon=1e-3
    ),
    "gpt2 unscaled, untied": lambda: gpt2(scale_attn_weights=False, tie_word_embeddings=False),
    "llama": lambda: kin("Llama", num_key_value_heads=2),
    "llama with biases, tied": lambda: kin(
        "Llama", num_key_value_heads=6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, head_dim=10
    ),
    "mistral": lambda: kin("Mistral", num_key_value_heads=3, sliding_window=3),
    "mistral without a window": lambda: kin("Mistral", num_key_value_heads=1, sliding_window=None, hidden_act="gelu"),
    "qwen2": lambda: kin("Qwen2", num_key_value_heads=2, rms_norm_eps=1e-4),
    "qwen2 with windows": lambda: kin(
        "Qwen2", num_key_value_heads=2, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
}  # fmt: skip


@pytest.mark.covers("A12")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CAUSAL)
def test_logits_and_all_gradients_are_those_of_transformers(name: str, dtype: str) -> None:
    reference = made(*CAUSAL[name](), dtype)
    net = opened(reference, dtype)
    for tokens in (TOKENS, TOKENS[:1, :5]):
        agree(net, reference, lambda net: net(tokens), lambda: reference(torch.tensor(tokens)).logits, dtype)  # noqa: B023


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen2 with windows"])
def test_padding_on_the_left_is_seen_by_none(name: str, dtype: str) -> None:
    reference = made(*CAUSAL[name](), dtype)
    net = opened(reference, dtype)
    seen, mask = MASK[..., None].astype(dtype), torch.tensor(MASK)
    positions = torch.tensor(np.maximum(MASK.cumsum(1) - 1, 0))

    def theirs() -> Any:
        y = reference(torch.tensor(TOKENS), attention_mask=mask, position_ids=positions).logits
        return y.where(mask[..., None] == 1, 0.0)

    agree(net, reference, lambda net: net(TOKENS, MASK) * seen, theirs, dtype)
    alone = net(TOKENS[:1, 4:])
    np.testing.assert_allclose(net(TOKENS, MASK)[0, 4:], alone[0], atol=1e-5 if dtype == "float32" else 1e-12)


def whole(reference: Any, count: int, **options: Any) -> np.ndarray:
    """What transformers generates, the likeliest token each time."""
    with wide(), torch.no_grad():
        found = reference.generate(max_new_tokens=count, do_sample=False, **options)
    return found.numpy()


@pytest.mark.parametrize("name", CAUSAL)
def test_generation_is_that_of_transformers(name: str) -> None:
    reference = made(*CAUSAL[name](), "float64", gain=5.0)
    net = opened(reference, "float64")
    expected = whole(reference, 20, inputs=torch.tensor(TOKENS), attention_mask=torch.ones(3, 9, dtype=int))
    assert len({*expected[:, 9:].flat}) > 5, "repeats itself"
    np.testing.assert_array_equal(net.generate(TOKENS, 20, temperature=0.0), expected)
    rows = TOKENS
    for _ in range(20):  # without the cache
        rows = np.concatenate([rows, net(rows)[:, -1:].argmax(-1)], 1)
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("to", ["torch", "jax"])
@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_every_backend_generates_the_same_behind_padding(name: str, to: str) -> None:
    reference = made(*CAUSAL[name](), "float64", gain=5.0)
    net = opened(reference, "float64")
    expected = whole(reference, 12, inputs=torch.tensor(TOKENS), attention_mask=torch.tensor(MASK))
    np.testing.assert_array_equal(net.generate(TOKENS, 12, 0.0, attention_mask=MASK), expected)
    found = net.to(to).generate(aj.to(TOKENS, to), 12, 0.0, attention_mask=MASK)
    assert type(found).__module__.split(".")[0] == {"torch": "torch", "jax": "jaxlib"}[to]
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_rows_end_by_themselves() -> None:
    reference = made(*CAUSAL["llama"](), "float64", gain=5.0)
    net = opened(reference, "float64")
    free = net.generate(TOKENS, 20, 0.0)
    stop = int(free[0, 12])
    first = 9 + free[0, 9:].tolist().index(stop)
    reference.generation_config.eos_token_id = stop
    expected = whole(reference, 20, inputs=torch.tensor(TOKENS), attention_mask=torch.ones(3, 9, dtype=int))
    np.testing.assert_array_equal(net.generate(TOKENS, 20, 0.0, stop=stop), expected)
    alone = net.generate(TOKENS[0], 20, 0.0, stop=[stop, 22])
    assert len(alone) <= 13
    assert alone[-1] in (stop, 22)
    one_by_one = [int(new[0]) for new in net.stream(TOKENS[0], 20, temperature=0.0, stop=stop)]
    assert one_by_one == free[0, 9 : first + 1].tolist()


# T5

T5 = {
    "t5": {"feed_forward_proj": "relu", "tie_word_embeddings": True},
    "t5 1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 3},
}


def t5(name: str, dtype: str, gain: float = 1.0) -> tuple[Any, Any]:
    config = transformers.T5Config(
        **T5_SHAPE, **T5[name], relative_attention_num_buckets=8, relative_attention_max_distance=11,
        decoder_start_token_id=0,
    )  # fmt: skip
    tied = T5[name]["tie_word_embeddings"]
    reference = made(transformers.T5ForConditionalGeneration, config, dtype, untied=not tied, gain=gain)
    return reference, opened(reference, dtype, tie_word_embeddings=tied)


@pytest.mark.covers("A12")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", T5)
@pytest.mark.parametrize("padded", [False, True])
def test_t5_is_that_of_transformers(name: str, dtype: str, padded: bool) -> None:
    reference, net = t5(name, dtype, gain=0.5)  # scores without a scale are large, and so is their rounding in float32
    rng = np.random.default_rng(3)
    tokens, answer = rng.integers(2, 23, (3, 25)), rng.integers(2, 23, (3, 14))
    mask = np.arange(25) < np.array([[25], [7], [18]]) if padded else None
    answered = np.arange(14) < np.array([[3], [14], [9]]) if padded else np.ones((3, 14), bool)

    def theirs() -> Any:
        masks = {} if mask is None else {"attention_mask": torch.tensor(mask).long(),
                                         "decoder_attention_mask": torch.tensor(answered).long()}  # fmt: skip
        y = reference(input_ids=torch.tensor(tokens), decoder_input_ids=torch.tensor(answer), **masks).logits
        return y * torch.tensor(answered[..., None])

    def ours(net: Any) -> Any:
        return net(tokens, answer, mask, answered if padded else None) * answered[..., None].astype(dtype)

    agree(net, reference, ours, theirs, dtype)


@pytest.mark.parametrize("name", T5)
def test_t5_answers_as_transformers_does(name: str) -> None:
    reference, net = t5(name, "float64", gain=2.0)
    mask = (np.arange(9) < np.array([[9], [4], [6]])).astype(int)
    # the cache of transformers 5.24 has as many layers as the encoder, so without it where the decoder has more
    options = {"eos_token_id": None, "use_cache": reference.config.num_decoder_layers == reference.config.num_layers}
    expected = whole(reference, 30, input_ids=torch.tensor(TOKENS), attention_mask=torch.tensor(mask), **options)
    assert len({*expected.flat}) > 5, "repeats itself"
    np.testing.assert_array_equal(net.generate(TOKENS, 30, 0.0, stop=(), attention_mask=mask), expected)
    slow = np.zeros((3, 1), int)
    for _ in range(10):  # without the cache
        slow = np.concatenate([slow, net(TOKENS, slow, mask)[:, -1:].argmax(-1)], 1)
    np.testing.assert_array_equal(slow, expected[:, :11])
    for to in ("torch", "jax") if name == "t5" else ("torch",):
        found = net.to(to).generate(aj.to(TOKENS, to), 30, 0.0, stop=(), attention_mask=mask)
        np.testing.assert_array_equal(np.asarray(found), expected)
    ended = [int(new[0]) for new in net.stream(TOKENS[:1], 30, temperature=0.0, stop=int(expected[0, 4]))]
    assert len(ended) <= 4


def test_the_encoder_alone() -> None:
    reference, _ = t5("t5", "float64")
    found = aj.models.from_config({**reference.config.to_dict(), "architectures": ["T5EncoderModel"]}, dtype="float64")
    arrays = {k: v.numpy() for k, v in reference.state_dict().items() if k.startswith(("shared", "encoder"))}
    aj.models.load_checkpoint(found, arrays)
    with wide(), torch.no_grad():
        expected = reference.encoder(torch.tensor(TOKENS)).last_hidden_state
    np.testing.assert_allclose(found(TOKENS), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["gpt2", "gpt2 unscaled, untied", "llama with biases, tied", "mistral", "qwen2"])
def test_folders_that_transformers_writes(name: str, tmp_path: Path) -> None:
    reference = made(*CAUSAL[name](), "float32")
    if hasattr(reference.config, "head_dim_"):
        del reference.config.head_dim_
    reference.save_pretrained(tmp_path)
    with aj.nn.init.only_shapes():
        net = aj.models.from_config(tmp_path)
    assert aj.models.load_checkpoint(net, load_file(tmp_path / "model.safetensors"), assign=True) == ()
    with torch.no_grad():
        expected = reference(torch.tensor(TOKENS)).logits.numpy()
    np.testing.assert_allclose(net(TOKENS), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", T5)
def test_folders_of_t5(name: str, tmp_path: Path) -> None:
    """Also those of transformers 5: all tied by their configuration, which says apart whether vectors are scaled."""
    reference, _ = t5(name, "float32", gain=0.5)
    reference.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor(TOKENS), decoder_input_ids=torch.tensor(TOKENS)).logits.numpy()
    older = {k: v for k, v in config.items() if k != "scale_decoder_outputs"} | {"tie_word_embeddings": name == "t5"}
    newer = {**config, "tie_word_embeddings": name == "t5"}
    for told in (older, newer):
        net = aj.models.from_config(told)
        aj.models.load_checkpoint(net, load_file(tmp_path / "model.safetensors"))
        np.testing.assert_allclose(net(TOKENS, TOKENS), expected, atol=1e-5 * np.abs(expected).max())


def test_a_tied_head_without_a_scale(tmp_path: Path) -> None:
    config = transformers.T5Config(**T5_SHAPE, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    reference = made(transformers.T5ForConditionalGeneration, config, "float32", gain=0.5)
    reference.save_pretrained(tmp_path)
    net = aj.open(tmp_path)
    assert net.lm_head.weight is net.shared.weight
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor(TOKENS), decoder_input_ids=torch.tensor(TOKENS)).logits.numpy()
    np.testing.assert_allclose(net(TOKENS, TOKENS), expected, atol=1e-5 * np.abs(expected).max())


def test_gradients_on_every_backend() -> None:
    net = opened(made(*CAUSAL["mistral"](), "float64"), "float64")

    def loss(net: Any, tokens: Any, mask: Any) -> Any:
        return aj.sum(net(tokens, mask)[:, -1] ** 2)

    def arrays(grads: Any) -> list[Any]:
        return [np.asarray(g) for _, g in grads.named_parameters()]

    expected = arrays(aj.grad(loss)(net, TOKENS, MASK))
    on_torch = arrays(aj.grad(loss)(net.to("torch"), torch.tensor(TOKENS), torch.tensor(MASK)))
    import jax

    on_jax = arrays(jax.jit(aj.grad(loss))(net.to("jax"), jax.numpy.asarray(TOKENS), jax.numpy.asarray(MASK)))
    for x, y, z in zip(expected, on_torch, on_jax, strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-10, atol=1e-10 * np.abs(x).max())
        np.testing.assert_allclose(z, x, rtol=1e-10, atol=1e-10 * np.abs(x).max())


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("count", "most"), [(32, 128), (8, 11), (64, 1000), (20, 50)])
def test_buckets_of_distances(both_ways: bool, count: int, most: int) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = np.arange(-3000, 3000)
    expected = T5Attention._relative_position_bucket(torch.tensor(distances), both_ways, count, most)
    np.testing.assert_array_equal(aj.models.t5.buckets(distances, both_ways, count, most), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays(dtype: str) -> None:
    """Also past factors that are Python numbers, which NumPy takes bfloat16 times for float32."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    llama = {"model_type": "llama", **SHAPE, "rope_parameters": yarn}
    for activation in aj.models.config.ACTIVATIONS:
        net = aj.models.from_config({**llama, "hidden_act": activation}, dtype=dtype, rng=0)
        assert str(net(TOKENS).dtype) == dtype, activation
    assert str(aj.models.from_config({"model_type": "t5", **T5_SHAPE}, dtype=dtype)(TOKENS, TOKENS).dtype) == dtype
