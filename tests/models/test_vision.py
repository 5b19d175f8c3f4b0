"""ResNet, MobileNet and U-Net against transformers and PyTorch, every parameter random, evaluating and training."""

from __future__ import annotations

import copy
import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import adjoint as aj
from adjoint.errors import ShapeError
from tests.models.peers import TOLERANCE, agree, close, randomized, state

transformers = pytest.importorskip("transformers")

RNG = np.random.default_rng(0)
MODES = pytest.mark.parametrize(
    ("dtype", "training", "n"), [(d, t, n) for d, t, n in itertools.product(TOLERANCE, (False, True), (1, 3)) if t < n]
)


def settled(model: torch.nn.Module) -> torch.nn.Module:
    """The model with the constants of batch normalization, and the dropout, that are PyTorch's own and none."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps, module.momentum = 1e-5, 0.1
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def compared(
    net: Any, model: Any, names: dict[str, str], x: np.ndarray, training: bool, vanishing: str = r"(?!)",
    slack: float = 1.0,
) -> None:  # fmt: skip
    """Outputs, all gradients and, in training, running statistics; `names` are `net`'s for those of `model`."""
    dtype = str(x.dtype)
    net.load_state_dict({names[k]: v for k, v in state(model).items()})
    net.train(training)
    model.train(training)
    moved, stepped = copy.deepcopy(model), net.to()
    found = model(torch.tensor(x))
    parameters = {names[k]: p for k, p in model.named_parameters()}
    expected = found if isinstance(found, torch.Tensor) else found.logits
    agree(net, lambda net: (net(x),), (expected,), parameters, dtype, vanishing, slack)
    moved(torch.tensor(x))
    stepped(x)
    for k, v in moved.named_buffers():
        close(stepped.state_dict()[names[k]], v.detach().numpy(), str(v.numpy().dtype), k, slack)


def in_order(net: Any, model: Any) -> dict[str, str]:
    """The names of one for those of the other, where both have their arrays in one order."""
    return dict(zip(model.state_dict(), net.state_dict(), strict=True))


# ResNet


def torchvision_name(name: str) -> str:
    """The name that torchvision gives what transformers' ResNet calls so."""
    name = re.sub(r"^resnet\.embedder\.embedder\.", "0.", name)
    name = re.sub(r"^resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", lambda m: f"layer{int(m[1]) + 1}.{m[2]}.", name)
    name = name.replace("shortcut.convolution", "downsample.0").replace("shortcut.normalization", "downsample.1")
    name = re.sub(r"(?:layer\.)?(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}", name)
    name = re.sub(r"(?:layer\.)?(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}", name)
    return name.replace("classifier.1", "fc")


@pytest.mark.covers("A12")
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
@MODES
def test_resnet_equals_transformers(kind: str, dtype: str, training: bool, n: int) -> None:
    block = aj.models.BasicBlock if kind == "basic" else aj.models.Bottleneck
    widths = [block.expansion * width for width in (4, 8, 16)]
    config = transformers.ResNetConfig(
        num_channels=2, embedding_size=4, hidden_sizes=widths, depths=[1, 2, 1], layer_type=kind, num_labels=5
    )
    model = randomized(transformers.ResNetForImageClassification(config), dtype)
    net = aj.models.ResNet(block, (1, 2, 1), 5, in_channels=2, width=4, dtype=dtype, rng=0)
    names = {k: torchvision_name(k) for k in model.state_dict()}
    compared(net, model, names, RNG.standard_normal((n, 2, 45, 37)).astype(dtype), training)


@pytest.mark.parametrize(
    ("name", "parameters", "arrays", "some"),
    [
        ("resnet18", 11_689_512, 122, "layer4.0.downsample.0.weight"),
        ("resnet34", 21_797_672, 218, "layer3.5.conv2.weight"),
        ("resnet50", 25_557_032, 320, "layer1.0.downsample.1.running_mean"),
        ("resnet101", 44_549_160, 626, "layer3.22.bn3.num_batches_tracked"),
        ("resnet152", 60_192_808, 932, "fc.bias"),
    ],
)
def test_resnets_of_torchvision(name: str, parameters: int, arrays: int, some: str) -> None:
    with aj.nn.init.only_shapes():
        net = getattr(aj.models, name)()
        small = getattr(aj.models, name)(num_classes=7, in_channels=1)
    assert aj.nn.count_parameters(net) == parameters
    names = net.state_dict()
    assert len(names) == arrays
    assert some in names
    assert small.fc.weight.shape[0] == 7
    assert small.conv1.weight.shape == (64, 1, 7, 7)


def test_published_cost_of_resnet18() -> None:
    with aj.nn.init.only_shapes():
        net = aj.models.resnet18()
    whole, training = (aj.cost(net, (1, 3, 224, 224), inputs=inputs) for inputs in (True, False))
    assert whole.forward.matmul_flops == 3_628_146_688
    assert whole.forward.matmul_flops + whole.backward.matmul_flops == 10_884_440_064
    assert training.forward.matmul_flops + training.backward.matmul_flops == 10_648_412_160


