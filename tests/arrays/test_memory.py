"""Freed memory is kept for the next arrays, unless a person says otherwise; the system counts page faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from adjoint.arrays.numpy import memory

PROGRAM = """
import resource
import numpy as np, adjoint as aj
aj.exp(np.ones(2))
def step():
    arrays = [np.ones(1 << 20) for _ in range(4)]
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    clean = {k: v for k, v in os.environ.items() if k not in memory.OWN and k != "ADJOINT_MALLOC"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={**clean, **environment}
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_pages_are_kept() -> None:
    """Five steps touch 160 MB: at most a hundredth of their 40,960 pages come from the system again."""
    assert faults() < 410


def test_a_person_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJOINT_MALLOC", "default")
    assert not memory.keep()
    monkeypatch.delenv("ADJOINT_MALLOC")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not memory.keep()
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep()
