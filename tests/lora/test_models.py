"""PEFT's adapters on whole models opened from folders, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

import adjoint as aj
from tests.lora.peft_peers import adapted, close, saved
from tests.models.language import wide

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(3, 19, (2, 5))
IMAGES = RNG.standard_normal((2, 3, 8, 8))
SIZES: dict[str, Any] = {
    "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 19,
}  # fmt: skip
DECODER = {**SIZES, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}
HEAD = {"modules_to_save": ["classifier", "score"]}  # as PEFT's own task types have it


def mistral(hf: Any) -> Any:
    return hf.MistralForCausalLM(hf.MistralConfig(**DECODER, head_dim=4, sliding_window=None))


def qwen2(hf: Any) -> Any:
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**DECODER))


def roberta(hf: Any) -> Any:
    return hf.RobertaForSequenceClassification(
        hf.RobertaConfig(**SIZES, max_position_embeddings=16, num_labels=3, pad_token_id=1, type_vocab_size=1)
    )


def vit(hf: Any) -> Any:
    sizes = {name: n for name, n in SIZES.items() if name != "vocab_size"}
    return hf.ViTForImageClassification(hf.ViTConfig(**sizes, image_size=8, patch_size=4, num_labels=3))


def t5(hf: Any) -> Any:
    return hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=19, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, decoder_start_token_id=0)
    )


MODELS: dict[str, tuple[Callable[[Any], Any], Any, dict[str, Any], int]] = {
    "mistral": (mistral, ["q_proj", "v_proj", "down_proj"], {}, 6),
    "qwen2": (qwen2, "all-linear", {}, 14),
    "roberta": (roberta, ["query", "value"], HEAD, 4),
    "vit": (vit, ["q_proj", "fc2", "projection"], HEAD, 5),
    "t5": (t5, ["q", "v", "wo"], {}, 16),
}


def logits(model: Any, x: torch.Tensor) -> Any:
    """The model's outputs; an encoder and decoder get the first tokens twice."""
    two = hasattr(model.config, "decoder_start_token_id")
    return (model(input_ids=x, decoder_input_ids=x[:, :4]) if two else model(x)).logits


@pytest.mark.covers("L08")
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("name", MODELS)
def test_adapters_of_models_go_both_ways(name: str, kind: str, tmp_path: Path) -> None:
    import transformers

    make, targets, options, count = MODELS[name]
    model = make(transformers).double().eval()
    model.save_pretrained(str(tmp_path / "base"))
    net = aj.open(tmp_path / "base").eval()
    base = {n: p.detach().clone() for n, p in model.state_dict().items()}
    peer = adapted(model, kind, target_modules=targets, **options)
    with torch.no_grad():
        for n, p in peer.named_parameters():
            own = n.removeprefix("base_model.model.").replace(".base_layer", "").replace(".original_module", "")
            if own in base:
                p.copy_(base[own])
    for rotary in (m for m in peer.modules() if hasattr(m, "inv_freq")):  # as the formula has it, in float64
        rotary.inv_freq = 10_000.0 ** (-torch.arange(0, 4, 2, dtype=torch.float64) / 4)
    net = aj.lora.load(net, saved(peer, tmp_path / "a"))
    assert len(aj.lora.adapted_layers(net)) == count
    x = torch.as_tensor(IMAGES if name == "vit" else TOKENS)
    given = (x.numpy(), x.numpy()[:, :4])[: 2 if name == "t5" else 1]
    with wide():
        close(net(*given), logits(peer, x))
        for layer in aj.lora.adapted_layers(net).values():
            layer.adapters["default"].lora_B = layer.adapters["default"].lora_B * 1.5
        aj.lora.save(net, tmp_path / "b")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of orientations that PEFT mends by itself
            again = peft.PeftModel.from_pretrained(peer.unload(), str(tmp_path / "b"), autocast_adapter_dtype=False)
        close(net(*given), logits(again.double().eval(), x))
