"""`adjoint lora plan`: the ranks of adapters for a model, and the configuration to paste."""

from __future__ import annotations

import json
import os
from pathlib import Path

import typer
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from adjoint import __version__
from adjoint.cli.extracted import network
from adjoint.inspection.row import plain
from adjoint.lora.planning import Plan, plan
from adjoint.lora.planning_screen import screen

LENGTH = 128  # of an example of text, where none is given
EXAMPLES = 8  # of the sample that are used, so that the gradients take moments


def planned(
    console: Console, model: str, budget: int | None = None, sample: Path | None = None,
    targets: tuple[str, ...] = (), seq: int | None = None, every: bool = False, as_json: bool = False,
    batch: int | None = None,
) -> Plan:  # fmt: skip
    """Print the plan for a model. Raises what `aj.open`, `lora.plan` and the reading of examples raise.

    Memory and time are told of steps of `batch` examples; `seq` tokens are in one of a text.
    """
    net = network(model)
    wanted = list(targets) or None
    if sample is None:
        result = plan(net, budget, targets=wanted, batch=batch, seq=seq)
    else:
        from adjoint.cli.tasks import task

        found = task(net, Path(model), sample, seq or LENGTH, 0.5, 0)
        x, t = found.train.x[:EXAMPLES], found.train.y[:EXAMPLES]
        if found.masked:
            gone = {"batch": batch or len(x), "seq": x.shape[-1]}
            result = plan(net, budget, lambda n: found.loss(found.taking(n)(x), t), targets=wanted, **gone)
        else:
            result = plan(net, budget, (x, t), found.loss, wanted, batch=batch)
    if as_json:
        told = {"parameters": result.parameters, "ranks": result.ranks, **plain(result)}
        typer.echo(json.dumps(told | {"config": dict(result.config)}, indent=2))
        return result
    name = os.path.basename(os.path.normpath(model))
    console.print(Rule(Text(f"adjoint {__version__} · lora plan {name}", "bold"), align="left", style="dim"))
    console.print(screen(result, every))
    return result
