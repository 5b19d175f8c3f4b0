"""Files are written piece by piece, whole or not at all; what a killed writer leaves is cleaned up by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import adjoint as aj
from adjoint.interop.writing import write

posix = pytest.mark.skipif(os.name != "posix", reason="signals and locks of POSIX")
KILLED = """
import os, signal, sys
from adjoint.interop.writing import write
def pieces():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)
write(sys.argv[1], pieces())
"""


@pytest.mark.parametrize("kind", ["contiguous", "strided", "jax"])
def test_saving_takes_the_memory_of_one_array(kind: str, tmp_path: Path) -> None:
    x = np.ones((1024, 1024), "float32")  # 4 MiB
    make = {"contiguous": x.copy, "strided": lambda: x.copy().T[:, ::-1], "jax": lambda: jnp.array(x)}[kind]
    arrays = {f"layer.{k}": make() for k in range(12)}
    aj.save(tmp_path / "w", {"x": make()})  # whatever is imported
    tracemalloc.start()
    aj.save(tmp_path / "w", arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * x.nbytes
    assert len(safetensors.numpy.load_file(tmp_path / "w")) == 12


def test_every_array_is_aligned_and_the_same_bytes_come_again(tmp_path: Path) -> None:
    arrays = {f"{'n' * k}": np.arange(k + 1).astype(t) for k, t in enumerate(["u1", "f8", "f2", "?", "i4", "f4"], 1)}
    aj.save(tmp_path / "a", arrays, {"note": "text · 重み"})
    aj.save(tmp_path / "b", dict(reversed(arrays.items())), {"note": "text · 重み"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    weights = aj.interop.Weights(tmp_path / "a")
    assert not any(weights[name].flags.owndata for name in arrays)
    assert weights.metadata["note"] == "text · 重み"


@posix
def test_a_killed_writer_leaves_a_part_and_the_next_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "f[1]"  # a name that a pattern would misread
    write(path, b"whole")
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -signal.SIGKILL
    parts = [p for p in tmp_path.iterdir() if p.name.endswith(".part")]
    assert len(parts) == 2
    assert path.read_bytes() == b"whole"
    old = time.time() - 3600
    os.utime(parts[0], (old, old))
    (tmp_path / ".other.00000000.part").touch()
    os.utime(tmp_path / ".other.00000000.part", (old, old))
    write(path, [b"new", b"er"])
    assert path.read_bytes() == b"newer"
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"f[1]", ".other.00000000.part", parts[1].name}  # the young one may be another host's


@posix
def test_the_part_of_a_living_writer_stays(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"slow"
        (part,) = tmp_path.glob(".f.*.part")
        os.utime(part, (0, 0))
        write(tmp_path / "f", b"fast")
        assert part.exists()
        yield b"er"

    write(tmp_path / "f", pieces())
    assert (tmp_path / "f").read_bytes() == b"slower"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_piece_that_cannot_be_made_leaves_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("no more")

    write(tmp_path / "f", b"whole")
    with pytest.raises(RuntimeError, match="no more"):
        write(tmp_path / "f", pieces())
    assert (tmp_path / "f").read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
