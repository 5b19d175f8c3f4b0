"""Arrays in files by name, read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from adjoint.arrays.dispatch import Shape, is_floating
from adjoint.errors import DtypeError, ShapeError
from adjoint.interop.entries import Entry, Path, named
from adjoint.interop.folders import entries
from adjoint.maps.matrices import Dense

SHOWN = 8  # tensors in a repr


class Weights(Mapping[str, np.ndarray]):
    """The arrays of a file or folder by name: a mapping whose arrays are read-only views of the mapped file.

    `source` is a safetensors file, an `.npz` archive, a PyTorch file (tensors alone; with `trust_pickle` whatever code
    the file brings is executed), an index of shards, or a folder with one of these. Names, shapes and dtypes are known
    at once, numbers are read when an array is used. Bytes that the format packs or misplaces become arrays of their
    own. `metadata` are the texts beside the arrays, `files` what they are read from.

    Raises FileNotFoundError; CheckpointError for what is truncated, corrupt, hostile or of another format.

    >>> import numpy as np, adjoint as aj, tempfile
    >>> path = tempfile.mkdtemp() + "/w.safetensors"
    >>> aj.save(path, {"fc.weight": np.array([[1.0, 2.0], [2.0, 4.0]]), "fc.bias": np.zeros(2)})
    >>> weights = aj.interop.Weights(path)
    >>> weights
    Weights(w.safetensors: 2 arrays, 6 numbers of float64, 48 bytes
      fc.bias    (2,)    float64
      fc.weight  (2, 2)  float64)
    >>> weights.shape("fc.bias"), weights.map("fc.weight").rank()
    ((2,), 1 (tolerance 2.2e-15, svd))
    """

    def __init__(self, source: Path, trust_pickle: bool = False) -> None:
        self._entries, self.metadata, self.files = entries(source, trust_pickle)

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.entry(name).read()
        array.flags.writeable = False
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def entry(self, name: str) -> Entry:
        """What is known of an array before it is read: `dtype`, `shape`, `size`, `nbytes`, its `file`; and `read()`."""
        if name not in self._entries:
            raise KeyError(f"{self.files[0]} has no array {named(name)}, only {self._told(5)}.")
        return self._entries[name]

    def shape(self, name: str) -> Shape:
        """The shape of an array, without reading it."""
        return self.entry(name).shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """The dtype of an array, without reading it; NumPy's, or of `ml_dtypes` for bfloat16 and 8-bit floats."""
        return self.entry(name).dtype

    @property
    def size(self) -> int:
        """The numbers in all arrays."""
        return sum(entry.size for entry in self._entries.values())

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(entry.nbytes for entry in self._entries.values())

    @property
    def dtypes(self) -> dict[str, int]:
        """How many numbers there are of each dtype, the most frequent first."""
        counts: dict[str, int] = {}
        for entry in self._entries.values():
            counts[entry.dtype.name] = counts.get(entry.dtype.name, 0) + entry.size
        return dict(sorted(counts.items(), key=lambda pair: -pair[1]))

    def map(self, name: str) -> Dense:
        """A matrix (out, in) as a linear map; floats of less than 32 bits as float32, which holds them exactly.

        Raises ShapeError for an array of other than two axes, DtypeError for one of other than floating numbers.
        """
        entry = self.entry(name)
        if len(entry.shape) != 2:
            raise ShapeError(f"map: {named(name)} is {entry.shape}; a matrix has two axes, (out, in).")
        if not is_floating(entry.dtype) and entry.dtype.kind != "c":
            raise DtypeError(f"map: {named(name)} holds {entry.dtype}, not floating numbers: cast it for aj.Dense.")
        array = self[name]
        return Dense(array.astype(np.float32) if entry.dtype.itemsize < 4 else array)

    def maps(self) -> Iterator[tuple[str, Dense]]:
        """(name, map) of every matrix of floating numbers, one after the other."""
        for name, entry in self._entries.items():
            if len(entry.shape) == 2 and is_floating(entry.dtype):
                yield name, self.map(name)

    def _told(self, count: int) -> str:
        names = list(self._entries)
        return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "") or "none"

    def __repr__(self) -> str:
        entries = self._entries
        told = f"{len(entries)} arrays, {self.size:,} numbers of {', '.join(self.dtypes) or 'no dtype'}"
        head = f"Weights({_base(self.files[0])}: {told}, {bytes_told(self.nbytes)}"
        shown = list(entries.items())[:SHOWN]
        names = max((len(name) for name, _ in shown), default=0)
        shapes = max((len(str(entry.shape)) for _, entry in shown), default=0)
        lines = [f"  {name:{names}}  {entry.shape!s:{shapes}}  {entry.dtype}" for name, entry in shown]
        lines += [f"  … and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
        return "\n".join([head, *lines]) + ")"


def bytes_told(count: float) -> str:
    """A number of bytes in the unit that suits it.

    >>> bytes_told(48), bytes_told(1_044_992), bytes_told(141_107_412_992)
    ('48 bytes', '1.04 MB', '141 GB')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    power = min(int(math.log10(count * 1.0005)) // 3, 4)
    return f"{count / 1000**power:.3g} {('', 'kB', 'MB', 'GB', 'TB')[power]}"


def _base(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
