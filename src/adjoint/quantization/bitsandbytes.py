"""Weights that bitsandbytes stored in 4 or 8 bits, read from its files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import is_floating
from adjoint.arrays.quantized import NESTED, format_named
from adjoint.errors import CheckpointError
from adjoint.interop.entries import is_shape, named
from adjoint.interop.opening import BITSANDBYTES, SCALES, in_8_bits
from adjoint.lora.placing import replace
from adjoint.models.checkpoint import sources
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module
from adjoint.quantization import encoding
from adjoint.quantization.layers import QuantizedLinear
from adjoint.quantization.packing import Quantized

LONGEST = 1 << 16  # bytes of a description
BESIDE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
ROWS = (0, "row")  # what `weight_format` says of weights that lie row by row


def from_bitsandbytes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a file in which bitsandbytes stored weights in 4 or 8 bits, as `state_dict` of a quantized network.

    NF4 and FP4: `fc.weight`, `fc.weight.absmax`, `fc.weight.quant_state.bitsandbytes__nf4` and the like become
    `fc.packed.codes`, `fc.packed.absmax` …; other arrays stay as they are. LLM.int8() (Dettmers et al. 2022, arXiv
    2208.07339): `fc.weight` in int8 and `fc.SCB`, the largest of each row, become "int8" with the zero point 128 and
    the scale SCB/127. The weights are those of the file; inputs are not rounded to 8 bits here, as bitsandbytes' layer
    does. `weights` are `adjoint.interop.Weights` or any mapping; folders with such files are opened by `aj.open`.
    Raises CheckpointError, naming the array, for what is missing, does not fit, or has levels of its own.

    >>> import json, numpy as np, adjoint as aj
    >>> told = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [2, 3]}
    >>> text = np.frombuffer(json.dumps(told).encode(), "uint8")
    >>> state = {"0.weight": np.full((3, 1), 0x7F, "uint8"), "0.weight.absmax": np.ones(1, "float32"),
    ...          "0.weight.quant_state.bitsandbytes__nf4": text}
    >>> net = aj.quantize(aj.nn.Sequential(aj.nn.Linear(3, 2, bias=False)), double=False)
    >>> net.load_state_dict(aj.quantization.from_bitsandbytes(state))
    >>> net[0].weight.tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    found: dict[str, Any] = {}
    for name, key in marked(weights).items():
        owner = name.removesuffix("weight").removesuffix(".")
        start = f"{owner}.packed." if owner else "packed."
        found |= {start + part: x for part, x in packed(weights, name, key).named_arrays()}
    return {key: weights[key] for key in unmarked(weights)} | found


def marked(names: Iterable[str]) -> dict[str, str]:
    """The names of weights stored in 4 or 8 bits, and of what describes them.

    >>> marked(["a.weight", "a.weight.quant_state.bitsandbytes__nf4", "b.weight", "c.weight", "c.SCB"])
    {'a.weight': 'a.weight.quant_state.bitsandbytes__nf4', 'c.weight': 'c.SCB'}
    """
    return {
        f"{key[: -len(SCALES)]}weight" if in_8_bits(key) else key.partition(BITSANDBYTES)[0]: key
        for key in names if in_8_bits(key) or BITSANDBYTES in key
    }  # fmt: skip


def unmarked(names: Iterable[str]) -> list[str]:
    """The names of all other arrays."""
    names = list(names)
    taken = {key for name, mark in marked(names).items() for key in (name, mark, *(f"{name}.{x}" for x in BESIDE))}
    taken |= {_format(key) for key in names if in_8_bits(key)}
    return [name for name in names if name not in taken]


def place(net: Module, weights: Mapping[str, Any]) -> list[str]:
    """Put quantized layers where a file of Hugging Face's names has quantized weights; the names that are left.

    Raises CheckpointError where a layer is no `Linear`, or of another shape.
    """
    marks, modules = marked(weights), dict(net.named_modules())
    made: dict[str, QuantizedLinear] = {}
    for own, source in sources(net, weights).found.items():
        if source.name not in marks:
            continue
        name = own.removesuffix("weight").removesuffix(".")
        layer, pack = modules.get(name), packed(weights, source.name, marks[source.name])
        if not isinstance(layer, Linear) or pack.shape != (layer.out_features, layer.in_features):
            told = "is no Linear" if not isinstance(layer, Linear) else f"is {(layer.out_features, layer.in_features)}"
            raise _wrong(source.name, f"it is quantized, of shape {pack.shape}, where {name} {told} in this network")
        made[name] = QuantizedLinear(pack, layer.bias)
    replace(net, made)
    return unmarked(weights)


def packed(weights: Mapping[str, Any], name: str, key: str) -> Quantized:
    """The weight of a name and of what describes it."""
    if in_8_bits(key):
        return _rows(weights, name, key)
    format = key.partition(BITSANDBYTES)[2]
    told = _description(weights[key], key)
    shape, block = told.get("shape"), told.get("blocksize")
    if format not in ("nf4", "fp4") or told.get("quant_type") != format:
        raise _wrong(key, f"the format is {told.get('quant_type')!r}, not nf4 or fp4 as its name tells")
    if not is_shape(shape) or type(block) is not int or not 1 <= block < 1 << 31:
        raise _wrong(key, f"the shape is {shape!r} and the block {block!r}")
    shape, double = tuple(told["shape"]), f"{name}.nested_absmax" in weights
    if double and told.get("nested_blocksize") != NESTED:
        raise _wrong(key, f"scales are nested in blocks of {told.get('nested_blocksize')!r}, not {NESTED}")
    arrays = {"codes": _bytes(_array(weights, name)), "absmax": _array(weights, f"{name}.absmax")}
    if double:
        offset = told.get("nested_offset")
        if not isinstance(offset, (int, float)) or not math.isfinite(offset):
            raise _wrong(key, f"the offset of the scales is {offset!r}")
        arrays |= {
            "nested_absmax": _array(weights, f"{name}.nested_absmax"),
            "offset": np.asarray(offset, np.float32),
        }
    for part, levels in (("quant_map", format), ("nested_quant_map", "dynamic8")):
        own = weights.get(f"{name}.{part}")
        if own is not None and not np.array_equal(np.asarray(own), format_named(levels).levels):
            raise _wrong(f"{name}.{part}", f"its levels are not those of {levels}")
    for part, (size, dtype) in encoding.shapes(shape, format, block, double).items():
        if (arrays[part].shape, arrays[part].dtype) != (size, dtype):
            raise _wrong(name, f"{part} is {arrays[part].dtype} {arrays[part].shape}, where {dtype} {size} is needed")
    for part in ("absmax", "nested_absmax"):
        if part in arrays and arrays[part].dtype == np.float32 and not np.isfinite(arrays[part]).all():
            raise _wrong(f"{name}.{part}", "a scale is NaN or infinite")
    return Quantized(format, shape, block, **arrays)


def _rows(weights: Mapping[str, Any], name: str, key: str) -> Quantized:
    """A weight in int8 whose rows have a scale each: the codes from 0 to 255, 128 of them the zero."""
    codes, scale = _array(weights, name), _array(weights, key)
    if codes.dtype != np.int8 or codes.ndim != 2:
        raise _wrong(name, f"it is {codes.dtype} {codes.shape}, where {key} tells of a matrix in int8")
    if scale.shape != codes.shape[:1] or not is_floating(scale.dtype) or not np.isfinite(scale).all():
        raise _wrong(key, f"it is {scale.dtype} {scale.shape}, not {len(codes)} finite scales, one for each row")
    told = np.asarray(weights.get(_format(key), 0))
    if told.size != 1 or told.item() not in ROWS:
        raise CheckpointError(
            f"from_bitsandbytes: {named(_format(key))} is {told.tolist()!r}: only rows as they stand (0) are read. "
            "Load the file with bitsandbytes and save it again, which writes them so."
        )
    return Quantized(
        "int8", codes.shape, codes.shape[1], codes=codes.view(np.uint8).reshape(-1) ^ np.uint8(128),
        absmax=scale.astype(np.float32) * np.float32(1.0 / 127.0), zeros=np.full(len(codes), 128, np.uint8),
    )  # fmt: skip


def _format(key: str) -> str:
    """The name of what tells how a weight in int8 lies."""
    return f"{key[: -len(SCALES)]}weight_format"


def _description(x: Any, key: str) -> dict[str, Any]:
    """What the array of bytes tells as JSON."""
    x = np.asarray(x)
    if x.dtype != np.uint8 or x.ndim != 1 or x.size > LONGEST:
        raise _wrong(key, f"it is {x.dtype} {x.shape}, not the bytes of a description")
    try:
        told = json.loads(x.tobytes())
    except (ValueError, RecursionError) as error:
        raise _wrong(key, f"it is no JSON: {error}") from None
    if not isinstance(told, dict):
        raise _wrong(key, "it is no description")
    return told


def _array(weights: Mapping[str, Any], name: str) -> np.ndarray:
    if name not in weights:
        raise _wrong(name, "it is missing")
    return np.asarray(weights[name])


def _bytes(x: np.ndarray) -> np.ndarray:
    """Codes in a row; they may be stored as numbers of more bytes."""
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def _wrong(name: str, why: str) -> CheckpointError:
    return CheckpointError(f"from_bitsandbytes: {named(name)}: {why}: the file is corrupt, or of another version.")
