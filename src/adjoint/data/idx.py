"""Reader of idx files, the format of MNIST: a four-byte magic, the shape, the values, all big-endian.

Source: Y. LeCun, C. Cortes, C. Burges, "The IDX file format", http://yann.lecun.com/exdb/mnist.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # the most that deflate expands, by construction of its format
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array in an idx file, plain or gzipped (told by its content), in the machine's byte order.

    Memory grows with what the file really holds, never with what its header claims.

    Raises `DataError`, naming the file, where it is truncated, carries trailing bytes, has an unknown magic or type
    code, claims more than it can hold, or is a damaged gzip; `OSError` where it cannot be opened.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "bytes.idx")
    ...     _ = path.write_bytes(bytes([0, 0, 0x08, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(path)
    array([[7, 8, 9]], dtype=uint8)
    """
    path = Path(path)
    with path.open("rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        limit = os.fstat(raw.fileno()).st_size * (DEFLATE_RATIO if zipped else 1)
        try:
            return _read(gzip.GzipFile(fileobj=raw) if zipped else raw, limit)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: damaged gzip ({error}); fetch the file again") from error
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def _read(file: BufferedIOBase, limit: int) -> NDArray[Any]:
    """Read one idx stream that holds at most `limit` bytes."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"not an idx file: it starts with [{magic.hex(' ')}], an idx file with [00 00 type dimensions]")
    code, ndim = magic[2:]
    if code not in DTYPES:
        known = ", ".join(f"0x{key:02x} {np.dtype(value).name}" for key, value in DTYPES.items())
        raise DataError(f"unknown type code 0x{code:02x}; the format has {known}")
    if not 1 <= ndim <= 64:
        raise DataError(f"header gives {ndim} dimensions; 1 to 64 can be read")
    header = file.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise DataError(
            f"truncated: the header of {ndim} dimensions needs {4 + 4 * ndim} bytes, {4 + len(header)} are there"
        )
    shape, dtype = struct.unpack(f">{ndim}I", header), np.dtype(DTYPES[code])
    claim = f"header claims {shape} {dtype.name}"
    if math.prod(filter(None, shape)) * dtype.itemsize > sys.maxsize:
        raise DataError(f"{claim}, more than any array can hold")
    size = math.prod(shape) * dtype.itemsize
    if size > limit:
        raise DataError(
            f"{claim}, {size:,} bytes, but a file of this length holds at most {limit:,}: truncated or damaged"
        )
    values = _read_exactly(file, size, claim)
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_exactly(file: BufferedIOBase, size: int, claim: str) -> bytearray:
    """Read `size` bytes, growing as they come, and make sure that the stream ends there."""
    values = bytearray()
    while chunk := file.read(min(CHUNK, size - len(values))):
        values += chunk
    if len(values) < size:
        raise DataError(f"truncated: {claim}, {size:,} bytes, but only {len(values):,} follow")
    # Reading past the end is also what makes gzip verify its checksum.
    if file.read(1):
        raise DataError(f"trailing bytes: {claim}, {size:,} bytes, but more follow")
    return values
