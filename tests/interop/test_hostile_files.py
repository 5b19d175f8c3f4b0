"""Files that are damaged or made to harm: a CheckpointError that says so, within a bound of time and memory."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint as aj
from adjoint.interop import Weights
from tests.patience import HANGS

BOUND = 2**24  # bytes that reading a file of some hundred bytes may take


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()


def survives(path: Path) -> None:
    """Every array is read, or the file is refused: nothing else."""
    with bounded():
        try:
            weights = Weights(path)
            for name in weights:
                assert weights[name].shape == weights.shape(name)
        except aj.CheckpointError as error:
            assert path.name in str(error)  # noqa: PT017 - both ends are allowed
            assert len(str(error)) < 2000  # noqa: PT017


def safetensors_file(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


# The header of a safetensors file

EIGHT = bytes(8)
LIES = {
    "empty": (b"", "0 bytes"),
    "short": (b"\x02\0\0", "3 bytes"),
    "no header": (struct.pack("<Q", 0) + EIGHT, "a header of 0 cannot be"),
    "huge header": (safetensors_file({}, length=2**63), "a header of 9223372036854775808 cannot be"),
    "header past the end": (safetensors_file({}, length=1000), "a header of 1000 cannot be"),
    "not JSON": (safetensors_file(b"{]"), "no JSON"),
    "not UTF-8": (safetensors_file(b'{"\xff": 1}'), "no JSON"),
    "a list": (safetensors_file([]), "JSON of a list"),
    "deep": (safetensors_file(b'{"a":' + b"[" * 100_000), "no JSON"),
    "long integer": (safetensors_file(b'{"a":' + b"9" * 10_000 + b"}"), "no JSON"),
    "twice": (safetensors_file(b'{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{}}'), "names 'w' twice"),
    "twice inside": (safetensors_file(b'{"w":{"dtype":"U8","dtype":"I8"}}'), "names 'dtype' twice"),
    "metadata": (safetensors_file({"__metadata__": {"a": 1}}), "metadata are no text"),
    "no description": (safetensors_file({"w": 3}), "'w' is not described"),
    "more than that": (safetensors_file({"w": {**tensor(), "more": 1}}, EIGHT), "'w' is not described"),
    "dtype": (safetensors_file({"w": tensor("F4")}, EIGHT), r"'w' has the dtype 'F4', none of those read here \(BOOL"),
    "dtype no text": (safetensors_file({"w": tensor([])}, EIGHT), r"'w' has the dtype \[\]"),
    "negative shape": (safetensors_file({"w": tensor(shape=[-2])}, EIGHT), r"'w' has the shape \[-2\], which no array"),
    "broken shape": (safetensors_file({"w": tensor(shape=[2.0])}, EIGHT), "'w' has the shape"),
    "shape of truths": (safetensors_file({"w": tensor(shape=[True, 2])}, EIGHT), "'w' has the shape"),
    "many axes": (safetensors_file({"w": tensor("U8", [1] * 65, (0, 1))}, b"0"), "'w' has the shape"),
    "size": (safetensors_file({"w": tensor(shape=[3])}, EIGHT), r"'w', F32 of shape \(3,\), takes 12 bytes and has 8"),
    "size beyond 64 bits": (safetensors_file({"w": tensor(shape=[2**62, 2**62])}, EIGHT), "'w', F32 of shape"),
    "outside": (safetensors_file({"w": tensor(offsets=(8, 16))}, EIGHT), r"'w' stands at \[8, 16\] of 8 bytes"),
    "backwards": (safetensors_file({"w": tensor(offsets=(8, 0))}, EIGHT), r"'w' stands at \[8, 0\]"),
    "negative": (safetensors_file({"w": tensor(offsets=(-8, 0))}, EIGHT), r"'w' stands at \[-8, 0\]"),
    "offset of one": (safetensors_file({"w": tensor(offsets=(8,))}, EIGHT), r"'w' stands at \[8\]"),
    "overlap": (
        safetensors_file({"v": tensor(), "w": tensor(offsets=(4, 12))}, bytes(12)),
        "'v' and 'w' overlap",
    ),
    "the same bytes": (safetensors_file({"v": tensor(), "w": tensor()}, EIGHT), "'v' and 'w' overlap"),
    "gap": (
        safetensors_file({"v": tensor(), "w": tensor(offsets=(12, 20))}, bytes(20)),
        "'v' and 'w' leave 4 bytes between them",
    ),
    "before": (safetensors_file({"w": tensor(offsets=(4, 12))}, bytes(12)), "take the bytes from 4 to 12, of 12"),
    "after": (safetensors_file({"w": tensor()}, bytes(12)), "take the bytes from 0 to 8, of 12"),
    "truncated": (safetensors_file({"w": tensor()}, bytes(7)), r"'w' stands at \[0, 8\] of 7 bytes"),
    "long name": (safetensors_file({"w" * 100_000: 1}), "w…"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_headers(lie: str, place: Path) -> None:
    content, told = LIES[lie]
    (place / "f.safetensors").write_bytes(content)
    with bounded(), pytest.raises(aj.CheckpointError, match=rf"f\.safetensors.*{told}"):
        Weights(place / "f.safetensors")
    survives(place / "f.safetensors")
    with pytest.raises(aj.CheckpointError):
        aj.load(place / "f.safetensors")


NUMBERS = st.one_of(st.integers(-5, 40), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3))
SIZES = st.one_of(st.lists(st.integers(0, 4), max_size=3), st.lists(NUMBERS, max_size=4), NUMBERS)
CODES = st.one_of(st.sampled_from(["F32", "U8", "BF16", "F8_E5M2", "BOOL", "F4", ""]), NUMBERS)
TENSORS = st.fixed_dictionaries({"dtype": CODES, "shape": SIZES, "data_offsets": SIZES})


@settings(max_examples=200)
@given(st.dictionaries(st.text(max_size=3), st.one_of(TENSORS, NUMBERS), max_size=3), st.binary(max_size=24))
def test_random_headers(place: Path, header: dict[str, Any], data: bytes) -> None:
    (place / "g.safetensors").write_bytes(safetensors_file(header, data))
    survives(place / "g.safetensors")


# Bytes cut off and changed, in every format


def written(place: Path, kind: str) -> bytes:
    arrays = {"weight": np.arange(12, dtype="float32").reshape(3, 4), "b": np.ones(3)}
    path = place / f"whole.{kind}"
    if kind == "safetensors":
        aj.save(path, arrays)
    elif kind == "pt":
        torch.save({name: torch.tensor(x) for name, x in arrays.items()}, path)
    elif kind == "bin":
        tensors = {name: torch.tensor(x) for name, x in arrays.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    elif kind == "packed.npz":
        np.savez_compressed(path, **arrays)
    else:
        np.savez(path, **arrays)
    return path.read_bytes()


KINDS = ["safetensors", "npz", "packed.npz", "pt", "bin"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncations(kind: str, place: Path) -> None:
    whole = written(place, kind)
    path = place / f"cut.{kind}"
    for end in range(0, len(whole), max(len(whole) // 150, 1)):
        path.write_bytes(whole[:end])
        with bounded(), pytest.raises(aj.CheckpointError, match="cut"):
            dict(Weights(path))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(changes=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(kind: str, place: Path, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(written(place, kind))
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    path = place / f"changed.{kind}"
    path.write_bytes(damaged)
    survives(path)


@given(content=st.binary(max_size=300), kind=st.sampled_from([*KINDS, "dat", "safetensors.index.json"]))
def test_other_files(place: Path, content: bytes, kind: str) -> None:
    path = place / f"other.{kind}"
    path.write_bytes(content)
    with bounded(), pytest.raises(aj.CheckpointError, match="other"):
        Weights(path)


# Archives


def npy(told: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    text = told if isinstance(told, bytes) else repr(told).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


DESCRIPTION = {"descr": "<f4", "fortran_order": False, "shape": (2,)}
HEADS = {
    "shape": ({**DESCRIPTION, "shape": (3,)}, r"'w', float32 of shape \(3,\), does not take the 8 bytes"),
    "huge": ({**DESCRIPTION, "shape": (2**40, 2**40)}, "does not take the 8 bytes"),
    "negative": ({**DESCRIPTION, "shape": (-2, -1)}, r"'w' has the shape \(-2, -1\)"),
    "no tuple": ({**DESCRIPTION, "shape": 2}, "'w' has the shape 2"),
    "many axes": ({**DESCRIPTION, "shape": (1,) * 70}, "'w' has the shape"),
    "order": ({**DESCRIPTION, "fortran_order": 1}, "'w' has the shape"),
    "objects": ({**DESCRIPTION, "descr": "|O"}, r"'w' is of dtype '\|O'.*never unpickled"),
    "text": ({**DESCRIPTION, "descr": "<U2"}, "'w' is of dtype '<U2'"),
    "record": ({**DESCRIPTION, "descr": [("a", "<f4")]}, r"'w' is of dtype \[\('a', '<f4'\)\]"),
    "no dtype": ({**DESCRIPTION, "descr": "what"}, "description of 'w' cannot be read"),
    "no shape": ({"descr": "<f4"}, "description of 'w' cannot be read"),
    "code": (b"__import__('os').mkdir('sprung')", "description of 'w' cannot be read"),
    "deep": (b"(" * 9000, "description of 'w' cannot be read"),
    "long": (b" " * 20_000, "description of 'w' has 20000 bytes"),
}


@pytest.mark.parametrize("lie", HEADS)
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_lying_arrays_in_archives(lie: str, how: int, place: Path) -> None:
    told, expected = HEADS[lie]
    path = archive(place / "lie.npz", {"w.npy": npy(told, bytes(8))}, how)
    with bounded(), pytest.raises(aj.CheckpointError, match=rf"lie\.npz.*{expected}"):
        Weights(path)
    assert not Path("sprung").exists()


def bomb(path: Path, size: int) -> Path:
    """Zeros that unpack to a thousand times the file."""
    head = npy({**DESCRIPTION, "shape": (size // 4,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("w.npy", "w") as member:
        member.write(head)
        for _ in range(size >> 20):
            member.write(bytes(2**20))
    return path


def test_zip_bombs(place: Path) -> None:
    path = bomb(place / "bomb.npz", 2**28)
    assert path.stat().st_size < 2**20
    with (
        bounded(),
        pytest.raises(aj.CheckpointError, match=r"bomb.npz: 'w.npy' would unpack from .* as a zip bomb does"),
    ):
        Weights(path)
    small = Weights(bomb(place / "small.npz", 2**20))  # a mask of ones is no bomb
    assert small["w"].shape == (2**18,)


def patched(path: Path, change: Callable[[bytearray, int], None]) -> Path:
    """The archive with its last entry of the central directory changed."""
    content = bytearray(path.read_bytes())
    change(content, content.rindex(b"PK\x01\x02"))
    path.write_bytes(content)
    return path


def test_lying_tables_of_contents(place: Path) -> None:
    members = {name: npy(DESCRIPTION, bytes(8)) for name in ("v.npy", "w.npy")}

    def claim(content: bytearray, at: int) -> None:
        content[at + 24 : at + 28] = struct.pack("<I", 2**31)  # its size unpacked

    def elsewhere(content: bytearray, at: int) -> None:
        content[at + 42 : at + 46] = struct.pack("<I", 5)  # where it is

    def same(content: bytearray, at: int) -> None:
        content[at + 42 : at + 46] = bytes(4)

    def secret(content: bytearray, at: int) -> None:
        content[at + 8] |= 1

    lies = {
        claim: "cannot be|is to have",
        elsewhere: "not where it should be",
        same: "overlap|is in it",
        secret: "encr",
    }
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for lie, told in lies.items():
            path = patched(archive(place / "table.npz", members, how), lie)
            with bounded(), pytest.raises(aj.CheckpointError, match=rf"table.npz.*({told})"):
                Weights(path)
    path = archive(place / "table.npz", members, zipfile.ZIP_LZMA)
    with pytest.raises(aj.CheckpointError, match="packed in a way"):
        Weights(path)
    path = archive(place / "table.npz", {"w.npy": members["w.npy"], "w": b"text"})
    with pytest.raises(aj.CheckpointError, match="'w' is no array"):
        Weights(path)


def test_members_twice(place: Path) -> None:
    with zipfile.ZipFile(place / "twice.npz", "w") as file:
        file.writestr("w.npy", npy(DESCRIPTION, bytes(8)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("w.npy", npy(DESCRIPTION, bytes(8)))
    with pytest.raises(aj.CheckpointError, match=r"'w.npy' is in it twice"):
        Weights(place / "twice.npz")


def test_packed_pickles_are_no_bombs(place: Path) -> None:
    """PyTorch packs nothing, and its reader would unpack whatever an archive claims."""
    path = archive(place / "bomb.pt", {"bomb/data.pkl": bytes(2**27), "bomb/version": b"3"}, zipfile.ZIP_DEFLATED)
    with bounded(), pytest.raises(aj.CheckpointError, match=r"'bomb/data.pkl' is packed in a way"):
        Weights(path)


def test_containers_that_hold_themselves(place: Path) -> None:
    knot: list[Any] = [torch.ones(1)]
    knot.append(knot)
    torch.save({"x": knot}, place / "knot.pt")
    with bounded(), pytest.raises(aj.CheckpointError, match=r"knot.pt holds more than"):
        Weights(place / "knot.pt")
    laughs: list[Any] = [torch.ones(1)]
    for _ in range(30):
        laughs = [laughs, laughs]  # a billion paths
    torch.save(laughs, place / "laughs.pt")
    with pytest.raises(aj.CheckpointError, match=r"laughs.pt holds more than"):
        Weights(place / "laughs.pt")


# Indices of shards


def index(folder: Path, told: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "model.safetensors.index.json"
    path.write_bytes(told if isinstance(told, bytes) else json.dumps(told).encode())
    return path


INDICES = {
    "no JSON": (b"{", "no JSON"),
    "a list": ([], "JSON of a list"),
    "deep": (b'{"weight_map":' + b'{"a":' * 100_000, "no JSON"),
    "no map": ({"metadata": {}}, "has no weight_map"),
    "a list for it": ({"weight_map": ["a"]}, "has no weight_map"),
    "numbers": ({"weight_map": {"w": 3}}, "has no weight_map"),
    "twice": (b'{"weight_map":{"w":"a","w":"b"}}', "names 'w' twice"),
    "itself": ({"weight_map": {"w": "model.safetensors.index.json"}}, "not a whole safetensors|no file of weights"),
    "above": ({"weight_map": {"w": "../../etc/passwd"}}, r"shard '../../etc/passwd' is no file beside the index"),
    "beside": ({"weight_map": {"w": "../secret.safetensors"}}, "is no file beside"),
    "absolute": ({"weight_map": {"w": "/etc/passwd"}}, "'/etc/passwd' is no file beside"),
    "folder": ({"weight_map": {"w": ".."}}, "is no file beside"),
    "nothing": ({"weight_map": {"w": ""}}, "is no file beside"),
    "windows": ({"weight_map": {"w": "..\\secret"}}, "is no file beside"),
    "null": ({"weight_map": {"w": "a\0b"}}, "is no file beside"),
    "missing": (
        {"weight_map": {"a": "m-1-of-3.safetensors", "b": "m-2-of-3.safetensors", "w": "whole.safetensors"}},
        r"these of its 3 shards are missing: m-1-of-3.safetensors, m-2-of-3.safetensors; fetch them",
    ),
    "lacking": ({"weight_map": {"w": "whole.safetensors", "x": "whole.safetensors"}}, "missing x, unexpected none"),
    "extra": ({"weight_map": {}}, ""),
    "unexpected": ({"weight_map": {"x": "two.safetensors"}}, "missing none, unexpected w; fetch both again"),
}


@pytest.mark.parametrize("lie", INDICES)
def test_lying_indices(lie: str, tmp_path: Path) -> None:
    told, expected = INDICES[lie]
    aj.save(tmp_path / "secret.safetensors", {"w": np.ones(1)})
    aj.save(tmp_path / "f" / "whole.safetensors", {"w": np.ones(1)})
    aj.save(tmp_path / "f" / "two.safetensors", {"w": np.ones(1), "x": np.ones(1)})
    path = index(tmp_path / "f", told)
    if not expected:
        assert len(Weights(path)) == 0
        return
    with bounded(), pytest.raises(aj.CheckpointError, match=expected):
        Weights(path)
    with pytest.raises(aj.CheckpointError, match=expected):
        aj.open(tmp_path / "f")


# What is no file


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_pipes_and_devices_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path / "pipe.safetensors", "/dev/zero"):
        with pytest.raises(aj.CheckpointError, match="is no regular file"):
            Weights(path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        Weights(tmp_path / "loop")


@pytest.mark.skipif(os.name != "posix", reason="resource limits of POSIX")
def test_a_sparse_giant_is_refused_at_once(tmp_path: Path) -> None:
    """A terabyte of zeros that takes no room: within a gigabyte of address space."""
    with open(tmp_path / "giant.safetensors", "wb") as file:
        file.write(struct.pack("<Q", 10**11))
        file.truncate(2**40)
    code = f"""
import resource
from adjoint.interop import Weights
used = 2**30 + int(open("/proc/self/statm").read().split()[0]) * {resource.getpagesize()}
resource.setrlimit(resource.RLIMIT_AS, (used, used))
Weights({str(tmp_path / "giant.safetensors")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS)
    assert "CheckpointError" in done.stderr
    assert "a header of 100000000000 cannot be" in done.stderr


def test_a_file_in_memory_is_no_source() -> None:
    with pytest.raises(TypeError, match="BytesIO is nothing that can be opened"):
        aj.open(io.BytesIO())
