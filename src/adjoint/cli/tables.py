"""The plain table of the command line: names at the left, figures at the right."""

from __future__ import annotations

from rich.table import Table


def columns(first: str, *figures: str) -> Table:
    """A table without lines whose first column is of names, the others of figures.

    >>> len(columns("layer", "FLOPs", "bytes").columns)
    3
    """
    made = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold cyan")
    made.add_column(first, no_wrap=True)
    for header in figures:
        made.add_column(header, justify="right", no_wrap=True)
    return made
