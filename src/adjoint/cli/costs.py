"""`adjoint cost`: what a configuration costs, on one screen, without its weights."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from adjoint import __version__
from adjoint.costs import Cost, Growth, Pass, Polynomial, cost
from adjoint.costs.subjects import laid_out
from adjoint.costs.units import scaled
from adjoint.interop.weights import bytes_told
from adjoint.models.config import read_config
from adjoint.nn.module import Module


def show(
    console: Console, source: str, batch: int | None = None, seq: int | None = None, dtype: str | None = None,
    plot: Path | None = None, devices: int | None = None, memory_of_each: str | None = None,
    link: str | None = None,
) -> Cost:  # fmt: skip
    """Print what a configuration costs, and return it; with `plot` draw its growth with the sequence to a file.

    Raises what `aj.cost` raises, and ValueError where there is nothing to draw.
    """
    from adjoint.cli.layouts import expected, layouts, nbytes

    room, speed = (None if x is None else nbytes(x) for x in (memory_of_each, link))
    if devices is None and (room is not None or speed is not None):
        raise ValueError("cost: --memory and --link are of several devices; give --devices, too.")
    net = laid_out(source, dtype)
    found = cost(net, batch=batch, seq=seq)
    if plot is not None and len(found.inputs[0]) != 2:
        raise ValueError(f"cost: {type(net).__name__} takes images: there is no length of a sequence to plot against.")
    name = os.path.basename(os.path.normpath(os.path.abspath(source)))
    console.print(Rule(Text(f"adjoint {__version__} · cost {name}", "bold"), align="left", style="dim"))
    about = Table.grid(padding=(0, 2))
    for what, told in {
        "network": _network(net, source),
        "parameters": f"{found.parameters:,} of {found.dtype}",
        "given": _given(found),
    }.items():
        about.add_row(Text(what, "dim"), told)
    console.print(about, "", passes(found), "", memory(found), "", components(found), "")
    console.print(grown(found))
    console.print("", expected(found), sep="\n")
    if devices is not None:
        console.print("", layouts(found, devices, room, speed), sep="\n")
    if plot is not None:
        from adjoint.cli.curves import draw

        growth = found.polynomial("seq")
        crossings = [float(at) for at in growth.overtakes.values() if at is not None]
        draw(growth, plot, f"{name}: what a sequence costs", found.inputs[0][0], round(4 * max([4096.0, *crossings])))
        console.print(Text(f"drawn to {plot}", "dim"))
    return found


def passes(found: Cost) -> Table:
    """FLOPs, multiply-adds and bytes of forward pass, backward pass and optimizer step."""
    table = _table("computation", "forward", "backward", "AdamW step")
    each = (found.forward, found.backward, found.step)
    table.add_row("multiply-adds in products", *[scaled(p.multiply_adds) for p in each])
    table.add_row("FLOPs in products", *[scaled(p.matmul_flops) for p in each])
    table.add_row("FLOPs of everything", *[scaled(p.flops) for p in each])
    table.add_row("bytes read and written", *[bytes_told(p.bytes) for p in each])
    table.add_row(
        "FLOPs a byte", *[f"{p.intensity:,.3g}" if p.intensity < 100 else f"{p.intensity:,.0f}" for p in each]
    )
    return table


def memory(found: Cost) -> Table:
    """What training takes, as it is and with every block checkpointed."""
    own = found.memory
    table = _table("memory of training", "as it is", "blocks checkpointed")
    small = own.checkpointed

    def row(what: str, plain: int, less: int | None) -> None:
        table.add_row(what, bytes_told(plain), Text("—", "dim") if less is None else bytes_told(less))

    def fixed(what: str, size: int) -> None:
        row(what, size, None if small is None else size)

    fixed("weights", own.weights)
    fixed("AdamW's two moments", own.optimizer)
    fixed("gradients", own.gradients)
    row("activations kept for the backward pass", own.passes.kept, None if small is None else small.kept)
    row("peak of all, at any moment", own.training, own.training_checkpointed)
    return table


def components(found: Cost) -> Table:
    """A line a component: multiply-adds of both passes, and its shares of products and of bytes."""
    table = _table("multiply-adds of", "forward", "share", "backward", "bytes, forward", "share")
    total, moved = found.forward.matmul_flops, found.forward.bytes
    for part in sorted(found.components, key=lambda part: (-part.forward.matmul_flops, -part.forward.bytes)):
        table.add_row(
            part.name,
            scaled(part.forward.multiply_adds),
            _share(part.forward.matmul_flops, total),
            scaled(part.backward.multiply_adds),
            bytes_told(part.forward.bytes),
            _share(part.forward.bytes, moved),
        )
    return table


def grown(found: Cost) -> Text:
    """The polynomial in the sequence length, and where attention overtakes the feed-forward part."""
    if len(found.inputs[0]) != 2:
        return Text("a network for images: its FLOPs are in proportion to the batch", "dim")
    try:
        growth = found.polynomial("seq")
    except ValueError as error:
        return Text(str(error), "yellow")
    batch = found.inputs[0][0]
    lines = [
        Text.assemble(("for sequences of T tokens", "bold cyan"), f", batch {batch}, FLOPs in products, exactly"),
        Text.assemble(("  forward   ", "dim"), str(growth.forward)),
        Text.assemble(("  backward  ", "dim"), str(growth.backward)),
    ]
    crossings = [f"{convention} at T = {_number(at)}" for convention, at in growth.overtakes.items() if at is not None]
    if crossings:
        lines.append(
            Text.assemble(("  attention costs more than the feed-forward part: ", "dim"), ", ".join(crossings))
        )
    return Text("\n").join(lines)


def figures(found: Cost) -> dict[str, Any]:
    """Everything as numbers by name, for JSON."""
    own = found.memory
    growth: Growth | str | None = None
    if len(found.inputs[0]) == 2:
        try:
            growth = found.polynomial("seq")
        except ValueError as error:
            growth = str(error)
    return {
        "parameters": found.parameters,
        "dtype": found.dtype,
        "inputs": [list(shape) for shape in found.inputs],
        "forward": _pass(found.forward),
        "backward": _pass(found.backward),
        "optimizer_step": _pass(found.step),
        "memory": {
            "weights": own.weights,
            "gradients": own.gradients,
            "optimizer": own.optimizer,
            "activations": own.passes.kept,
            "inference_peak": found.inference_bytes,
            "training_peak": own.training,
            "activations_checkpointed": own.checkpointed and own.checkpointed.kept,
            "training_peak_checkpointed": own.training_checkpointed,
        },
        "components": {p.name: {"forward": _pass(p.forward), "backward": _pass(p.backward)} for p in found.components},
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "level": layer.level,
                "parameters": layer.parameters,
                "forward": _pass(layer.forward),
                "backward": _pass(layer.backward),
            }
            for layer in found.layers
        ],
        "polynomial": _growth(growth) if isinstance(growth, Growth) else growth,
    }


def _network(net: Module, source: str) -> str:
    """What the network is called, here and in its configuration."""
    config, own = read_config(source), type(net).__name__
    theirs = (config.get("architectures") or [config["model_type"]])[0]
    return own if own == theirs else f"{own}, from a configuration of {theirs}"


def _given(found: Cost) -> str:
    """What the network was given, in words."""
    n, *rest = found.inputs[0]
    what = "sequence" if len(rest) == 1 else "image"
    size = f"{rest[0]:,} tokens" if len(rest) == 1 else "×".join(map(str, rest))
    both = ", and as many to its decoder" if len(found.inputs) > 1 else ""
    return f"{n:,} {what}{'' if n == 1 else 's'} of {size}{both}"


def _table(*headers: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    table.add_column(headers[0], no_wrap=True)
    for header in headers[1:]:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _share(part: int, whole: int) -> Text:
    share = part / whole if whole else 0.0
    return Text(f"{share:.1%}", "" if share >= 0.0005 else "dim")


def _pass(found: Pass) -> dict[str, Any]:
    return {
        "flops": found.flops,
        "flops_in_products": found.matmul_flops,
        "multiply_adds": found.multiply_adds,
        "bytes": found.bytes,
        "flops_a_byte": found.intensity,
    }


def _growth(found: Growth) -> dict[str, Any]:
    return {
        "of": "flops_in_products",
        "in": found.variable,
        "forward": _coefficients(found.forward),
        "backward": _coefficients(found.backward),
        "checked_at": found.checked,
        "attention_overtakes": {k: None if at is None else float(at) for k, at in found.overtakes.items()},
    }


def _coefficients(p: Polynomial) -> list[int | str]:
    """Of 1, T, T²: integers, or fractions as text."""
    return [int(c) if c.denominator == 1 else str(c) for c in p.coefficients]


def _number(x: Fraction) -> str:
    return f"{x.numerator:,}" if x.denominator == 1 else f"{float(x):,.1f}"
