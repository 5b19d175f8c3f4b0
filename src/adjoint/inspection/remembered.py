"""What was measured of a weight, kept on disk under the hash of its numbers, so that a second look is instant."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from adjoint.inspection.row import Row

VERSION = 2  # of what is measured: another one finds nothing of this
BLOCK = 1 << 24


def folder() -> Path | None:
    """Where results are kept: `ADJOINT_CACHE`, else the user's cache folder; None where that says "off".

    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, {"ADJOINT_CACHE": "off"}):
    ...     print(folder())
    None
    """
    told = os.environ.get("ADJOINT_CACHE")
    if told is not None:
        return None if told.lower() in ("", "0", "off", "no", "false") else Path(told) / "weights"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "adjoint" / "weights"


def key(array: np.ndarray) -> str:
    """A hash of an array's numbers, dtype and shape.

    >>> import numpy as np
    >>> x = np.ones((2, 3))
    >>> key(x) == key(x.copy()), key(x) == key(x.astype("float32")), key(x) == key(x.T)
    (True, False, False)
    """
    digest = hashlib.sha256(f"{VERSION} {array.dtype.name} {array.shape}".encode())
    step = max(1, BLOCK // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        digest.update(np.ascontiguousarray(array[start : start + step]).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def recall(where: Path, name: str) -> dict[str, Any] | None:
    """The record under a key; None where there is none, or none that can be read."""
    try:
        told = json.loads((where / f"{name}.json").read_text(encoding="utf-8"))
        Row.from_dict(told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return dict(told)


def keep(where: Path, name: str, row: Row) -> None:
    """Write a record, whole or not at all; a folder that cannot be written keeps nothing."""
    with contextlib.suppress(OSError):
        where.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=where, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(row.as_dict(), file)
            os.replace(path, where / f"{name}.json")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
