"""A run really killed (SIGKILL), again and again, ends at bitwise the weights of one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import adjoint as aj

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")

EPOCHS, STEPS = 6, 12  # steps an epoch
RUN = f"""
import os, signal, sys
import adjoint as aj

checkpoint, weights, moment, count = *sys.argv[1:4], int(sys.argv[4])
data = aj.load(os.path.join(os.path.dirname(checkpoint), "data"))
train, test = aj.data.Dataset(data["x"], data["y"]).split(test=0.2, seed=0)
cosine, passed = aj.optim.cosine(1e-2, {EPOCHS * STEPS}, warmup=3), 0

def dying(name, f):
    def call(*args):
        global passed
        passed += name == moment
        if passed == count and name == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return f(*args)
    return call

os.fsync, os.replace = dying("fsync", os.fsync), dying("replace", os.replace)
run = aj.fit(aj.nn.MLP((64, 32, 10), rng=0), train, epochs={EPOCHS}, batch_size=32, validation=test, patience=50,
             schedule=dying("step", cosine), checkpoint=checkpoint, progress=False)
aj.save(weights, {{"net": run.net, "optimizer": run.optimizer}})
"""


def start(folder: Path, moment: str = "never", count: int = 0) -> subprocess.Popen[bytes]:
    data = aj.data.digits().take(slice(0, 480))
    aj.save(folder / "data", {"x": data.x, "y": data.y})
    arguments = [str(folder / "run"), str(folder / "weights"), moment, str(count)]
    return subprocess.Popen([sys.executable, "-c", RUN, *arguments])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder).wait() == 0
    return (folder / "weights").read_bytes()


def test_killed_in_a_step_and_in_a_save(whole: bytes, tmp_path: Path) -> None:
    """Before the first checkpoint, in the second epoch, while the file is written, before it is renamed, and after."""
    deaths = [("step", 5, None), ("step", STEPS + 7, 1), ("fsync", 1, 1), ("replace", 2, 2), ("fsync", 4, 4)]
    for moment, count, done in deaths:
        assert start(tmp_path, moment, count).wait() == -signal.SIGKILL
        if done is None:
            assert not (tmp_path / "run").exists()
        else:
            assert aj.load(tmp_path / "run")["optimizer.t"] == done * STEPS
    assert start(tmp_path).wait() == 0
    assert (tmp_path / "weights").read_bytes() == whole


def test_killed_from_outside_at_any_moment(whole: bytes, tmp_path: Path) -> None:
    chance = random.Random(0)
    killed = 0
    while killed < 2:
        before = os.stat(tmp_path / "run").st_mtime_ns if killed else 0
        process = start(tmp_path)
        while process.poll() is None and not (
            (tmp_path / "run").exists() and (tmp_path / "run").stat().st_mtime_ns > before
        ):
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.02))
        process.kill()
        if process.wait() == 0:  # it was faster
            break
        killed += 1
    assert start(tmp_path).wait() == 0
    assert (tmp_path / "weights").read_bytes() == whole
