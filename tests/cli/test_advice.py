"""Every rule of the doctor's advice fires on the facts it is about, and none on a healthy machine."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from adjoint.cli.advice import KERNEL_LEVELS, remedies

RUN = {"threads": 4, "n": 2048, "gflops": 900.0, "peak_gflops": 1000.0, "fraction": 0.9}
HEALTHY: dict[str, Any] = {
    "processor": {
        "simd": "AVX-512",
        "physical_cores": 4,
        "logical_cores": 4,
        "quota": None,
        "virtual": True,
        "load": 0.1,
    },
    "blas": {
        "library": "openblas",
        "kernels": "SkylakeX",
        "threads": 4,
        "asked_for": "SkylakeX",
        "reason": "AVX-512",
    },
    "environment": {},
    "numba": {"error": None, "threads": 4, "layer": "omp", "compiles": True, "cache": "/somewhere"},
    "backends": {"numpy": "2.4", "numba": "0.68", "torch": "2.13.0+cpu", "jax": "0.10"},
    "gpus": [],
    "jax_sees_gpus": False,
    "matmul": {"float32": {"one": RUN | {"threads": 1, "gflops": 230.0, "fraction": 0.92}, "all": RUN}},
}


def advise(**changes: dict[str, Any]) -> list[str]:
    """The advice for the healthy machine with these changes, one string a remedy."""
    facts = copy.deepcopy(HEALTHY)
    for key, change in changes.items():
        facts[key] = facts[key] | change if isinstance(change, dict) else change
    return [f"{remedy.finding} -> {remedy.remedy}" for remedy in remedies(facts)]


def the_only(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_nothing_on_a_healthy_machine() -> None:
    assert advise() == []
    assert advise(processor={"simd": "AVX2 + FMA"}, blas={"kernels": "Haswell", "asked_for": None}) == []
    assert advise(processor={"simd": None}, blas={"kernels": "neoversen1", "asked_for": None}) == []
    assert advise(blas={"library": "mkl", "kernels": None}) == []
    assert advise(blas={"library": "accelerate", "kernels": None, "threads": None}) == []


def test_unmeasured_facts_are_enough() -> None:
    facts = copy.deepcopy(HEALTHY)
    del facts["matmul"]
    assert remedies(facts) == []


def test_kernels_below_the_processor() -> None:
    haswell = {"kernels": "Haswell", "asked_for": None}
    late = the_only(advise(blas=haswell | {"reason": "NumPy was loaded before adjoint"}))
    assert "Haswell kernels on a processor with AVX-512" in late
    assert "import adjoint before numpy, or export OPENBLAS_CORETYPE=SkylakeX" in late
    left = advise(blas=haswell | {"reason": "ADJOINT_BLAS=default"}, environment={"ADJOINT_BLAS": "default"})
    assert the_only(left).endswith("unset ADJOINT_BLAS")
    forced = advise(blas=haswell | {"reason": "was set"}, environment={"OPENBLAS_CORETYPE": "Haswell"})
    assert the_only(forced).endswith("OPENBLAS_CORETYPE=Haswell asks for them: unset OPENBLAS_CORETYPE")
    assert "built without SkylakeX kernels" in the_only(advise(blas={"kernels": "Haswell"}))
    windows = advise(blas=haswell | {"reason": "only on Linux, x86-64"})
    assert "Before Python starts: export OPENBLAS_CORETYPE=SkylakeX" in the_only(windows)
    old = advise(processor={"simd": "AVX2 + FMA"}, blas={"kernels": "Nehalem", "asked_for": None})
    assert "Nehalem kernels on a processor with AVX2 + FMA" in the_only(old)
    assert KERNEL_LEVELS["Zen"] == KERNEL_LEVELS["Haswell"]


def test_reference_blas() -> None:
    assert "no fast kernels" in the_only(advise(blas={"library": "blas", "kernels": None, "threads": None}))


@pytest.mark.parametrize(
    ("environment", "cause"),
    [
        ({"OMP_NUM_THREADS": "1"}, "unset OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}, "unset OPENBLAS_NUM_THREADS"),
        ({"MKL_NUM_THREADS": "1"}, "The program limited it."),
        ({}, "The program limited it."),
    ],
)
def test_too_few_threads(environment: dict[str, str], cause: str) -> None:
    found = the_only(advise(blas={"threads": 1}, environment=environment))
    assert found.startswith("The BLAS may use 1 thread of 4 cores.")
    assert found.endswith(cause)


def test_mkl_has_its_own_variable() -> None:
    found = advise(
        blas={"library": "mkl", "kernels": None, "threads": 1},
        environment={"MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert the_only(found).endswith("unset MKL_NUM_THREADS")


def test_too_many_threads() -> None:
    container = the_only(advise(processor={"quota": 1.5}))
    assert "starts 4 threads, but only 2 cores may work at once" in container
    assert container.endswith("export OPENBLAS_NUM_THREADS=2")
    assert "starts 9 threads" in the_only(advise(blas={"threads": 9}))
    # Two threads a core are a choice, not a fault.
    assert advise(blas={"threads": 8}, processor={"logical_cores": 8}) == []


def test_numba() -> None:
    broken = advise(numba={"error": "Numba needs NumPy 2.3 or less"})
    assert the_only(broken) == "Numba does not load: Numba needs NumPy 2.3 or less -> pip install --upgrade numba"
    assert "NUMBA_CACHE_DIR" in the_only(advise(numba={"cache": None}))
    assert "unset NUMBA_DISABLE_JIT" in the_only(advise(numba={"compiles": False, "cache": None}))
    assert "libgomp1" in the_only(advise(numba={"layer": "workqueue"}))
    limited = advise(numba={"threads": 1}, environment={"NUMBA_NUM_THREADS": "1"})
    assert "unset NUMBA_NUM_THREADS" in the_only(limited)


def slow(one: float, every: float) -> dict[str, Any]:
    return {
        "float32": {
            "one": RUN | {"threads": 1, "gflops": 250 * one, "fraction": one},
            "all": RUN | {"gflops": 1000 * every, "fraction": every},
        }
    }


def test_slow_products() -> None:
    assert "(load 3.0): end them" in the_only(advise(matmul=slow(0.9, 0.3), processor={"load": 3.0}))
    shared = the_only(advise(matmul=slow(0.9, 0.27)))
    assert "27% of the estimate on 4 threads. They are 1.2 times as fast as on one." in shared
    assert "virtual machine" in shared
    assert "power-saving" in the_only(advise(matmul=slow(0.3, 0.3)))
    assert "power-saving" in the_only(advise(matmul=slow(0.9, 0.3), processor={"virtual": False}))
    assert "on 4 threads" in the_only(advise(matmul=slow(0.9, 0.3), processor={"load": None}))


def test_a_high_load_is_told_once() -> None:
    told = the_only(advise(matmul=slow(0.9, 0.3), processor={"load": 4.5}))
    assert "The load is 4.5 on 4 cores: all speeds here are too low" in told
    assert advise(processor={"load": 3.9}) == []
    assert advise(processor={"load": None}) == []


def test_slow_products_are_not_told_twice() -> None:
    found = advise(matmul=slow(0.4, 0.4), blas={"kernels": "Haswell"})
    assert "Haswell" in the_only(found)


def test_products_of_unknown_peak() -> None:
    unknown = RUN | {"fraction": None, "peak_gflops": None}
    assert advise(matmul={"float32": {"one": unknown, "all": unknown}}) == []


def test_gpu_that_no_backend_can_use() -> None:
    device = [{"name": "NVIDIA H100", "memory_mib": 81559, "driver": "550"}]
    found = advise(gpus=device)  # type: ignore[arg-type]
    assert "PyTorch 2.13.0+cpu cannot use the NVIDIA H100" in found[0]
    assert 'JAX 0.10 cannot use the NVIDIA H100. -> pip install --upgrade "jax[cuda13]"' in found[1]
    assert advise(gpus=device, jax_sees_gpus=True, backends={"torch": "2.13.0+cu130"}) == []  # type: ignore[arg-type]
    assert advise(gpus=device, backends={"torch": None, "jax": None}) == []  # type: ignore[arg-type]
