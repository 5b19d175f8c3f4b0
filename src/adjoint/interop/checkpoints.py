"""Weights in safetensors files: written whole or not at all, read without ever running code."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Array, backend, is_array
from adjoint.errors import CheckpointError
from adjoint.interop.entries import Path, dtype_of
from adjoint.interop.safetensors_files import CODES, entries
from adjoint.interop.writing import write
from adjoint.nn.module import Module

CHECKSUM = "adjoint.crc32"


def save(path: Path, tree: Module | Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a module, or a dict of arrays and modules, as a safetensors file, under the names of `state_dict()`.

    The file appears whole or not at all: a crash, or a full disk, leaves the one that stood there. Missing folders are
    made. Arrays are written one after the other, each in its own dtype, so that little more memory is taken than the
    largest has. Raises TypeError for an entry that is no array, or one of text or objects. Format:
    https://huggingface.co/docs/safetensors.

    >>> import adjoint as aj, tempfile
    >>> net, path = aj.nn.Linear(3, 2), tempfile.mkdtemp() + "/net.safetensors"
    >>> aj.save(path, net, {"trained on": "nothing"})
    >>> net.load_state_dict(aj.load(path))
    """
    arrays = {name: _checked(name, x) for name, x in _named("", tree)}
    metadata = dict(metadata or {})
    pairs = ((name, hosted(arrays[name])) for name in sorted(arrays))
    metadata[CHECKSUM] = _checksum(pairs, metadata)
    names = sorted(arrays, key=lambda name: (-dtype_of(arrays[name].dtype).itemsize, name))  # so that all are aligned
    header = _header([(name, dtype_of(arrays[name].dtype), tuple(arrays[name].shape)) for name in names], metadata)

    def pieces() -> Iterator[Any]:
        yield header
        for name in names:
            yield _bytes(hosted(arrays[name]))

    write(path, pieces())


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, for `load_state_dict`; `aj.open` reads them lazily instead.

    Raises CheckpointError where the file is truncated, corrupt or of another format.

    >>> import numpy as np, adjoint as aj, tempfile
    >>> path = tempfile.mkdtemp() + "/weights.safetensors"
    >>> aj.save(path, {"w": np.array([1.0, 2.0])})
    >>> aj.load(path)
    {'w': array([1., 2.])}
    """
    return read(path)[0]


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, metadata) of a safetensors file; errors as those of `load`."""
    found, metadata = entries(path)
    arrays = {name: np.array(found[name].read()) for name in sorted(found)}
    if metadata.pop(CHECKSUM, None) not in (None, _checksum(arrays.items(), metadata)):
        raise CheckpointError(f"{path} is corrupt: its content is not what was saved (checksum).")
    return arrays, metadata


def hosted(x: Array) -> np.ndarray:
    """An array of any backend as NumPy's in row-major, little-endian order and of the same dtype.

    >>> import torch
    >>> hosted(torch.ones(2, dtype=torch.bfloat16))
    array([1, 1], dtype=bfloat16)
    """
    dtype = dtype_of(x.dtype)
    if type(x).__module__.partition(".")[0] == "torch" and dtype.isbuiltin != 1:  # of those that only ml_dtypes knows
        import torch

        bits = {1: torch.uint8, 2: torch.int16}[dtype.itemsize]
        return x.detach().cpu().contiguous().view(bits).numpy().view(dtype)
    array = np.asarray(backend(type(x)).to_numpy(x), order="C")
    return array.astype(dtype.newbyteorder("<"), copy=False) if dtype.byteorder == ">" else array


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Module):
        value = value.state_dict()
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _named(f"{name}.{key}" if name else str(key), part)
    else:
        yield name, value


def _checked(name: str, x: Any) -> Array:
    """x, if it can be written."""
    if not is_array(x):
        raise TypeError(f"save: {name!r} is {type(x).__name__}, not an array; numbers and text go into the metadata.")
    if type(x).__name__ == "ShapeArray":
        raise TypeError(f"save: {name!r} has a shape but no values.")
    if dtype_of(x.dtype).name not in CODES:
        raise TypeError(f"save: {name!r} cannot go into a safetensors file, which has no dtype {x.dtype}.")
    return x


def _header(arrays: list[tuple[str, np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str]) -> bytes:
    """What stands before the arrays' bytes; padded, so that they begin at a multiple of 8."""
    told: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape in arrays:
        begin, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=object))
        told[name] = {"dtype": CODES[dtype.name], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(x: np.ndarray) -> memoryview:
    return x.reshape(-1).view(np.uint8).data


def _checksum(arrays: Iterable[tuple[str, np.ndarray]], metadata: Mapping[str, str]) -> str:
    crc = zlib.crc32(repr(sorted(metadata.items())).encode())
    for name, x in arrays:
        crc = zlib.crc32(_bytes(x), zlib.crc32(f"{name} {x.dtype} {x.shape}".encode(), crc))
    return f"{crc:08x}"
