"""A bar with the time left, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float], None]


@contextmanager
def bar(what: str, shown: bool, total: float) -> Iterator[Advance]:
    """What advances a bar where one is wanted and errors go to a terminal; it goes when all is done."""
    if not shown or not sys.stderr.isatty():
        yield lambda cost: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown_bar:
        task = shown_bar.add_task("", total=total)
        yield lambda cost: shown_bar.advance(task, cost)
