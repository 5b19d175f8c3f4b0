"""OpenBLAS is asked for AVX-512 kernels exactly where that is right, before NumPy loads, and at no cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adjoint import _blas
from tests.patience import HANGS

AVX512 = frozenset(
    ["fpu", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "avx512_vnni"]
)
CPUINFO = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {}\nbogomips\t: 1\n\nprocessor\t: 1\nflags\t\t: other\n"


def choose(
    *,
    system: str = "linux",
    machine: str = "x86_64",
    environ: dict[str, str] | None = None,
    loaded: tuple[str, ...] = ("os",),
    flags: frozenset[str] = AVX512,
) -> tuple[str | None, str]:
    return _blas.choose(system, machine, environ or {}, loaded, flags)


def test_avx512_before_numpy() -> None:
    assert choose() == ("SkylakeX", "AVX-512")
    assert choose(environ={"ADJOINT_BLAS": "something else"})[0] == "SkylakeX"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"system": "darwin"}, "only on Linux, x86-64"),
        ({"system": "win32"}, "only on Linux, x86-64"),
        ({"machine": "aarch64"}, "only on Linux, x86-64"),
        ({"environ": {"ADJOINT_BLAS": "default"}}, "ADJOINT_BLAS=default"),
        ({"environ": {"OPENBLAS_CORETYPE": "Haswell"}}, "OPENBLAS_CORETYPE=Haswell was set already"),
        ({"loaded": ("os", "numpy")}, "NumPy was loaded before adjoint"),
        ({"flags": frozenset()}, "no AVX-512"),
        *(({"flags": AVX512 - {flag}}, "no AVX-512") for flag in sorted(_blas.NEEDED)),
    ],
)
def test_left_alone(change: dict[str, object], reason: str) -> None:
    assert choose(**change) == (None, reason)  # type: ignore[arg-type]


def test_flags_are_those_of_the_first_processor(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format("fpu avx512f sse"))
    assert {"fpu", "avx512f", "sse"} <= _blas.processor_flags(str(path))
    assert "other" not in _blas.processor_flags(str(path))
    path.write_bytes(b"processor : 0\nFeatures : fp asimd\n\xff\xfe")
    assert _blas.processor_flags(str(path)) == frozenset()
    assert _blas.processor_flags(str(tmp_path / "missing")) == frozenset()


def python(code: str, **environ: str) -> dict[str, object]:
    """Run code that prints JSON in a fresh interpreter."""
    kept = {key: value for key, value in os.environ.items() if key not in {"ADJOINT_BLAS", "OPENBLAS_CORETYPE"}}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environ, capture_output=True, text=True, check=True, timeout=HANGS
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result


# Runs the module alone, as if on Linux with the processor described in argument one; NumPy must not load after that.
ALONE = """
import builtins, io, json, os, sys
sys.platform = "linux"
uname = os.uname()
os.uname = lambda: os.uname_result((uname[0], uname[1], uname[2], uname[3], "x86_64"))
real = builtins.open
builtins.open = lambda path, *mode, **more: (
    io.BytesIO({cpuinfo!r}.encode()) if path == "/proc/cpuinfo" else real(path, *mode, **more)
)
{before}
names = set(sys.modules)
scope = {{"__name__": "_blas"}}
exec(compile(real({file!r}).read(), "_blas", "exec"), scope)
print(json.dumps({{
    "variable": os.environ.get("OPENBLAS_CORETYPE"),
    "record": [scope["coretype"], scope["reason"]],
    "loaded": sorted(set(sys.modules) - names),
}}))
"""


def alone(flags: frozenset[str], before: str = "", **environ: str) -> dict[str, object]:
    code = ALONE.format(cpuinfo=CPUINFO.format(" ".join(flags)), before=before, file=_blas.__file__)
    return python(code, **environ)


@pytest.mark.skipif(not hasattr(os, "uname"), reason="the fake of a Linux machine needs os.uname")
class TestInAFreshInterpreter:
    """The module's own effect on the environment."""

    def test_sets_the_variable_and_loads_nothing(self) -> None:
        told = alone(AVX512)
        assert told["variable"] == "SkylakeX"
        assert told["record"] == ["SkylakeX", "AVX-512"]
        assert set(told["loaded"]) <= {"__future__"}  # type: ignore[call-overload]

    def test_leaves_the_variable_where_it_should(self) -> None:
        assert alone(AVX512 - {"avx512vl"})["variable"] is None
        assert alone(AVX512, ADJOINT_BLAS="default")["variable"] is None
        assert alone(AVX512, OPENBLAS_CORETYPE="Haswell")["variable"] == "Haswell"
        assert alone(AVX512, "sys.modules['numpy'] = sys")["record"] == [None, "NumPy was loaded before adjoint"]


def test_adjoint_imports_it_before_numpy() -> None:
    told = python("import adjoint, json, sys; print(json.dumps({'names': list(sys.modules)}))")
    names = told["names"]
    assert isinstance(names, list)
    assert names.index("adjoint._blas") < names.index("numpy")


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels of other systems may bring another BLAS")
def test_openblas_heeds_the_variable() -> None:
    """The variable does what the module relies on: the loaded OpenBLAS reports the kernels it was asked for."""
    code = "import json, numpy, threadpoolctl as t; print(json.dumps({'info': t.threadpool_info()}))"
    libraries = python(code, OPENBLAS_CORETYPE="Nehalem")["info"]
    assert isinstance(libraries, list)
    kernels = [library["architecture"] for library in libraries if library["internal_api"] == "openblas"]
    if not kernels or os.uname().machine != "x86_64":
        pytest.skip("NumPy's BLAS is not OpenBLAS for x86-64 here")
    assert kernels == ["Nehalem"]


def test_threads_wait_shortly_unless_a_person_says_otherwise() -> None:
    assert _blas.may_wait_less("linux", {}, ("os",))
    assert not _blas.may_wait_less("darwin", {}, ())
    assert not _blas.may_wait_less("linux", {}, ("numpy",))
    assert not _blas.may_wait_less("linux", {"ADJOINT_BLAS": "default"}, ())
    assert not _blas.may_wait_less("linux", {"OPENBLAS_THREAD_TIMEOUT": "26"}, ())
