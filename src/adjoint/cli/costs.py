"""`adjoint cost`: what a configuration costs, on one screen, without its weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from adjoint import __version__
from adjoint.cli.layouts import Devices, layouts
from adjoint.cli.sweeps import few, rows
from adjoint.cli.tables import columns
from adjoint.cli.times import beside, expected, predicted, timed
from adjoint.costs import Cost, sweep
from adjoint.costs.subjects import laid_out
from adjoint.costs.units import scaled
from adjoint.interop.weights import bytes_told
from adjoint.models.config import read_config

FILES = (".onnx", ".safetensors", ".npz", ".npy", ".pt", ".pth", ".bin", ".gguf")  # of programs and weights


def show(
    console: Console, source: str, batch: Sequence[int] = (1,), seq: Sequence[int] | None = None,
    dtype: str | None = None, plot: Path | None = None, devices: Devices | None = None, measured: bool = False,
) -> None:  # fmt: skip
    """Print what a configuration costs, a row a size where there are several; with `plot` draw it to a file.

    Raises what `aj.cost` raises, and ValueError where there is nothing to draw or to compare.
    """
    found = counted(source, batch, seq, dtype, devices, measured)
    if plot is not None:
        from adjoint.cli.curves import check

        check(found, plot)
    timing = timed(console, source, found[0]) if measured else None
    name = os.path.basename(os.path.normpath(os.path.abspath(source)))
    console.print(Rule(Text(f"adjoint {__version__} · cost {name}", "bold"), align="left", style="dim"))
    one = found[0]
    about = Table.grid(padding=(0, 2))
    for what, told in {
        "network": _network(source),
        "parameters": f"{one.parameters:,} of {one.dtype}",
        "given": given(one) if len(found) == 1 else f"{len(found)} sizes, a row each",
    }.items():
        about.add_row(Text(what, "dim"), told)
    if beyond := max(found, key=lambda size: size.inputs[0][-1]).beyond:
        about.add_row("", Text(beyond, "yellow"))
    console.print(about, "")
    if len(found) > 1:
        console.print(rows(found))
        if isinstance(why := predicted(one), str):
            console.print("", Text(why, "dim"), sep="\n")
    else:
        console.print(passes(one), "", memory(one), "", components(one), "", grown(one), "", sep="\n")
        console.print(expected(one) if timing is None else beside(*timing))
    if devices is not None:
        console.print("", layouts(one, *devices), sep="\n")
    if plot is not None:
        from adjoint.cli.curves import draw

        draw(found, plot, name)
        console.print(Text(f"drawn to {plot}", "dim"), soft_wrap=True)


def counted(
    source: str, batch: Sequence[int], seq: Sequence[int] | None, dtype: str | None, devices: Devices | None,
    measured: bool,
) -> tuple[Cost, ...]:  # fmt: skip
    """The cost at each size; ValueError for more sizes than are shown, and for several where one is wanted."""
    few(batch, seq)
    end = Path(source).suffix.lower()
    if end in FILES and Path(source).is_file():
        python = f"; in Python aj.cost(aj.open({source!r}), batch=1) counts it" if end == ".onnx" else ""
        raise ValueError(
            f"cost: {source} is no configuration: give a config.json, the folder where it lies, or a name such as gpt2"
            f"{python}."
        )
    if len(batch) * len(seq or (1,)) > 1 and (devices is not None or measured):
        raise ValueError("cost: --devices and --measure are of one size; give one --batch and one --seq.")
    return sweep(source, batch=batch, seq=seq, dtype=dtype)


def passes(found: Cost) -> Table:
    """FLOPs, multiply-adds and bytes of forward pass, backward pass and optimizer step."""
    table = columns("computation", "forward", "backward", "AdamW step")
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
    table = columns("memory of training", "as it is", "blocks checkpointed")
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
    """A line a component: multiply-adds of both passes, and of the forward pass all FLOPs and bytes, with shares."""
    table = columns("multiply-adds of", "forward", "share", "backward", "FLOPs", "share", "bytes", "share")
    whole = found.forward
    for part in sorted(found.components, key=lambda part: (-part.forward.matmul_flops, -part.forward.flops)):
        one = part.forward
        table.add_row(
            part.name,
            scaled(one.multiply_adds),
            _share(one.matmul_flops, whole.matmul_flops),
            scaled(part.backward.multiply_adds),
            scaled(one.flops),
            _share(one.flops, whole.flops),
            bytes_told(one.bytes),
            _share(one.bytes, whole.bytes),
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


def _network(source: str) -> str:
    """What the network is called, here and in its configuration."""
    config, own = read_config(source), type(laid_out(source)).__name__
    theirs = (config.get("architectures") or [config["model_type"]])[0]
    return own if own == theirs else f"{own}, from a configuration of {theirs}"


def given(found: Cost) -> str:
    """What the network was given, in words."""
    n, *rest = found.inputs[0]
    what = "sequence" if len(rest) == 1 else "image"
    size = f"{rest[0]:,} tokens" if len(rest) == 1 else "×".join(map(str, rest))
    both = ", and as many to its decoder" if len(found.inputs) > 1 else ""
    return f"{n:,} {what}{'' if n == 1 else 's'} of {size}{both}"


def _share(part: int, whole: int) -> Text:
    share = part / whole if whole else 0.0
    return Text(f"{share:.1%}", "" if share >= 0.0005 else "dim")


def _number(x: Fraction) -> str:
    return f"{x.numerator:,}" if x.denominator == 1 else f"{float(x):,.1f}"
