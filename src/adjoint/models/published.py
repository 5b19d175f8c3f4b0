"""Configurations of published models by name: what `adjoint cost gpt2` counts without a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_positions": 1024,
        "n_embd": width, "n_layer": layers, "n_head": heads,
    }  # fmt: skip


def _bert(width: int, layers: int, heads: int, vocabulary: int = 30522, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": vocabulary, "hidden_size": width,
        "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 4 * width,
        "max_position_embeddings": 512, **more,
    }  # fmt: skip


def _llama(width: int, inner: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32_000, "hidden_size": width,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads, "rms_norm_eps": 1e-5,
        **more,
    }  # fmt: skip


def _t5(width: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 32_128, "d_model": width,
        "d_kv": 64, "d_ff": inner, "num_layers": layers, "num_heads": heads,
    }  # fmt: skip


_LLAMA_3 = {"vocab_size": 128_256, "num_key_value_heads": 8, "rope_theta": 5e5, "max_position_embeddings": 8192}
_ROBERTA: dict[str, Any] = {
    "model_type": "roberta", "architectures": ["RobertaModel"], "vocabulary": 50265, "type_vocab_size": 1,
    "max_position_embeddings": 514, "layer_norm_eps": 1e-5,
}  # fmt: skip
_LONG = {"max_position_embeddings": 4096}

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "gpt2": _gpt2(768, 12, 12),
    "gpt2-medium": _gpt2(1024, 24, 16),
    "gpt2-large": _gpt2(1280, 36, 20),
    "gpt2-xl": _gpt2(1600, 48, 25),
    "bert-tiny": _bert(128, 2, 2),
    "bert-mini": _bert(256, 4, 4),
    "bert-base": _bert(768, 12, 12),
    "bert-large": _bert(1024, 24, 16),
    "roberta-base": _bert(768, 12, 12, **_ROBERTA),
    "roberta-large": _bert(1024, 24, 16, **_ROBERTA),
    "llama-2-7b": _llama(4096, 11_008, 32, 32, **_LONG),
    "llama-2-13b": _llama(5120, 13_824, 40, 40, **_LONG),
    "llama-2-70b": _llama(8192, 28_672, 80, 64, num_key_value_heads=8, **_LONG),
    "llama-3-8b": _llama(4096, 14_336, 32, 32, **_LLAMA_3),
    "llama-3-70b": _llama(8192, 28_672, 80, 64, **_LLAMA_3),
    "mistral-7b": {
        **_llama(4096, 14_336, 32, 32, num_key_value_heads=8, sliding_window=4096, max_position_embeddings=32_768),
        "model_type": "mistral", "architectures": ["MistralForCausalLM"],
    },
    "t5-small": _t5(512, 2048, 6, 8),
    "t5-base": _t5(768, 3072, 12, 12),
    "vit-base": {"model_type": "vit", "architectures": ["ViTForImageClassification"], "num_labels": 1000},
}  # fmt: skip