def test_kernels_start_as_he_proposed() -> None:
    net: Any = aj.models.ResNet(aj.models.BasicBlock, (1, 1), width=64, rng=0)
    kernel = net.layer2[0].conv1.weight
    assert abs(kernel.std() / (2 / (128 * 9)) ** 0.5 - 1) < 0.02
    assert abs(kernel.mean()) < 1e-3


# MobileNet


def deep(dtype: str, training: bool) -> float:
    """The slack of 27 normalizations over few values: PyTorch's own float32 gradients are 1e-4 off its float64 ones.

    Its outputs and statistics, which move less, are 3e-5 off.
    """
    return 30.0 if training and dtype == "float32" else 1.0


@pytest.mark.covers("A12")
@MODES
def test_mobilenet_equals_transformers(dtype: str, training: bool, n: int) -> None:
    config = transformers.MobileNetV1Config(
        num_channels=2, depth_multiplier=0.25, tf_padding=False, hidden_act="relu", num_labels=5
    )
    model = settled(randomized(transformers.MobileNetV1ForImageClassification(config), dtype))
    net = aj.models.MobileNet(5, 0.25, in_channels=2, dtype=dtype, rng=0)
    x = RNG.standard_normal((n, 2, 70, 45)).astype(dtype)
    compared(net, model, in_order(net, model), x, training, slack=deep(dtype, training))


@MODES
def test_mobilenet_v2_equals_transformers(dtype: str, training: bool, n: int) -> None:
    config = transformers.MobileNetV2Config(
        num_channels=2, depth_multiplier=0.35, tf_padding=False, num_labels=5, finegrained_output=True
    )
    model = settled(randomized(transformers.MobileNetV2ForImageClassification(config), dtype))
    net = aj.models.MobileNetV2(5, 0.35, 0.0, in_channels=2, dtype=dtype, rng=0)
    x = RNG.standard_normal((n, 2, 70, 45)).astype(dtype)
    # the next normalization of the batch takes away what the last one of a block has added
    vanishing = r"^features\.\d+\.conv\.[23]\.bias$" if training else r"(?!)"
    compared(net, model, in_order(net, model), x, training, vanishing=vanishing, slack=deep(dtype, training))


@pytest.mark.parametrize(
    ("alpha", "size", "millions", "parameters"),
    [
        (1.0, 224, 569, 4_231_976), (0.75, 224, 325, 2_585_560), (0.5, 224, 149, 1_331_592), (0.25, 224, 41, 470_072),
        (1.0, 192, 418, 4_231_976), (1.0, 160, 291, 4_231_976), (1.0, 128, 186, 4_231_976),
    ],
)  # fmt: skip
def test_published_mobilenets(alpha: float, size: int, millions: int, parameters: int) -> None:
    """Tables 6 and 7 of the paper, where 290.7 million at 160×160 stand as 290."""
    with aj.nn.init.only_shapes():
        net = aj.models.MobileNet(alpha=alpha)
    assert aj.nn.count_parameters(net) == parameters
    assert round(aj.cost(net, (1, 3, size, size)).forward.matmul_flops / 2e6) == millions


def test_published_mobilenet_with_full_convolutions() -> None:
    """Table 4: 4,866 million multiply-adds, without the classifier's 1,024,000, and 29.3 million parameters."""
    with aj.nn.init.only_shapes():
        separable, full = aj.models.MobileNet(), aj.models.MobileNet(full_convolutions=True)
    assert aj.cost(separable, (1, 3, 224, 224)).forward.matmul_flops == 2 * 568_740_352
    assert aj.cost(full, (1, 3, 224, 224)).forward.matmul_flops == 2 * (4_866_269_184 + 1_024_000)
    assert aj.nn.count_parameters(full) == 29_294_088


def test_mobilenet_v2_of_torchvision() -> None:
    with aj.nn.init.only_shapes():
        net, half = aj.models.MobileNetV2(), aj.models.MobileNetV2(width_mult=0.5)
    names = net.state_dict()
    assert aj.nn.count_parameters(net) == 3_504_872
    assert aj.nn.count_parameters(half) == 1_968_680
    assert len(names) == 314
    assert {"features.1.conv.0.0.weight", "features.2.conv.1.1.running_var", "features.17.conv.3.bias"} <= names.keys()
    assert {"features.18.0.weight", "classifier.1.weight"} <= names.keys()
    assert aj.cost(net, (1, 3, 224, 224)).forward.matmul_flops == 2 * 300_774_272


# U-Net


