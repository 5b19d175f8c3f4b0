"""Half precision on NumPy: operations keep their operands' dtype and are as exact as that; networks as PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import trees
from adjoint.nn import Linear, Sequential
from tests.ops.samples import SAMPLES, bound
from tests.ops.samples.operands import Sample, floating

UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # half the spacing of numbers at 1
in_both = pytest.mark.parametrize("dtype", UNITS)
EVERY = [sample for samples in SAMPLES.values() for sample in samples]


def half(x: Any, dtype: str) -> Any:
    return x.astype(dtype) if floating(x) else x


def near(found: Any, expected: Any, dtype: str, size: float = 1.0) -> None:
    """Within eight roundings to that dtype of numbers as large as the largest."""
    found, expected = np.asarray(found, "float64"), np.asarray(expected, "float64")
    top = float(np.abs(expected[np.isfinite(expected)]).max(initial=1.0))
    np.testing.assert_allclose(found, expected, 0, 8.0 * UNITS[dtype] * max(top, 1.0) * size)


@pytest.mark.parametrize("sample", EVERY, ids=str)
@in_both
def test_every_operation(sample: Sample, dtype: str) -> None:
    """Value and gradients against float64, of operands that are exact in half precision; so are the values' dtypes."""
    if dtype == "float16" and sample.name.startswith("ctc"):
        pytest.skip("log-probabilities of what never happens are beyond float16; PyTorch has no such loss either")
    operands = [half(x, dtype) for x in sample.make("float32")]
    exact = [x.astype("float64") if floating(x) else x for x in operands]
    places = [k for k, x in enumerate(operands) if floating(x)]
    size = max([1.0, *(float(np.abs(exact[k]).max(initial=0.0)) for k in places)])
    mixed = any(floating(x) for x in sample.options.values()) or sample.name == "astype"

    def of(xs: list[Any]) -> tuple[Callable[..., Any], list[Any]]:
        def function(*floats: Any) -> Any:
            filled = list(xs)
            for k, x in zip(places, floats, strict=True):
                filled[k] = x
            return bound(sample)(*filled)

        return function, [xs[k] for k in places]

    (f, mine), (g, theirs) = of(operands), of(exact)
    value, (y, pullback), (z, expected) = f(*mine), aj.vjp(f, *mine), aj.vjp(g, *theirs)
    for parts in (value, y):
        for k, (a, b) in enumerate(zip(trees.flatten(parts)[0], trees.flatten(z)[0], strict=True)):
            near(a, b, dtype, size)
            if floating(a) and not mixed and not k:  # what else there is may be more exact
                assert a.dtype == dtype
    u = trees.map(lambda part: np.random.default_rng(0).normal(size=part.shape).astype(dtype), y)
    wide = trees.map(lambda part: part.astype("float64"), u)
    for a, b, x in zip(pullback(u), expected(wide), mine, strict=True):
        assert a.dtype == x.dtype == dtype
        near(a, b, dtype, size)


def test_numbers_keep_the_dtype_and_wide_arrays_do_not() -> None:
    x = np.ones((2, 3), ml_dtypes.bfloat16)
    for y in (aj.multiply(x, 2.0), aj.add(1, x), aj.where(x > 0.0, x, 0.0), aj.maximum(x, 0.5), aj.pow(x, 2.0)):
        assert y.dtype == ml_dtypes.bfloat16
    assert aj.multiply(x, np.ones(3, "float32")).dtype == "float32"
    assert aj.matmul(x, np.ones((3, 2), "float32")).dtype == "float32"
    assert aj.relu(np.arange(-1, 2)).dtype == "float64"


def test_sums_are_not_rounded_on_the_way() -> None:
    """4,096 ones: adding them up in bfloat16 stops at 256."""
    x = np.ones(4096, ml_dtypes.bfloat16)
    assert float(aj.sum(x)) == 4096.0
    assert float(aj.matmul(x[None], x[:, None])[0, 0]) == 4096.0
    assert float(aj.sum(np.full(70, 1000.0, "float16"))) == np.inf  # beyond 65,504, without a warning


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_eight_bits_load_and_cast(name: str) -> None:
    net = Linear(3, 2, rng=0)
    weight = np.array([[0.5, -1.0, 2.0]] * 2, getattr(ml_dtypes, name))
    net.load_state_dict({"weight": weight, "bias": np.zeros(2, getattr(ml_dtypes, name))}, assign=True)
    assert net.weight.dtype == name
    assert net.to(dtype="float32")(np.ones(3, "float32")).tolist() == [1.5, 1.5]


