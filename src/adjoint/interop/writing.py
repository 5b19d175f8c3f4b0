"""Files written whole or not at all, piece by piece."""

from __future__ import annotations

import glob
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from adjoint.interop.entries import Path

STALE = 60.0  # seconds after which a part that nobody holds is left over from a writer that died


def write(path: Path, data: bytes | Iterable[Any]) -> None:
    """Write a file whole or not at all: under another name beside it, to the disk, then renamed.

    `data` are bytes, or what has them piece by piece. Missing folders are made, and parts that writers left when they
    were killed are removed.
    """
    pieces: Iterable[Any] = (data,) if isinstance(data, bytes) else data
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    _clean(folder, name)
    part = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            _held(file)
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _held(file: Any) -> bool:
    """Take the lock that a writer has of its part while it lives; False where another has it."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be removed
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _clean(folder: str, name: str) -> None:
    """Remove the parts of this file whose writers were killed."""
    for part in glob.glob(f".{glob.escape(name)}.????????.part", root_dir=folder, include_hidden=True):
        with suppress(OSError):  # another may clean too
            place = os.path.join(folder, part)
            if time.time() - os.stat(place).st_mtime > STALE:
                with open(place, "rb") as file:
                    if _held(file):
                        os.unlink(place)
