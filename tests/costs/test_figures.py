"""Published figures of cost, reproduced from the network itself."""

from __future__ import annotations

import math

import pytest

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray, count

GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
LLAMA_3_70B = {"model_type": "llama", "vocab_size": 128_256, "hidden_size": 8192, "intermediate_size": 28_672,
               "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8}  # fmt: skip


@pytest.mark.covers("E02")
def test_every_line_of_nanogpts_sizing() -> None:
    """nanoGPT's transformer_sizing.ipynb: GPT-2 small without biases, 1024 tokens, a block and all of it."""
    with aj.nn.init.only_shapes():
        net = aj.models.GPT(50257, 1024, bias=False)
    found = aj.cost(net, batch=1, seq=1024)
    assert found.parameters == 124_337_664
    assert found.forward.matmul_flops == 291_648_307_200
    scores = 1_610_612_736  # of one block; what they are multiplied by costs as much
    expected = {
        "attention scores": 12 * 2 * scores,
        "attention projections": 12 * (3_623_878_656 + 1_207_959_552),
        "feed-forward": 12 * 2 * 4_831_838_208,
        "head": 79_047_426_048,
    }
    products = {part.name: part.forward.matmul_flops for part in found.components if part.forward.matmul_flops}
    assert products == expected
    # its estimate of the backward pass is twice the forward pass; a fused kernel makes the scores again
    assert found.backward.matmul_flops == 2 * 291_648_307_200 + 12 * scores


def test_attention_as_it_is_called() -> None:
    q = ShapeArray((1, 12, 64, 64))
    with count() as tally:
        aj.scaled_dot_product_attention(q, q, q)
    assert tally.matmul_flops == 12_582_912


@pytest.mark.covers("E02")
@pytest.mark.parametrize("width", [1.0, 0.25])
def test_a_full_convolution_and_a_separable_one(width: float) -> None:
    """Howard et al. 2017, equation 5: separable convolutions cost 1/outputs + 1/9 of full ones."""
    inputs, outputs, side = int(64 * width), 128, 14
    full = aj.cost(aj.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), (1, inputs, side, side))
    parts = aj.nn.Sequential(
        aj.nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        aj.nn.Conv2d(inputs, outputs, 1, bias=False),
    )
    separable = aj.cost(parts, (1, inputs, side, side))
    assert separable.forward.matmul_flops * 9 * outputs == full.forward.matmul_flops * (9 + outputs)


def test_64_to_128_separably_has_8960_weights() -> None:
    """With both biases; 8,896, a figure that circulates, leaves one of them out in part."""
    net = aj.nn.Sequential(aj.nn.Conv2d(64, 64, 3, groups=64, bias=False), aj.nn.Conv2d(64, 128, 1, bias=False))
    assert aj.nn.count_parameters(net) == 64 * 9 + 64 * 128 == 8_768
    biased = aj.nn.Sequential(aj.nn.Conv2d(64, 64, 3, groups=64), aj.nn.Conv2d(64, 128, 1))
    assert aj.nn.count_parameters(biased) == 8_960


def test_vit_counts_its_attention() -> None:
    """torchinfo's 173 M multiply-adds for ViT-B/16 leave out every product in an attention, and all but the patches."""
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "num_labels": 1000}
    found = aj.cost(config, batch=1)
    d, t = 768, 197
    blocks = 12 * (4 * t * d * d + 2 * t * t * d + 8 * t * d * d)
    assert found.parameters == 86_567_656
    assert found.forward.multiply_adds == blocks + 196 * 768 * d + 1000 * d == 17_563_828_224


@pytest.mark.covers("E02")
def test_adamw_of_every_parameter() -> None:
    """AdamW reads parameters, gradients and two moments, and writes all but the gradients: 28 bytes a float32."""
    found = aj.cost(GPT2, seq=8)
    assert found.step.bytes == pytest.approx(28 * found.parameters, rel=1e-6)
    assert 8 * found.parameters < found.step.flops < 20 * found.parameters
    assert found.memory.optimizer == 8 * found.parameters
    assert found.memory.gradients == 4 * found.parameters


@pytest.mark.covers("E06")
def test_checkpointing_keeps_the_input_of_each_block() -> None:
    """A GPT of L blocks keeps L inputs of N·T·d numbers, and what stands around the blocks (Chen et al. 2016)."""
    few, many = (aj.cost({**GPT2, "n_layer": layers}, batch=4).memory for layers in (4, 16))
    assert few.checkpointed is not None
    assert many.checkpointed is not None
    assert many.checkpointed.kept - few.checkpointed.kept == 12 * 4 * 1024 * 768 * 4
    assert many.passes.kept - few.passes.kept > 10 * (many.checkpointed.kept - few.checkpointed.kept)
    assert many.training > many.training_checkpointed > few.training_checkpointed  # type: ignore[operator]


def test_a_model_far_larger_than_the_machine() -> None:
    found = aj.cost(LLAMA_3_70B, batch=1, seq=128, dtype="bfloat16")
    assert found.parameters == 70_553_706_496
    assert found.dtype == "bfloat16"
    assert found.memory.weights == found.memory.gradients == 2 * found.parameters
    weights = found.parameters - 128_256 * 8192 - 161 * 8192  # all but the embedding and the norms are multiplied by
    scores = 80 * 2 * 128 * 128 * 8192
    assert found.forward.multiply_adds == 128 * weights + scores
    assert math.isclose(found.forward.intensity, found.forward.flops / found.forward.bytes)
