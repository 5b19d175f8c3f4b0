"""Arrays of a file: what a tensor declares is held against what it holds, before anything is made of it."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError
from adjoint.interop.onnx.types import Types

FIELDS = {
    "float_data": (1, 14), "double_data": (11, 15), "int64_data": (7,), "uint64_data": (12, 13),
    "int32_data": (2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28),
}  # fmt: skip
BITS = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}  # several entries a byte
EXTERNAL = 1


def array_of(tensor: Any, types: Types, folder: str | None, what: str) -> np.ndarray:
    """The array of a tensor; raises `CheckpointError`, naming it, where its parts do not fit each other."""
    name = f"{what} {tensor.name!r}" if tensor.name else what
    try:
        dtype = types.dtype(tensor.data_type)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    dims = tuple(tensor.dims)
    if min(dims, default=0) < 0:
        raise CheckpointError(f"{name}: its shape {dims} has a negative size.")
    if tensor.HasField("segment"):
        raise CheckpointError(f"{name}: a tensor in segments is not known here: save the model again.")
    if tensor.data_location == EXTERNAL:
        raw = external(tensor, folder, name, math.ceil(math.prod(dims) * bits(tensor.data_type) / 8))
        array = unpacked(raw, dims, tensor.data_type, name)
    elif tensor.HasField("raw_data"):
        array = unpacked(tensor.raw_data, dims, tensor.data_type, name)
    else:
        array = listed(tensor, dims, name)
    return array if array.dtype == dtype else array.astype(dtype)


def bits(code: int) -> int:
    """The bits of an entry."""
    return BITS.get(code) or 8 * Types().dtype(code).itemsize


def unpacked(raw: bytes, dims: tuple[int, ...], code: int, name: str) -> np.ndarray:
    """An array of the bytes, in which small entries share one."""
    count, dtype = math.prod(dims), Types().dtype(code)
    wanted = math.ceil(count * bits(code) / 8)
    if len(raw) != wanted:
        raise CheckpointError(
            f"{name}: shape {dims} of {dtype} takes {wanted} bytes, and {len(raw)} are there: the file is damaged."
        )
    if code not in BITS:
        flat = np.frombuffer(raw, dtype.newbyteorder("<") if dtype.itemsize > 1 and dtype.kind in "iufc" else dtype)
        return flat.astype(dtype).reshape(dims)  # a copy, which can be trained
    each = BITS[code]
    held = np.frombuffer(raw, np.uint8)
    parts = np.stack([(held >> s) & (2**each - 1) for s in range(0, 8, each)], -1).reshape(-1)[:count]
    return small(parts, code, dtype).reshape(dims)


def small(parts: Any, code: int, dtype: np.dtype[Any]) -> Any:
    """Entries of two or four bits, given as they stand."""
    if code in (22, 26):
        top = 1 << (BITS[code] - 1)
        return ((parts.astype(np.int8) ^ top) - top).astype(dtype)
    return parts.view(dtype) if code == 23 else parts.astype(dtype)


def listed(tensor: Any, dims: tuple[int, ...], name: str) -> np.ndarray:
    """An array of the numbers of the field that belongs to its element type."""
    code, count = tensor.data_type, math.prod(dims)
    field = next(field for field, codes in FIELDS.items() if code in codes)
    values, dtype = getattr(tensor, field), Types().dtype(code)
    if other := [f for f in FIELDS if f != field and len(getattr(tensor, f))]:
        raise CheckpointError(f"{name}: numbers of {dtype} stand in {field}, and there are some in {other[0]}.")
    if code in BITS:
        return unpacked(np.array(values, np.int64).astype(np.uint8).tobytes(), dims, code, name)
    each = 2 if dtype.kind == "c" else 1
    if len(values) != count * each:
        raise CheckpointError(f"{name}: shape {dims} is {count} entries, and {len(values) // each} are there.")
    if dtype.kind == "c":
        return np.array(values, f"float{dtype.itemsize * 4}").view(dtype).reshape(dims)
    if code == 10 or code >= 16:  # the bits of a small floating number
        return np.array(values, np.int64).astype(f"uint{dtype.itemsize * 8}").view(dtype).reshape(dims)
    return np.array(values, dtype if field != "int32_data" else np.int64).astype(dtype).reshape(dims)


def external(tensor: Any, folder: str | None, name: str, wanted: int) -> bytes:
    """The bytes of a tensor in a file beside the model's. It is onnx that opens it: no path leads out of the folder."""
    from onnx import checker, external_data_helper

    if folder is None:
        raise CheckpointError(f"{name} stands in a file of its own: give the model's path, not its content.")
    try:
        told: Any = external_data_helper.ExternalDataInfo(tensor)
        if told.length is None:  # all that is left of the file, which is to be no more than the shape takes
            told.length = os.path.getsize(os.path.join(folder, told.location)) - (told.offset or 0)
        if told.length != wanted:
            raise ValueError(f"its shape takes {wanted} bytes, and {told.length} are there")
        return external_data_helper._read_external_data_bytes(tensor, folder)
    except (ValueError, OSError, checker.ValidationError, RuntimeError) as error:
        raise CheckpointError(f"{name}: its data cannot be read from beside the model ({error}).") from error
