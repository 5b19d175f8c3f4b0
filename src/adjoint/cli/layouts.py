"""`adjoint cost --devices`: memory and traffic of each of several devices, by layout; times on this machine."""

from __future__ import annotations

import re

from rich.table import Table
from rich.text import Text

from adjoint.costs import Cost, Roofline
from adjoint.costs.planning import LAYOUTS
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
    """A line a layout; one that the network cannot have says why."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    table.add_column(f"of {devices}", no_wrap=True)
    times = ["takes"] if link is not None else []
    fits = [f"fits {bytes_told(int(memory))}"] if memory is not None else []
    for header in ("weights", "gradients", "AdamW", "activations", "all", *fits, "sends", *times, "waits"):
        table.add_column(header, justify="right", no_wrap=True)
    for layout in LAYOUTS:
        try:
            plan = found.plan(devices, layout, link=link)
        except ValueError:
            table.add_row(Text(layout, "dim"), Text("too few blocks", "dim"))
            continue
        row = [bytes_told(x) for x in (plan.weights, plan.gradients, plan.optimizer, plan.activations, plan.memory)]
        if memory is not None:
            row.append("[green]yes[/]" if plan.fits(memory) else "[red]no[/]")
        row.append(bytes_told(plan.traffic))
        if plan.link_seconds is not None:
            row.append(seconds(plan.link_seconds))
        table.add_row(layout, *row, f"{plan.bubble:.0%}" if plan.bubble else "–")
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
