"""The idx reader returns what was written, and meets anything else with a clear error and little memory."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from adjoint.data import DataError, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    """Write the format independently of the reader, from its description."""
    head = struct.pack(">BBBB", 0, 0, CODES[array.dtype.str[1:]], array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def read_bytes(data: bytes, name: str = "some.idx") -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        return read_idx(path)


written = st.sampled_from(sorted(CODES)).flatmap(
    lambda code: arrays(np.dtype(code), array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=6))
)


@given(written, st.booleans())
def test_round_trip(array: np.ndarray, zipped: bool) -> None:
    data = idx_bytes(array)
    back = read_bytes(gzip.compress(data) if zipped else data)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    assert back.shape == array.shape
    assert back.flags.writeable
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("name", ["a.idx", "a.gz"])
@pytest.mark.parametrize("zipped", [False, True])
def test_content_decides_what_is_zipped(name: str, zipped: bool) -> None:
    data = idx_bytes(np.arange(3, dtype="i2"))
    assert read_bytes(gzip.compress(data) if zipped else data, name).tolist() == [0, 1, 2]


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


GOOD = idx_bytes(np.arange(24, dtype="i4").reshape(2, 3, 4))
ZIPPED = gzip.compress(GOOD)
BAD = {
    "empty": (b"", "not an idx file"),
    "short magic": (b"\0\0\x08", "not an idx file"),
    "wrong magic": (b"PK\x03\x04" + GOOD, r"not an idx file: it starts with \[50 4b 03 04\]"),
    "unknown type": (header(0x0A, 1) + b"\0", "unknown type code 0x0a; the format has 0x08 uint8"),
    "no dimensions": (header(0x08) + b"\0", "0 dimensions"),
    "too many dimensions": (header(0x08, *[1] * 65) + b"\0", "65 dimensions"),
    "header cut": (GOOD[:10], "truncated: the header of 3 dimensions needs 16 bytes, 10 are there"),
    "values cut": (GOOD[:-1], r"\(2, 3, 4\) int32, 96 bytes, but only 95 follow"),
    "trailing byte": (GOOD + b"\0", r"trailing bytes: header claims \(2, 3, 4\) int32"),
    "trailing byte, zipped": (gzip.compress(GOOD + b"\0"), "trailing bytes"),
    "values cut, zipped": (gzip.compress(GOOD[:-5]), "but only 91 follow"),
    "lie": (
        header(0x0E, 60000, 60000) + b"\0" * 9,
        r"\(60000, 60000\) float64, 28,800,000,000 bytes, but .* at most 21",
    ),
    "lie, zipped": (gzip.compress(header(0x08, 2**32 - 1) + b"\0" * 9), "4,294,967,295 bytes, but .* at most"),
    "absurd lie": (header(0x08, *[2**32 - 1] * 3), "more than any array can hold"),
    "empty but absurd": (header(0x08, 0, *[2**32 - 1] * 3), "more than any array can hold"),
    "gzip cut": (ZIPPED[:-9], "damaged gzip"),
    "gzip checksum": (ZIPPED[:-8] + bytes([ZIPPED[-8] ^ 1]) + ZIPPED[-7:], "damaged gzip .*CRC"),
    "gzip header only": (ZIPPED[:10], "damaged gzip"),
    "gzip body": (ZIPPED[:10] + b"\xff" + ZIPPED[11:], "damaged gzip"),
    "trailing after gzip": (ZIPPED + b"rubbish", "damaged gzip"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong_and_where(case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(DataError, match=rf"(?s)bad\.idx: .*{message}"):
        read_bytes(data, "bad.idx")


def test_missing_file() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx("nowhere/at-all.idx")


def peak_of_reading(data: bytes) -> int:
    """Bytes that reading takes at most; any error but the reader's own escapes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "some.idx")
        path.write_bytes(data)
        tracemalloc.start()
        try:
            with contextlib.suppress(DataError):
                read_idx(path)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6), st.integers(0, 300))
def test_damage_never_crashes_nor_takes_memory(zipped: bool, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(ZIPPED if zipped else GOOD)
    for place, value in changes:
        data[place % len(data)] = value
    assert peak_of_reading(bytes(data[:length])) < 1 << 20


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_noise_never_crashes(noise: bytes, zipped: bool) -> None:
    assert peak_of_reading(gzip.compress(b"\0\0" + noise) if zipped else noise) < 1 << 20


def test_a_plausible_lie_in_a_zipped_file_costs_what_the_file_holds() -> None:
    """64 KiB of zeros compress so far that a claim of a little more passes the first check, and fails at the end."""
    data = gzip.compress(header(0x08, (1 << 16) + 100) + bytes(1 << 16))
    assert peak_of_reading(data) < 4 << 16
    with pytest.raises(DataError, match=f"but only {1 << 16:,} follow"):
        read_bytes(data)


def test_reading_takes_little_more_than_the_array() -> None:
    data = idx_bytes(np.zeros(8 << 20, "u1"))
    assert peak_of_reading(gzip.compress(data, 1)) < 1.5 * len(data)
