"""Every module equals its namesake in torch.nn: names, values, gradients, initial numbers; on every backend."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing._internal.common_modules import module_db

import adjoint as aj
from adjoint.arrays.dispatch import backend

BACKENDS = ("numpy", "torch", "jax")
EPS = float(np.finfo("float64").eps)


class TorchResidual(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def torch_mlp(*sizes: int, act: Callable[[], torch.nn.Module] = torch.nn.ReLU, bias: bool = True) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for n, m in pairwise(sizes):
        layers += [torch.nn.Linear(n, m, bias), act()]
    return torch.nn.Sequential(*layers[:-1])


nn, tn = aj.nn, torch.nn
SAMPLES: dict[str, list[tuple[Any, Any, tuple[int, ...]]]] = {
    "Linear": [
        (nn.Linear(3, 5), tn.Linear(3, 5), (4, 3)),
        (nn.Linear(3, 5, bias=False), tn.Linear(3, 5, bias=False), (2, 4, 3)),
        (nn.Linear(3, 1), tn.Linear(3, 1), (3,)),
        (nn.Linear(3, 5), tn.Linear(3, 5), (0, 3)),
    ],
    "LayerNorm": [
        (nn.LayerNorm(6), tn.LayerNorm(6), (4, 6)),
        (nn.LayerNorm((3, 4), eps=1e-3), tn.LayerNorm((3, 4), eps=1e-3), (2, 3, 4)),
        (nn.LayerNorm(6, bias=False), tn.LayerNorm(6, bias=False), (6,)),
        (nn.LayerNorm([6], elementwise_affine=False), tn.LayerNorm(6, elementwise_affine=False), (1, 6)),
    ],
    "RMSNorm": [
        (nn.RMSNorm(6, dtype="float64"), tn.RMSNorm(6, dtype=torch.float64), (4, 6)),
        (nn.RMSNorm((3, 4), eps=1e-3), tn.RMSNorm((3, 4), eps=1e-3), (2, 3, 4)),
        (nn.RMSNorm(6, 0.1, elementwise_affine=False), tn.RMSNorm(6, 0.1, elementwise_affine=False), (6,)),
    ],
    "Flatten": [(nn.Flatten(), tn.Flatten(), (2, 3, 4)), (nn.Flatten(0, 1), tn.Flatten(0, 1), (2, 3, 4))],
    "Identity": [(nn.Identity(3, any=1), tn.Identity(3, any=1), (2, 3))],
    "Sequential": [
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh()), tn.Sequential(tn.Linear(3, 4), tn.Tanh()), (2, 3)),
        (nn.Sequential(), tn.Sequential(), (2, 3)),
    ],
    "Residual": [(nn.Residual(nn.Linear(3, 3)), TorchResidual(tn.Linear(3, 3)), (2, 3))],
    "MLP": [
        (nn.MLP((3, 6, 5, 2)), torch_mlp(3, 6, 5, 2), (4, 3)),
        (nn.MLP((3, 4, 2), nn.GELU, bias=False), torch_mlp(3, 4, 2, act=tn.GELU, bias=False), (4, 3)),
        (nn.MLP((3, 2)), torch_mlp(3, 2), (4, 3)),
    ],
    "PReLU": [(nn.PReLU(), tn.PReLU(), (4, 3)), (nn.PReLU(3, 0.1), tn.PReLU(3, 0.1), (2, 3, 4))],
    "LeakyReLU": [(nn.LeakyReLU(0.2), tn.LeakyReLU(0.2), (4, 3))],
    "ELU": [(nn.ELU(0.7), tn.ELU(0.7), (4, 3))],
    "CELU": [(nn.CELU(0.5), tn.CELU(0.5), (4, 3))],
    "GELU": [(nn.GELU(), tn.GELU(), (4, 3)), (nn.GELU("tanh"), tn.GELU("tanh"), (4, 3))],
    "Softplus": [(nn.Softplus(), tn.Softplus(), (4, 3)), (nn.Softplus(2.0), tn.Softplus(2.0), (4, 3))],
    "Hardtanh": [(nn.Hardtanh(), tn.Hardtanh(), (4, 3)), (nn.Hardtanh(-0.5, 0.25), tn.Hardtanh(-0.5, 0.25), (4, 3))],
    "Softmax": [(nn.Softmax(-1), tn.Softmax(-1), (4, 3)), (nn.Softmax(0), tn.Softmax(0), (4, 3))],
    "LogSoftmax": [(nn.LogSoftmax(-1), tn.LogSoftmax(-1), (4, 3)), (nn.LogSoftmax(1), tn.LogSoftmax(1), (4, 3, 2))],
    **{
        name: [(getattr(nn, name)(), getattr(tn, name)(), (4, 3))]
        for name in (
            *("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Sigmoid", "LogSigmoid", "Tanh", "Softsign", "Tanhshrink"),
            *("Hardsigmoid", "Hardswish"),
        )
    },
}
CASES = [pytest.param(*case, id=f"{name}-{i}") for name, cases in SAMPLES.items() for i, case in enumerate(cases)]


ELSEWHERE = {
    "test_attention.py": "Cache",
    "test_convolution.py": "DepthwiseSeparableConv2d Fold Unfold",
    "test_dropout.py": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
    "test_pooling.py": "ChannelShuffle MaxUnpool1d MaxUnpool2d MaxUnpool3d PixelShuffle PixelUnshuffle Upsample "
    "UpsamplingBilinear2d UpsamplingNearest2d",
    "test_positions.py": "LearnedPositions PositionalEncoding RotaryEmbedding",
    "test_reparametrization.py": "Reparametrization remove_reparametrization reparametrize spectral_norm weight_norm",
    "test_transformer.py": "FeedForward TransformerDecoder",
    "test_modules.py": "Module count_parameters",
    "test_init.py": "init",
}


def test_every_module_is_compared() -> None:
    """Here, with PyTorch's own samples in tests/pytorch/test_modules.py, or in the file named."""
    by_pytorch = {info.module_cls.__name__ for info in module_db}
    elsewhere = {name for names in ELSEWHERE.values() for name in names.split()}
    elsewhere |= {name for name in aj.nn.__all__ if name.endswith("Loss")}  # all of them in test_losses.py
    assert {*aj.nn.__all__} - by_pytorch - elsewhere - {*SAMPLES} == set()
    folder = Path(__file__).parent
    for file, names in ELSEWHERE.items():
        text = (folder / file).read_text().lower()
        assert [name for name in names.split() if re.sub(r"\dd$", "", name).lower() not in text] == []


