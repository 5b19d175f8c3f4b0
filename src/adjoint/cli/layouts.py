"""`adjoint cost --devices`: memory and traffic of each of several devices, by layout; times on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable

from rich.table import Table
from rich.text import Text

from adjoint.costs import Cost, Roofline
from adjoint.costs.planning import LAYOUTS, Plan
from adjoint.costs.units import seconds
from adjoint.interop.weights import bytes_told

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def nbytes(told: str) -> float:
    """A size in bytes; ValueError for what is none.

    >>> nbytes("80GB"), nbytes("1.5 TB")
    (80000000000.0, 1500000000000.0)
    """
    match = SIZE.fullmatch(told.strip())
    if match is None:
        raise ValueError(f"cost: a size is such as 80GB, not {told!r}.")
    return float(match[1]) * UNITS[match[2]]


def layouts(found: Cost, devices: int, memory: float | None = None, link: float | None = None) -> Table:
    """A column a layout; a dash where the network cannot have it, and why."""
    plans: dict[str, Plan | None] = {}
    for layout in LAYOUTS:
        try:
            plans[layout] = found.plan(devices, layout, link=link)
        except ValueError:
            plans[layout] = None
    lines: dict[str, Callable[[Plan], str]] = {
        "weights": lambda plan: bytes_told(plan.weights),
        "gradients": lambda plan: bytes_told(plan.gradients),
        "AdamW": lambda plan: bytes_told(plan.optimizer),
        "activations": lambda plan: bytes_told(plan.activations),
        "all": lambda plan: bytes_told(plan.memory),
    }
    if memory is not None:
        lines[f"fits {bytes_told(int(memory))}"] = lambda plan: "[green]yes[/]" if plan.fits(memory) else "[red]no[/]"
    lines["sends a step"] = lambda plan: bytes_told(plan.traffic)
    if link is not None:
        lines["takes"] = lambda plan: seconds(plan.link_seconds or 0.0)
    lines["waits"] = lambda plan: f"{plan.bubble:.0%}" if plan.bubble else "–"
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    table.add_column(f"each of {devices}", no_wrap=True)
    for layout in LAYOUTS:
        table.add_column(layout, justify="right", no_wrap=True)
    for name, told in lines.items():
        table.add_row(name, *["–" if plan is None else told(plan) for plan in plans.values()])
    if None in plans.values():
        table.caption = "–: the network has too few blocks for as many devices"
    return table


def expected(found: Cost) -> Text:
    """What a step takes at least on this machine, and what each pass waits for."""
    line = Roofline.remembered()
    if line is None:
        return Text("time on this machine: not measured yet; `adjoint doctor` does", "dim")
    try:
        told = found.predicted(line)
    except ValueError as error:
        return Text(str(error), "dim")
    waiting = sum(
        line.seconds(x.forward, found.dtype) for x in found.operations
        if told.bounds.get((x.component, x.function)) == "memory"
    )  # fmt: skip
    share = waiting / told.forward if told.forward else 0.0
    return Text.assemble(
        ("on this machine, at least  ", "bold cyan"),
        f"forward {seconds(told.forward)}, backward {seconds(told.backward)}, AdamW {seconds(told.step)}",
        (f"\n  forward: {share:.0%} of it bound by memory, {1 - share:.0%} by compute", "dim"),
    )
