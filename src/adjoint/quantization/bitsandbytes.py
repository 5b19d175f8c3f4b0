"""Weights that bitsandbytes stored in 4 bits, read from its files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from adjoint.arrays.quantized import NESTED, format_named
from adjoint.errors import CheckpointError
from adjoint.interop.entries import is_shape, named
from adjoint.quantization import encoding
from adjoint.quantization.packing import Quantized

MARK = ".quant_state.bitsandbytes__"
LONGEST = 1 << 16  # bytes of a description
BESIDE = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")


def from_bitsandbytes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a file in which bitsandbytes stored weights in NF4 or FP4, as `state_dict` of a quantized network.

    `fc.weight`, `fc.weight.absmax`, `fc.weight.quant_state.bitsandbytes__nf4` and the like become `fc.packed.codes`,
    `fc.packed.absmax` …; other arrays stay as they are. `weights` are `adjoint.interop.Weights` or any mapping. Raises
    CheckpointError, naming the array, for what is missing, does not fit, or has levels of its own.

    >>> import json, numpy as np, adjoint as aj
    >>> told = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [2, 3]}
    >>> text = np.frombuffer(json.dumps(told).encode(), "uint8")
    >>> state = {"fc.weight": np.full((3, 1), 0x7F, "uint8"), "fc.weight.absmax": np.ones(1, "float32"),
    ...          "fc.weight.quant_state.bitsandbytes__nf4": text}
    >>> net = aj.quantize(aj.nn.Sequential(aj.nn.Linear(3, 2, bias=False)), double=False)
    >>> found = aj.quantization.from_bitsandbytes({k.replace("fc", "0"): x for k, x in state.items()})
    >>> net.load_state_dict(found)
    >>> net[0].weight.tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    found: dict[str, Any] = {}
    taken: set[str] = set()
    for key in weights:
        name, mark, format = key.partition(MARK)
        if not mark:
            continue
        pack = _packed(weights, name, key, format)
        owner = name.removesuffix("weight").removesuffix(".")
        start = f"{owner}.packed." if owner else "packed."
        found |= {start + part: x for part, x in pack.named_arrays()}
        taken |= {name, key, *(f"{name}.{part}" for part in BESIDE)}
    return {key: weights[key] for key in weights if key not in taken} | found


def _packed(weights: Mapping[str, Any], name: str, key: str, format: str) -> Quantized:
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