class Twin(torch.nn.Module):
    """The same U-Net in PyTorch, by the names of its arrays."""

    def __init__(self, arrays: dict[str, np.ndarray], buffers: set[str], depth: int) -> None:
        super().__init__()
        self.depth = depth
        for name, array in arrays.items():
            key, value = name.replace(".", "/"), torch.tensor(array)
            if name in buffers:
                self.register_buffer(key, value)
            else:
                self.register_parameter(key, torch.nn.Parameter(value))

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name.replace(".", "/"))

    def twice(self, x: Any, name: str) -> Any:
        """Two normalized convolutions."""
        for i in (0, 1):
            conv, norm = f"{name}.{i}.0", f"{name}.{i}.1"
            x = F.conv2d(x, self[f"{conv}.weight"], padding=1)
            if self.training:
                self[f"{norm}.num_batches_tracked"].add_(1)
            x = F.batch_norm(x, self[f"{norm}.running_mean"], self[f"{norm}.running_var"], self[f"{norm}.weight"],
                             self[f"{norm}.bias"], self.training)  # fmt: skip
            x = F.relu(x)
        return x

    def forward(self, x: Any) -> Any:
        """Down, and up again."""
        seen = []
        for i in range(self.depth):
            seen.append(self.twice(x, f"downs.{i}"))
            x = F.max_pool2d(seen[-1], 2)
        x = self.twice(x, "bottom")
        for i in reversed(range(self.depth)):
            up = F.conv_transpose2d(x, self[f"ups.{i}.weight"], self[f"ups.{i}.bias"], stride=2)
            x = self.twice(torch.cat([seen[i], up], 1), f"merges.{i}")
        return F.conv2d(x, self["head.weight"], self["head.bias"])


@pytest.mark.covers("A12")
@MODES
def test_unet_equals_pytorch(dtype: str, training: bool, n: int) -> None:
    net = aj.models.UNet(2, 3, width=4, depth=2, dtype=dtype, rng=0)
    model = randomized(Twin(net.state_dict(), {k for k, _ in net.named_buffers()}, 2), dtype)
    names = {k: k.replace("/", ".") for k in model.state_dict()}
    compared(net, model, names, RNG.standard_normal((n, 2, 12, 20)).astype(dtype), training)


def test_the_original_unet_has_31_million_parameters() -> None:
    """Ronneberger's 23 convolutions; 31,037,698 with a scale and shift of every normalized channel for each bias."""
    with aj.nn.init.only_shapes():
        net = aj.models.UNet()
        grey = aj.models.UNet(1)
    convolutions = [m for _, m in net.named_modules() if type(m).__name__.startswith("Conv")]
    assert len(convolutions) == 23
    assert aj.nn.count_parameters(net) == 31_037_698
    assert aj.nn.count_parameters(net) - aj.nn.count_parameters(grey) == 2 * 64 * 9
    assert aj.cost(net, (1, 3, 64, 64)).forward.matmul_flops > 0


# All of them


@pytest.mark.parametrize(
    ("make", "to"),
    [
        (lambda: aj.models.ResNet(aj.models.Bottleneck, (1, 1), 5, width=4, rng=0), "torch"),
        (lambda: aj.models.ResNet(aj.models.BasicBlock, (1,), 5, width=4, rng=0), "jax"),
        (lambda: aj.models.MobileNetV2(5, 0.35, 0.0, rng=0), "torch"),
        (lambda: aj.models.UNet(3, 5, 4, 2, rng=0), "torch"),
    ],
)
def test_other_backends(make: Any, to: str) -> None:
    net, x = make().to(dtype="float64").eval(), RNG.standard_normal((2, 3, 32, 40))
    np.testing.assert_allclose(np.asarray(net.to(to)(aj.to(x, to))), net(x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: aj.models.resnet18(), "ResNet"),
        (lambda: aj.models.MobileNet(), "MobileNet"),
        (lambda: aj.models.MobileNetV2(), "MobileNetV2"),
        (lambda: aj.models.UNet(), "UNet"),
    ],
)
def test_images_that_do_not_fit(make: Any, name: str) -> None:
    with aj.nn.init.only_shapes():
        net = make()
    with pytest.raises(ShapeError, match=rf"{name}: images are \(N, 3, height, width\), not \(2, 1, 32, 32\)\."):
        net(np.ones((2, 1, 32, 32), "float32"))
    with pytest.raises(ShapeError, match=r"not \(3, 32, 32\): add the batch's axis, x\[None\] is \(1, 3, 32, 32\)"):
        net(np.ones((3, 32, 32), "float32"))
    with pytest.raises(ShapeError, match="height and width are"):
        net(np.ones((2, 3, 0, 32), "float32"))
    if name == "UNet":
        with pytest.raises(ShapeError, match="multiples of 16: pad or crop them, got 32 by 24"):
            net(np.ones((2, 3, 32, 24), "float32"))


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="layers are the numbers of blocks"):
        aj.models.ResNet(aj.models.BasicBlock, (2, 0))
    with pytest.raises(ValueError, match="alpha multiplies channels and is positive, not 0"):
        aj.models.MobileNet(alpha=0.0)
    with pytest.raises(ValueError, match="width_mult multiplies channels"):
        aj.models.MobileNetV2(width_mult=-1.0)
    with pytest.raises(ValueError, match="depth is a number of halvings"):
        aj.models.UNet(depth=0)
