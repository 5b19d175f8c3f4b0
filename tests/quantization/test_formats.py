"""Codes, scales and values against bitsandbytes on the CPU to the bit, and against PyTorch's own affine formats."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.arrays.quantized import format_named
from adjoint.errors import DtypeError, ShapeError
from adjoint.quantization import Quantized, encoding

bnb: Any = import_module("bitsandbytes.functional")
SHAPES = [(64,), (1,), (7,), (33, 65), (1000,), (3, 2, 5), (129, 257), (150, 128)]
SIZES = [1.0, 1e-30, 1e-37, 1e-39, 1e-42, 1e30, 3e38, 0.0]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def drawn(shape: tuple[int, ...], size: float, dtype: Any) -> Any:
    """Random numbers up to `size`, every fifth of them zero."""
    x = torch.tensor(np.random.default_rng(len(shape)).standard_normal(shape)).clamp(-1, 1) * size
    x.view(-1)[::5] = 0
    return x.clamp(-6e4, 6e4).to(dtype) if dtype == torch.float16 else x.to(dtype)


def theirs_unpacked(codes: Any, absmax: Any, levels: Any, block: int, shape: tuple[int, ...]) -> np.ndarray:
    """Their values in float32, by the table of their levels."""
    size = math.prod(shape)
    return np.asarray((levels[codes.int()][:size] * absmax[torch.arange(size) // block]).reshape(shape))


@pytest.mark.covers("L03")
@pytest.mark.parametrize("block", [32, 64, 128])
@pytest.mark.parametrize("format", ["nf4", "fp4"])
@every_dtype
@every_shape
def test_4_bit_codes_are_bitsandbytes_to_the_bit(shape: tuple[int, ...], dtype: Any, format: str, block: int) -> None:
    for size in SIZES:
        x = drawn(shape, size, dtype)
        theirs, state = bnb.quantize_4bit(x, blocksize=block, quant_type=format)
        ours = aj.quantize(x, format, block=block, double=False)
        assert torch.equal(ours.codes, theirs.flatten())
        assert torch.equal(ours.absmax, state.absmax)
        both = torch.stack([theirs.flatten() >> 4, theirs.flatten() & 15], 1).flatten()
        values = theirs_unpacked(both, state.absmax, state.code, block, shape)
        np.testing.assert_array_equal(ours.dequantize().numpy(), values)
        in_numpy = aj.quantize(x.float().numpy(), format, block=block, double=False)
        np.testing.assert_array_equal(in_numpy.dequantize(), values)


@pytest.mark.parametrize("block", [256, 64, 100])
@every_dtype
@every_shape
def test_dynamic_codes_are_bitsandbytes_to_the_bit(shape: tuple[int, ...], dtype: Any, block: int) -> None:
    for size in SIZES:
        x = drawn(shape, size, dtype)
        theirs, state = bnb.quantize_blockwise(x, blocksize=block)
        ours = aj.quantize(x, "dynamic8", block=block)
        assert torch.equal(ours.codes, theirs.flatten())
        assert torch.equal(ours.absmax, state.absmax)
        values = theirs_unpacked(theirs.flatten(), state.absmax, state.code, block, shape)
        np.testing.assert_array_equal(ours.dequantize().numpy(), values)


def test_dynamic_codes_near_the_middle_between_two_levels_are_bitsandbytes() -> None:
    """Where its table of 65,536 decides, and where numbers are as near to one level as to the other."""
    levels = format_named("dynamic8").levels
    middles = (levels[1:] + levels[:-1]) / np.float32(2)
    grid = ((np.arange(65535) + 0.5) / 65535 * 2 - 1).astype("float32")
    x = np.concatenate([[1.0], levels, middles, np.nextafter(middles, 1), grid]).astype("float32")
    theirs, _ = bnb.quantize_blockwise(torch.tensor(x), blocksize=len(x))
    np.testing.assert_array_equal(aj.quantize(x, "dynamic8", block=len(x)).codes, theirs.numpy())


@pytest.mark.covers("L03")
@pytest.mark.parametrize("shape", [(7,), (33, 65), (150, 128), (257, 129), (512, 512)], ids=str)
@pytest.mark.parametrize("format", ["nf4", "fp4"])
def test_double_quantization_is_bitsandbytes(shape: tuple[int, ...], format: str) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    theirs, state = bnb.quantize_4bit(x, quant_type=format, blocksize=64, compress_statistics=True)
    ours = aj.quantize(x.numpy(), format)
    np.testing.assert_array_equal(ours.codes, theirs.flatten().numpy())
    assert abs(float(ours.offset) - float(state.offset)) <= 2**-22 * float(state.offset)  # a mean in another order
    same = encoding.encoded(
        (bnb.quantize_4bit(x, quant_type=format)[1].absmax - state.offset).numpy(), "dynamic8",
        encoding.layout(tuple(state.absmax.shape), "dynamic8", 256),
    )  # fmt: skip
    np.testing.assert_array_equal(same.codes, state.absmax.numpy())
    np.testing.assert_array_equal(same.absmax, state.state2.absmax.numpy())
    scale = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    both = torch.stack([theirs.flatten() >> 4, theirs.flatten() & 15], 1).flatten()
    values = theirs_unpacked(both, scale, state.code, 64, shape)
    np.testing.assert_allclose(ours.dequantize(), values, rtol=0, atol=1e-3 * float(np.abs(values).max()))
    given = Quantized(
        format, shape, 64, codes=theirs.flatten().numpy(), absmax=state.absmax.numpy(),
        nested_absmax=state.state2.absmax.numpy(), offset=state.offset.numpy(),
    )  # fmt: skip
    np.testing.assert_array_equal(given.dequantize(), values)


def test_levels_are_the_published_ones() -> None:
    np.testing.assert_array_equal(format_named("nf4").levels, bnb.get_4bit_type("nf4", "cpu").numpy())
    np.testing.assert_array_equal(format_named("fp4").levels, bnb.get_4bit_type("fp4", "cpu").numpy())
    np.testing.assert_array_equal(format_named("dynamic8").levels, bnb.create_dynamic_map().numpy())
    published = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635]
    assert format_named("nf4").levels[:5].tolist() == published
    assert format_named("nf4").levels.size == 16


@pytest.mark.covers("L03")
@pytest.mark.parametrize(("block", "published"), [(32, 0.067746), (64, 0.072798), (128, 0.076831)])
def test_mean_absolute_error_of_nf4_is_the_published_one(block: int, published: float) -> None:
    x = np.random.default_rng(0).standard_normal((1024, 1024)).astype("float32")
    found = aj.quantize(x, "nf4", block=block, double=False).dequantize()
    assert abs(float(np.abs(found - x).mean(dtype="float64")) - published) <= 3e-4


@pytest.mark.covers("L03")
def test_double_quantization_takes_an_eighth_of_a_bit() -> None:
    W = aj.quantize(np.random.default_rng(0).standard_normal((1024, 1024)), "nf4")
    single = aj.quantize(np.zeros((1024, 1024)), "nf4", double=False)
    assert single.bits - 4 == 0.5
    assert abs((W.bits - 4) - 0.127) < 1e-4
    assert W.nbytes / W.size <= 0.52


# Affine formats


@pytest.mark.parametrize(("format", "block"), [("int8", None), ("int8", 16), ("int4", 128), ("int4", 48)])
@pytest.mark.parametrize("shape", [(5, 96), (40, 384), (3, 4, 96)], ids=str)
def test_affine_codes_are_pytorchs(format: str, block: int | None, shape: tuple[int, ...]) -> None:
    """Scale and zero point from PyTorch's observer, codes by its quantization of each block; at ties one may differ."""
    x = np.random.default_rng(2).standard_normal(shape).astype("float32") + 0.3
    ours = aj.quantize(x, format, block=block)
    width = min(ours.block, shape[-1])
    blocks = torch.tensor(x.reshape(-1, width))
    observer: Any = torch.ao.quantization.PerChannelMinMaxObserver(
        0, torch.quint8, torch.per_channel_affine, quant_min=0, quant_max=255 if format == "int8" else 15
    )
    observer(blocks)
    scale, zero = observer.calculate_qparams()
    np.testing.assert_allclose(ours.absmax, scale, rtol=2**-22)
    np.testing.assert_array_equal(ours.zeros, zero)
    codes = torch.clamp(torch.round(blocks.double() / scale[:, None]) + zero[:, None], 0, observer.quant_max)
    values = ((codes - zero[:, None]) * scale[:, None]).reshape(shape)
    off = np.abs(ours.dequantize() - values.numpy())
    assert np.count_nonzero(off > 1e-6 * float(np.abs(x).max())) <= 1e-4 * x.size
    assert off.max() <= scale.max() * 1.001


