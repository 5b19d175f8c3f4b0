"""PyTorch's `.pt`, `.pth` and `.bin` files: tensors alone, and no pickle is executed unless the caller says so."""

from __future__ import annotations

import functools
import io
import os
import pickle
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError
from adjoint.interop.entries import Entries, Entry, Path, dtype_of, named, regular
from adjoint.interop.zip_files import members

DEEPEST = 32  # dicts and lists inside each other
MOST = 1 << 18  # values in a file


def entries(path: Path, trust_pickle: bool = False) -> tuple[Entries, dict[str, str]]:
    """(tensors by dotted name, the numbers and texts beside them) of a file that `torch.save` wrote.

    Read by `torch.load(weights_only=True, mmap=True)`. With `trust_pickle` whatever code the file brings is executed.
    Raises CheckpointError for a damaged file, and for one that holds more than tensors.
    """
    path = regular(path, "a PyTorch file")
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"{path} is a PyTorch file: pip install torch reads it.") from error
    with open(path, "rb") as file:
        packed = file.read(4) == b"PK\x03\x04"  # since PyTorch 1.6
    if packed:
        members(path, plain=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old formats
        try:
            with Clipped(path) as clipped:
                how: dict[str, Any] = {"map_location": "cpu", "weights_only": not trust_pickle}
                tree = torch.load(path, mmap=True, **how) if packed else torch.load(clipped, **how)
        except pickle.UnpicklingError as error:
            if trust_pickle:
                raise _damaged(path, error) from None
            raise CheckpointError(_untrusted(path, str(error))) from None
        except Exception as error:  # torch.load raises whatever its parsing of damaged bytes meets
            raise _damaged(path, error) from None
    if isinstance(tree, torch.nn.Module):
        tree = tree.state_dict()
    found: Entries = {}
    metadata: dict[str, str] = {}
    stored: dict[int, int] = {}
    for name, value in _leaves(path, tree):
        if name in found or name in metadata:
            raise CheckpointError(f"{path} has two values of the name {named(name)}.")
        if isinstance(value, torch.Tensor):
            found[name] = _entry(path, name, value)
            storage = value.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            found[name] = Entry(value.dtype, value.shape, path, value.view)
        elif isinstance(value, (bool, int, float, str)):
            metadata[name] = str(value)
    if sum(stored.values()) > os.path.getsize(path):
        raise CheckpointError(f"{path} claims more numbers than it has bytes: it is damaged or hostile.")
    return found, metadata


class Clipped(io.BufferedReader):
    """A file of which no more is asked than it has: a pickle may claim texts of any length."""

    def __init__(self, path: str) -> None:
        super().__init__(io.FileIO(path))
        self.length = os.path.getsize(path)

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, or those that are left."""
        return super().read(size if size is None or size < 0 else min(size, max(self.length - self.tell(), 0)))


def _entry(path: str, name: str, tensor: Any) -> Entry:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        kind = "quantized" if tensor.is_quantized else f"{tensor.layout} on {tensor.device}"
        raise CheckpointError(f"{path}: {named(name)} is {kind}; save it as an ordinary tensor.")
    try:
        dtype = dtype_of(tensor.dtype)
        read = functools.partial(_numpy, tensor.detach(), dtype)
        read()  # a view: nothing is read yet
    except (KeyError, TypeError, RuntimeError):
        raise CheckpointError(f"{path}: {named(name)} has the dtype {tensor.dtype}, which NumPy lacks.") from None
    return Entry(dtype, tuple(tensor.shape), path, read)


def _numpy(tensor: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """A view of a tensor in memory."""
    import torch

    tensor = tensor.resolve_conj().resolve_neg()
    if dtype.isbuiltin == 1:
        return tensor.numpy()
    bits = {1: torch.uint8, 2: torch.int16}[dtype.itemsize]
    return tensor.view(bits).numpy().view(dtype)


def _leaves(path: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in dicts, lists and tuples."""
    waiting, seen = [("", tree, 0)], 0
    while waiting:
        name, value, depth = waiting.pop()
        seen += 1
        if seen > MOST or depth > DEEPEST:
            raise CheckpointError(f"{path} holds more than {MOST:,} values, or these more than {DEEPEST} deep.")
        if isinstance(value, dict):
            items = list(value.items())
        elif isinstance(value, (list, tuple)):
            items = list(enumerate(value))
        else:
            yield name or "tensor", value
            continue
        waiting += [(f"{name}.{key}" if name else str(key), part, depth + 1) for key, part in reversed(items)]


def _untrusted(path: str, told: str) -> str:
    found = re.search(r"GLOBAL ([\w.]{1,100})", told)
    what = f" (a {found[1]})" if found else ""
    return (
        f"{path} is damaged, or holds more than tensors{what}. Unpickling that runs whatever code the file brings: ask "
        "for a safetensors file instead; or, if you trust whoever made it, pass trust_pickle=True (--trust-pickle)."
    )


def _damaged(path: str, error: Exception) -> CheckpointError:
    told = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return CheckpointError(f"{path} is not a whole PyTorch file ({told}): fetch or save it again.")
