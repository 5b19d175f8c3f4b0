"""The roofline: how long a pass takes at least, from what a machine computes and moves in a second."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adjoint.arrays.numpy.threads import cores
from adjoint.costs.passes import Pass
from adjoint.interop.writing import write

if TYPE_CHECKING:
    from adjoint.costs.counting import Cost

VERSION = 2  # of what is kept: another one finds nothing of this
ARRAY = 128 << 20  # bytes of an array for the bandwidth: larger than usual caches
MEASURED = ("float32", "float64")


@dataclass(frozen=True)
class Roofline:
    """What a machine does at most: `flops` a second by dtype, in matrix products, and `bandwidth` in bytes a second.

    An operation of F FLOPs and B bytes takes max(F/flops, B/bandwidth): Williams, Waterman and Patterson 2009. Where
    F/B is below `ridge`, it waits for memory. Raises ValueError for a rate that is not a positive number.

    >>> line = Roofline("toy", {"float32": 100.0}, 10.0)
    >>> line.ridge("float32"), line.seconds(Pass(50, 50, 20)), line.bound(Pass(50, 50, 20))
    (10.0, 2.0, 'memory')
    """

    machine: str
    flops: Mapping[str, float]
    bandwidth: float

    def __post_init__(self) -> None:
        rates = {**self.flops, "bandwidth": self.bandwidth}
        wrong = [f"{name}={x!r}" for name, x in rates.items() if not (_number(x) and 0 < x < math.inf)]
        if wrong or not self.flops:
            raise ValueError(f"Roofline: rates are positive numbers a second, not {', '.join(wrong) or 'none'}.")

    def peak(self, dtype: str = "float32") -> float:
        """FLOPs a second of a dtype; ValueError for one that was not measured."""
        if dtype not in self.flops:
            known = ", ".join(self.flops)
            raise ValueError(
                f"Roofline: {self.machine} was measured in {known}, not in {dtype}; count in one of these."
            )
        return self.flops[dtype]

    def ridge(self, dtype: str = "float32") -> float:
        """FLOPs a byte below which memory bounds."""
        return self.peak(dtype) / self.bandwidth

    def seconds(self, spent: Pass, dtype: str = "float32") -> float:
        """The time of one operation, at least."""
        return max(spent.flops / self.peak(dtype), spent.bytes / self.bandwidth, 0.0)

    def bound(self, spent: Pass, dtype: str = "float32") -> str:
        """What an operation waits for: "memory" or "compute"."""
        return "compute" if spent.flops / self.peak(dtype) >= spent.bytes / self.bandwidth else "memory"

    @classmethod
    def measure(cls) -> Roofline:
        """This machine, in about two seconds: the library's best square products, and a triad of large arrays."""
        from adjoint.arrays.numpy.gemm import matmul
        from adjoint.costs.measuring import matmul_gflops, triad_gbs

        rates = {dtype: 1e9 * matmul_gflops(dtype, matmul=matmul)[0] for dtype in MEASURED}
        return cls(processor(), rates, 1e9 * triad_gbs(ARRAY, cores()))

    @classmethod
    def remembered(cls) -> Roofline | None:
        """What was kept of this machine; None where nothing was, or of another processor, or it cannot be read."""
        where = _file()
        if where is None:
            return None
        try:
            told = json.loads(where.read_text(encoding="utf-8"))
            if told.pop("version") != VERSION or told["machine"] != processor():
                return None
            return cls(**told)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def keep(self) -> bool:
        """Keep it in the user's cache folder (see `aj.inspect`), whole or not at all; whether it could be kept."""
        where = _file()
        if where is None:
            return False
        told = {"version": VERSION, **asdict(self), "flops": dict(self.flops)}
        try:
            write(str(where), json.dumps(told).encode())
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Operation:
    """All calls of one function inside one component, such as the softmax of the attention scores.

    >>> import adjoint as aj
    >>> [(x.component, x.function) for x in aj.cost(aj.nn.Linear(3, 2), (5, 3)).operations]
    [('other', 'linear'), ('other', 'sum'), ('other', 'matmul')]
    """

    component: str
    function: str
    forward: Pass
    backward: Pass


@dataclass(frozen=True)
class Predicted:
    """Seconds of a step on a roofline: the sum over `Operation`s, each bound by memory or by compute.

    `components` has (forward, backward) seconds of each; `bounds` what each function of a component waits for in the
    forward pass, `waiting` the share of that pass's time in which memory bounds. Nothing is lost between operations, so
    that a real machine takes longer.

    >>> import adjoint as aj
    >>> found = aj.cost(aj.nn.Linear(3, 2), (5, 3)).predicted(Roofline("toy", {"float32": 1.0}, 1000.0))
    >>> found.forward, found.bounds
    (70.0, {('other', 'linear'): 'compute'})
    """

    forward: float
    backward: float
    step: float
    components: Mapping[str, tuple[float, float]]
    bounds: Mapping[tuple[str, str], str]
    waiting: float = 0.0

    @property
    def training(self) -> float:
        """Forward pass, backward pass and optimizer step."""
        return self.forward + self.backward + self.step


def predicted(found: Cost, line: Roofline, dtype: str | None = None) -> Predicted:
    """The seconds of a counted network on a roofline; `dtype` is that of its products, else that of its weights.

    Raises ValueError for a dtype that was not measured.

    >>> import adjoint as aj
    >>> predicted(aj.cost(aj.nn.Linear(3, 2), (5, 3)), Roofline("toy", {"float32": 1e9}, 1.0)).forward
    132.0
    """
    kind = dtype or found.dtype
    components: dict[str, tuple[float, float]] = {}
    bounds: dict[tuple[str, str], str] = {}
    waiting = 0.0
    for x in found.operations:
        forward, backward = components.get(x.component, (0.0, 0.0))
        components[x.component] = (forward + line.seconds(x.forward, kind), backward + line.seconds(x.backward, kind))
        if x.forward.flops or x.forward.bytes:
            bounds[x.component, x.function] = bound = line.bound(x.forward, kind)
            waiting += line.seconds(x.forward, kind) if bound == "memory" else 0.0
    sums = [math.fsum(pair[k] for pair in components.values()) for k in (0, 1)]
    share = waiting / sums[0] if sums[0] else 0.0
    return Predicted(sums[0], sums[1], line.seconds(found.step, kind), components, bounds, share)


def processor() -> str:
    """The processor's name, as the system tells it.

    >>> bool(processor())
    True
    """
    try:
        for text in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if text.startswith("model name"):
                return f"{text.partition(':')[2].strip()} × {cores()}"
    except OSError:
        pass
    return f"{platform.processor() or platform.machine()} × {cores()}"


def _number(x: object) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def _file() -> Path | None:
    from adjoint.inspection.remembered import folder

    where = folder()
    return None if where is None else where.parent / "roofline.json"
