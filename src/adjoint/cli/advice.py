"""What is off on a machine, and its remedy: rules over the facts that `examine` gathers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .machine import THREAD_VARIABLES, Facts, whole_cores

# How far each of OpenBLAS's kernel families, and each level of a processor, goes.
KERNEL_LEVELS = {
    **dict.fromkeys(("Prescott", "Core2", "Penryn", "Dunnington", "Nehalem", "Barcelona", "Bobcat", "Atom"), 0),
    **dict.fromkeys(("Sandybridge", "Bulldozer"), 1),
    **dict.fromkeys(("Haswell", "Zen", "Piledriver", "Steamroller", "Excavator"), 2),
    **dict.fromkeys(("SkylakeX", "Cooperlake", "SapphireRapids"), 3),
}
SIMD_LEVELS = {"SSE": 0, "AVX": 1, "AVX2 + FMA": 2, "AVX-512": 3}
NATURAL_KERNELS = {"AVX2 + FMA": "Haswell", "AVX-512": "SkylakeX"}

POOR = 0.5


class Remedy(NamedTuple):
    """Something off, and what to do about it."""

    finding: str
    remedy: str


def remedies(facts: Facts) -> list[Remedy]:
    """Return what is off, most costly first, with the remedy for each; empty where nothing is.

    `facts` are those of `examine`, measured or not.
    """
    return [found for rule in (_load, _kernels, _threads, _numba, _speed, _gpu) for found in rule(facts)]


def _kernels(facts: Facts) -> Iterator[Remedy]:
    blas, simd, environment = facts["blas"], facts["processor"]["simd"], facts["environment"]
    if blas["library"] in {"none", "blas", "lapack", "netlib"}:
        yield Remedy(
            f"NumPy was built with the BLAS '{blas['library']}', which has no fast kernels.",
            "Install NumPy's own wheel: pip install --force-reinstall --only-binary :all: numpy",
        )
    if KERNEL_LEVELS.get(blas["kernels"], 3) >= SIMD_LEVELS.get(simd, 0) or simd not in NATURAL_KERNELS:
        return
    wanted = NATURAL_KERNELS[simd]
    finding = f"OpenBLAS runs its {blas['kernels']} kernels on a processor with {simd}."
    if blas["asked_for"] is not None:
        remedy = f"This OpenBLAS was built without {wanted} kernels; NumPy's own wheel from PyPI has them."
    elif "OPENBLAS_CORETYPE" in environment:
        remedy = f"OPENBLAS_CORETYPE={environment['OPENBLAS_CORETYPE']} asks for them: unset OPENBLAS_CORETYPE"
    elif environment.get("ADJOINT_BLAS") == "default":
        remedy = "ADJOINT_BLAS=default left it the choice: unset ADJOINT_BLAS"
    elif "NumPy was loaded" in blas["reason"]:
        remedy = f"NumPy was loaded first: import adjoint before numpy, or export OPENBLAS_CORETYPE={wanted}"
    else:
        remedy = f"Before Python starts: export OPENBLAS_CORETYPE={wanted}"
    yield Remedy(finding, remedy)


def _threads(facts: Facts) -> Iterator[Remedy]:
    threads, environment = facts["blas"]["threads"], facts["environment"]
    if threads is None:
        return
    cores = whole_cores(facts["processor"])
    # OpenBLAS and MKL both listen to their own variable before OpenMP's.
    names = [
        name for name in THREAD_VARIABLES if ("MKL" in name) == (facts["blas"]["library"] == "mkl") or "OMP" in name
    ]
    setter = next((name for name in names if name in environment), None)
    if threads < cores:
        cause = f"{setter}={environment[setter]} is set: unset {setter}" if setter else "The program limited it."
        yield Remedy(f"The BLAS may use {count(threads, 'thread')} of {count(cores, 'core')}.", cause)
    elif threads > facts["processor"]["logical_cores"] or (facts["processor"]["quota"] is not None and threads > cores):
        yield Remedy(
            f"The BLAS starts {count(threads, 'thread')}, but only {count(cores, 'core')} may work at once: they wait.",
            f"export {names[0]}={cores}",
        )


def _numba(facts: Facts) -> Iterator[Remedy]:
    numba, environment = facts["numba"], facts["environment"]
    if numba["error"]:
        yield Remedy(f"Numba does not load: {numba['error']}", "pip install --upgrade numba")
        return
    if not numba["compiles"]:
        yield Remedy("Numba compiles nothing: NUMBA_DISABLE_JIT is set.", "unset NUMBA_DISABLE_JIT")
    elif numba["cache"] is None:
        yield Remedy(
            "Numba finds no folder it may write, so every run compiles its kernels anew.",
            "Name one that is writable: export NUMBA_CACHE_DIR=/path/to/folder",
        )
    if numba["layer"] == "workqueue":
        yield Remedy(
            "Numba has no OpenMP to run parallel kernels on; its fallback must not be entered from two threads.",
            "Install the OpenMP runtime (libgomp1 on Debian and Ubuntu), or: pip install tbb",
        )
    cores = whole_cores(facts["processor"])
    if numba["threads"] < cores and "NUMBA_NUM_THREADS" in environment:
        yield Remedy(
            f"Numba may use {count(numba['threads'], 'thread')} of {count(cores, 'core')}.",
            f"NUMBA_NUM_THREADS={environment['NUMBA_NUM_THREADS']} is set: unset NUMBA_NUM_THREADS",
        )


def _load(facts: Facts) -> Iterator[Remedy]:
    """More programs at work than there are cores for."""
    load, cores = facts["processor"]["load"], whole_cores(facts["processor"])
    if load is not None and load > cores:
        yield Remedy(
            f"The load is {load:.1f} on {count(cores, 'core')}: all speeds here are too low, and times that are "
            "predicted from them too long.",
            "End other programs, or wait until they have, and run again.",
        )


def _speed(facts: Facts) -> Iterator[Remedy]:
    """Products slower than the processor should do, where no rule above explains it."""
    products = facts.get("matmul", {}).get("float32")
    processor = facts["processor"]
    if not products or any(_load(facts)) or any(_kernels(facts)) or any(_threads(facts)):
        return
    one, every = products["one"], products["all"]
    cores = whole_cores(processor)
    busy = processor["load"] is not None and processor["load"] > POOR * cores
    short = next((run for run in (one, every) if run["fraction"] is not None and run["fraction"] < POOR), None)
    if short is None:
        return
    finding = f"float32 products reach {short['fraction']:.0%} of the estimate on {count(short['threads'], 'thread')}."
    if busy:
        yield Remedy(
            finding, f"Other programs keep the processor busy (load {processor['load']:.1f}): end them, run again."
        )
    elif short is every and processor["virtual"]:
        ratio = every["gflops"] / one["gflops"]
        yield Remedy(
            f"{finding} They are {ratio:.1f} times as fast as on one.",
            "The cores of this virtual machine may be threads of fewer real ones, or shared with others.",
        )
    else:
        yield Remedy(finding, "Look for other programs, a power-saving mode or heat; run again on a quiet machine.")


def _gpu(facts: Facts) -> Iterator[Remedy]:
    if not facts["gpus"]:
        return
    device, backends = facts["gpus"][0]["name"], facts["backends"]
    if "+cpu" in (backends["torch"] or ""):
        yield Remedy(
            f"PyTorch {backends['torch']} cannot use the {device}.",
            "Install a CUDA build: https://pytorch.org/get-started",
        )
    if backends["jax"] and not facts["jax_sees_gpus"]:
        yield Remedy(f"JAX {backends['jax']} cannot use the {device}.", 'pip install --upgrade "jax[cuda13]"')


def count(number: int, noun: str) -> str:
    """Return the number with its noun.

    >>> count(1, "core"), count(2, "core")
    ('1 core', '2 cores')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
