"""`adjoint doctor`: what the machine offers, what the library gets of it, and what to mend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from adjoint.costs.roofline import Roofline, processor

from . import machine, measurements
from .advice import POOR, count, remedies
from .machine import Facts
from .speeds import Speeds, as_dict, speeds

DTYPES = ("float32", "float64")
EXCEEDS = 1.02  # of the estimate, beyond what the clock's measurement leaves open


def doctor(console: Console, curves: bool = False, plot: Path | None = None) -> Facts:
    """Examine the machine, print the screen, and return all figures as `examined` does."""
    with console.status("Looking at the machine") as status:
        facts, found = examined(lambda step: status.update(f"Measuring {step}"), curves, plot)
    console.print(screen(facts))
    if found is not None:
        from .speeds_shown import tables

        console.print("", tables(found), sep="\n")
    if plot is not None:
        console.print(Text(f"drawn to {plot}", "dim"), soft_wrap=True)
    return facts


def examined(
    tell: Callable[[str], object] = lambda step: None, curves: bool = False, plot: Path | None = None
) -> tuple[Facts, Speeds | None]:
    """The facts of `examine`, in less than ten seconds; with `curves`, or a file for their `plot`, of `speeds`, too.

    They take half a minute more. Raises ValueError and OSError for a plot that cannot be written.
    """
    if plot is not None:
        from .speeds_shown import check

        check(plot)
    facts = examine(tell)
    if not curves and plot is None:
        return facts, None
    found = speeds(roofline(facts), tell)
    if plot is not None:
        from .speeds_shown import draw

        draw(found, plot)
    return facts | {"curves": as_dict(found)}, found


def examine(tell: Callable[[str], object] = lambda step: None) -> Facts:
    """Return what the machine says and does as a dict that JSON can hold; sizes in bytes, clocks in GHz.

    `tell` hears the name of each measurement before it starts.
    """
    start = time.perf_counter()
    facts: Facts = {
        "software": machine.software(),
        "processor": machine.processor(),
        "memory": machine.memory(),
        "blas": machine.blas(),
        "environment": machine.environment(),
        "backends": machine.backends(),
        "gpus": machine.gpus(),
        "jax_sees_gpus": machine.jax_sees_gpus(),
    }
    facts |= measure(facts, tell)
    facts["roofline_kept"] = roofline(facts).keep()
    facts["remedies"] = [remedy._asdict() for remedy in remedies(facts)]
    facts["seconds"] = time.perf_counter() - start
    return facts


def measure(facts: Facts, tell: Callable[[str], object] = lambda step: None) -> Facts:
    """Return clock, matrix products and bandwidth, on one thread and on all, and the state of Numba."""
    cores = machine.whole_cores(facts["processor"])
    tell("the clock")
    kernel, numba = measurements.compiled_spin()
    clock: Facts = _clock(kernel, facts["processor"], cores)
    matmul: Facts = {}
    for dtype in DTYPES:
        matmul[dtype] = {}
        for name, threads in _threads(1, facts["blas"]["threads"] or cores):
            tell(f"{dtype} products on {count(threads, 'thread')}")
            gflops, n = measurements.matmul_gflops(dtype, threads)
            peak = measurements.peak_gflops(facts["processor"], dtype, min(threads, cores), clock[name])
            matmul[dtype][name] = {
                "threads": threads,
                "n": n,
                "gflops": gflops,
                "peak_gflops": peak,
                "fraction": gflops / peak if peak else None,
            }
    products = machine.products(facts["blas"]["threads"] or cores) if numba.get("compiles") else {}
    for dtype, way in products.items():
        if way["by"]:
            tell(f"{dtype} products by {way['by']}")
            products[dtype] = way | {"gflops": measurements.library_gflops(dtype)}
    tell("memory bandwidth")
    size = measurements.triad_bytes(facts["processor"]["l3_bytes"], facts["memory"]["available_bytes"])
    bandwidth = {name: measurements.triad_gbs(size, n) for name, n in _threads(1, cores)}
    return {
        "numba": numba,
        "clock_ghz": clock,
        "matmul": matmul | {"peak_method": f"estimate: {measurements.peak_told(facts['processor'])}"},
        "products": products,
        "bandwidth_gbs": bandwidth | {"array_bytes": size, "method": measurements.TRIAD_METHOD},
    }


def roofline(facts: Facts) -> Roofline:
    """What the library computes and the machine moves at most, on all its threads, for `Cost.predicted`."""
    rates = {dtype: 1e9 * facts["products"].get(dtype, {}).get("gflops", _best(facts, dtype)) for dtype in DTYPES}
    bandwidth = facts["bandwidth_gbs"]
    return Roofline(processor(), rates, 1e9 * max(bandwidth["one"], bandwidth["all"]))


def _best(facts: Facts, dtype: str) -> float:
    """GFLOP/s of BLAS."""
    return float(max(run["gflops"] for run in facts["matmul"][dtype].values()))


def _clock(kernel: Callable[[int, int], int] | None, processor: Facts, cores: int) -> Facts:
    """The clock on one core and on all: measured on x86, where the chain's cycles are known, else as reported."""
    if kernel and processor["simd"]:
        measured = {name: measurements.clock_ghz(kernel, n) for name, n in _threads(1, cores)}
        return measured | {"method": measurements.CLOCK_MEASURED}
    reported = processor["reported_ghz"]
    return {"one": reported, "all": reported, "method": measurements.CLOCK_REPORTED if reported else None}


