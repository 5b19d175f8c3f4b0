"""The products of language and vision models, forward and backward, against PyTorch's counter on transformers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count

import adjoint as aj
from adjoint.arrays.shapes import ShapeArray
from adjoint.costs.memory import checkpointed
from adjoint.costs.passes import backward_of
from tests.models import peers  # noqa: F401  # keeps transformers offline

SIZES = [(1, 7), (3, 12)]


def counted(model: Any, **inputs: torch.Tensor) -> tuple[int, int]:
    """PyTorch's count of forward and backward pass, attention not fused."""
    model = model.eval()
    with FlopCounterMode(display=False) as forward:
        y = model(**inputs)
    with FlopCounterMode(display=False) as backward:
        sum(part.sum() for part in (y.values() if hasattr(y, "values") else y) if torch.is_tensor(part)).backward()
    return forward.get_total_flops(), backward.get_total_flops()


def tokens(batch: int, seq: int, name: str = "input_ids") -> dict[str, torch.Tensor]:
    return {name: torch.ones((batch, seq), dtype=torch.int64)}


def ours(model: Any, **sizes: int) -> Any:
    """This library's count from the other's own configuration."""
    return aj.cost({**model.config.to_dict(), "architectures": [type(model).__name__]}, **sizes)


def gpt2() -> Any:
    config = transformers.GPT2Config(
        vocab_size=31, n_positions=16, n_embd=12, n_layer=3, n_head=3, attn_implementation="eager", use_cache=False
    )
    return transformers.GPT2LMHeadModel(config)


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=31, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        max_position_embeddings=16, attn_implementation="eager",
    )  # fmt: skip
    return transformers.BertForMaskedLM(config)


def llama() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=20, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="eager", use_cache=False,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def again(layers: int, width: int, batch: int, seq: int, times: int = 1) -> int:
    """What fused attention computes a second time in its backward pass: the scores, one product in each layer."""
    return 2 * layers * batch * seq * seq * width * times


@pytest.mark.covers("E02")
@pytest.mark.parametrize(("batch", "seq"), SIZES)
@pytest.mark.parametrize(("make", "layers", "width"), [(gpt2, 3, 12), (bert, 2, 12), (llama, 3, 16)])
def test_language_models(make: Callable[[], Any], layers: int, width: int, batch: int, seq: int) -> None:
    model = make()
    found = ours(model, batch=batch, seq=seq)
    forward, backward = counted(model, **tokens(batch, seq))
    assert found.forward.matmul_flops == forward
    assert found.backward.matmul_flops == backward + again(layers, width, batch, seq)
    assert found.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.covers("E02")
@pytest.mark.parametrize("batch", [1, 3])
def test_vision_transformer(batch: int) -> None:
    config = transformers.ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, image_size=24, patch_size=8,
        num_labels=5, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    found = ours(model, batch=batch)
    forward, backward = counted(model, pixel_values=torch.ones(batch, 3, 24, 24))
    assert found.forward.matmul_flops == forward
    assert found.backward.matmul_flops == backward + again(2, 12, batch, 10)


@pytest.mark.covers("E02")
@pytest.mark.parametrize(("batch", "seq"), SIZES)
def test_text_to_text(batch: int, seq: int) -> None:
    """Where the bias of distances learns, the scores and their cotangents are made again for it: two more products."""
    config = transformers.T5Config(
        vocab_size=31, d_model=12, d_kv=5, d_ff=20, num_layers=2, num_decoder_layers=3, num_heads=3,
        attn_implementation="eager", use_cache=False,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    found = ours(model, batch=batch, seq=seq)
    forward, backward = counted(model, **tokens(batch, seq), **tokens(batch, seq, "decoder_input_ids"))
    assert found.forward.matmul_flops == forward
    biased, all_attentions = 2 + 3, 2 + 3 + 3
    assert found.backward.matmul_flops == backward + again(all_attentions + 2 * biased, 15, batch, seq)


@pytest.mark.covers("E02")
@pytest.mark.parametrize(("queries", "keys"), [((2, 3, 7, 5), (2, 3, 7, 5)), ((1, 4, 6, 8), (1, 4, 9, 8))])
def test_fused_attention_is_counted_as_pytorch_counts_its_own(queries: Any, keys: Any) -> None:
    """Five products backward, of which one makes the scores again: the formula of PyTorch's fused kernels."""
    q, k, v = ShapeArray(queries), ShapeArray(keys), ShapeArray(keys)
    found = backward_of(aj.scaled_dot_product_attention, (q, k, v)).total()
    assert found.matmul_flops == sdpa_backward_flop_count(queries, queries, keys, keys)


@pytest.mark.covers("E06")
def test_peak_memory_is_what_is_measured() -> None:
    """Python's own account of NumPy's memory in one forward and backward pass, with and without checkpointing."""
    net = aj.models.GPT(300, 128, n_layer=6, n_head=4, n_embd=64, rng=0).eval()
    batch = np.random.default_rng(0).integers(0, 300, (8, 128))
    found = aj.cost(net, batch=8, seq=128).memory
    peaks = []
    for subject, expected in ((net, found.passes), (checkpointed(net), found.checkpointed)):
        run = aj.value_and_grad(lambda net: aj.sum(net(batch)))
        run(subject)
        tracemalloc.start()
        try:
            run(subject)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert expected is not None
        assert 0.9 * expected.peak < peaks[-1] < 1.1 * expected.peak
    assert peaks[1] < peaks[0] / 3
