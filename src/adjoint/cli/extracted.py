"""`adjoint lora extract`: an adapter from two checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from adjoint import __version__
from adjoint.cli.adapted import refuse
from adjoint.errors import CheckpointError
from adjoint.interop.opening import open as opened
from adjoint.lora.extracting import Extraction, extract
from adjoint.lora.files import save
from adjoint.lora.screens import extraction
from adjoint.nn.module import Module


def extracted(
    console: Console, base: str, tuned: str, folder: Path, rank: int | None, energy: float | None, every: bool = False
) -> Extraction:
    """Write the adapter of `tuned` beside `base` to a folder, and print what it holds.

    Raises what `aj.open`, `lora.extract` and `lora.save` raise, CheckpointError for a source that is no network.
    """
    with console.status("Taking every change apart"):
        net, found = extract(network(base), network(tuned), rank, energy)
    folder.mkdir(parents=True, exist_ok=True)
    save(net, folder, base=base)
    names = [os.path.basename(os.path.normpath(x)) for x in (base, tuned)]
    title = Text(f"adjoint {__version__} · lora extract {names[0]} → {names[1]}", "bold")
    console.print(Rule(title, align="left", style="dim"))
    console.print(extraction(found, every))
    console.print("", Text("written to  ", "dim").append(str(folder), "default"), soft_wrap=True, sep="\n")
    return found


def network(source: str) -> Any:
    """The network of a folder. Raises CheckpointError for adapters, and weights without a configuration."""
    refuse(source)
    found = opened(source)
    if not isinstance(found, Module):
        raise CheckpointError(f"{source} holds weights without a configuration (config.json), so no network.")
    return found
