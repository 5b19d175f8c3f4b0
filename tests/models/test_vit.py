"""ViT against transformers, every parameter random: outputs and all gradients; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.errors import ShapeError
from adjoint.models.checkpoint import sources
from tests.models.peers import agree, close, randomized, state, tuple_of

transformers = pytest.importorskip("transformers")

SIZES: dict[str, Any] = {
    "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "image_size": [12, 20], "patch_size": 4, "num_channels": 2,
}  # fmt: skip
RNG = np.random.default_rng(0)


def reference(name: str, dtype: str, **options: Any) -> Any:
    """A network of transformers; its eager attention has a float32 softmax whatever the dtype, PyTorch's has not."""
    attention = "eager" if dtype == "float32" else "sdpa"
    config = transformers.ViTConfig(**{**SIZES, **options}, attn_implementation=attention)
    config.architectures = [name]
    return randomized(getattr(transformers, name)(config), dtype)


def opened(model: Any, dtype: str) -> Any:
    """The same network here, from its configuration as a file has it, and its state."""
    net = aj.models.from_config(json.loads(model.config.to_json_string()), dtype=dtype).eval()
    aj.models.load_checkpoint(net, state(model))
    return net


@pytest.mark.covers("A12")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViTModel", {}),
        ("ViTModel", {"qkv_bias": False, "pooler_output_size": 5, "pooler_act": "relu", "hidden_act": "gelu_new"}),
        ("ViTForImageClassification", {"num_labels": 4}),
    ],
)
def test_equal_to_transformers(name: str, options: dict[str, Any], n: int, dtype: str) -> None:
    model = reference(name, dtype, **options)
    net = opened(model, dtype)
    x = RNG.standard_normal((n, 2, 12, 20)).astype(dtype)
    expected = tuple(model(torch.tensor(x)).values())
    where = sources(net, dict(model.named_parameters())).found
    own = {source.name: name for name, source in where.items()}
    parameters = {own[name]: p for name, p in model.named_parameters()}
    agree(net, lambda net: tuple_of(net(x)), expected, parameters, dtype, vanishing=r"key\.bias$")


def test_gradients_of_pixels() -> None:
    model = reference("ViTForImageClassification", "float64", num_labels=3)
    net, x = opened(model, "float64"), RNG.standard_normal((2, 2, 12, 20))
    y = torch.tensor(x, requires_grad=True)
    (model(y).logits ** 2).sum().backward()
    found = aj.grad(lambda x: aj.sum(net(x) ** 2))(x)
    close(found, y.grad, "float64")


def test_files_by_name(tmp_path: Path) -> None:
    """What transformers writes has other names than what it holds in memory; both load."""
    from safetensors.numpy import load_file

    model = reference("ViTForImageClassification", "float32", num_labels=3)
    model.save_pretrained(tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    net = aj.open(tmp_path)
    assert net.state_dict().keys() == arrays.keys()
    memory = opened(model, "float32").state_dict()
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, memory[key], err_msg=key)
    other = {"vit.embeddings.mask_token": np.ones(3), "vit.pooler.dense.bias": np.ones(3)}
    assert aj.models.load_checkpoint(net, {**arrays, **other}) == tuple(other)


def test_published_counts() -> None:
    named = {str(i): "" for i in range(1000)}
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "id2label": named}
    with aj.nn.init.only_shapes():
        net = aj.models.from_config(config)
    assert aj.nn.count_parameters(net) == 86_567_656
    t, d = 197, 768
    found = aj.cost(net, (1, 3, 224, 224)).forward.matmul_flops
    assert found == 2 * (196 * d * d + 12 * (12 * t * d * d + 2 * t * t * d) + 1000 * d)


def test_what_does_not_fit() -> None:
    net = aj.models.ViTModel(aj.models.ViTConfig(12, 1, 3, 20, image_size=(12, 20), patch_size=(4, 4)), rng=0)
    for shape in [(1, 3, 12, 16), (1, 3, 20, 12), (1, 1, 12, 20)]:
        with pytest.raises(ShapeError, match=r"ViT: images are \(N, 3, 12, 20\), not \(1, "):
            net(np.ones(shape, "float32"))
    with pytest.raises(ShapeError, match=r"add the batch's axis, x\[None\] is \(1, 3, 12, 20\)"):
        net(np.ones((3, 12, 20), "float32"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"num_attention_heads": 5}, "num_heads 5 is to divide embed_dim 12"),
        ({"hidden_act": "xielu"}, "hidden_act is to be one of gelu.*not 'xielu'"),
        ({"pooler_act": "softmax"}, "pooler_act is to be one of"),
        ({"image_size": [12, 20, 3]}, r"image_size is to be one positive integer, or two .* not \[12, 20, 3\]"),
        ({"patch_size": 0}, "patch_size is to be one positive integer"),
        ({"patch_size": 16}, r"a patch \(16, 16\) is larger than the image \(12, 20\)"),
        ({"num_channels": True}, "num_channels is to be an integer"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "architectures is to be a list of one of ViTModel"),
        ({"head_dim": 3}, "head_dim=3"),
    ],
)
def test_configurations_that_are_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        aj.models.from_config({"model_type": "vit", **SIZES, **changed})
    if changed.get("hidden_act") == "xielu":
        with pytest.raises(ValueError, match="hidden_act is one of"):
            aj.models.ViTModel(aj.models.ViTConfig(hidden_act="xielu"))
