"""Weights by name from every format, against the libraries that write it; nothing is read before it is asked for."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import adjoint as aj
from adjoint.interop import Weights

MATRIX = np.random.default_rng(0).standard_normal((5, 3))


def arrays() -> dict[str, np.ndarray]:
    return {
        "h.10.w": MATRIX.astype("float32"),
        "h.2.w": MATRIX,
        "ids": np.arange(7),
        "mask": np.array([[True], [False]]),
        "none": np.zeros((0, 4), "float16"),
        "one": np.array(2.5, "float32"),
        "phase": np.array([1j, 2.0], "complex64"),
    }


def by_safetensors(folder: Path) -> Path:
    safetensors.numpy.save_file(arrays(), folder / "w.safetensors")
    return folder / "w.safetensors"


def by_us(folder: Path) -> Path:
    aj.save(folder / "w", arrays())
    return folder / "w"


def by_numpy(folder: Path) -> Path:
    np.savez(folder / "w.npz", **arrays())
    return folder / "w.npz"


def by_numpy_packed(folder: Path) -> Path:
    np.savez_compressed(folder / "w.npz", **arrays())
    return folder / "w.npz"


def by_torch(folder: Path) -> Path:
    torch.save({name: torch.tensor(x) for name, x in arrays().items()}, folder / "w.pt")
    return folder / "w.pt"


def by_old_torch(folder: Path) -> Path:
    tensors = {name: torch.tensor(x) for name, x in arrays().items()}
    torch.save(tensors, folder / "w.bin", _use_new_zipfile_serialization=False)
    return folder / "w.bin"


def sharded(folder: Path) -> Path:
    """As `transformers` writes them."""
    parts = [dict(list(arrays().items())[::2]), dict(list(arrays().items())[1::2])]
    where = {}
    for k, part in enumerate(parts):
        name = f"model-{k + 1:05}-of-00002.safetensors"
        safetensors.numpy.save_file(part, folder / name, {"format": "pt"})
        where |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 123}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


WRITERS = [by_safetensors, by_us, by_numpy, by_numpy_packed, by_torch, by_old_torch, sharded]


@pytest.mark.parametrize("write", WRITERS)
def test_what_others_wrote(write: Callable[[Path], Path], tmp_path: Path) -> None:
    weights, expected = Weights(write(tmp_path)), arrays()
    assert set(weights) == set(expected)
    assert len(weights) == len(expected)
    for name, x in expected.items():
        entry = weights.entry(name)
        assert (weights.shape(name), weights.dtype(name), entry.nbytes) == (x.shape, x.dtype, x.nbytes)
        assert weights[name].dtype == x.dtype
        np.testing.assert_array_equal(weights[name], x)
        with pytest.raises(ValueError, match="read-only"):
            weights[name][...] = 0
    assert weights.size == sum(x.size for x in expected.values())
    assert weights.nbytes == sum(x.nbytes for x in expected.values())
    assert set(weights.dtypes) == {"float32", "float64", "int64", "bool", "float16", "complex64"}
    assert [name for name, _ in weights.maps()] == [n for n in weights if weights.dtype(n).kind == "f" and "w" in n] + (
        [] if "none" not in [name for name, _ in weights.maps()] else ["none"]
    )
    np.testing.assert_allclose(weights.map("h.2.w").svdvals(), np.linalg.svd(MATRIX, compute_uv=False), rtol=1e-12)


def test_names_are_in_a_persons_order(tmp_path: Path) -> None:
    assert list(Weights(by_safetensors(tmp_path)))[:3] == ["h.2.w", "h.10.w", "ids"]


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_short_floats(kind: str, ending: str, tmp_path: Path) -> None:
    x = torch.tensor(MATRIX).to(getattr(torch, kind))
    path = tmp_path / f"w.{ending}"
    if ending == "pt":
        torch.save({"x": x}, path)
    else:
        safetensors.torch.save_file({"x": x}, path)
    weights = Weights(path)
    assert weights.dtype("x").name == weights["x"].dtype.name == kind
    np.testing.assert_array_equal(weights["x"].astype("float32"), x.float().numpy())
    seen = weights.map("x")
    assert seen.weight.dtype == np.float32  # exact, and spectra can be told of it
    assert int(seen.rank()) == 3


def test_bfloat16_of_npz(tmp_path: Path) -> None:
    x = MATRIX.astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "w.npz", x=x)  # NumPy writes two raw bytes
    assert (Weights(tmp_path / "w.npz")["x"] == x).all()


def test_strange_layouts_of_npz(tmp_path: Path) -> None:
    named = {"fortran": np.asfortranarray(MATRIX), "big": MATRIX.astype(">f4"), "old": np.arange(3).astype(">i2")}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "w.npz", **named)
        weights = Weights(tmp_path / "w.npz")
        for name, x in named.items():
            np.testing.assert_array_equal(weights[name], x)
            assert weights[name].dtype.isnative
            assert weights.dtype(name) == weights[name].dtype


def test_nothing_is_read_before_it_is_used(tmp_path: Path) -> None:
    big = np.ones((1024, 4096), "float32")  # 16 MiB
    aj.save(tmp_path / "w", {f"h.{k}.w": big for k in range(8)})
    np.savez(tmp_path / "w.npz", a=big, b=big)
    for path in ("w", "w.npz"):
        tracemalloc.start()
        weights = Weights(tmp_path / path)
        seen = {name: weights[name] for name in weights if path == "w" or name == "a"}
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**20 + (path != "w") * big.nbytes  # NumPy writes archives that are not aligned
        assert all(x.sum() == big.size for x in seen.values())


def test_a_misplaced_array_is_copied(tmp_path: Path) -> None:
    """The format demands no alignment: here the numbers begin at an odd byte."""
    header = b'{"x":{"dtype":"F64","shape":[3],"data_offsets":[0,24]}}'
    header += b" " * (-len(header) % 8 + 1)
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + np.arange(3.0).tobytes())
    x = Weights(tmp_path / "w")["x"]
    assert x.flags.aligned
    assert x.tolist() == [0.0, 1.0, 2.0]


def test_names_inside_each_other(tmp_path: Path) -> None:
    """A training checkpoint: dicts and lists by dotted names; numbers and texts beside the tensors."""
    inner = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    tree = {"state_dict": inner, "steps": [torch.tensor(4), torch.tensor(5)], "epoch": 3, "lr": 0.5, "name": "run"}
    torch.save(tree, tmp_path / "w.ckpt")
    weights = Weights(tmp_path / "w.ckpt")
    assert list(weights) == ["state_dict.weight", "state_dict.bias", "steps.0", "steps.1"]
    assert weights.metadata == {"epoch": "3", "lr": "0.5", "name": "run"}
    torch.save(torch.ones(2), tmp_path / "w.ckpt")
    assert list(Weights(tmp_path / "w.ckpt")) == ["tensor"]


def test_shared_and_strided_tensors(tmp_path: Path) -> None:
    x = torch.arange(12.0).reshape(3, 4)
    torch.save({"x": x, "transposed": x.T, "row": x[1], "wide": x[:, :1].expand(3, 9)}, tmp_path / "w.pt")
    weights = Weights(tmp_path / "w.pt")
    assert all((weights[n] == t.numpy()).all() for n, t in [("x", x), ("transposed", x.T), ("row", x[1])])
    assert weights["wide"].shape == (3, 9)


def test_a_folder_finds_its_file(tmp_path: Path) -> None:
    with pytest.raises(aj.CheckpointError, match="holds no weights"):
        Weights(tmp_path)
    for name in ("b.safetensors", "a.safetensors"):
        aj.save(tmp_path / name, {name: np.ones(1)})
        if name[0] == "b":
            assert list(Weights(tmp_path)) == [name]
    with pytest.raises(aj.CheckpointError, match=r"several files of weights \(a.safetensors, b.safetensors\)"):
        Weights(tmp_path)
    torch.save({"older": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert list(Weights(tmp_path)) == ["older"]
    aj.save(tmp_path / "model.safetensors", {"x": np.ones(1)})
    assert list(Weights(tmp_path)) == ["x"]


def test_shards_may_be_links(tmp_path: Path) -> None:
    """As in the cache of Hugging Face's hub."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    sharded(tmp_path / "blobs")
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    weights = Weights(tmp_path / "snapshot")
    assert set(weights) == set(arrays())
    assert set(Weights(tmp_path / "snapshot" / "model.safetensors.index.json")) == set(arrays())
    assert weights.metadata == {"total_size": "123"}
    assert len(weights.files) == 3


