"""Quantized layers beside dense ones with the same numbers; what they cost; saved, moved, and read from elsewhere."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint import nn
from adjoint.errors import CheckpointError
from adjoint.quantization import Quantized, QuantizedLinear, dequantize, from_bitsandbytes

FORMATS = [("nf4", 64), ("fp4", 32), ("dynamic8", 256), ("int8", None), ("int4", 16)]
each_format = pytest.mark.parametrize(("format", "block"), FORMATS)


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def made(sizes: tuple[int, ...] = (131, 150, 7), dtype: str = "float32", seed: int = 0) -> Any:
    """A network with odd sizes, every parameter random."""
    net = nn.MLP(sizes, nn.Tanh, dtype=dtype, rng=seed)
    rng = np.random.default_rng(seed)
    for module in net:
        for name in module.form().names:
            shape = getattr(module, name).shape
            setattr(module, name, (rng.standard_normal(shape) / sizes[0] ** (0.5 * len(shape) - 0.5)).astype(dtype))
    return net


def inputs(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(9).standard_normal(shape).astype(dtype)


def loss(net: Any, x: Any) -> Any:
    return aj.sum(aj.sin(net(x)))


def close(found: Any, expected: Any, tolerance: float) -> None:
    found, expected = (np.asarray(x) for x in (found, expected))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0.0) <= tolerance * max(np.abs(expected).max(initial=0.0), 1e-30)


@each_format
@pytest.mark.parametrize("batch", [(5,), (1,), (2, 3), ()], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_values_and_gradients_are_those_of_the_unpacked_weights(
    format: str, block: int | None, batch: tuple[int, ...], dtype: str, tolerance: float
) -> None:
    net = aj.quantize(made(dtype=dtype), format, block=block)
    dense = dequantize(net.to(), dtype)
    assert type(net[0]) is QuantizedLinear
    assert type(dense[0]) is nn.Linear
    x = inputs(*batch, 131, dtype=dtype)
    assert net(x).dtype == dtype
    close(net(x), dense(x), tolerance)
    (value, (ours, ours_x)) = aj.value_and_grad(loss, (0, 1))(net, x)
    (_, (theirs, theirs_x)) = aj.value_and_grad(loss, (0, 1))(dense, x)
    assert value.dtype == dtype
    close(ours_x, theirs_x, tolerance)
    assert all(getattr(ours[0].packed, name) is None for name, _ in net[0].packed.named_arrays())
    for k in (0, 2):
        close(ours[k].bias, theirs[k].bias, tolerance)
    v = inputs(*batch, 131, dtype=dtype)
    close(aj.hvp(lambda x: loss(net, x), x, v), aj.hvp(lambda x: loss(dense, x), x, v), 10 * tolerance)


@each_format
def test_the_jacobian_is_a_map_with_the_unpacked_matrix(format: str, block: int | None) -> None:
    layer = aj.quantize(made()[0], format, block=block)
    J = aj.jacobian(layer, inputs(131, dtype="float32"))
    assert J.describe() == "QuantizedDense"
    np.testing.assert_array_equal(J.matrix(), layer.weight)
    np.testing.assert_allclose(J.svdvals(), np.linalg.svd(layer.weight)[1], rtol=1e-5)
    aj.check(layer, inputs(3, 131)).raise_if_wrong()


@pytest.mark.parametrize("backend", ["torch", "jax"])
@each_format
def test_other_backends_say_the_same(backend: str, format: str, block: int | None) -> None:
    net = aj.quantize(made(), format, block=block)
    x = inputs(3, 131)
    moved = net.to(backend)
    there = aj.to(x, backend)
    assert {type(a).__module__.partition(".")[0] for _, a in moved.named_arrays()} <= {"torch", "jaxlib"}
    close(aj.to(moved(there), "numpy"), net(x), 1e-6)  # one rounding of a float32 scale, where XLA fuses sums
    (_, (_, ours)), (_, (_, theirs)) = (aj.value_and_grad(loss, (0, 1))(*pair) for pair in ((moved, there), (net, x)))
    close(aj.to(ours, "numpy"), theirs, 1e-6)
    if backend == "jax":
        value, gradients = jax.jit(aj.value_and_grad(loss, (0, 1)))(moved, there)
        close(value, loss(net, x), 1e-6)
        close(gradients[1], theirs, 1e-6)
    made_there = aj.quantize(made().to(backend), format, block=block)
    close(aj.to(made_there(there), "numpy"), net(x), 1e-6)


def test_pytorch_modules_of_it_have_its_gradients() -> None:
    net = aj.quantize(made())
    theirs = net.to_torch()
    x = torch.tensor(inputs(3, 131, dtype="float32"), requires_grad=True)
    close(theirs(x).detach(), net(x.detach().numpy()), 1e-6)
    torch.autograd.backward(torch.sin(theirs(x)).sum())
    close(x.grad, aj.grad(loss, 1)(net, x.detach().numpy()), 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rounds_once_and_scales_stay_exact(dtype: str) -> None:
    net = aj.quantize(made())
    low = net.to(dtype=dtype)
    assert all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for (_, a), (_, b) in zip(net[0].packed.named_arrays(), low[0].packed.named_arrays(), strict=True)
    )
    x = aj.astype(inputs(3, 131, dtype="float32"), dtype)
    y = low[0](x)
    assert str(y.dtype) == dtype
    exact = np.asarray(x, "float64") @ net[0].weight.T.astype("float64") + np.asarray(low[0].bias, "float64")
    close(np.asarray(y, "float64"), exact, 2.0**-7 if dtype == "bfloat16" else 2.0**-10)


# What it takes


@pytest.mark.parametrize("double", [True, False])
def test_packed_bytes_and_parameters_are_counted(double: bool) -> None:
    net = aj.quantize(made((512, 256, 64)), double=double)
    stored = sum(layer.packed.nbytes for layer in (net[0], net[2]))
    biases = 4 * (256 + 64)
    assert nn.count_parameters(net) == nn.count_parameters(made((512, 256, 64)))
    cost = aj.cost(net, (3, 512))
    assert cost.parameters == nn.count_parameters(net)
    assert cost.memory.weights == stored + biases
    assert cost.memory.gradients == biases
    assert cost.forward.matmul_flops == aj.cost(made((512, 256, 64)), (3, 512)).forward.matmul_flops
    assert (stored / (512 * 256 + 256 * 64) <= 0.52) == double
    report = aj.inspect(net, cache=False)
    assert report.parameters == cost.parameters
    assert report.nbytes == stored + biases
    assert report.dtypes["nf4"] == stored
    row = report.row("0.weight")
    assert (row.dtype, row.shape, row.rank) == ("nf4", (256, 512), 256)
    np.testing.assert_allclose(row.sigma_max, np.linalg.norm(net[0].weight, 2), rtol=1e-5)


def test_circuits_of_heads_are_those_of_the_unpacked_weights() -> None:
    net = aj.quantize(aj.models.GPT(11, 8, n_layer=1, n_head=2, n_embd=16, rng=0))
    quantized = aj.inspect(net, cache=False).circuits
    plain = aj.inspect(dequantize(net), cache=False).circuits
    assert len(quantized) == 4
    assert quantized == plain


def test_a_whole_gpt_stays_below_0_52_bytes_a_parameter() -> None:
    with nn.init.only_shapes():
        net = aj.models.GPT(50_257)
    plain = nn.count_parameters(net)
    aj.quantize(net)
    packs = [m for _, m in net.named_modules() if isinstance(m, Quantized)]
    assert len(packs) == 48
    assert sum(x.nbytes for x in packs) <= 0.52 * sum(x.size for x in packs)
    assert aj.cost(net, seq=16).parameters == plain
    named = {part.name: part.forward.matmul_flops for part in aj.cost(net, seq=16).components}
    assert named["attention projections"] == 12 * 2 * 16 * 4 * 768**2


@pytest.mark.parametrize("format", ["nf4", "int8"])
def test_no_array_of_the_weights_size_is_made(format: str) -> None:
    layer = aj.quantize(nn.Linear(2048, 2048, bias=False, rng=0), format)
    x = inputs(4, 2048, dtype="float32")
    aj.grad(loss, 1)(layer, x)  # compiled
    tracemalloc.start()
    try:
        aj.grad(loss, 1)(layer, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * 4 * 2048**2  # half of it would be a copy in 16 bits


# Networks


def test_the_network_is_changed_and_the_rest_stays() -> None:
    net = made()
    bias, weight = net[0].bias, net[0].weight
    assert aj.quantize(net, "int8", targets="0") is net
    assert type(net[0]) is QuantizedLinear
    assert type(net[2]) is nn.Linear
    assert net[0].bias is bias
    np.testing.assert_allclose(net[0].weight, weight, atol=net[0].packed.bound())
    frozen = nn.Linear(3, 4).freeze()
    assert aj.quantize(frozen)._frozen == {"bias"}
    assert dequantize(aj.quantize(nn.Linear(3, 4).freeze("bias")))._frozen == {"bias"}
    assert not aj.quantize(nn.Linear(3, 4).eval()).training


def test_a_layer_that_stands_at_two_places_stays_one() -> None:
    shared = nn.Linear(64, 64, rng=0)
    net = aj.quantize(nn.Sequential(shared, nn.Tanh(), shared))
    assert net[0] is net[2]
    assert nn.count_parameters(net) == nn.count_parameters(net.to()) == 64 * 65
    plain = dequantize(net)
    assert plain[0] is plain[2]


def test_each_example_by_itself() -> None:
    net, x = aj.quantize(made()), inputs(4, 131, dtype="float32")
    for backend in ("torch", "jax"):
        close(aj.to(aj.vmap(net.to(backend))(aj.to(x, backend)), "numpy"), net(x), 1e-6)
    each = aj.per_sample_grad(lambda net, x: aj.sum(aj.sin(net(x)), -1))(net, x)
    for k in range(4):
        close(each[0].bias[k], aj.grad(loss)(net, x[k])[0].bias, 1e-5)


def test_models_keep_what_is_tied_and_their_heads() -> None:
    net = aj.models.GPT(11, 8, n_layer=2, n_head=2, n_embd=8, rng=0)
    tokens = np.array([[1, 2, 3]])
    before = net(tokens)
    aj.quantize(net, "int8")
    assert net.lm_head.weight is net.wte.weight
    assert type(net.lm_head) is nn.Linear
    assert np.abs(net(tokens) - before).max() < 0.05 * np.abs(before).max()


def test_saved_and_loaded(tmp_path: Path) -> None:
    net, path = aj.quantize(made()), tmp_path / "net.safetensors"
    aj.save(path, net)
    assert path.stat().st_size < 0.55 * (131 * 150 + 150 * 7) + 4 * (150 + 7) + 2000
    with nn.init.only_shapes():
        other = nn.MLP((131, 150, 7), nn.Tanh)
    aj.quantize(other)
    other.load_state_dict(aj.load(path), assign=True)
    x = inputs(2, 131, dtype="float32")
    np.testing.assert_array_equal(other(x), net(x))
    wrong = aj.quantize(nn.MLP((131, 150, 7), nn.Tanh), "int4")
    with pytest.raises(KeyError, match=r"missing .*zeros"):
        wrong.load_state_dict(aj.load(path))


# bitsandbytes' files


def their_state(double: bool = True, format: str = "nf4") -> tuple[Any, dict[str, Any]]:
    """A linear layer of theirs, and its arrays as their files have them."""
    bnb: Any = import_module("bitsandbytes.nn")
    layer = bnb.Linear4bit(
        130, 33, quant_type=format, compute_dtype=torch.float32, compress_statistics=double
    ).to("cpu")  # fmt: skip
    return layer, {f"0.{name}": x.numpy() for name, x in layer.state_dict().items()}


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("format", ["nf4", "fp4"])
def test_their_files_are_read(double: bool, format: str, tmp_path: Path) -> None:
    layer, state = their_state(double, format)
    aj.save(tmp_path / "w.safetensors", state)
    net = aj.quantize(nn.Sequential(nn.Linear(130, 33)), format, double=double)
    net.load_state_dict(from_bitsandbytes(aj.interop.Weights(tmp_path / "w.safetensors")))
    x = torch.randn(4, 130, generator=torch.Generator().manual_seed(0))
    close(net(x.numpy()), layer(x).detach(), 1e-5)


def changed(state: dict[str, Any], **told: Any) -> dict[str, Any]:
    key = "0.weight.quant_state.bitsandbytes__nf4"
    text = {**json.loads(state[key].tobytes()), **told}
    return state | {key: np.frombuffer(json.dumps(text).encode(), "uint8")}


def test_their_files_when_corrupt_are_refused() -> None:
    _, state = their_state()
    key = "0.weight.quant_state.bitsandbytes__nf4"
    nan = np.full_like(state["0.weight.nested_absmax"], np.nan)
    bad: list[tuple[dict[str, Any], str]] = [
        ({k: x for k, x in state.items() if k != "0.weight.absmax"}, r"'0.weight.absmax': it is missing"),
        ({k: x for k, x in state.items() if k != "0.weight"}, r"'0.weight': it is missing"),
        (state | {"0.weight": state["0.weight"][:-1]}, r"'0.weight': codes is uint8 \(2144,\), where uint8 \(2145,\)"),
        (state | {"0.weight.absmax": state["0.weight.absmax"].astype("float32")}, "absmax is float32"),
        (state | {"0.weight.quant_map": state["0.weight.quant_map"] + 0.1}, "levels are not those of nf4"),
        (state | {"0.weight.nested_quant_map": np.zeros(256, "float32")}, "levels are not those of dynamic8"),
        (state | {"0.weight.nested_absmax": nan}, "a scale is NaN or infinite"),
        (state | {key: state[key][:20]}, "it is no JSON"),
        (state | {key: np.frombuffer(b"[" * 60_000, "uint8")}, "it is no JSON"),
        (state | {key: np.frombuffer(b"[1]", "uint8")}, "it is no description"),
        (state | {key: np.zeros(1 << 20, "uint8")}, "not the bytes of a description"),
        (changed(state, shape=[-1, 4]), "the shape is"),
        (changed(state, shape=[1 << 62, 1 << 62]), "codes is"),
        (changed(state, blocksize=0), "the block 0"),
        (changed(state, nested_blocksize=7), "nested in blocks of 7"),
        (changed(state, nested_offset="x"), "the offset of the scales is 'x'"),
        (changed(state, quant_type="fp4"), "the format is 'fp4'"),
    ]
    for files, told in bad:
        with pytest.raises(CheckpointError, match=told):
            from_bitsandbytes(files)


# Bad input


def test_what_cannot_be_quantized_is_refused_and_nothing_changes() -> None:
    net = nn.Sequential(made(), nn.Conv1d(2, 3, 1), nn.Embedding(5, 4))
    before = dict(net.named_arrays())
    net[0][2].weight[0, 0] = np.nan
    bad: list[tuple[Any, str]] = [
        (None, "0.2: quantize: 1 of 1050 entries"),
        ("9", "quantize: the target '9' matches no layer"),
        ("1", "only the weights of Linear layers are quantized"),
        (nn.Embedding, "2 is Embedding: only"),
        ([], "quantize: no targets are given"),
    ]
    for targets, told in bad:
        with pytest.raises(ValueError, match=told):
            aj.quantize(net, targets=targets)
        assert all(x is before[name] for name, x in net.named_arrays())
    with pytest.raises(ValueError, match="the format is"):
        aj.quantize(made(), "int3")
    with pytest.raises(ValueError, match="is quantized already"):
        aj.quantize(aj.quantize(made()))
    with pytest.raises(ValueError, match="has no quantized layer"):
        dequantize(made())
    gpt = aj.models.GPT(11, 8, n_layer=1, n_head=2, n_embd=8)
    with pytest.raises(ValueError, match="the weight of lm_head is tied to another"):
        aj.quantize(gpt, targets="lm_head")
    with pytest.raises(ValueError, match="is reparametrized"):
        aj.quantize(nn.spectral_norm(nn.Linear(3, 4)))
    layer = aj.quantize(nn.Linear(3, 4))
    with pytest.raises(AttributeError, match="stored in fewer bits and cannot be assigned"):
        layer.weight = np.zeros((4, 3))
    with pytest.raises(aj.ShapeError, match=r"x \(2, 4\) does not fit the weight \(4, 3\)"):
        layer(np.ones((2, 4)))
