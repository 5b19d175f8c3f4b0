"""Configurations: published sizes, what is refused, and rotary positions against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray
from adjoint.models.config import Fields, read_config
from adjoint.models.rotary import rotary
from tests.models import peers  # noqa: F401  # first of all: it keeps transformers offline

GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_ctx": 1024, "n_embd": 768, "n_layer": 12,
        "n_head": 12}  # fmt: skip
LLAMA = {"model_type": "llama", "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008,
         "num_hidden_layers": 32, "num_attention_heads": 32, "rms_norm_eps": 1e-5}  # fmt: skip
LLAMA_3 = {**LLAMA, "vocab_size": 128_256, "intermediate_size": 14_336, "num_key_value_heads": 8, "rope_theta": 5e5}
LLAMA_3_70B = {**LLAMA_3, "hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 80,
               "num_attention_heads": 64}  # fmt: skip
T5 = {
    "model_type": "t5",
    "vocab_size": 32_128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
}

PUBLISHED = {
    "GPT-2 S": (GPT2, 124_439_808),
    "GPT-2 M": ({**GPT2, "n_embd": 1024, "n_layer": 24, "n_head": 16}, 354_823_168),
    "GPT-2 L": ({**GPT2, "n_embd": 1280, "n_layer": 36, "n_head": 20}, 774_030_080),
    "GPT-2 XL": ({**GPT2, "n_embd": 1600, "n_layer": 48, "n_head": 25}, 1_557_611_200),
    "Llama-2-7B": (LLAMA, 6_738_415_616),
    "Llama-3-8B": (LLAMA_3, 8_030_261_248),
    "Llama-3-70B": (LLAMA_3_70B, 70_553_706_496),
    "Mistral-7B": ({**LLAMA, "model_type": "mistral", "intermediate_size": 14_336, "num_key_value_heads": 8,
                    "sliding_window": 4096}, 7_241_732_096),
    "T5 small": (T5, 60_506_624),
}  # fmt: skip


def laid_out(config: Any) -> Any:
    with aj.nn.init.only_shapes():
        return aj.models.from_config(config)


@pytest.mark.covers("A12")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    config, count = PUBLISHED[name]
    assert aj.nn.count_parameters(laid_out(config)) == count


@pytest.mark.covers("A12")
def test_published_multiply_adds() -> None:
    """Llama-2-7B, 128 tokens: 850.00 G in the table of calflops."""
    found = aj.cost(laid_out(LLAMA), ShapeArray((1, 128), "int64"))
    assert found.forward.matmul_flops == 2 * 850_000_871_424
    assert {"LlamaLayer", "LlamaAttention", "LlamaMLP", "RMSNorm"} <= {layer.kind for layer in found.layers}


@pytest.mark.parametrize("name", ["GPT-2 S", "Llama-3-70B", "Mistral-7B"])
def test_networks_without_memory_are_counted(name: str) -> None:
    config, count = PUBLISHED[name]
    found = aj.cost(laid_out(config), ShapeArray((1, 128), "int64"))
    assert found.parameters == count
    assert found.backward.matmul_flops > found.forward.matmul_flops > 2 * 128 * (count - 40_000_000) * 0.9


def test_arrays_of_a_file_are_taken_as_they_are() -> None:
    small = {**LLAMA, "vocab_size": 7, "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 1,
             "num_attention_heads": 2, "tie_word_embeddings": True}  # fmt: skip
    state = aj.models.from_config(small, dtype="float16", rng=0).state_dict()
    del state["lm_head.weight"]
    net = laid_out(small)
    assert aj.models.load_checkpoint(
        net, {**state, "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2)}, True
    ) == ("model.layers.0.self_attn.rotary_emb.inv_freq",)
    assert net.lm_head.weight is net.model.embed_tokens.weight is state["model.embed_tokens.weight"]
    before = dict(net.state_dict())
    with pytest.raises(KeyError, match=r"missing \['model.norm.weight'\], unexpected \['model.norm.scale'\]"):
        aj.models.load_checkpoint(net, {k.replace("norm.weight", "norm.scale") if k == "model.norm.weight" else k: w
                                        for k, w in state.items()})  # fmt: skip
    wrong = {**state, "model.norm.weight": np.ones(9)}
    with pytest.raises(aj.ShapeError, match=r"model.norm.weight has shape \(8,\), the state \(9,\)"):
        aj.models.load_checkpoint(net, wrong)
    assert all(w is before[name] for name, w in net.state_dict().items())


# What is refused

SMALL = {**LLAMA, "vocab_size": 7, "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 2,
         "num_attention_heads": 2}  # fmt: skip
REFUSED = [
    ({"model_type": "rwkv"}, r"model_type 'rwkv' is not known, only .*gpt2.*llama.*t5"),
    ({"model_type": None}, r"model_type '' is not known"),
    ({"architectures": ["LlamaForSequenceClassification"]}, r"to be a list of one of LlamaForCausalLM"),
    ({"architectures": [{}]}, r"architectures is to be a list"),
    ({"vocab_size": None}, r"vocab_size is missing; it is to be an integer from 1"),
    ({"vocab_size": "7"}, r"vocab_size is to be an integer from 1 to 2147483648, not '7'"),
    ({"hidden_size": True}, r"hidden_size is to be an integer"),
    ({"num_hidden_layers": 10**9}, r"num_hidden_layers is to be an integer from 1 to 4096"),
    ({"num_attention_heads": 3}, r"num_attention_heads 3 is to divide hidden_size 8"),
    ({"num_key_value_heads": 4}, r"num_key_value_heads 4 is to divide num_attention_heads 2"),
    ({"head_dim": 3}, r"the width of a head, 3, is to be even"),
    ({"hidden_act": "snake"}, r"hidden_act is to be one of gelu, .*, not 'snake'"),
    ({"hidden_act": ["silu"]}, r"hidden_act is to be one of"),
    ({"rms_norm_eps": float("nan")}, r"rms_norm_eps is to be a number from 0"),
    ({"tie_word_embeddings": "yes"}, r"tie_word_embeddings is to be true or false, not 'yes'"),
    ({"attention_dropout": 2.0}, r"attention_dropout is to be a number from 0 to 1, not 2.0"),
    ({"eos_token_id": "end"}, r"eos_token_id is to be a token or a list of tokens, not \['end'\]"),
    ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor = 0.5 is not supported, only 1.0"),
    ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, r"rope type 'longrope' is not supported, only default"),
    ({"rope_scaling": {"type": "linear"}}, r"rope_parameters: factor is missing"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0, "twist": 1}}, r"rope_parameters: these fields .*twist=1"),
    ({"rope_scaling": 3}, r"rope_parameters is to be an object with named fields, not 3"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}},
     r"low_freq_factor 4.0 is to be less than high_freq_factor 1.0"),
    ({"quantization_config": {"bits": 4}}, r"might change the function: quantization_config=\{'bits': 4\}.*ignore="),
    ({"use_qk_norm": True, "residual_scale": 2}, r"residual_scale=2, use_qk_norm=True; ignore=\['residual_scale'"),
    ({"sliding_window": 4}, r"sliding_window=4"),
    ({"model_type": "qwen2", "layer_types": ["full_attention"]}, r"layer_types is to name .* each of the 2 layers"),
    ({"model_type": "qwen2", "layer_types": ["full_attention", "sliding_attention"]}, r"there is no sliding_window"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), REFUSED)
def test_what_would_be_another_function_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        aj.models.from_config({**SMALL, **change})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({**GPT2, "add_cross_attention": True}, "add_cross_attention = True is not supported, only False"),
        ({**GPT2, "n_head": 7}, "num_heads 7 is to divide embed_dim 768"),
        (
            {**GPT2, "architectures": ["GPT2DoubleHeadsModel"]},
            "architectures is to be a list of one of GPT2LMHeadModel",
        ),
        ({**T5, "feed_forward_proj": "gated-snake"}, "feed_forward_proj is to be one of"),
        ({**T5, "is_decoder": True}, "is_decoder = True is not supported, only False"),
        ({**T5, "architectures": ["T5ForQuestionAnswering"]}, "one of T5ForConditionalGeneration"),
    ],
)
def test_so_it_is_with_gpt_2_and_t5(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told), aj.nn.init.only_shapes():
        aj.models.from_config(config)


def test_fields_may_be_passed_over_by_name() -> None:
    net = aj.models.from_config({**SMALL, "twist": 1}, ignore=["twist"], rng=0)
    assert net(np.zeros((1, 3), int)).shape == (1, 3, 7)
    assert not net.training
    aj.models.from_config({**SMALL, "twist": None, "torch_dtype": "bfloat16", "id2label": {"0": "no"}}, rng=0)


COMMON = {"_name_or_path": "x", "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "initializer_range": 0.02,
          "rms_norm_eps": 1e-5, "transformers_version": "4.40.0", "use_cache": True, "torch_dtype": "bfloat16",
          "vocab_size": 9, "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2,
          "num_key_value_heads": 1, "max_position_embeddings": 4096, "tie_word_embeddings": False}  # fmt: skip
AS_PUBLISHED = {
    "distilgpt2": {
        **GPT2, "_num_labels": 1, "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256,
        "id2label": {"0": "LABEL_0"}, "initializer_range": 0.02, "label2id": {"LABEL_0": 0},
        "layer_norm_epsilon": 1e-05, "resid_pdrop": 0.1,
        "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
        "summary_type": "cls_index", "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    },
    "Llama 1": {**COMMON, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_sequence_length": 2048,
                "pad_token_id": 0},
    "Llama-2": {**COMMON, "model_type": "llama", "pretraining_tp": 1, "rope_scaling": None, "rope_theta": 10000.0},
    "Llama-3.1": {
        **COMMON, "model_type": "llama", "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False,
        "rope_theta": 500000.0, "eos_token_id": [7, 8],
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    },
    "Mistral": {**COMMON, "model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None,
                "rope_theta": 1000000.0, "attention_dropout": 0.0, "head_dim": 128},
    "Qwen2.5": {**COMMON, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0,
                "max_window_layers": 28, "sliding_window": 131072, "use_sliding_window": False, "use_mrope": False,
                "rope_theta": 1000000.0},
    "T5": {**T5, "architectures": ["T5ForConditionalGeneration"], "decoder_start_token_id": 0, "dropout_rate": 0.1,
           "eos_token_id": 1, "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06,
           "n_positions": 512, "output_past": True, "pad_token_id": 0, "relative_attention_num_buckets": 32,
           "task_specific_params": {"summarization": {"num_beams": 4}}},
    "Flan-T5": {**T5, "architectures": ["T5ForConditionalGeneration"], "dense_act_fn": "gelu_new", "is_gated_act": True,
                "feed_forward_proj": "gated-gelu", "num_decoder_layers": 6, "relative_attention_max_distance": 128,
                "tie_word_embeddings": False, "output_past": True, "decoder_start_token_id": 0},
}  # fmt: skip


@pytest.mark.parametrize("name", AS_PUBLISHED)
def test_the_fields_of_published_configurations_are_known(name: str) -> None:
    net = laid_out(AS_PUBLISHED[name])
    if name == "Llama-3.1":
        assert net.stop == (7, 8)
        assert net.model.layers[0].self_attn.rotate.kind == "llama3"
    if name == "Mistral":
        assert net.model.layers[0].self_attn.left is None
    if name == "Flan-T5":
        assert net.scale == 1.0
        assert net.lm_head.weight is not net.shared.weight


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path)
    for text, told in (("{", "is not JSON"), ("[1]", "an object with named fields"), ("[" * 100_000, "is not JSON")):
        path.write_text(text)
        with pytest.raises(ValueError, match=told):
            aj.models.from_config(tmp_path)
    path.write_bytes(b'{"model_type": "\xff"}')
    with pytest.raises(ValueError, match="is not JSON"):
        read_config(path)
    path.write_bytes(b" " * ((1 << 24) + 1))
    with pytest.raises(ValueError, match="more than 16 MiB"):
        read_config(path)
    path.write_text(json.dumps(SMALL))
    assert aj.models.from_config(path, rng=0).stop == (2,)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 4], "pad_token_id": 0}')
    net = aj.models.from_config(tmp_path, rng=0)
    assert (net.stop, net.pad) == ((3, 4), 0)


# Rotary positions

ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 3.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 512},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
    "yarn with all": {"rope_type": "yarn", "factor": 40.0, "beta_fast": 20, "beta_slow": 2, "mscale": 0.7,
                      "mscale_all_dim": 1.0, "original_max_position_embeddings": 512, "truncate": False},
    "yarn with its factor": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("name", ROPES)
def test_stretched_positions_are_those_of_transformers(name: str) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=128, num_attention_heads=2, max_position_embeddings=4096,
        rope_parameters={"rope_theta": 5e5, **ROPES[name]},
    )  # fmt: skip
    peer = LlamaRotaryEmbedding(config)
    for spelled in (
        {"rope_parameters": {"rope_theta": 5e5, **ROPES[name]}},
        {"rope_theta": 5e5, "rope_scaling": ROPES[name]},
    ):
        turn, most = rotary(Fields(spelled), 64, 4096)
        np.testing.assert_allclose(turn.omega(), peer.inv_freq, rtol=4e-6)  # theirs is float32
        assert turn.scale == pytest.approx(peer.attention_scaling, rel=1e-12)
        assert most == (4096 if name == "dynamic" else None)
    x, places = np.random.default_rng(0).standard_normal((2, 3, 5, 64)), np.array([0, 1, 7, 100, 900])
    cos, sin = peer(torch.tensor(x), torch.tensor(places)[None])
    half = np.concatenate([-x[..., 32:], x[..., :32]], -1)
    np.testing.assert_allclose(turn(x, places), x * cos.numpy()[:, None] + half * sin.numpy()[:, None], atol=3e-4)


def test_dynamic_positions_end_where_training_did() -> None:
    net = aj.models.from_config(
        {**SMALL, "max_position_embeddings": 6, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, rng=0
    )
    plain = aj.models.from_config({**SMALL, "max_position_embeddings": 6}, rng=0)
    np.testing.assert_array_equal(net(np.zeros((1, 6), int)), plain(np.zeros((1, 6), int)))
    with pytest.raises(aj.ShapeError, match="up to the 6 positions that were trained on, not 7"):
        net(np.zeros((1, 7), int))
