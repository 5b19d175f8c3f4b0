"""Small models in folders as Hugging Face lays them out, with a tokenizer: made offline, all weights random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

VERSE = "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n"


def llama(folder: Path) -> Path:
    """A Llama of bytes."""
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return written(folder, transformers.LlamaForCausalLM(config))


def bert(folder: Path, labels: int = 3) -> Path:
    """A BERT of bytes that tells texts apart."""
    return written(folder, transformers.BertForSequenceClassification(_bert(labels)))


def masked_bert(folder: Path) -> Path:
    """A BERT of bytes that fills gaps."""
    return written(folder, transformers.BertForMaskedLM(_bert(2)))


def _bert(labels: int) -> Any:
    return transformers.BertConfig(
        vocab_size=256, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=64, num_labels=labels, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def t5(folder: Path) -> Path:
    """A T5 of bytes, which reads a text and writes another."""
    config = transformers.T5Config(
        vocab_size=256, d_model=16, d_ff=24, d_kv=4, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return written(folder, transformers.T5ForConditionalGeneration(config))


def vit(folder: Path, labels: int = 10) -> Path:
    """A ViT of 8×8 grey pixels."""
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=8, patch_size=2,
        num_channels=1, num_labels=labels, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return written(folder, transformers.ViTForImageClassification(config))


def written(folder: Path, model: Any) -> Path:
    """The folder with the model and a tokenizer of bytes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2 + (p.ndim == 1))
    model.save_pretrained(folder)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(letters)}, []))
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    words.save(str(folder / "tokenizer.json"))
    return folder