def screen(facts: Facts) -> RenderableType:
    """Return the facts of `examine` as one readable screen."""
    versions = facts["software"]
    title = " · ".join(
        [f"adjoint {versions['adjoint'] or ''}".strip(), f"Python {versions['python']}", versions["system"]]
    )
    return Group(
        Rule(Text(title, "bold"), align="left", style="dim"),
        Padding(_offers(facts), (1, 0)),
        _speeds(facts),
        Padding(_remedies(facts["remedies"]), (1, 0, 0, 0)),
    )


def _offers(facts: Facts) -> Table:
    processor, memory, blas, numba = (facts[key] for key in ("processor", "memory", "blas", "numba"))
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column()
    grid.add_row("processor", _processor(processor, facts["clock_ghz"]))
    grid.add_row("memory", _memory(memory, facts["bandwidth_gbs"], machine.whole_cores(processor)))
    for device in facts["gpus"]:
        size = f" · {device['memory_mib'] / 1024:.0f} GiB" if device["memory_mib"] else ""
        grid.add_row("GPU", f"{device['name']}{size} · driver {device['driver']}")
    grid.add_row("BLAS", _blas(blas))
    products = _products(facts)
    if products:
        grid.add_row("products", products)
    grid.add_row("backends", _backends(facts["backends"]))
    grid.add_row("numba", _numba(numba))
    if facts["environment"]:
        grid.add_row("set", "  ".join(f"{name}={value}" for name, value in facts["environment"].items()))
    return grid


def _processor(processor: Facts, clock: Facts) -> Text:
    first = [processor["name"], count(processor["physical_cores"], "core")]
    if processor["logical_cores"] != processor["physical_cores"]:
        first.append(f"{processor['logical_cores']} threads")
    if processor["quota"] is not None:
        first.append(f"limited to {processor['quota']:g} cores' time")
    if processor["virtual"]:
        first.append("virtual machine")
    if processor["load"] is not None:
        first.append(f"load {processor['load']:.1f}")
    second = []
    if processor["simd"]:
        second.append(f"{processor['simd']}, {processor['fma_per_cycle']} × {processor['simd_bits']} bits")
    speeds = [(clock["one"], "measured")] if clock["method"] == measurements.CLOCK_MEASURED else []
    if processor["reported_ghz"]:
        speeds.append((processor["reported_ghz"], "reported"))
    if speeds:
        second.append(", ".join(f"{ghz:.2f} GHz {how}" for ghz, how in speeds))
    return Text("\n").join([Text(" · ".join(first)), Text(" · ".join(second), "dim")])


def _memory(memory: Facts, bandwidth: Facts, cores: int) -> Text:
    parts = [f"{memory['total_bytes'] / 2**30:.1f} GiB"] if memory["total_bytes"] else []
    on_all = f", {_figures(bandwidth['all'])} on {cores}" if cores > 1 else ""
    parts.append(f"{_figures(bandwidth['one'])} GB/s on 1 thread{on_all}")
    return Text(" · ".join(parts))


