"""A text written as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def save(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text in UTF-8 beside its place, then move it there; where that fails, what was there before stays.

    Raises OSError where the folder is missing or cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/page.html", "<p>σ").read_text(encoding="utf-8")
    '<p>σ'
    """
    goal = Path(path)
    handle, beside = tempfile.mkstemp(dir=goal.parent, prefix=f".{goal.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(beside, 0o666 & ~_mask())
        os.replace(beside, goal)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    return goal


def _mask() -> int:
    """The permissions that new files are not given; a temporary file is its owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
