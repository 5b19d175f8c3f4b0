"""Weights that bitsandbytes stored in 4 bits, read from its files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from adjoint.arrays.quantized import NESTED, format_named
from adjoint.errors import CheckpointError
from adjoint.interop.entries import is_shape, named
from adjoint.interop.opening import BITSANDBYTES
from adjoint.lora.placing import replace
from adjoint.models.checkpoint import sources
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module
from adjoint.quantization import encoding
from adjoint.quantization.layers import QuantizedLinear
from adjoint.quantization.packing import Quantized

LONGEST = 1 << 16  # bytes of a description
BESIDE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")


def from_bitsandbytes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a file in which bitsandbytes stored weights in NF4 or FP4, as `state_dict` of a quantized network.

    `fc.weight`, `fc.weight.absmax`, `fc.weight.quant_state.bitsandbytes__nf4` and the like become `fc.packed.codes`,
    `fc.packed.absmax` …; other arrays stay as they are. `weights` are `adjoint.interop.Weights` or any mapping; folders
    with such files are opened by `aj.open`. Raises CheckpointError, naming the array, for what is missing, does not
    fit, or has levels of its own.

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
    """The names of weights stored in 4 bits, and of what describes them.

    >>> marked(["a.weight", "a.weight.quant_state.bitsandbytes__nf4", "b.weight"])
    {'a.weight': 'a.weight.quant_state.bitsandbytes__nf4'}
    """
    return {key.partition(BITSANDBYTES)[0]: key for key in names if BITSANDBYTES in key}


def unmarked(names: Iterable[str]) -> list[str]:
    """The names of all other arrays."""
    names = list(names)
    taken = {key for name, mark in marked(names).items() for key in (name, mark, *(f"{name}.{x}" for x in BESIDE))}
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