def test_what_it_shows(tmp_path: Path) -> None:
    aj.save(tmp_path / "w.safetensors", {f"h.{k}.weight": np.ones((4, 4), "float16") for k in range(20)})
    told = repr(Weights(tmp_path / "w.safetensors"))
    assert told.splitlines()[0] == "Weights(w.safetensors: 20 arrays, 320 numbers of float16, 640 bytes"
    assert told.splitlines()[-1] == "  … and 12 more)"
    aj.save(tmp_path / "w.safetensors", {})
    assert (
        repr(Weights(tmp_path / "w.safetensors")) == "Weights(w.safetensors: 0 arrays, 0 numbers of no dtype, 0 bytes)"
    )


def test_real_weights(data_path: Callable[[str], Path]) -> None:
    weights = Weights(data_path("stories260K"))
    theirs = safetensors.numpy.load_file(data_path("stories260K") / "model.safetensors")
    assert weights.keys() == theirs.keys()
    assert all((weights[name] == x).all() for name, x in theirs.items())
    assert sum(1 for _ in weights.maps()) == 36
    assert weights.size == 260_032


# What cannot be


def test_questions_about_the_wrong_array(tmp_path: Path) -> None:
    weights = Weights(by_us(tmp_path))
    with pytest.raises(KeyError, match=r"has no array 'h.3.w', only h.2.w, h.10.w, ids, mask, none and 2 more"):
        weights["h.3.w"]
    with pytest.raises(aj.ShapeError, match=r"'ids' is \(7,\); a matrix has two axes"):
        weights.map("ids")
    with pytest.raises(aj.DtypeError, match="'mask' holds bool"):
        weights.map("mask")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("old", [False, True])
