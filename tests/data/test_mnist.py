"""MNIST against the published facts about it, and against a reader of three lines."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from adjoint.data import DataError, mnist

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture
def folder(data_path: Callable[[str], Path]) -> Path:
    return data_path("mnist")


def test_the_real_files(folder: Path) -> None:
    train, test = mnist(folder)
    assert train.x.shape == (60_000, 1, 28, 28)
    assert test.x.shape == (10_000, 1, 28, 28)
    assert train.x.dtype == np.float32
    assert train.y.dtype == np.int64
    assert np.bincount(train.y).tolist() == TRAIN_COUNTS
    assert np.bincount(test.y).tolist() == TEST_COUNTS
    assert train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert train.x.min() == 0
    assert train.x.max() == 1
    # The mean and deviation by which everyone normalizes MNIST.
    assert round(float(train.x.mean(dtype=np.float64)), 4) == 0.1307
    assert round(float(train.x.std(dtype=np.float64)), 4) == 0.3081
    assert train.classes == tuple("0123456789")


def test_against_raw_bytes(folder: Path) -> None:
    (path,) = folder.glob("*t10k-images*")
    data = gzip.decompress(path.read_bytes())
    magic, n, height, width = struct.unpack(">4I", data[:16])
    assert (magic, n, height, width) == (2051, 10_000, 28, 28)
    raw = np.array(list(data[16 : 16 + 784 * 100]), np.float32).reshape(100, 1, 28, 28)
    _, test = mnist(folder)
    assert (test.x[:100] == raw / np.float32(255)).all()


def idx(*shape: int, value: int = 1, code: int = 8) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape) + bytes([value]) * int(np.prod(shape))


NAMES = {
    "train-images-idx3-ubyte": idx(5, 3, 2, value=255),
    "train-labels-idx1-ubyte": idx(5),
    "t10k-images-idx3-ubyte": idx(2, 3, 2),
    "t10k-labels-idx1-ubyte": idx(2),
}


def write(folder: Path, rename=lambda name: name, pack=lambda data: data) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in NAMES.items():
        (folder / rename(name)).write_bytes(pack(data))
    return folder


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: name + ".gz",
        lambda name: f"mnist_{name}.gz",
        lambda name: f"fashion-{name}",
        lambda name: name.replace("t10k", "test"),
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.upper(),
    ],
)
def test_usual_names(tmp_path: Path, rename) -> None:
    write(tmp_path, rename, gzip.compress if rename("x").endswith(".gz") else bytes)
    train, test = mnist(tmp_path)
    assert train.x.shape == (5, 1, 3, 2)
    assert test.x.shape == (2, 1, 3, 2)
    assert (train.x == 1).all()
    assert (test.x == np.float32(1) / np.float32(255)).all()
    assert train.y.tolist() == [1] * 5


def test_torchvision_folder(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw")
    assert len(mnist(tmp_path)[0]) == 5


def test_plain_goes_before_zipped(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, lambda name: name + ".gz", lambda data: b"damaged")
    assert len(mnist(str(tmp_path))[1]) == 2


def test_missing_and_ambiguous_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        mnist(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="it should hold train-images-idx3-ubyte"):
        mnist(tmp_path)
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks train labels beside .*train-images-idx3-ubyte"):
        mnist(tmp_path)
    write(tmp_path)
    write(tmp_path, lambda name: f"fashion-{name}")
    with pytest.raises(DataError, match=r"several sets, .*'fashion-'"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("train-labels-idx1-ubyte", idx(4), "5 images, but 4 labels"),
        ("train-labels-idx1-ubyte", idx(5, 1), r"holds uint8 \(5, 1\); labels are uint8 with 1 axes"),
        ("train-images-idx3-ubyte", idx(5, 3), r"holds uint8 \(5, 3\); images are uint8 with 3 axes"),
        ("train-images-idx3-ubyte", idx(5, 3, 2, code=9), r"holds int8 \(5, 3, 2\)"),
        ("t10k-labels-idx1-ubyte", idx(2, value=11), "labels run from 11 to 11"),
        ("t10k-images-idx3-ubyte", idx(2, 3, 2)[:-1], "t10k-images-idx3-ubyte: truncated"),
    ],
)
def test_damaged_sets(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        mnist(tmp_path)


def test_a_cut_real_file_is_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    (victim,) = tmp_path.glob("*train-labels*")
    victim.write_bytes(victim.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz: damaged gzip"):
        mnist(tmp_path)
