"""Tiles are used only where the processor has them, the system lets the process have them, and a person wants them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adjoint.arrays.numpy import amx
from tests.patience import HANGS

HAS = "processor\t: 0\nflags\t\t: fpu sse2 avx512f amx_bf16 amx_tile amx_int8\n\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HAS, True),
        (HAS.replace("amx_tile", "amx_tiles"), False),
        (HAS.replace("amx_bf16", "avx512_bf16"), False),
        (HAS.replace("avx512f", "avx2"), False),
        (HAS[: HAS.index("amx_tile")], False),
        ("flags", False),
        ("Features : fp asimd bf16\n", False),
        ("", False),
    ],
)
def test_a_processor_tells_its_flags(text: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert amx.flagged(str(tmp_path / "cpuinfo")) == found


def test_a_file_that_is_no_text_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_bytes(b"\xff\xfe\x00\nflags : amx_tile\n")
    assert not amx.flagged(str(tmp_path / "cpuinfo"))
    assert not amx.flagged(str(tmp_path / "missing"))
    assert not amx.flagged(str(tmp_path))


def test_tiles_are_not_wanted_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADJOINT_BLAS", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert amx.wanted()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not amx.wanted()
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "win32")
    assert not amx.wanted()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("ADJOINT_BLAS", "default")
    assert not amx.wanted()


def test_a_person_can_leave_products_to_numpy() -> None:
    code = (
        "import numpy; from adjoint.arrays.numpy import amx, gemm; assert not amx.here and gemm.matmul is numpy.matmul"
    )
    environ = {**os.environ, "ADJOINT_BLAS": "default"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS, env=environ)
