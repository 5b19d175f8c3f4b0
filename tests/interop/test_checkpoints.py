"""Files of weights: what goes in comes out, others read them, and a damaged or hostile one is a clear error."""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.interop import writing
from adjoint.interop.checkpoints import read

ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "float32": np.array([np.nan, np.inf, -0.0, 1e-45], "float32"),
    "half": np.ones(2, "float16"),
    "scalar": np.array(3, "int32"),
    "empty": np.zeros((0, 2)),
    "mask": np.array([True, False]),
    "strided": np.arange(12.0).reshape(3, 4).T[1::2],
    "brain": np.array([1.5, -2.0], ml_dtypes.bfloat16),
}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "all.safetensors"
    aj.save(path, ARRAYS, {"text": "Gewichte · 重み", "more": ""})
    arrays, metadata = read(path)
    assert arrays.keys() == ARRAYS.keys()
    assert all(same(arrays[name], x) for name, x in ARRAYS.items())
    assert all(x.flags.writeable for x in arrays.values())
    assert metadata == {"text": "Gewichte · 重み", "more": ""}
    assert aj.load(os.fspath(path)).keys() == ARRAYS.keys()
    aj.save(path, {})
    assert aj.load(path) == {}


@pytest.mark.parametrize("to", ["numpy", "torch", "jax"])
def test_modules_and_trees(to: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = aj.to(aj.nn.MLP((3, 4, 2), rng=0), to)
    aj.save(path, net)
    expected = {name: np.asarray(x) for name, x in net.state_dict().items()}
    assert all(same(aj.load(path)[name], x) for name, x in expected.items())
    other = aj.to(aj.nn.MLP((3, 4, 2), rng=1), to)
    other.load_state_dict(aj.load(path))
    assert all(
        (np.asarray(a) == np.asarray(b)).all() for a, b in zip(net.parameters(), other.parameters(), strict=True)
    )
    aj.save(path, {"net": net, "inner": {"x": np.ones(1)}})
    assert [*aj.load(path)] == sorted([*(f"net.{name}" for name in expected), "inner.x"])


def test_pytorch_reads_and_writes_the_same_files(tmp_path: Path) -> None:
    net = aj.nn.Sequential(aj.nn.Linear(3, 4), aj.nn.LayerNorm(4))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    aj.save(tmp_path / "ours", net)
    theirs.load_state_dict(safetensors.torch.load_file(tmp_path / "ours"))
    x = np.ones((2, 3), "float32")
    np.testing.assert_allclose(theirs(torch.tensor(x)).detach(), net(x), rtol=1e-5, atol=1e-6)
    theirs[0].weight.data *= 2
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "theirs")
    net.load_state_dict(aj.load(tmp_path / "theirs"))
    np.testing.assert_allclose(theirs(torch.tensor(x)).detach(), net(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_short_floats(kind: str, tmp_path: Path) -> None:
    """Ours and PyTorch's files hold the same, bit by bit, and NumPy has the dtype."""
    x = torch.tensor([[1.5, 3.0], [0.25, 4.0]]).to(getattr(torch, kind))
    aj.save(tmp_path / "ours", {"x": x, "scalar": x[0, 1]})
    safetensors.torch.save_file({"x": x, "scalar": x[0, 1].clone()}, tmp_path / "theirs")
    ours, theirs = aj.load(tmp_path / "ours"), aj.load(tmp_path / "theirs")
    assert ours["x"].dtype.name == kind
    assert ours["x"].astype("float32").tolist() == x.float().tolist()
    assert all(same(ours[name], theirs[name]) for name in ("x", "scalar"))
    assert all(same(ours[name], aj.to(ours, "numpy")[name]) for name in ours)
    back = safetensors.torch.load_file(tmp_path / "ours")["x"]
    assert back.dtype == x.dtype
    assert torch.equal(back.view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize(("bad", "told"), [(3.0, "float"), ("text", "str"), (object(), "object")])
def test_only_arrays_are_saved(bad: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"save: 'a.b' is {told}, not an array"):
        aj.save(tmp_path / "f", {"a": {"b": bad}})
    with pytest.raises(TypeError, match="cannot go into a safetensors file"):
        aj.save(tmp_path / "f", {"a": np.array(["text"])})
    with pytest.raises(TypeError, match="a shape but no values"), aj.nn.init.only_shapes():
        aj.save(tmp_path / "f", aj.nn.Linear(2, 2))
    assert not [*tmp_path.iterdir()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "f"
    aj.save(path, {"weight": np.arange(4, dtype="int32"), "b": np.ones(2, "float32")}, {"note": "text"})
    return path.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "f"


def test_every_truncation_is_told(whole: bytes, place: Path) -> None:
    for end in range(len(whole)):
        place.write_bytes(whole[:end])
        with pytest.raises(aj.CheckpointError, match=r"f is not a whole safetensors file .*fetch or save it again"):
            aj.load(place)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_is_read(whole: bytes, place: Path, at: int, bit: int) -> None:
    """It is told; or it hit the name of the checksum, and all else is as it was."""
    place.write_bytes(whole)
    expected, _ = read(place)
    damaged = bytearray(whole)
    damaged[at % len(whole)] ^= 1 << bit
    place.write_bytes(damaged)
    try:
        arrays, metadata = read(place)
    except aj.CheckpointError as error:
        assert any(told in str(error) for told in ("not a whole safetensors file", "corrupt", "lacks"))  # noqa: PT017
    else:
        assert b"adjoint.crc32" not in damaged
        assert metadata["note"] == "text"
        assert all(same(arrays[name], x) for name, x in expected.items())


@given(st.binary(max_size=200))
def test_other_files_are_told(place: Path, content: bytes) -> None:
    place.write_bytes(content)
    with pytest.raises(aj.CheckpointError, match="of another format"):
        aj.load(place)


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("sprung",)


def test_pickles_are_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(aj.CheckpointError):
        aj.load("f")
    torch.save({"x": Trap()}, "g")
    with pytest.raises(aj.CheckpointError):
        aj.load("g")
    assert not Path("sprung").exists()


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        aj.load(tmp_path / "nowhere")
    with pytest.raises(aj.CheckpointError, match="is a folder"):
        aj.load(tmp_path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file(
    step: str, failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise failure

    path = tmp_path / "f"
    aj.save(path, {"x": np.zeros(2)})
    with monkeypatch.context() as patch:
        patch.setattr(writing.os, step, fail)
        with pytest.raises(type(failure)):
            aj.save(path, {"x": np.ones(2)})
    assert (aj.load(path)["x"] == 0).all()
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_are_the_usual(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "link").symlink_to("target")
    aj.save(tmp_path / "link", {"x": np.ones(1)})
    assert (tmp_path / "link").is_symlink()
    target = tmp_path / "target"
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
