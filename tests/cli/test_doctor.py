"""The doctor's figures are plausible, its dict is JSON, and its screen fits."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from adjoint.arrays.numpy import amx, gemm, mkl
from adjoint.cli import doctor as module
from adjoint.cli import machine, measurements
from tests.patience import HANGS

EXAMINE = """
import json, sys
from adjoint.cli.doctor import examine
steps = []
facts = examine(steps.append)
print(json.dumps({"facts": facts, "steps": steps, "imported": [m for m in ("torch", "jax") if m in sys.modules]}))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """The examination of this machine, in an interpreter whose threads are not limited for the tests."""
    environ = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    environ["ADJOINT_CACHE"] = "off"
    done = subprocess.run(
        [sys.executable, "-c", EXAMINE], env=environ, capture_output=True, text=True, check=True, timeout=HANGS
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def facts(told: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(told["facts"])


def test_speeds_are_plausible(facts: dict[str, Any]) -> None:
    """Units are right: from below there is room for a hundredth of what a machine does, for others may be at work."""
    for dtype in ("float32", "float64"):
        for run in facts["matmul"][dtype].values():
            assert 0.01 < run["gflops"] < 1e6
            assert run["n"] in {512, 1024, 2048, 4096}
            if run["peak_gflops"] is not None:  # exceeded where the clock was measured on a busy machine
                assert run["fraction"] == pytest.approx(run["gflops"] / run["peak_gflops"])
    for clock in (facts["clock_ghz"]["one"], facts["clock_ghz"]["all"]):
        assert clock is None or 0.02 < clock < 8
    for name in ("one", "all"):
        assert 0.01 < facts["bandwidth_gbs"][name] < 10_000


@pytest.mark.parametrize(("fraction", "explained"), [(1.29, True), (0.9, False)])
def test_products_beyond_the_estimate_are_explained(facts: dict[str, Any], fraction: float, explained: bool) -> None:
    facts["processor"] |= {"simd": "AVX-512", "simd_bits": 512, "fma_per_cycle": 1}
    for dtype in ("float32", "float64"):
        for run in facts["matmul"][dtype].values():
            run |= {"peak_gflops": 100.0, "fraction": fraction}
    facts["matmul"]["peak_method"] = f"estimate: {measurements.peak_told(facts['processor'])}"
    words = " ".join(printed(facts, 100).split())
    assert "reckoned with one 512-bit unit in each core" in words
    assert ("more than 100%: its cores do more a cycle" in words) == explained


def test_the_roofline_is_what_the_library_reaches(facts: dict[str, Any]) -> None:
    blas = {dtype: 1e9 * max(run["gflops"] for run in facts["matmul"][dtype].values()) for dtype in module.DTYPES}
    for way in facts["products"].values():
        assert ("gflops" in way) == (way["by"] is not None)
    facts["products"] = {
        "float32": {"by": "AMX", "from": 162, "below": "MKL", "gflops": 400.0},
        "float64": {"by": None},
    }
    assert module.roofline(facts).flops == {"float32": 400e9, "float64": blas["float64"]}
    facts["products"] = {}
    assert module.roofline(facts).flops == blas


def test_products_are_told_where_they_are_not_numpys(facts: dict[str, Any]) -> None:
    facts["matmul"]["float32"]["one"]["gflops"] = facts["matmul"]["float32"]["all"]["gflops"] = 300.0
    tiles = {"by": "AMX", "from": 162, "below": "MKL", "gflops": 414.0}
    facts["products"] = {"float32": tiles, "float64": {"by": None, "from": None, "below": None}}
    text = " ".join(printed(facts, 100).split())
    assert "products float32 by tiles of AMX from n = 162 on, MKL below · 414 GFLOP/s, by BLAS 300 backends" in text
    facts["products"]["float32"] = tiles | {"below": None}
    assert "n = 162 on · 414 GFLOP/s" in printed(facts, 100)
    facts["products"]["float32"] = {"by": None}
    assert "products" not in printed(facts, 100)


def test_by_what_the_library_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "here", False)
    monkeypatch.setattr(mkl, "path", None)
    assert {way["by"] for way in machine.products(1).values()} == {None}
    monkeypatch.setattr(mkl, "path", "libmkl_rt.so")
    found = machine.products(2)
    assert found["float32"] == found["float64"]
    assert (found["float32"]["by"], found["float32"]["below"]) == ("MKL", None)
    assert (found["float32"]["from"] - 1) ** 3 < gemm.QUIET <= found["float32"]["from"] ** 3
    monkeypatch.setattr(amx, "here", True)
    monkeypatch.setattr("adjoint.arrays.numpy.tiles.compiled_for", lambda: True)
    found = machine.products(2)
    assert (found["float32"]["by"], found["float32"]["below"], found["float64"]["by"]) == ("AMX", "MKL", "MKL")
    n = found["float32"]["from"]
    assert (n - 1) ** 3 < 2 * gemm.TILED <= n**3
    monkeypatch.setattr("adjoint.arrays.numpy.tiles.compiled_for", lambda: False)
    assert machine.products(2)["float32"]["by"] == "MKL"


def test_threads_and_peaks_belong_together(facts: dict[str, Any]) -> None:
    runs = facts["matmul"]["float32"]
    assert runs["one"]["threads"] == 1
    assert runs["all"]["threads"] == (facts["blas"]["threads"] or machine.whole_cores(facts["processor"]))
    single, double = facts["matmul"]["float32"]["one"], facts["matmul"]["float64"]["one"]
    if single["peak_gflops"] is not None:
        assert single["peak_gflops"] == pytest.approx(2 * double["peak_gflops"])


def test_examination_is_light_and_tells_its_steps(told: dict[str, Any]) -> None:
    assert told["imported"] == []
    assert told["steps"][0] == "the clock"
    assert "float32 products on 1 thread" in told["steps"]


def test_backends_are_those_installed(facts: dict[str, Any]) -> None:
    assert facts["backends"]["numpy"] == np.__version__
    assert set(facts["backends"]) == {"numpy", "numba", "torch", "jax"}


def printed(facts: dict[str, Any], width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(module.screen(facts))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in text.splitlines())
    return str(text)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_screen_shows_the_figures(facts: dict[str, Any], width: int) -> None:
    text = printed(facts, width)
    for word in ("processor", "memory", "BLAS", "backends", "numba", "float32", "float64", "at most", "bandwidth"):
        assert word in text
    assert module._figures(facts["matmul"]["float32"]["one"]["gflops"]) in text
    assert ("✓ Nothing to mend." in text) == (facts["remedies"] == [])


def test_screen_shows_every_remedy(facts: dict[str, Any]) -> None:
    facts["remedies"] = [{"finding": f"finding [{i}]", "remedy": f"remedy [{i}]"} for i in range(3)]
    text = printed(facts, 80)
    for i in range(3):
        assert f"! finding [{i}]\n→ remedy [{i}]" in "\n".join(line.rstrip() for line in text.splitlines())


def test_screen_of_a_machine_that_tells_little(facts: dict[str, Any]) -> None:
    """An ARM laptop with Accelerate, no Numba, no PyTorch, and a GPU whose memory is not told."""
    facts["processor"] |= {"simd": None, "reported_ghz": None, "load": None, "virtual": False, "quota": 1.5}
    facts["processor"] |= {"physical_cores": 4, "logical_cores": 8}
    facts["clock_ghz"] = {"one": None, "all": None, "method": None}
    facts["memory"] = {"total_bytes": None, "available_bytes": None}
    facts["blas"] |= {"library": "accelerate", "version": None, "kernels": None, "threads": None, "threading": None}
    facts["numba"], facts["products"] = {"error": "no module named numba"}, {}
    facts["backends"] = {"numpy": "2.4.6", "numba": None, "torch": None, "jax": None}
    facts["gpus"] = [{"name": "GB10", "memory_mib": None, "driver": "580"}]
    facts["environment"] = {"OMP_NUM_THREADS": "1"}
    for runs in facts["matmul"]["float32"], facts["matmul"]["float64"]:
        for run in runs.values():
            run |= {"peak_gflops": None, "fraction": None}
    text = " ".join(printed(facts, 80).split())  # where lines break depends on the processor's name
    for words in ("unknown", "torch not installed", "does not load", "limited to 1.5 cores' time", "8 threads",
                  "Accelerate", "OMP_NUM_THREADS=1", "GB10 · driver 580"):  # fmt: skip
        assert words in text


def test_doctor_prints_and_returns(facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "examine", lambda tell: tell("the clock") or facts)
    console = Console(file=io.StringIO(), width=100)
    assert module.doctor(console) is facts
    assert "product by BLAS" in console.file.getvalue()  # type: ignore[attr-defined]


def test_without_numba_the_reported_clock_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    kernel, numba = measurements.compiled_spin()
    assert kernel is None
    assert "numba" in numba["error"]
    clock = module._clock(kernel, {"simd": "SSE", "reported_ghz": 2.5}, 2)
    assert clock == {"one": 2.5, "all": 2.5, "method": measurements.CLOCK_REPORTED}
    assert module._clock(None, {"simd": "SSE", "reported_ghz": None}, 2)["method"] is None


def test_numba_that_cannot_keep_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = pytest.importorskip("numba.core.dispatcher").Dispatcher

    def refuse(self: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(dispatcher, "enable_caching", refuse)
    kernel, told = measurements.compiled_spin()
    assert told["cache"] is None
    assert kernel is not None
    assert kernel(1, 1) == measurements.spin(1, 1)


def test_triad_stays_within_memory() -> None:
    assert measurements.triad_bytes(0, None) == 64 << 20
    assert measurements.triad_bytes(32 << 20, None) == 128 << 20
    assert measurements.triad_bytes(1 << 30, None) == 256 << 20
    assert measurements.triad_bytes(1 << 30, 160 << 20) == 20 << 20
    assert measurements.triad_gbs(1 << 20, 3) > 0
