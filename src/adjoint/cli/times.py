"""`adjoint cost` on this machine: the time that the roofline predicts, and with `--measure` beside it what is taken."""

from __future__ import annotations

from rich.console import Console, Group
from rich.text import Text

from adjoint.cli.machine import memory
from adjoint.cli.tables import columns
from adjoint.costs import Cost, Measured, Predicted, Roofline, measure
from adjoint.costs.units import seconds
from adjoint.interop.weights import bytes_told
from adjoint.models.config import from_config

PASSES = {"forward": "forward", "backward": "backward", "step": "AdamW step", "training": "all"}


def predicted(found: Cost) -> Predicted | str:
    """Seconds of the remembered roofline, or in words why there are none."""
    line = Roofline.remembered()
    if line is None:
        return "time on this machine: not measured yet; `adjoint doctor` does"
    try:
        return found.predicted(line)
    except ValueError as error:
        return str(error)


def expected(found: Cost) -> Text:
    """What a step takes at least on this machine, and which functions of the forward pass wait for memory."""
    told = predicted(found)
    if isinstance(told, str):
        return Text(told, "dim")
    waiting = [f"{function} ({component})" for (component, function), on in told.bounds.items() if on == "memory"]
    return Text.assemble(
        ("on this machine, at least  ", "bold cyan"),
        f"forward {seconds(told.forward)}, backward {seconds(told.backward)}, AdamW {seconds(told.step)}",
        (f"\n  forward: {told.waiting:.0%} of it bound by memory, {1 - told.waiting:.0%} by compute", "dim"),
        (f"\n  memory bounds {', '.join(waiting)}" if waiting else "", "dim"),
    )


def timed(console: Console, source: str, found: Cost) -> tuple[Measured, Predicted]:
    """What a network of this configuration, with numbers at random, takes here, and what it should.

    The roofline is measured where none is remembered. Raises ValueError where training would not fit into the memory
    that is free, and for a dtype that the roofline lacks.
    """
    free, needed = memory()["available_bytes"], found.memory.training + found.memory.weights  # it works on a copy
    if free is not None and needed > free:
        raise ValueError(
            f"cost: --measure would take {bytes_told(needed)} of memory, {bytes_told(free)} are free here; take a "
            "smaller --batch or --seq, or a smaller configuration."
        )
    with console.status("Measuring this machine") as status:
        line = Roofline.remembered()
        if line is None:
            line = Roofline.measure()
            line.keep()
        told = found.predicted(line)
        status.update("Measuring the network")
        batch, *rest = found.inputs[0]
        net = from_config(source, dtype=found.dtype, rng=0)
        return measure(net, batch=batch, seq=rest[0] if len(rest) == 1 else None), told


def beside(took: Measured, told: Predicted) -> Group:
    """A line a pass: predicted, measured, their ratio."""
    table = columns("time on this machine", "at least", "measured", "ratio")
    ratios = took.over(told)
    for name, label in PASSES.items():
        ratio = f"{ratios[name]:.2f}" if name in ratios else "–"
        table.add_row(label, seconds(getattr(told, name)), seconds(getattr(took, name)), ratio)
    how = (
        f"at least: the roofline, each operation as fast as this machine computes or moves; measured: on NumPy, the "
        f"median of {took.rounds} rounds"
    )
    return Group(table, Text(how, "dim"))