def test_affine_zero_is_exact_and_blocks_begin_anew_in_each_row() -> None:
    x = np.array([[0.0, 1.0, 3.0, 7.0, 0.0], [-2.0, 0.0, 0.0, 0.0, -1.0]])
    W = aj.quantize(x, "int4", block=3)
    found = W.dequantize()
    assert W.absmax.shape == (4,)
    assert np.all(found[x == 0] == 0)
    np.testing.assert_allclose(found, x, atol=0.25)


# What they promise


@pytest.mark.parametrize("format", ["nf4", "fp4", "dynamic8", "int8", "int4"])
@pytest.mark.parametrize("shape", [(33, 65), (200, 300)], ids=str)
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e37])
def test_no_entry_is_off_by_more_than_the_bound(format: str, shape: tuple[int, ...], size: float) -> None:
    x = (np.random.default_rng(3).standard_normal(shape) * size).astype("float32")
    x[::7] *= 0.01
    for double in (False,) if format.startswith("int") else (False, True):
        W = aj.quantize(x, format, double=double)
        off = np.abs(W.dequantize().astype("float64") - x).max()
        assert 0.3 * W.bound() <= off <= W.bound()
        exact = np.linalg.norm(W.dequantize().astype("float64") - x) / np.linalg.norm(x.astype("float64"))
        assert abs(W.error(x) - exact) <= 1e-9 * exact


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(6).standard_normal((131, 301)).astype("float32")
    for format in ("nf4", "fp4", "dynamic8", "int8", "int4"):
        for block in (None, 64, 51):
            whole = aj.quantize(x, format, block=block)
            error = whole.error(x)
            with monkeypatch.context() as patch:
                patch.setattr(encoding, "PIECE", 1000)
                for (name, a), (_, b) in zip(
                    whole.named_arrays(), aj.quantize(x, format, block=block).named_arrays(), strict=True
                ):
                    np.testing.assert_array_equal(a, b, err_msg=f"{format} {block} {name}")
                assert abs(whole.error(x) - error) <= 1e-12


