"""What can be counted: configurations and networks with batch and seq; components and layers add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import adjoint as aj
from adjoint.costs import Pass
from adjoint.inspection.spending import lines
from tests.costs.test_figures import GPT2
from tests.costs.test_growth import MISTRAL

BERT = {"model_type": "bert", "vocab_size": 31, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 20}  # fmt: skip
T5 = {"model_type": "t5", "vocab_size": 31, "d_model": 12, "d_kv": 5, "d_ff": 20, "num_layers": 2, "num_heads": 3}
VIT = {"model_type": "vit", "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": [24, 16],
       "patch_size": 8}  # fmt: skip
SMALL = {
    "gpt2": {**GPT2, "vocab_size": 31, "n_embd": 12, "n_layer": 2, "n_head": 3},
    "mistral": {**MISTRAL, "sliding_window": 4},
    "bert": BERT,
    "masked": {**BERT, "architectures": ["BertForMaskedLM"]},
    "roberta": {**BERT, "model_type": "roberta", "architectures": ["RobertaForSequenceClassification"]},
    "t5": T5,
    "encoder": {**T5, "architectures": ["T5EncoderModel"]},
    "vit": {**VIT, "architectures": ["ViTForImageClassification"]},
    "features": VIT,
}


def added(parts: Any) -> Pass:
    return sum(parts, Pass(0, 0, 0))


@pytest.mark.covers("E02")
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("batch", [1, 3])
def test_components_add_up_to_the_whole(name: str, batch: int) -> None:
    found = aj.cost(SMALL[name], batch=batch)
    assert added(part.forward for part in found.components) == found.forward
    assert added(part.backward for part in found.components) == found.backward
    names = {part.name for part in found.components}
    assert {"attention projections", "attention scores", "feed-forward", "norms", "embeddings"} <= names
    products = {part.name: part.forward.matmul_flops for part in found.components}
    assert products["other"] == products["norms"] == 0
    assert found.memory.checkpointed is not None
    assert found.memory.checkpointed.kept < found.memory.passes.kept
    parts: list[Any] = [*found.components, *found.operations]
    for part in parts:
        for side in (part.forward, part.backward):
            assert min(side.flops, side.matmul_flops, side.bytes) >= 0


@pytest.mark.parametrize("make", ["resnet18", "MobileNet", "MobileNetV2"])
def test_networks_for_images(make: str) -> None:
    with aj.nn.init.only_shapes():
        net = getattr(aj.models, make)()
    found = aj.cost(net, batch=2)
    by_shape = aj.cost(net, (2, 3, 224, 224))
    assert found.inputs == ((2, 3, 224, 224),)
    assert (found.forward, found.backward, found.memory) == (by_shape.forward, by_shape.backward, by_shape.memory)
    assert added(part.forward for part in found.components) == found.forward
    assert {part.name for part in found.components} == {"convolutions", "norms", "head", "other"}


def test_convolutions_of_a_program() -> None:
    torch = pytest.importorskip("torch")
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(288, 10)
    found = aj.cost(aj.open(torch.nn.Sequential(*layers).eval(), torch.ones(2, 3, 8, 8)), (2, 3, 8, 8))
    products = {part.name: part.forward.matmul_flops for part in found.components}
    assert products == {"convolutions": 2 * 2 * 8 * 36 * 27, "feed-forward": 2 * 2 * 288 * 10, "norms": 0, "other": 0}
    assert [layer.kind for layer in found.layers][:2] == ["Conv2d", "BatchNorm2d"]


def test_a_plain_network() -> None:
    parts = {part.name: part.forward for part in aj.cost(aj.nn.MLP((3, 4, 2)), (5, 3)).components}
    assert parts.keys() == {"feed-forward", "other"}
    assert parts["feed-forward"].matmul_flops == 2 * 5 * (3 * 4 + 4 * 2)
    assert parts["other"].flops == 5 * 4  # the activation


def test_attention_of_pytorchs_kind() -> None:
    """Its one module does the projections and the attention."""
    net = aj.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    products = {part.name: part.forward.matmul_flops for part in aj.cost(net, (3, 5, 8)).components}
    assert products["attention projections"] == 2 * 3 * 5 * 4 * 8 * 8
    assert products["attention scores"] == 2 * 3 * 2 * 5 * 5 * 8
    assert products["feed-forward"] == 2 * 3 * 5 * 2 * 8 * 16


class Pair(aj.nn.Module):
    """A block that gives two arrays, or adds what it is given by name."""

    def __init__(self, two: bool) -> None:
        self.two, self.inner = two, aj.nn.Linear(4, 4)

    def __call__(self, x: Any, *, shift: Any = 0.0) -> Any:
        y = self.inner(x) + shift
        return (y, x) if self.two else y


class Pairs(aj.nn.Module):
    def __init__(self, two: bool, named: bool) -> None:
        self.named, self.blocks = named, [Pair(two), Pair(two)]

    def __call__(self, x: Any) -> Any:
        for block in self.blocks:
            y = block(x, shift=x if self.named else 1.0)
            x = y[0] if isinstance(y, tuple) else y
        return x


@pytest.mark.parametrize(("two", "named"), [(False, False), (True, False), (False, True)])
def test_blocks_that_cannot_be_checkpointed_are_told(two: bool, named: bool) -> None:
    found = aj.cost(Pairs(two, named), (3, 4))
    assert (found.memory.checkpointed is None) == (found.memory.training_checkpointed is None) == (two or named)
    assert found.forward.matmul_flops == 2 * 2 * 3 * 4 * 4
    assert added(part.backward for part in found.components) == found.backward


def test_frozen_parts_take_no_memory_of_training() -> None:
    net = aj.models.GPT(11, 8, n_layer=2, n_head=2, n_embd=4)
    whole = aj.cost(net, seq=8)
    net.freeze("wte", "wpe", "h")
    part = aj.cost(net, seq=8)
    assert part.memory.weights == whole.memory.weights
    assert 0 < part.memory.gradients < whole.memory.gradients / 2
    assert part.step.flops < whole.step.flops / 2
    assert added(c.backward for c in part.components) == part.backward


def test_a_network_in_another_dtype() -> None:
    net = aj.models.GPT(11, 8, n_layer=2, n_head=2, n_embd=4)
    assert aj.cost(net, seq=8, dtype="float64").memory.gradients == 2 * aj.cost(net, seq=8).memory.gradients


def test_a_file_a_folder_and_a_dict_are_one(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(BERT))
    assert aj.cost(file, batch=2, seq=9) == aj.cost(str(tmp_path), batch=2, seq=9) == aj.cost(BERT, batch=2, seq=9)
    assert aj.cost(BERT).inputs == ((1, 512),)
    assert aj.cost(T5, seq=9).inputs == ((1, 9), (1, 9))
    assert aj.cost(VIT).inputs == ((1, 3, 24, 16),)


@pytest.mark.parametrize("config", [MISTRAL, {**MISTRAL, "model_type": "llama", "architectures": ["LlamaModel"]}])
def test_rotary_positions_that_a_model_was_made_for(config: dict[str, Any]) -> None:
    """Its own length is taken unless another is given; a longer one is counted, and told."""
    short = {**config, "max_position_embeddings": 40}
    assert aj.cost(short).inputs == ((1, 40),)
    assert not aj.cost(short).beyond
    longer = aj.cost(short, seq=41)
    assert longer.forward == aj.cost(config, seq=41).forward
    assert "made for 40 positions; rotary ones go on" in longer.beyond
    assert longer.beyond in lines(longer)
    assert aj.cost(config).inputs == ((1, 1024),)
    assert not aj.cost({**BERT, "max_position_embeddings": 20}).beyond


def test_half_precision_takes_half() -> None:
    single, half = aj.cost(BERT, seq=9), aj.cost(BERT, seq=9, dtype="float16")
    assert half.forward.flops == single.forward.flops
    assert 2 * half.memory.weights == pytest.approx(single.memory.weights, rel=0.05)
    assert half.dtype == "float16"


@pytest.mark.parametrize(
    ("model", "how", "told"),
    [
        (GPT2, {"batch": 0}, r"batch is to be a positive integer, not 0"),
        (GPT2, {"seq": 2.5}, r"seq is to be a positive integer, not 2\.5"),
        (GPT2, {"seq": True}, r"seq is to be a positive integer, not True"),
        (GPT2, {"seq": 1025}, r"GPT.*1024"),
        (GPT2, {"x": (1, 5), "seq": 3}, r"give x, or batch and seq, not both"),
        (VIT, {"seq": 3}, r"ViTModel takes images, which have no sequence length"),
        (aj.nn.MLP((3, 2)), {"batch": 3}, r"what MLP is given is not known; give x"),
        ({"model_type": "nonesuch"}, {}, r"model_type 'nonesuch' is not known"),
        ({**BERT, "hidden_size": "wide"}, {}, r"hidden_size is to be an integer"),
    ],
)
def test_what_cannot_be_counted(model: Any, how: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        aj.cost(model, **how)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        aj.cost(tmp_path / "nowhere")
