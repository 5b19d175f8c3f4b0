"""What the machine says of itself is read rightly, from fakes of machines that are not this one too."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adjoint.cli import machine, measurements

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC 9555
cpu MHz\t\t: 2695.000
flags\t\t: fpu sse2 avx avx2 fma avx512f avx512bw avx512dq avx512vl avx512cd hypervisor

processor\t: 1
flags\t\t: none
"""

AVX512, AVX2 = {"avx", "avx2", "fma", "avx512f"}, {"sse2", "avx", "avx2", "fma"}


@pytest.mark.parametrize(
    ("identity", "features", "flops_per_cycle"),
    [
        # float32 operations a cycle and core, as their makers publish them.
        (("GenuineIntel", 6, 0x55), AVX512, 64),  # Skylake-SP
        (("GenuineIntel", 6, 0x8F), AVX512, 64),  # Sapphire Rapids
        (("GenuineIntel", 6, 0x7E), AVX512, 32),  # Ice Lake, client
        (("GenuineIntel", 6, 0x3C), AVX2, 32),  # Haswell
        (("GenuineIntel", 6, 0x2A), {"sse2", "avx"}, 16),  # Sandy Bridge
        (("AuthenticAMD", 0x17, 0x01), AVX2, 16),  # Zen
        (("AuthenticAMD", 0x17, 0x31), AVX2, 32),  # Zen 2
        (("AuthenticAMD", 0x19, 0x01), AVX2, 32),  # Zen 3
        (("AuthenticAMD", 0x19, 0x11), AVX512, 32),  # Zen 4
        (("AuthenticAMD", 0x1A, 0x02), AVX512, 64),  # Zen 5
        (("AuthenticAMD", 0x1A, 0x24), AVX512, 32),  # Zen 5, mobile
        (("GenuineIntel", 6, 0x17), {"sse2"}, 8),
    ],
)
def test_simd(identity: tuple[str, int, int], features: set[str], flops_per_cycle: int) -> None:
    units = machine.simd(*identity, features)
    assert units is not None
    assert units.bits // 32 * units.fma_per_cycle * 2 == flops_per_cycle
    facts = {"simd_bits": units.bits, "fma_per_cycle": units.fma_per_cycle}
    assert measurements.peak_gflops(facts, "float32", 4, 2.5) == 10 * flops_per_cycle
    assert measurements.peak_gflops(facts, np.float64, 4, 2.5) == 5 * flops_per_cycle


def test_unknown_processors_have_no_estimate() -> None:
    assert machine.simd("", 0, 0, ["neon", "asimd"]) is None
    assert measurements.peak_gflops({"simd_bits": None}, "float32", 4, 2.5) is None
    assert measurements.peak_gflops({"simd_bits": 256, "fma_per_cycle": 2}, "float32", 4, None) is None


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put these texts in the place of the system's files; every other is missing."""

    def use(**texts: str) -> None:
        by_end = {key.replace("__", "/").replace("_", "."): value for key, value in texts.items()}
        monkeypatch.setattr(machine, "_text", lambda path: next((v for k, v in by_end.items() if path.endswith(k)), ""))

    return use


def test_processor_of_a_fake_machine(files: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1, 2, 3])
    files(cpuinfo=EPYC, cpu_max="150000 100000", cpu0__topology__thread__siblings__list="")
    facts = machine.processor()
    assert facts["name"] == "AMD EPYC 9555"
    assert (facts["family"], facts["model"]) == (26, 2)
    assert facts["simd"] == "AVX-512"
    assert facts["virtual"]
    assert facts["reported_ghz"] == 2.695
    assert facts["quota"] == 1.5
    assert facts["logical_cores"] == facts["physical_cores"] == 4
    assert machine.whole_cores(facts) == 2


