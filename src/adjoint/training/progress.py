"""What a person sees of a run: a bar with the time left on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adjoint.training.state import Epoch, State


class Progress:
    """Says nothing; the two others say more."""

    def step(self) -> None:
        """A step is done."""

    def epoch(self, record: Epoch) -> None:
        """An epoch is done."""

    def say(self, text: str) -> None:
        """Something to read on the way."""


class Lines(Progress):
    """A line an epoch."""

    def __init__(self, console: Any, epochs: int, unit: str) -> None:
        self.console = console
        self.unit = unit
        self.epochs = epochs

    def epoch(self, record: Epoch) -> None:
        told = _told(record, self.epochs, self.unit)
        self.console.print(f"{told} · {record.seconds:.1f} s", highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


class Bar(Progress):
    """A bar over all steps of the run, with the last epoch's figures and the time left."""

    def __init__(self, bar: Any, steps: int, done: int, epochs: int, unit: str) -> None:
        self.bar = bar
        self.unit = unit
        self.epochs = epochs
        self.task = bar.add_task("training", total=steps, completed=done)

    def step(self) -> None:
        self.bar.advance(self.task)

    def epoch(self, record: Epoch) -> None:
        self.bar.update(self.task, description=_told(record, self.epochs, self.unit))

    def say(self, text: str) -> None:
        self.bar.console.print(text, highlight=False, markup=False)


@contextmanager
def display(shown: bool, state: State, steps: int, epochs: int, unit: str = "epoch") -> Iterator[Progress]:
    """The progress of a run of `epochs` epochs with `steps` steps each, from its state on; silent unless `shown`."""
    if not shown:
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(console, epochs, unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Display(*columns, console=console) as bar:
        yield Bar(bar, steps * epochs, steps * len(state.history) + state.batch, epochs, unit)


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Notes Ctrl-C in a list, so that the step in hand is finished first; a second one interrupts at once."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    usual = signal.default_int_handler
    # signals arrive in the main thread only, and who ignores or handles them goes on doing so
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield asked
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, usual)


def _told(record: Epoch, epochs: int, unit: str) -> str:
    figures = [f"{unit} {record.epoch}/{epochs}", f"loss {record.loss:.4g}"]
    if record.validation_loss is not None:
        figures.append(f"val loss {record.validation_loss:.4g}")
    if record.validation_metric is not None:
        figures.append(f"val metric {record.validation_metric:.4g}")
    return " · ".join(figures)