def _blas(blas: Facts) -> Text:
    name = {"openblas": "OpenBLAS", "mkl": "MKL", "accelerate": "Accelerate", "blis": "BLIS"}
    first = [" ".join(filter(None, (name.get(blas["library"], blas["library"]), blas["version"])))]
    if blas["kernels"]:
        first.append(f"{blas['kernels']} kernels")
    if blas["threads"]:
        first.append(count(blas["threads"], "thread") + (f" ({blas['threading']})" if blas["threading"] else ""))
    asked = f"adjoint asked for {blas['asked_for']}" if blas["asked_for"] else "kernels left to the BLAS"
    return Text("\n").join([Text(" · ".join(first)), Text(f"{asked}: {blas['reason']}", "dim")])


def _products(facts: Facts) -> Text:
    """By what the library multiplies where it is not by NumPy's BLAS."""
    lines: list[Text] = []
    for dtype, way in facts["products"].items():
        if way["by"]:
            by = {"AMX": "tiles of AMX"}.get(way["by"], way["by"])
            below = f", {way['below']} below" if way["below"] else ""
            speeds = f"{_figures(way['gflops'])} GFLOP/s, by BLAS {_figures(_best(facts, dtype))}"
            lines.append(Text(f"{dtype} by {by} from n = {way['from']} on{below} · {speeds}", "dim" if lines else ""))
    return Text("\n").join(lines)


def _backends(backends: dict[str, str | None]) -> Text:
    found = [Text(f"{name} {version}") for name, version in backends.items() if version]
    missing = [Text(f"{name} not installed", "dim") for name, version in backends.items() if not version]
    return Text(" · ").join(found + missing)


def _numba(numba: Facts) -> Text:
    if numba["error"]:
        return Text("does not load", "yellow")
    if not numba["compiles"]:
        return Text("compiles nothing", "yellow")
    cache = f"keeps compiled kernels in {numba['cache']}" if numba["cache"] else "cannot keep compiled kernels"
    layer = f"{count(numba['threads'], 'thread')} · threading layer {numba['layer']}"
    return Text("\n").join([Text(layer), Text(cache, "dim", overflow="fold")])


def _speeds(facts: Facts) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
    table.add_column("product by BLAS", no_wrap=True)
    for header in ("n", "threads", "GFLOP/s", "of at most", ""):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("", max_width=20)
    for dtype in DTYPES:
        for run in _runs(facts["matmul"][dtype]):
            row = (dtype, str(run["n"]), str(run["threads"]), _figures(run["gflops"]))
            fraction = run["fraction"]
            if fraction is None:
                table.add_row(*row, "unknown")
            else:
                bar = Bar(1, 0, fraction, color="yellow" if fraction < POOR else "green", bgcolor="grey23")
                table.add_row(*row, f"≈ {_figures(run['peak_gflops'])}", f"{fraction:.0%}", bar)
    clock, bandwidth = facts["clock_ghz"]["method"], facts["bandwidth_gbs"]
    notes = Table.grid(padding=(0, 2))
    notes.add_column(style="dim", no_wrap=True)
    notes.add_column(style="dim")
    notes.add_row("at most", f"an {facts['matmul']['peak_method']}")
    if any((run["fraction"] or 0.0) > EXCEEDS for dtype in DTYPES for run in _runs(facts["matmul"][dtype])):
        notes.add_row("", measurements.EXCEEDED)
    if clock:
        notes.add_row("clock", clock)
    notes.add_row("bandwidth", f"{bandwidth['method']} ({bandwidth['array_bytes'] >> 20} MiB each)")
    return Group(table, Padding(notes, (1, 0, 0, 0)))


def _remedies(found: list[dict[str, str]]) -> RenderableType:
    if not found:
        return Text("✓ Nothing to mend.", "bold green")
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column()
    for remedy in found:
        grid.add_row(Text("!", "bold yellow"), Text(remedy["finding"], "yellow"))
        grid.add_row(Text("→", "bold green"), Text(remedy["remedy"]))
    return grid


def _threads(one: int, every: int) -> list[tuple[str, int]]:
    return [("one", one), ("all", every)]


def _runs(runs: Facts) -> list[Facts]:
    """One thread and all, or the only one there is."""
    return [runs["one"]] if runs["all"]["threads"] == 1 else [runs["one"], runs["all"]]


def _figures(value: float) -> str:
    """Three significant figures, without an exponent.

    >>> _figures(1234.6), _figures(98.76), _figures(9.876)
    ('1,235', '98.8', '9.88')
    """
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"