def test_kernels_say_what_numpy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(4).standard_normal((130, 151)).astype("float32")
    x[3] = 0
    for format in ("nf4", "fp4", "dynamic8", "int8", "int4"):
        for block in (None, 64, 50):
            by_kernel = aj.quantize(x, format, block=block)
            values = by_kernel.dequantize()
            with monkeypatch.context() as patch:
                for where in ("adjoint.quantization.encoding", "adjoint.quantization.packing"):
                    patch.setattr(f"{where}.COMPILED", 1 << 30)
                plain = aj.quantize(x, format, block=block)
                np.testing.assert_array_equal(plain.dequantize(), values)
            for (name, a), (_, b) in zip(by_kernel.named_arrays(), plain.named_arrays(), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{format} {block} {name}")


@pytest.mark.parametrize("format", ["nf4", "fp4", "dynamic8", "int8", "int4"])
@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), ()], ids=str)
def test_empty_and_single_arrays(format: str, shape: tuple[int, ...]) -> None:
    x = np.full(shape, -2.0, "float32")
    W = aj.quantize(x, format)
    assert W.dequantize().shape == shape
    np.testing.assert_allclose(W.dequantize(), x, rtol=0.01)
    assert W.error(x) <= 0.01
    assert (W.bound() > 0) == bool(x.size)


@pytest.mark.parametrize("format", ["nf4", "int4", "dynamic8"])
def test_arrays_that_only_have_shapes(format: str) -> None:
    from adjoint.arrays.shapes import ShapeArray

    real, shaped = aj.quantize(np.ones((33, 65)), format), aj.quantize(ShapeArray((33, 65)), format)
    assert shaped.nbytes == real.nbytes
    assert {n: (x.shape, str(x.dtype)) for n, x in shaped.named_arrays()} == {
        n: (x.shape, str(x.dtype)) for n, x in real.named_arrays()
    }
    assert shaped.dequantize().shape == (33, 65)


# Bad input


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("size", [100, 100_000])
def test_numbers_without_a_scale_are_refused(value: float, size: int) -> None:
    x = np.ones(size)
    x[7] = value
    with pytest.raises(ValueError, match=rf"1 of {size} entries .* NaN, infinite or beyond float32"):
        aj.quantize(x)


def test_bad_options_are_refused() -> None:
    x = np.ones((4, 8))
    with pytest.raises(ValueError, match="format is 'nf4', 'fp4', 'dynamic8', 'int8', 'int4', not 'nf8'"):
        aj.quantize(x, "nf8")
    bad: list[Any] = [0, -1, 2.5]
    for block in bad:
        with pytest.raises(ValueError, match="a block is a positive number of entries"):
            aj.quantize(x, "nf4", block=block)
    with pytest.raises(ValueError, match="double is for scales without a zero point"):
        aj.quantize(x, "int4", double=True)
    with pytest.raises(DtypeError, match="floating ones are needed"):
        aj.quantize(np.ones(3, int))
    with pytest.raises(TypeError, match="neither an array nor a module"):
        aj.quantize([1.0, 2.0])
    with pytest.raises(TypeError, match="targets are for a network"):
        aj.quantize(x, targets="0")
    with pytest.raises(ShapeError, match=r"\(4, 8\)"):
        aj.quantize(x).error(np.ones((8, 4)))
