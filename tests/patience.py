"""Waiting for other threads and processes: all of them, and how long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

HANGS = 600.0  # seconds; what has not come by then hangs, however slow the machine


def at_once(work: Callable[..., Any], given: Iterable[Sequence[Any]]) -> None:
    """work(*arguments) for all the arguments at once, each in a thread of its own, until every one has ended."""
    running = [threading.Thread(target=work, args=tuple(arguments)) for arguments in given]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
