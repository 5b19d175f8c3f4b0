"""`adjoint cost --devices`: memory and traffic of each of several devices, by layout."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.text import Text

from adjoint.cli.tables import columns
from adjoint.costs import Cost
from adjoint.costs.planning import LAYOUTS, Plan
from adjoint.costs.units import seconds
from adjoint.interop.weights import bytes_told

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?")
Devices = tuple[int, float | None, float | None]  # how many, the memory of each, the bandwidth between them
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


def asked(devices: int | None, memory: str | None, link: str | None) -> Devices | None:
    """(devices, memory of each, bandwidth between them); None where layouts are not asked for, else ValueError.

    >>> asked(8, "80GB", None)
    (8, 80000000000.0, None)
    """
    if devices is None:
        if memory is not None or link is not None:
            raise ValueError("cost: --memory and --link are of several devices; give --devices, too.")
        return None
    room, speed = (None if x is None else _large(x, option) for x, option in ((memory, "--memory"), (link, "--link")))
    return devices, room, speed


def _large(told: str, option: str) -> float:
    """The size; ValueError for less than any device or link has, as where the unit was forgotten."""
    size = nbytes(told)
    if size < UNITS["M"]:
        raise ValueError(f"cost: {option} {told} is {size:,.0f} bytes: its unit is missing, such as {told.strip()}GB.")
    return size


def plans(found: Cost, devices: int, link: float | None = None) -> dict[str, Plan | None]:
    """The plan of each layout; None where the network has too few blocks for it."""
    made: dict[str, Plan | None] = {}
    for layout in LAYOUTS:
        try:
            made[layout] = found.plan(devices, layout, link=link)
        except ValueError:
            made[layout] = None
    return made


def layouts(found: Cost, devices: int, memory: float | None = None, link: float | None = None) -> Group:
    """A column a layout; a dash where the network cannot have it, and why; below it what is assumed."""
    made = plans(found, devices, link)
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
    table = columns(f"each of {devices}", *LAYOUTS)
    for name, figure in lines.items():
        table.add_row(name, *["–" if plan is None else figure(plan) for plan in made.values()])
    small = found.memory.checkpointed
    n = found.inputs[0][0]
    told = [
        f"batch        {n} a device; of tensor and pipeline {n} for all devices together",
        "activations  all that the forward pass keeps, no block checkpointed",
        *([] if small is None else [f"             ({bytes_told(small.kept)} a batch, were each block checkpointed)"]),
        "all          as if held at once; in fact activations go while gradients come",
    ]
    if None in made.values():
        told.append("–            the network has too few blocks for as many devices")
    return Group(table, "", Text("\n".join(told), "dim"))


def figures(found: Cost, devices: int, memory: float | None = None, link: float | None = None) -> dict[str, Any]:
    """The plans as numbers by name, for JSON; null where the network cannot have a layout."""

    def told(plan: Plan) -> dict[str, Any]:
        fits = {} if memory is None else {"fits": plan.fits(memory)}
        return {**asdict(plan), "memory": plan.memory, **fits}

    return {layout: None if plan is None else told(plan) for layout, plan in plans(found, devices, link).items()}
