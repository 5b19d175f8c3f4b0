"""Tiny models of transformers through torch.export, families that this library has no class for among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.interop.torch_peers import compare, randomized

tf = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20, "vocab_size": 30,
    "max_position_embeddings": 16,
}  # fmt: skip
GPT2 = {"vocab_size": 30, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 4, "bos_token_id": 0,
        "eos_token_id": 0}  # fmt: skip
WHISPER = {
    "vocab_size": 30, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "num_mel_bins": 8,
    "max_source_positions": 10, "max_target_positions": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1,
}  # fmt: skip
SEGFORMER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 16], "num_attention_heads": [1, 2, 2, 4],
             "decoder_hidden_size": 16, "num_labels": 3}  # fmt: skip
SEEN = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])


def tokens(*shape: int) -> Tensor:
    return torch.randint(30, shape)


def pixels(*shape: int) -> Tensor:
    return torch.randn(shape)


Made = Callable[[], tuple[Any, dict[str, Any]]]
MODELS: dict[str, Made] = {
    "bert": lambda: (tf.BertModel(tf.BertConfig(**SMALL)), {"input_ids": tokens(3, 5), "attention_mask": SEEN}),
    "gpt2": lambda: (
        tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2, attn_implementation="sdpa")),
        {"input_ids": tokens(3, 5), "attention_mask": SEEN, "use_cache": False},
    ),
    "llama": lambda: (
        tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL, num_key_value_heads=2)),
        {"input_ids": tokens(3, 5), "use_cache": False},
    ),
    "vit": lambda: (
        tf.ViTForImageClassification(tf.ViTConfig(**SMALL, image_size=12, patch_size=4)),
        {"pixel_values": pixels(1, 3, 12, 12)},
    ),
    "t5": lambda: (
        tf.T5ForConditionalGeneration(
            tf.T5Config(vocab_size=30, d_model=16, d_kv=4, d_ff=20, num_layers=2, num_heads=4)
        ),
        {"input_ids": tokens(3, 5), "decoder_input_ids": tokens(3, 4), "use_cache": False},
    ),
    "distilbert": lambda: (
        tf.DistilBertModel(
            tf.DistilBertConfig(
                vocab_size=30, dim=16, n_layers=1, n_heads=4, hidden_dim=20, max_position_embeddings=16
            )
        ),
        {"input_ids": tokens(3, 5), "attention_mask": SEEN},
    ),
    "convnext": lambda: (
        tf.ConvNextForImageClassification(tf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])),
        {"pixel_values": pixels(1, 3, 32, 32)},
    ),
    "swin": lambda: (
        tf.SwinModel(
            tf.SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4)
        ),
        {"pixel_values": pixels(1, 3, 32, 32)},
    ),
    "whisper encoder": lambda: (
        tf.WhisperModel(tf.WhisperConfig(**WHISPER)).encoder, {"input_features": pixels(1, 8, 20)},
    ),
    "segformer": lambda: (
        tf.SegformerForSemanticSegmentation(tf.SegformerConfig(**SEGFORMER)),
        {"pixel_values": pixels(1, 3, 32, 32)},
    ),
    "gemma2": lambda: (
        tf.Gemma2ForCausalLM(tf.Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=4, sliding_window=3)),
        {"input_ids": tokens(1, 5), "use_cache": False},
    ),
    "mixtral": lambda: (
        tf.MixtralForCausalLM(tf.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=3)),
        {"input_ids": tokens(3, 5), "use_cache": False},
    ),
    "phi": lambda: (tf.PhiForCausalLM(tf.PhiConfig(**SMALL)), {"input_ids": tokens(3, 5), "use_cache": False}),
    "deberta": lambda: (
        tf.DebertaV2Model(
            tf.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=4)
        ),
        {"input_ids": tokens(3, 5)},
    ),
}  # fmt: skip
DOUBLE = ("bert", "gpt2", "vit", "convnext", "segformer")  # those that stay in float64 where their parameters are


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # transformers' own imports
@pytest.mark.filterwarnings("ignore:.*torch_dtype.*")  # transformers' own configurations
@pytest.mark.parametrize(
    ("name", "dtype"), [(n, "float32") for n in MODELS] + [(n, "float64") for n in DOUBLE], ids=lambda x: x
)
def test_outputs_and_gradients_equal_pytorchs(name: str, dtype: str) -> None:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    net = compare(randomized(model), dtype=dtype, **inputs)
    assert not net.fallbacks
