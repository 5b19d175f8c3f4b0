"""What the readers of weight files share: a tensor that is known but not read, mapped memory, and errors."""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError

Path = str | os.PathLike[str]
AXES = 64  # NumPy has no arrays of more
LONGEST = 200  # characters of a name in an error


class Entry:
    """A tensor in a file: its dtype and shape are known, its numbers are read when asked for.

    `read()` gives a new view of the file, mapped copy-on-write, or an array of its own where that cannot be.
    """

    __slots__ = ("dtype", "file", "read", "shape")

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...], file: str, read: Callable[[], np.ndarray]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.file = file
        self.read = read

    @property
    def size(self) -> int:
        """The number of entries."""
        return product(self.shape)

    @property
    def nbytes(self) -> int:
        """The entries' bytes."""
        return self.size * self.dtype.itemsize


Entries = dict[str, Entry]


def dtype_of(told: Any) -> np.dtype[Any]:
    """NumPy's dtype for a name or for a dtype of any backend; `ml_dtypes` is loaded for those that only it has.

    >>> dtype_of("bfloat16").itemsize
    2
    """
    from adjoint.arrays.shapes.array import as_dtype

    return as_dtype(told)


def product(shape: Iterable[int]) -> int:
    """The number of entries of an array of this shape, exact."""
    size = 1
    for n in shape:
        size *= n
    return size


def is_shape(shape: Any) -> bool:
    """Whether a value from a file can be the shape of an array."""
    return (
        isinstance(shape, (list, tuple))
        and len(shape) <= AXES
        and all(type(n) is int and 0 <= n < 1 << 63 for n in shape)
    )


def regular(path: Path, kind: str) -> str:
    """The path of a file that can be read; raises FileNotFoundError, or CheckpointError for a folder or a device."""
    path = os.fspath(path)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise CheckpointError(f"{path} is a folder, not {kind}.")
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path} is no regular file: save the weights to a file first.")
    return path


def mapped(path: str) -> Any:
    """A file's bytes in virtual memory: read when touched, and writable, though what is written stays in this process.

    The file must keep its length while it is mapped, as with every memory map; replacing it (as `aj.save` does) is
    harmless.
    """
    with open(path, "rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError:  # the system reserves memory for what might be written, and has not as much
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def located(buffer: Any, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any = "C") -> np.ndarray:
    """The array at a place of mapped memory: a view where it is aligned, else a copy."""
    count = product(shape)
    if not count:
        return np.zeros(shape, dtype)
    array = np.frombuffer(buffer, dtype, count, offset).reshape(shape, order=order)
    return array if array.flags.aligned and dtype.isnative else array.astype(dtype.newbyteorder("="))


def named(name: Any) -> str:
    """A name as errors show it: quoted, and cut where it is very long.

    >>> named("fc.weight")
    "'fc.weight'"
    """
    told = repr(name)
    return told if len(told) <= LONGEST else f"{told[:LONGEST]}…"


def natural(name: str) -> list[Any]:
    """A key that sorts names as a person would, numbers by value.

    >>> sorted(["h.10.w", "h.2.w", "e"], key=natural)
    ['e', 'h.2.w', 'h.10.w']
    """
    parts = re.split(r"(\d{1,18})", name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)]


def listed(names: Iterable[str]) -> str:
    """Every one of the names, those that differ in a layer's number alone as one.

    >>> listed(["h.0.b", "h.1.b", "h.2.b", "w"])
    'h.{0…2}.b, w'
    """
    return ", ".join(told for told, _ in grouped(sorted(names, key=natural)))


def grouped(names: Iterable[str], alike: Callable[[str], Any] = lambda name: None) -> list[tuple[str, list[str]]]:
    """Names in groups, each with what tells it: three or more in a row that differ in a layer's number alone are one.

    Those in a group give the same value of `alike`, which is asked of each name.

    >>> grouped(["e", "h.0.b", "h.1.b", "h.2.b"], alike=lambda name: "float32")
    [('e', ['e']), ('h.{0…2}.b', ['h.0.b', 'h.1.b', 'h.2.b'])]
    """
    groups: dict[Any, list[tuple[int, str]]] = {}
    for name in names:
        found = re.search(r"(?<![^.])\d{1,9}(?![^.])", name)
        key: Any = (name[: found.start()], name[found.end() :], alike(name)) if found else name
        groups.setdefault(key, []).append((int(found[0]) if found else 0, name))
    told: list[tuple[str, list[str]]] = []
    for key, members in groups.items():
        first, last = members[0][0], members[-1][0]
        if len(members) > 2 and [n for n, _ in members] == list(range(first, last + 1)):
            told.append((f"{key[0]}{{{first}…{last}}}{key[1]}", [name for _, name in members]))
        else:
            told += [(name, [name]) for _, name in members]
    return told
