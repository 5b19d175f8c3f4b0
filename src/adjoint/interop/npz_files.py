"""NumPy's `.npz` archives, without pickles: arrays that are stored plainly are views of the mapped file."""

from __future__ import annotations

import ast
import functools
import warnings
import zipfile
from typing import Any

import numpy as np

from adjoint.errors import CheckpointError
from adjoint.interop.entries import Entries, Entry, Path, dtype_of, is_shape, located, mapped, named, product, regular
from adjoint.interop.zip_files import damaged, members

HEADER = 10_000  # bytes of an array's description, as NumPy bounds it
PIECE = 1 << 20  # bytes unpacked at a time
MAGIC = b"\x93NUMPY"


def entries(path: Path) -> tuple[Entries, dict[str, str]]:
    """(arrays by name, no metadata) of an `.npz` file, nothing read but their descriptions.

    Raises CheckpointError where the archive is damaged or a bomb, and for an array of objects, text or records, which
    it names.
    """
    path = regular(path, "an .npz file")
    found: Entries = {}
    buffer, listed = None, members(path)
    with zipfile.ZipFile(path) as archive:
        for name, (info, start) in listed.items():
            label = name.removesuffix(".npy")
            if label == name or label in found:
                raise damaged(path, f"{named(name)} is no array, or there twice")
            try:
                with archive.open(info) as file:
                    dtype, shape, order, begin = _described(path, label, file)
            except CheckpointError:
                raise
            except Exception as error:  # as above: zipfile and zlib raise much
                raise damaged(path, f"{named(label)}: {error}") from None
            if begin + product(shape) * dtype.itemsize != info.file_size:
                told = f"{dtype} of shape {shape}, does not take the {info.file_size - begin} bytes that it has"
                raise damaged(path, f"{named(label)}, {told}")
            if info.compress_type == zipfile.ZIP_STORED:
                buffer = buffer or mapped(path)
                read = functools.partial(located, buffer, start + begin, dtype, shape, order)
            else:
                read = functools.partial(_unpacked, path, info, begin, dtype, shape, order)
            found[label] = Entry(dtype.newbyteorder("="), shape, path, read)
    return found, {}


def _described(path: str, name: str, file: Any) -> tuple[np.dtype[Any], tuple[int, ...], str, int]:
    """(dtype, shape, order, where the numbers begin) that the head of a `.npy` file tells."""
    head = file.read(12)
    width = {1: 2, 2: 4, 3: 4}.get(head[6]) if len(head) == 12 and head[:6] == MAGIC else None
    if width is None:
        raise damaged(path, f"{named(name)} is no array of NumPy's")
    length = int.from_bytes(head[8 : 8 + width], "little")
    if length > HEADER:
        raise damaged(path, f"the description of {named(name)} has {length} bytes")
    text = head[8 + width :] + file.read(length + width - 4)
    try:
        told = ast.literal_eval(text.decode("utf-8" if head[6] == 3 else "latin1").strip())
        shape, fortran, kind = told["shape"], told["fortran_order"], told["descr"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of dtypes in their old spellings
            dtype = np.dtype(kind) if isinstance(kind, str) else None
    except Exception:  # whatever a hostile literal makes of the parser
        raise damaged(path, f"the description of {named(name)} cannot be read") from None
    if dtype == np.dtype("V2"):
        dtype = dtype_of("bfloat16")  # the one dtype of which NumPy writes two raw bytes
    elif dtype is None or dtype.kind not in "biufc":
        raise CheckpointError(
            f"{path}: {named(name)} is of dtype {named(kind)}, which is not of numbers; objects are never unpickled. "
            "Save the numbers with aj.save."
        )
    if not is_shape(shape) or not isinstance(fortran, bool):
        raise damaged(path, f"{named(name)} has the shape {named(shape)}, which no array has")
    return dtype, tuple(shape), "F" if fortran else "C", 8 + width + length


def _unpacked(
    path: str, info: zipfile.ZipInfo, begin: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any
) -> np.ndarray:
    """The array of a packed member."""
    data = np.empty(product(shape) * dtype.itemsize, np.uint8)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(info) as file:
            file.read(begin)
            done = 0
            while done < data.size:
                piece = file.read(min(PIECE, data.size - done))
                if not piece:
                    raise damaged(path, f"{named(info.filename)} ends early")
                data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
            file.read(1)  # its end, where the checksum is compared
    except CheckpointError:
        raise
    except Exception as error:  # as above
        raise damaged(path, f"{named(info.filename)}: {error}") from None
    return located(data, 0, dtype, shape, order)
