"""Safetensors files, read by their header alone: every tensor a view of the mapped file.

The file is 8 bytes of a length n, n bytes of JSON {name: {"dtype", "shape", "data_offsets"}}, and the tensors' bytes,
row-major and little-endian, without gaps (https://huggingface.co/docs/safetensors). The package of that name copies
every tensor for NumPy and lacks its 8-bit floats there; the header is all that has to be read, and is checked whole.
"""

from __future__ import annotations

import functools
import json
import os
from itertools import pairwise
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError
from adjoint.interop.entries import (
    Entries,
    Entry,
    Path,
    dtype_of,
    is_shape,
    located,
    mapped,
    named,
    natural,
    product,
    regular,
)

HEADER_LIMIT = 100_000_000  # bytes; the format's own
DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
CODES = {name: code for code, name in DTYPES.items()}


def entries(path: Path) -> tuple[Entries, dict[str, str]]:
    """(tensors by name, metadata) of a safetensors file, nothing read but its header.

    Raises CheckpointError where the header is not whole, or says what cannot be of the file: names the tensor.
    """
    path = regular(path, "a safetensors file")
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, HEADER_LIMIT):
            raise _damaged(path, f"{size} bytes, of which a header of {length} cannot be")
        header = file.read(length)
    told = parsed(path, header)
    metadata = told.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _damaged(path, "its metadata are no text by name")
    start = 8 + length
    spans = {name: _checked(path, name, one, size - start) for name, one in told.items()}
    _check_cover(path, spans, size - start)
    buffer = mapped(path)
    found = {}
    for name in sorted(spans, key=natural):
        dtype, shape, begin, _ = spans[name]
        little = dtype if dtype.byteorder == "|" else dtype.newbyteorder("<")
        read = functools.partial(located, buffer, start + begin, little, shape)
        found[name] = Entry(dtype, shape, path, read)
    return found, metadata


def parsed(path: str, text: bytes, kind: str = "safetensors file") -> dict[str, Any]:
    """The object that JSON in a file tells, its names each given once; raises CheckpointError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            if name in result:
                raise _damaged(path, f"it names {named(name)} twice", kind)
            result[name] = value
        return result

    try:
        result = json.loads(text.decode(), object_pairs_hook=once)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"no JSON: {_short(error)}", kind) from None
    if not isinstance(result, dict):
        raise _damaged(path, f"JSON of a {type(result).__name__}, not of an object", kind)
    return result


def _checked(path: str, name: str, told: Any, size: int) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of a tensor, which fit each other and the file."""
    if not isinstance(told, dict) or told.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"{named(name)} is not described by dtype, shape and data_offsets")
    code, shape, offsets = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise CheckpointError(
            f"{path}: {named(name)} has the dtype {named(code)}, none of those read here ({', '.join(DTYPES)}): the "
            "file is corrupt, or of a newer format; convert that tensor."
        )
    if not is_shape(shape):
        raise _damaged(path, f"{named(name)} has the shape {named(shape)}, which no array has")
    if not is_shape(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size:
        raise _damaged(path, f"{named(name)} stands at {named(offsets)} of {size} bytes, outside the file")
    dtype = dtype_of(DTYPES[code])
    needed, given = product(shape) * dtype.itemsize, offsets[1] - offsets[0]
    if needed != given:
        raise _damaged(path, f"{named(name)}, {code} of shape {tuple(shape)}, takes {needed} bytes and has {given}")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _check_cover(path: str, spans: dict[str, Any], size: int) -> None:
    """Raise unless the tensors' bytes follow each other from the first byte to the last."""
    ordered = sorted((begin, end, name) for name, (_, _, begin, end) in spans.items())
    for (_, end, first), (begin, _, second) in pairwise(ordered):
        if begin != end:
            told = "overlap" if begin < end else f"leave {begin - end} bytes between them"
            raise _damaged(path, f"{named(first)} and {named(second)} {told}")
    begin, end = (ordered[0][0], ordered[-1][1]) if ordered else (0, 0)
    if begin or end != size:
        raise _damaged(path, f"its tensors take the bytes from {begin} to {end}, of {size}")


def _short(error: BaseException) -> str:
    told = str(error) or type(error).__name__
    return told if len(told) < 200 else f"{told[:200]}…"


def _damaged(path: str, what: str, kind: str = "safetensors file") -> CheckpointError:
    return CheckpointError(
        f"{path} is not a whole {kind} ({what}): it is truncated, corrupt or of another format; fetch or save it again."
    )
