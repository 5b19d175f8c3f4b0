"""Folders of adapters on the command line: what they are for, and the commands and lines that use them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.text import Text

from adjoint.errors import CheckpointError
from adjoint.inspection.screen import plain
from adjoint.interop.safetensors_files import parsed
from adjoint.lora.config import LIMIT
from adjoint.lora.files import CONFIG


def adapters(folder: str) -> bool:
    """Whether a folder holds adapters rather than a model."""
    own, model = (os.path.exists(os.path.join(folder, name)) for name in (CONFIG, "config.json"))
    return own and not model


def base_of(folder: str) -> str:
    """The model that a folder's adapters are for, "BASE" where its configuration does not tell.

    Raises CheckpointError for a configuration that is no JSON or has too many bytes.
    """
    path = Path(folder, CONFIG)
    with path.open("rb") as file:
        raw = file.read(LIMIT + 1)
    if len(raw) > LIMIT:
        raise CheckpointError(f"{path} has more than {LIMIT:,} bytes, more than a configuration has: it is corrupt.")
    found = parsed(str(path), raw, "configuration of an adapter").get("base_model_name_or_path")
    return plain(found) if isinstance(found, str) and found else "BASE"


def uses(base: str, folder: str, writes: bool) -> dict[str, str]:
    """How adapters are used beside their model: a command, where it writes text, and a line of Python.

    >>> uses("story", "out", writes=True)["for text"]
    'adjoint generate story --adapter out'
    """
    command = {"for text": f"adjoint generate {shlex.quote(base)} --adapter {shlex.quote(folder)}"} if writes else {}
    return command | {"in Python": f"net = aj.lora.load(aj.open({base!r}), {folder!r})"}


def lines(rows: Mapping[str, str]) -> Text:
    """A line each, to be copied.

    >>> print(lines({"in Python": "import adjoint as aj"}))
    in Python  import adjoint as aj
    """
    return Text("\n").join(Text(f"{what:9}  ", "dim").append(text, "default") for what, text in rows.items())


def refuse(folder: str) -> None:
    """Raise CheckpointError for a folder of adapters where a model is needed, with the command that is meant."""
    if adapters(folder):
        base = base_of(folder)
        told = uses(base, folder, writes=True)["for text"]
        raise CheckpointError(f"{folder} is an adapter for {base}, not a model; to write text with it: {told}")
