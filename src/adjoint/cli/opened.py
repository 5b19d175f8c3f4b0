"""`adjoint open`: what a file or folder holds, on one screen, without reading its numbers."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from adjoint import __version__
from adjoint.cli.adapted import adapters, base_of, lines, uses
from adjoint.inspection.screen import middle
from adjoint.interop import Weights
from adjoint.interop.entries import grouped
from adjoint.interop.graph import Graph
from adjoint.interop.opening import glance
from adjoint.interop.weights import bytes_told
from adjoint.models.config import read_config
from adjoint.nn.module import Module, count_parameters

LONGEST = 52  # characters of a name, so that a line fits 80 columns


def show(
    console: Console, source: str, trust_pickle: bool = False, every: bool = False, ignore: Collection[str] = ()
) -> Any:
    """Print what a source holds and return it, as `glance` does; with `every` each array has a line of its own.

    Raises what `aj.open` raises.
    """
    found = glance(source, ignore, trust_pickle)
    name = os.path.basename(os.path.normpath(source))
    console.print(Rule(Text(f"adjoint {__version__} · open {name}", "bold"), align="left", style="dim"))
    console.print(summary(found, source), "")
    console.print(table(_arrays(found), every), "")
    console.print(hints(found, source), soft_wrap=True)  # whole, so that it can be copied
    return found


def summary(found: Any, source: str) -> Table:
    """What it is, how many parameters it has, what they take."""
    kinds: dict[str, int] = {}
    for x in {id(x): x for x in _arrays(found).values()}.values():
        kinds[_kind(x)] = kinds.get(_kind(x), 0) + int(x.nbytes)
    if isinstance(found, Weights):
        count = f"{len(found)} arrays"
        rows = (
            {"adapter": f"{count}, for {base_of(source)}"}
            if adapters(source)
            else {"weights": f"{count} by name, without a configuration"}
        )
        rows |= {"numbers": f"{found.size:,}"}
    else:
        rows = {"network": _network(found, source), "parameters": f"{count_parameters(found):,}"}
        stored, packs = found.state_dict().keys(), _packs(found)  # a key of dropout is in no file
        kept = [x for name, x in found.named_buffers() if name in stored and name.rpartition(".")[0] not in packs]
        buffers = sum(int(x.size) for x in kept)
        rows |= {"buffers": f"{buffers:,} numbers that are not learned"} if buffers else {}
    rows["memory"] = ", ".join(f"{bytes_told(size)} of {kind}" for kind, size in kinds.items()) or "none"
    return _grid(rows)


def table(arrays: Mapping[str, Any], every: bool = False) -> Table:
    """A line an array: name, shape, numbers, and dtype where there are several; what is tied counts once.

    Layers that are alike have one line, and long names are cut, unless `every` is wanted.
    """
    result = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    result.add_column("array", overflow="fold")
    for header in ("shape", "numbers"):
        result.add_column(header, justify="right", no_wrap=True)
    several = len({_kind(x) for x in arrays.values()}) > 1
    if several:
        result.add_column("dtype", no_wrap=True)
    first: dict[int, str] = {}
    for name, x in arrays.items():
        first.setdefault(id(x), name)

    def alike(name: str) -> Any:
        x = arrays[name]
        return tuple(x.shape), _kind(x), name == first[id(x)]

    groups = [(name, [name]) for name in arrays] if every else grouped(arrays, alike)
    for told, names in groups:
        x, count = arrays[names[0]], len(names)
        shape = "×".join(map(str, x.shape)) or "1"
        tied = first[id(x)] != names[0]
        cells = [
            Text(_cut(f"{told} is {first[id(x)]}" if tied else told, every), "dim" if tied else ""),
            Text(shape) if count == 1 else Text.assemble((f"{count} of ", "dim"), shape),
            Text("tied", "dim") if tied else Text(f"{count * int(x.size):,}"),
        ]
        result.add_row(*cells, *([Text(_kind(x), "dim")] if several else []))
    return result


def hints(found: Any, source: str) -> Text:
    """What to do with it."""
    shown = f"aj.open({source!r})"
    if adapters(source):
        rows = uses(base_of(source), source, writes=True)
    elif isinstance(found, Weights):
        matrix = next((name for name in found if len(found.shape(name)) == 2), None)
        rows = {"in Python": f"{shown}.map({matrix!r}).svdvals(5)" if matrix else shown}
    else:
        rows = {"to read": f'adjoint generate {source} --prompt "…"'} if hasattr(found, "generate") else {}
        rows |= {"in Python": f"net = {shown}"}
    return lines(rows)


def _grid(rows: Mapping[str, str]) -> Table:
    told = Table.grid(padding=(0, 2))
    for what, text in rows.items():
        told.add_row(Text(what, "dim"), Text(text, overflow="fold"))
    return told


def _arrays(found: Any) -> dict[str, Any]:
    """Everything that has a name, a shape and a dtype."""
    if isinstance(found, Weights):
        return {name: found.entry(name) for name in found}
    packs = _packs(found)
    told: dict[str, Any] = {}
    for name, x in found.state_dict().items():
        owner = name.rpartition(".")[0]
        if owner in packs:  # codes and scales together are one weight
            told[f"{owner.rpartition('.')[0]}.weight".removeprefix(".")] = packs[owner]
        else:
            told[name] = x
    return told


def _packs(net: Module) -> dict[str, Any]:
    """The weights that are quantized."""
    return {name: module for name, module in net.named_modules() if module.packed_parameters}


def _network(net: Module, source: str) -> str:
    """What the network is called, here and in its configuration."""
    told = type(net).__name__
    if isinstance(net, Graph):
        return f"graph of {len(net.plan.steps)} steps, of {', '.join(net.plan.inputs)}"
    config = read_config(source if os.path.isdir(source) else os.path.dirname(source) or ".")
    theirs = (config.get("architectures") or [config["model_type"]])[0]
    return told if theirs == told else f"{told}, from a configuration of {theirs}"


def _cut(name: str, whole: bool) -> str:
    return name if whole else middle(name, LONGEST)


def _kind(x: Any) -> str:
    return str(x.dtype)
