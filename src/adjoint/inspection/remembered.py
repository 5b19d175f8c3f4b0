"""What was measured of a weight, kept on disk under the hash of its numbers, so that a second look is instant."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
VERSION = 4  # of what is measured: another one finds nothing of this
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


def key(*arrays: np.ndarray, how: str = "") -> str:
    """A hash of the numbers, dtypes and shapes of arrays, and of how they are examined.

    >>> import numpy as np
    >>> x = np.ones((2, 3))
    >>> key(x) == key(x.copy()), key(x) == key(x.astype("float32")), key(x) == key(x.T), key(x) == key(x, how="turned")
    (True, False, False, False)
    """
    digest = hashlib.sha256(f"{VERSION} {how}".encode())
    for array in arrays:
        digest.update(f" {array.dtype.name} {array.shape}".encode())
        step = max(1, BLOCK // max(1, array[:1].nbytes))
        for start in range(0, len(array), step):
            digest.update(np.ascontiguousarray(array[start : start + step]).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def recall(where: Path, name: str, made: Callable[[Any], T]) -> T | None:
    """What `made` makes of the record under a key; None where there is none, or none that it can be made of."""
    try:
        return made(json.loads((where / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def keep(where: Path, name: str, told: Any) -> None:
    """Write a plain record, whole or not at all; a folder that cannot be written keeps nothing."""
    with contextlib.suppress(OSError):
        where.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=where, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(told, file)
            os.replace(path, where / f"{name}.json")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