def test_no_pickle_is_executed_unasked(old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": torch.ones(1), "y": Trap()}, "w.pt", _use_new_zipfile_serialization=not old)
    with pytest.raises(aj.CheckpointError, match=r"w.pt .*mkdir.*trust_pickle=True \(--trust-pickle\)"):
        Weights("w.pt")
    assert not Path("sprung").exists()
    assert list(Weights("w.pt", trust_pickle=True)) == ["x"]
    assert Path("sprung").exists()
    torch.save({"x": MATRIX}, "numpy.pt")
    with pytest.raises(aj.CheckpointError, match="trust_pickle"):
        Weights("numpy.pt")
    assert (Weights("numpy.pt", trust_pickle=True)["x"] == MATRIX).all()
    Path("w.bin").write_bytes(pickle.dumps({"x": np.ones(2)}))
    with pytest.raises(aj.CheckpointError):
        Weights("w.bin")


def test_a_pickled_module_is_its_weights(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3), tmp_path / "net.pt")
    with pytest.raises(aj.CheckpointError, match=r"a torch.nn.modules.linear.Linear"):
        Weights(tmp_path / "net.pt")
    assert list(Weights(tmp_path / "net.pt", trust_pickle=True)) == ["weight", "bias"]


def test_tensors_without_an_array(tmp_path: Path) -> None:
    torch.save({"x": torch.eye(2).to_sparse()}, tmp_path / "w.pt")
    with pytest.raises(aj.CheckpointError, match=r"'x' is torch.sparse_coo"):
        Weights(tmp_path / "w.pt")
    torch.save({"x": torch.ones(2, dtype=torch.float8_e4m3fnuz).view(torch.bits8)}, tmp_path / "w.pt")
    with pytest.raises(aj.CheckpointError, match=r"'x' has the dtype torch.bits8, which NumPy lacks"):
        Weights(tmp_path / "w.pt")


@pytest.mark.parametrize("bad", [np.array([{}], object), np.array(["text"]), np.zeros(2, [("a", "f4")])])
def test_objects_in_npz_are_refused(bad: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", fine=np.ones(2), bad=bad)
    with pytest.raises(aj.CheckpointError, match=r"w.npz: 'bad' is of dtype .*never unpickled"):
        Weights(tmp_path / "w.npz")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "w.pt").write_bytes(b"PK")
    with pytest.raises(ImportError, match="pip install torch"):
        Weights(tmp_path / "w.pt")
