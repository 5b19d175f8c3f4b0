"""Ctrl-C at a step that a test names: a run that is stopped by a clock has ended where the machine is fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Asked:
    """True from the time on when it was asked so often: Ctrl-C during a step."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


@contextmanager
def stopping(after: int) -> Iterator[Asked]:
    """What stands in for `interruptions` in `adjoint.training.loop`."""
    yield Asked(after)
