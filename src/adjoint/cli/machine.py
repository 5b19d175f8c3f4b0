"""What the machine says of itself: processor, memory, BLAS, libraries. Nothing here is measured."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from adjoint import _blas

Facts = dict[str, Any]

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
VARIABLES = (
    "ADJOINT_BLAS",
    "OPENBLAS_CORETYPE",
    *THREAD_VARIABLES,
    "NUMBA_NUM_THREADS",
    "NUMBA_THREADING_LAYER",
    "NUMBA_CACHE_DIR",
    "NUMBA_DISABLE_JIT",
)
BACKENDS = ("numpy", "numba", "torch", "jax")


class Simd(NamedTuple):
    """The widest vector instructions: their name, bits a register, fused multiply-adds a cycle."""

    name: str
    bits: int
    fma_per_cycle: int


def simd(vendor: str, family: int, model: int, features: Iterable[str]) -> Simd | None:
    """Return what an x86 processor's vector units offer, None for other processors.

    Sources: Intel 64 and IA-32 optimization manual; AMD software optimization guides for families 17h, 19h, 1Ah;
    A. Fog, The microarchitecture of Intel, AMD and VIA CPUs.
    """
    has = set(features).intersection
    if has({"avx512f", "x86_v4"}):
        return Simd("AVX-512", 512, 1 if _halved(vendor, family, model) else 2)
    if has({"avx2", "x86_v3"}) and has({"fma", "fma3", "x86_v3"}):
        first_zen = vendor == "AuthenticAMD" and family == 0x17 and model < 0x30  # 128-bit units
        return Simd("AVX2 + FMA", 256, 1 if first_zen else 2)
    if has({"avx"}):
        return Simd("AVX", 256, 1)  # no fusion, but one multiplication and one addition a cycle
    return Simd("SSE", 128, 1) if has({"sse2", "x86_v2"}) else None


def _halved(vendor: str, family: int, model: int) -> bool:
    """Zen 4 and the mobile Zen 5 do 512 bits in two halves; client Ice, Tiger and Rocket Lake have one 512-bit unit."""
    if vendor == "AuthenticAMD":
        return family == 0x19 or (family == 0x1A and model >> 4 in {2, 6})
    return family == 6 and model in {0x7D, 0x7E, 0x8C, 0x8D, 0xA7}


def processor() -> Facts:
    """Return the processor's name, cores, vector units and what limits them here."""
    info = _cpuinfo(_text("/proc/cpuinfo"))
    described = platform.processor()  # on Windows "Intel64 Family 6 Model 154 Stepping 3, GenuineIntel"
    numbers = dict(re.findall(r"(Family|Model) (\d+)", described))
    vendor = info.get("vendor_id") or described.rpartition(", ")[2]
    family, model = (
        int(text) if (text := info.get(key) or numbers.get(word, "")).isdigit() else 0
        for key, word in (("cpu family", "Family"), ("model", "Model"))
    )
    features = info.get("flags", "").split() or _numpy_features()
    units = simd(vendor, family, model, features)
    cores = usable_cores()
    system = "/sys/devices/system/cpu/cpu{}/"
    siblings = {_text(system.format(i) + "topology/thread_siblings_list") or str(i) for i in cores}
    level_3 = [system.format(i) + "cache/index3/" for i in cores]
    caches = {_text(cache + "shared_cpu_list"): _text(cache + "size") for cache in level_3}
    return {
        "name": info.get("model name") or described or platform.machine(),
        "vendor": vendor,
        "family": family,
        "model": model,
        "architecture": platform.machine(),
        "virtual": "hypervisor" in features,
        "logical_cores": len(cores),
        "physical_cores": len(siblings),
        "quota": _quota(),
        "simd": units and units.name,
        "simd_bits": units and units.bits,
        "fma_per_cycle": units and units.fma_per_cycle,
        "reported_ghz": float(info["cpu MHz"]) / 1000 if "cpu MHz" in info else None,
        "l3_bytes": sum(1024 * int(size.rstrip("K")) for size in caches.values() if size.endswith("K")),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def usable_cores() -> list[int]:
    """Return the numbers of the logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def memory() -> Facts:
    """Return the bytes of memory in all and available, within the container's limit."""
    lines = dict(re.findall(r"(\w+): +(\d+) kB", _text("/proc/meminfo")))
    total, available = (1024 * int(lines[key]) if key in lines else None for key in ("MemTotal", "MemAvailable"))
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _text("/sys/fs/cgroup/memory.max") or _text("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    bounds = [size for size in (total, int(limit) if limit.isdigit() else None) if size is not None]
    return {"total_bytes": min(bounds, default=None), "available_bytes": available}


def blas() -> Facts:
    """Return the BLAS that NumPy uses, its kernels and threads, and what `adjoint` asked of it."""
    loaded = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    # SciPy's wheel brings an OpenBLAS of its own.
    ours = next((library for library in loaded if "numpy" in library["filepath"]), loaded[0] if loaded else {})
    built: Any = np.show_config(mode="dicts")
    return {
        "library": ours.get("internal_api") or built["Build Dependencies"]["blas"]["name"],
        "version": ours.get("version"),
        "kernels": ours.get("architecture"),
        "threads": ours.get("num_threads"),
        "threading": ours.get("threading_layer"),
        "file": ours.get("filepath"),
        "asked_for": _blas.coretype,
        "reason": _blas.reason,
    }


def products(threads: int) -> Facts:
    """Return by what the library multiplies matrices of each dtype, and from which n×n on: None is NumPy's BLAS.

    >>> sorted(products(2)["float32"])
    ['below', 'by', 'from']
    """
    from adjoint.arrays.numpy import amx, gemm, mkl

    blas: Facts = {"by": None, "from": None, "below": None}
    usual = blas if mkl.path is None else {"by": "MKL", "from": _side(gemm.QUIET), "below": None}
    if amx.here:
        from adjoint.arrays.numpy.tiles import compiled_for

        if compiled_for():
            tiled = {"by": "AMX", "from": _side(gemm.TILED * threads), "below": usual["by"]}
            return {"float32": tiled, "float64": usual}
    return {"float32": usual, "float64": usual}


def _side(size: int) -> int:
    """The n of the smallest product of so many multiply-adds, n³.

    >>> _side(1000), _side(1001)
    (10, 11)
    """
    return next(n for n in range(round(size ** (1 / 3)), size + 1) if n**3 >= size)


def backends() -> dict[str, str | None]:
    """Return the version of each backend, None where it is not installed; none of them is imported."""
    return {name: _version(name) for name in BACKENDS}


def gpus() -> list[Facts]:
    """Return the NVIDIA devices that their driver's own tool lists."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=3, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (re.split(r", *", line.strip()) for line in output.splitlines())
    return [
        {"name": name, "memory_mib": int(size) if size.isdigit() else None, "driver": driver}
        for name, size, driver in (row for row in rows if len(row) == 3)
    ]


def jax_sees_gpus() -> bool:
    """Tell whether a CUDA plugin of JAX is installed."""
    return any(_version(f"jax-cuda{release}-plugin") for release in (12, 13))


def environment() -> dict[str, str]:
    """Return the variables that change how fast the library runs, where they are set by someone else than `adjoint`."""
    ours = {"OPENBLAS_CORETYPE"} if _blas.coretype else set()
    return {name: os.environ[name] for name in VARIABLES if name in os.environ and name not in ours}


def software() -> Facts:
    """Return the versions of the library, Python and the operating system."""
    return {
        "adjoint": _version("adjoint"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "executable": sys.executable,
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo(text: str) -> dict[str, str]:
    """The fields of the first processor in the text of /proc/cpuinfo."""
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _numpy_features() -> list[str]:
    """The processor's features as NumPy names them, where the system does not list them."""
    built: Any = np.show_config(mode="dicts")
    extensions = built["SIMD Extensions"]
    return [name.lower() for name in (*extensions.get("baseline", ()), *extensions.get("found", ()))]


def _quota() -> float | None:
    """How many cores' worth of time the container may use, None where it is not limited."""
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").partition(" ")
    if not quota:
        quota, period = (_text(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def whole_cores(facts: Facts) -> int:
    """Return how many cores' work can run at once: physical ones, within the container's quota.

    >>> whole_cores({"physical_cores": 8, "quota": 2.5})
    3
    """
    cores: int = facts["physical_cores"]
    return cores if facts["quota"] is None else min(cores, max(1, math.ceil(facts["quota"])))
