"""Weights in safetensors files: written whole or not at all, read without ever running code."""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import backend, is_array
from adjoint.errors import CheckpointError
from adjoint.nn.module import Module

Path = str | os.PathLike[str]
CHECKSUM = "adjoint.crc32"


def save(path: Path, tree: Module | Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a module, or a dict of arrays and modules, as a safetensors file, under the names of `state_dict()`.

    The file appears whole or not at all: a crash, or a full disk, leaves the one that stood there. Missing folders are
    made. PyTorch's bfloat16 is written as float32, which holds it exactly. Raises TypeError for an entry that is no
    array, or one of text or objects. Format: https://huggingface.co/docs/safetensors.

    >>> import adjoint as aj, tempfile
    >>> net, path = aj.nn.Linear(3, 2), tempfile.mkdtemp() + "/net.safetensors"
    >>> aj.save(path, net, {"trained on": "nothing"})
    >>> net.load_state_dict(aj.load(path))
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save as packed

    arrays = {name: _numpy(name, x) for name, x in _named("", tree)}
    metadata = dict(metadata or {})
    try:
        data = packed(arrays, {**metadata, CHECKSUM: _checksum(arrays, metadata)})
    except SafetensorError as error:
        raise TypeError(f"save: an array cannot go into a safetensors file: {error}.") from error
    write(path, data)


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, for `load_state_dict`.

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
    from safetensors import SafetensorError, safe_open

    if os.path.isdir(path):
        raise CheckpointError(f"{os.fspath(path)} is a folder, not a safetensors file.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except SafetensorError as error:
        raise CheckpointError(
            f"{os.fspath(path)} is not a whole safetensors file ({error}): it is truncated, corrupt or of another "
            "format; fetch or save it again."
        ) from error
    except (AttributeError, TypeError) as error:
        raise CheckpointError(f"{os.fspath(path)} holds an array of a dtype that NumPy lacks ({error}).") from error
    if metadata.pop(CHECKSUM, None) not in (None, _checksum(arrays, metadata)):
        raise CheckpointError(f"{os.fspath(path)} is corrupt: its content is not what was saved (checksum).")
    return arrays, metadata


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: under another name beside it, to the disk, then renamed."""
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    part = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Module):
        value = value.state_dict()
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _named(f"{name}.{key}" if name else str(key), part)
    else:
        yield name, value


def _numpy(name: str, x: Any) -> np.ndarray:
    if not is_array(x):
        raise TypeError(f"save: {name!r} is {type(x).__name__}, not an array; numbers and text go into the metadata.")
    return np.asarray(backend(type(x)).to_numpy(x), order="C")


def _checksum(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    crc = zlib.crc32(repr(sorted(metadata.items())).encode())
    for name, x in sorted(arrays.items()):
        crc = zlib.crc32(x.tobytes(), zlib.crc32(f"{name} {x.dtype} {x.shape}".encode(), crc))
    return f"{crc:08x}"