# Against PyTorch


def both(net: Any) -> tuple[Any, Any]:
    """A net of layers that PyTorch has, in bfloat16 on NumPy and in PyTorch."""
    rng = np.random.default_rng(0)
    for name, p in net.named_parameters():
        p[...] = rng.uniform(0.5, 1.5, p.shape) if "norm" in name else rng.normal(0.0, 0.3, p.shape)
    net = net.to(dtype=ml_dtypes.bfloat16)
    return net, net.to_torch()


NETS: dict[str, tuple[Callable[[], Any], Any]] = {
    "mlp": (lambda: Sequential(Linear(6, 9), aj.nn.GELU(), aj.nn.LayerNorm(9), Linear(9, 4), aj.nn.SiLU()), (5, 6)),
    "rms": (lambda: Sequential(Linear(6, 9), aj.nn.RMSNorm(9, 1e-6), aj.nn.Softmax(-1)), (2, 3, 6)),
    "cnn": (
        lambda: Sequential(
            aj.nn.Conv2d(3, 4, 3, padding=1),
            aj.nn.BatchNorm2d(4),
            aj.nn.ReLU(),
            aj.nn.MaxPool2d(2),
            aj.nn.Conv2d(4, 4, 3, groups=2),
            aj.nn.AdaptiveAvgPool2d(1),
            aj.nn.Flatten(),
            Linear(4, 3),
        ),
        (3, 3, 8, 10),
    ),
    "transformer": (lambda: aj.nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True), (2, 5, 8)),
}


@pytest.mark.parametrize("which", NETS)
def test_networks_as_pytorchs(which: str) -> None:
    """Value, loss, all gradients and a step of AdamW, to what a few roundings make of them."""
    make, shape = NETS[which]
    mine, theirs = both(make())
    x = np.random.default_rng(1).normal(size=shape).astype(ml_dtypes.bfloat16)
    tensor = torch.tensor(x.astype("float32")).bfloat16()
    y = mine(x)
    assert y.dtype == ml_dtypes.bfloat16
    near(y, theirs(tensor).detach().float(), "bfloat16", 2.0)
    loss, grads = aj.value_and_grad(lambda net: aj.mean(aj.square(net(x))))(mine)
    expected = theirs(tensor).square().mean()
    expected.backward()
    assert loss.dtype == ml_dtypes.bfloat16
    near(loss, expected.detach().float(), "bfloat16")
    named = dict(grads.named_parameters())
    for name, p in theirs.named_parameters():
        assert named[name].dtype == ml_dtypes.bfloat16
        near(named[name], p.grad.float(), "bfloat16", 2.0)
    optimizer = torch.optim.AdamW(theirs.parameters(), 1e-2)
    for name, p in theirs.named_parameters():
        p.grad = torch.tensor(named[name].astype("float32")).bfloat16()
    optimizer.step()
    after, _ = aj.optim.AdamW(mine, 1e-2).step(mine, grads)
    stepped = dict(after.named_parameters())
    for name, p in theirs.named_parameters():
        assert stepped[name].dtype == ml_dtypes.bfloat16
        near(stepped[name], p.detach().float(), "bfloat16", 0.5)


@in_both
def test_a_language_model(dtype: str) -> None:
    """Embedding, positions, causal attention, tied weights, cross-entropy: against the same model in float64."""
    tokens = np.random.default_rng(0).integers(0, 7, (2, 6))
    net = aj.models.GPT(7, 5, n_layer=2, n_head=2, n_embd=8, rng=0).to(dtype=dtype)
    wide = net.to(dtype="float64")

    def loss(net: Any) -> Any:
        return net.loss(tokens[:, :-1], tokens[:, 1:])

    value, grads = aj.value_and_grad(loss)(net)
    expected, exact = aj.value_and_grad(loss)(wide)
    assert value.dtype == net(tokens[:, :-1]).dtype == dtype
    near(value, expected, dtype)
    for (name, g), (_, e) in zip(grads.named_parameters(), exact.named_parameters(), strict=True):
        assert g.dtype == dtype, name
        near(g, e, dtype)