def plain(x: Any) -> np.ndarray:
    return backend(type(x)).to_numpy(x)


@pytest.mark.covers("F01", "F03")
@pytest.mark.parametrize("to", BACKENDS)
@pytest.mark.parametrize(("ours", "theirs", "shape"), CASES)
def test_values_and_gradients(ours: Any, theirs: Any, shape: tuple[int, ...], to: str) -> None:
    theirs = theirs.double()
    net = aj.to(ours, dtype="float64")
    net.load_state_dict(theirs.state_dict())
    net = aj.to(net, to)
    rng = np.random.default_rng(0)
    x = 2.0 * rng.standard_normal(shape)
    expected = theirs(there := torch.tensor(x, requires_grad=True))
    c = rng.standard_normal(tuple(expected.shape))
    theirs.zero_grad()
    (expected * torch.tensor(c)).sum().backward()

    x, c = aj.to((x, c), to)
    value = net(x)
    both = aj.grad(lambda net, x: aj.sum(net(x) * c), (0, 1) if [*net.parameters()] else 1)(net, x)
    gradients, gradient = both if [*net.parameters()] else (net, both)

    assert type(value) is type(x)
    # PyTorch's own slope of hardsigmoid is the float32 nearest to 1/6, in any dtype
    tolerance = 1e-7 if isinstance(theirs, tn.Hardsigmoid) else 64 * EPS
    np.testing.assert_allclose(plain(value), expected.detach(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(plain(gradient), there.grad, rtol=tolerance, atol=tolerance)
    for name, parameter in theirs.named_parameters():
        got = gradients.state_dict()[name]
        np.testing.assert_allclose(plain(got), parameter.grad, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("ours", "theirs", "shape"), CASES)
def test_state_dicts_load_both_ways(ours: Any, theirs: Any, shape: tuple[int, ...]) -> None:
    mine = {name: torch.tensor(x) for name, x in ours.state_dict().items()}
    assert [*mine] == [*theirs.state_dict()]
    theirs.load_state_dict(mine)
    for name, x in theirs.state_dict().items():
        assert (x.numpy() == ours.state_dict()[name]).all()
    ours.load_state_dict(theirs.state_dict())
    assert aj.nn.count_parameters(ours) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("to", BACKENDS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_embedding(to: str, shape: tuple[int, ...]) -> None:
    theirs, net = tn.Embedding(7, 4).double(), nn.Embedding(7, 4, dtype="float64")
    net.load_state_dict(theirs.state_dict())
    net = aj.to(net, to)
    rng = np.random.default_rng(0)
    indices, c = rng.integers(0, 3, shape), rng.standard_normal((*shape, 4))
    expected = theirs(torch.tensor(indices))
    (expected * torch.tensor(c)).sum().backward()
    i, c = aj.to((indices, c), to)
    np.testing.assert_array_equal(plain(net(i)), expected.detach())
    got = aj.grad(lambda net: aj.sum(net(i) * c))(net).weight
    np.testing.assert_allclose(plain(got), theirs.weight.grad, rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.covers("F01")
def test_a_neuron_a_layer_a_batch() -> None:
    rng = np.random.default_rng(0)
    W, b, X = rng.standard_normal((5, 3)), rng.standard_normal(5), rng.standard_normal((4, 3))
    layer = nn.Linear(3, 5, dtype="float64")
    layer.load_state_dict({"weight": W, "bias": b})
    neuron = nn.Linear(3, 1, dtype="float64")
    neuron.load_state_dict({"weight": W[:1], "bias": b[:1]})
    sigmoid = nn.Sigmoid()
    x = X[0]
    inner = sum(W[0, j] * x[j] for j in range(3)) + b[0]
    assert sigmoid(neuron(x)) == pytest.approx(1.0 / (1.0 + np.exp(-inner)), rel=1e-14)
    np.testing.assert_allclose(layer(x), W @ x + b, rtol=1e-14)
    np.testing.assert_allclose(layer(X), X @ W.T + np.ones((4, 1)) * b, rtol=1e-14)
    expected = torch.nn.functional.linear(*(torch.tensor(a) for a in (X, W, b)))
    np.testing.assert_allclose(sigmoid(layer(X)), torch.sigmoid(expected), rtol=1e-14)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda rng: nn.Linear(40, 60, rng=rng), lambda: tn.Linear(40, 60)),
        (lambda rng: nn.Linear(1, 500, rng=rng), lambda: tn.Linear(1, 500)),
        (lambda rng: nn.Embedding(50, 40, rng=rng), lambda: tn.Embedding(50, 40)),
    ],
)
def test_initial_distributions_are_pytorchs(ours: Any, theirs: Any) -> None:
    """Kolmogorov and Smirnov's test on 20 modules' numbers, each parameter by itself."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    drawn = [ours(rng).state_dict() for _ in range(20)]
    peers = [theirs().state_dict() for _ in range(20)]
    for name in peers[0]:
        a = np.concatenate([state[name].ravel() for state in drawn])
        b = np.concatenate([state[name].numpy().ravel() for state in peers])
        assert a.dtype == b.dtype
        assert stats.ks_2samp(a, b).pvalue > 0.01
        if isinstance(theirs(), tn.Linear):
            bound = 1.0 / np.sqrt(theirs().in_features)
            assert 0.98 * bound < np.abs(a).max() <= np.float32(bound)


def test_initial_numbers_that_are_fixed() -> None:
    for ours, theirs in [
        (nn.LayerNorm((2, 3)), tn.LayerNorm((2, 3))),
        (nn.RMSNorm(3), tn.RMSNorm(3)),
        (nn.PReLU(2), tn.PReLU(2)),
    ]:
        for name, x in theirs.state_dict().items():
            np.testing.assert_array_equal(ours.state_dict()[name], x)


def test_seeds() -> None:
    first, again, other = (nn.MLP((3, 4, 2), rng=seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert any((a != b).any() for a, b in zip(first.parameters(), other.parameters(), strict=True))
    aj.seed(3)
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    aj.seed(3)
    assert (nn.Linear(3, 2).weight == one.weight).all()
    assert (one.weight != two.weight).any()


def test_errors_name_the_layer_and_the_shapes() -> None:
    with pytest.raises(aj.ShapeError, match=r"linear: .*\(2, 4\).*\(5, 3\)"):
        nn.Linear(3, 5)(np.ones((2, 4), "float32"))
    with pytest.raises(
        aj.ShapeError, match=r"LayerNorm: the last axes of x, \(2, 4\), must be normalized_shape \(3,\)"
    ):
        nn.LayerNorm(3)(np.ones((2, 4), "float32"))
    with pytest.raises(aj.ShapeError, match=r"RMSNorm: the last axes of x, \(2, 4\), must be normalized_shape \(3,\)"):
        nn.RMSNorm(3, elementwise_affine=False)(np.ones((2, 4), "float32"))
    with pytest.raises(ValueError, match=r"Linear: in_features .* not -1"):
        nn.Linear(-1, 2)
    with pytest.raises(ValueError, match=r"Embedding: embedding_dim .* not 2\.5"):
        nn.Embedding(3, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="MLP: sizes"):
        nn.MLP((3,))


def test_no_features_at_all() -> None:
    with pytest.warns(UserWarning, match="zero-element"):
        theirs = tn.Linear(0, 2)
    assert nn.Linear(0, 2)(np.ones((3, 0), "float32")).shape == tuple(theirs(torch.ones(3, 0)).shape)