def test_threads_of_one_core_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {f"cpu{i}/topology/thread_siblings_list": f"{i % 2},{i % 2 + 2}" for i in range(4)}
    caches = {f"cpu{i}/cache/index3/{name}": text for i in range(4) for name, text in
              (("size", "1024K"), ("shared_cpu_list", str(i % 2)))}  # fmt: skip
    known = pairs | caches
    monkeypatch.setattr(machine, "usable_cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(machine, "_text", lambda path: known.get(path.removeprefix("/sys/devices/system/cpu/"), ""))
    facts = machine.processor()
    assert (facts["logical_cores"], facts["physical_cores"]) == (4, 2)
    assert facts["l3_bytes"] == 2 << 20


@pytest.mark.parametrize(
    ("texts", "quota"),
    [
        ({}, None),
        ({"cpu_max": "max 100000"}, None),
        ({"cpu_max": "50000 100000"}, 0.5),
        ({"quota": "-1"}, None),
    ],
)
def test_quota(files: Callable[..., None], texts: dict[str, str], quota: float | None) -> None:
    files(**texts)
    assert machine._quota() == quota


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "model : IBM,9009-42A\ncpu : POWER9", "Features : fp asimd\nCPU part : 0xd40", "flags\t:"],
)
def test_any_cpuinfo_is_read(files: Callable[..., None], text: str) -> None:
    files(cpuinfo=text)
    facts = machine.processor()
    assert facts["name"]
    assert facts["physical_cores"] >= 1


def test_windows_describes_itself(files: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    files()
    monkeypatch.setattr(machine.platform, "processor", lambda: "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD")
    monkeypatch.setattr(machine, "_numpy_features", lambda: ["x86_v2", "x86_v3"])
    facts = machine.processor()
    assert (facts["vendor"], facts["family"], facts["model"]) == ("AuthenticAMD", 25, 33)
    assert (facts["simd"], facts["fma_per_cycle"]) == ("AVX2 + FMA", 2)


def test_memory_within_the_container(files: Callable[..., None]) -> None:
    files(meminfo="MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n", memory_max="1073741824")
    assert machine.memory() == {"total_bytes": 1 << 30, "available_bytes": 8000000 * 1024}
    files(meminfo="MemTotal:       16000000 kB\n", memory_max="max")
    assert machine.memory() == {"total_bytes": 16000000 * 1024, "available_bytes": None}


def fake_tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setattr(machine.shutil, "which", lambda name: str(tool))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 81559, 550.54'", [("NVIDIA H100 80GB HBM3", 81559, "550.54")]),
        ("echo 'A, [N/A], 1'; echo 'B, 5, 1'", [("A", None, "1"), ("B", 5, "1")]),
        ("echo 'No devices were found'", []),
        ("echo 'driver mismatch' >&2; exit 9", []),
    ],
)
def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: list[Any]) -> None:
    fake_tool(tmp_path, script, monkeypatch)
    assert [(gpu["name"], gpu["memory_mib"], gpu["driver"]) for gpu in machine.gpus()] == expected


def test_no_gpu_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.gpus() == []


def test_blas_is_numpys() -> None:
    import threadpoolctl

    facts = machine.blas()
    files = [library["filepath"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    if not files:
        pytest.skip("this BLAS cannot be asked")
    assert facts["file"] in files
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert machine.blas()["threads"] == 1


def test_environment_tells_what_others_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "SkylakeX")
    monkeypatch.setattr(machine._blas, "coretype", None)
    assert machine.environment() == {"OMP_NUM_THREADS": "3", "OPENBLAS_CORETYPE": "SkylakeX"}
    monkeypatch.setattr(machine._blas, "coretype", "SkylakeX")
    assert machine.environment() == {"OMP_NUM_THREADS": "3"}


def test_spin_is_a_dependent_chain() -> None:
    """Against the same recurrence in 64-bit NumPy integers: what Numba compiles is what is counted."""
    kernel, facts = measurements.compiled_spin()
    if kernel is None:
        pytest.skip(f"Numba does not compile here: {facts}")
    x = np.int64(12345)
    for _ in range(100):
        for shift in (13, -7, 17):
            x ^= np.left_shift(x, shift) if shift > 0 else np.right_shift(x, -shift)
    assert kernel(12345, 100) == x
    # 1 → 2¹³ + 1 → 2¹³ + 2⁶ + 1, and that again 17 places up.
    assert measurements.spin(1, 1) == (2**13 + 2**6 + 1) * (2**17 + 1)
