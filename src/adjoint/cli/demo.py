"""`adjoint demo`: train on real digits, check the gradients, open the network as linear maps, and write it all down."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.status import Status
from rich.table import Table
from rich.text import Text

from adjoint import __version__
from adjoint.cli import experiment as settings
from adjoint.cli import report
from adjoint.cli.blindness import Twins, named, twins, unlit
from adjoint.cli.experiment import Experiment, cross_validated, perform
from adjoint.cli.facts import gather
from adjoint.inspection.table import figures, percent, table
from adjoint.interop.writing import write
from adjoint.training import save

REPORT, WEIGHTS, FIGURES = "report.html", "weights.safetensors", "figures.json"
PAIRS = 6
SHADES = " ░▒▓█"
LEGEND = (
    "rank: directions that get through · nullity: directions lost · hides: the share of a layer’s inputs lost with "
    "them · σ₁: the most it stretches · to output: the norm of the Jacobian from there to the scores, the most that a "
    "gradient can grow by on its way back"
)


def demo(console: Console, out: Path, epochs: int, seed: int, folds: int = 1) -> Experiment:
    """Run the demo, tell the console about it, and write its three files to a folder, made where it is missing.

    Raises OSError naming the folder before anything else is done where it cannot be written, ImportError where
    scikit-learn, which carries the digits, is not installed.
    """
    prepare(out)
    console.print(Rule(Text(f"adjoint {__version__} · demo", "bold"), align="left", style="dim"))
    with Clock(console) as clock:
        found = perform(epochs, seed, clock.begin, console.is_terminal)
        accuracies: list[float] = []
        if folds > 1:
            clock.begin(f"training on {folds} splits")
            accuracies = list(cross_validated(folds, epochs, seed))
        clock.begin("writing the report")
        pairs = twins(found.net, found.test, found.predicted, found.certainty, PAIRS)
        dark = unlit(found.net, found.initial, found.train, settings.rates(found.train, epochs), settings.DECAY)
        text = report.render(found, pairs, dark, accuracies, clock.seconds)
    save(out / WEIGHTS, found.net)
    write(out / FIGURES, json.dumps(gather(found, pairs, dark, accuracies, clock.seconds), indent=1).encode())
    write(out / REPORT, text.encode())
    console.print(screen(found, pairs, accuracies))
    console.print(written(out, sum(clock.seconds.values())))
    return found


def prepare(out: Path) -> None:
    """Make the folder, and see that files can be made in it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OSError(f"cannot write to {out} ({error.strerror}): name another folder with --out") from error


class Clock:
    """Takes the time of each step and shows a sign of life on a terminal; training shows its own bar."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self.status: Status | None = None
        self.step, self.began = "", 0.0

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, *raised: object) -> None:
        self.end()

    def begin(self, step: str) -> None:
        """End the step that is under way, begin another."""
        self.end()
        self.step, self.began = step, time.perf_counter()
        if step != "training" and self.console.is_terminal:
            self.status = self.console.status(f"{step[:1].upper()}{step[1:]}")
            self.status.start()

    def end(self) -> None:
        """End the step that is under way."""
        if self.status is not None:
            self.status.stop()
            self.status = None
        if self.step:
            self.seconds[self.step] = time.perf_counter() - self.began
            self.step = ""


def screen(found: Experiment, pairs: list[Twins], folds: list[float]) -> RenderableType:
    """What was found, as one readable screen."""
    return Group(
        Padding(facts_of(found, folds), (1, 0)),
        table(found.inspection),
        Padding(Text(LEGEND, "dim"), (1, 0, 0, 0)),
        Padding(blindness(found, pairs), (1, 0)),
    )


def facts_of(found: Experiment, folds: list[float]) -> Table:
    """How well the network reads, whether its gradients are right, what it costs."""
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column()
    grid.add_row("data", f"{len(found.train):,} handwritten digits to learn from, {len(found.test)} for the test")
    grid.add_row(
        "reads",
        Text(f"{percent(found.accuracy)} of the test digits right", "bold green").append(
            f", with {found.cost.parameters:,} parameters", "none"
        ),
    )
    if folds:
        each = ", ".join(percent(accuracy) for accuracy in folds)
        grid.add_row("", f"{percent(float(np.mean(folds)))} on average over {len(folds)} splits ({each})")
    grid.add_row("gradients", checked(found))
    forward, backward = found.cost.forward.flops, found.cost.backward.flops
    grid.add_row(
        "costs",
        f"{forward / settings.BATCH:,.0f} FLOPs a digit forward, {backward / settings.BATCH:,.0f} backward "
        f"({figures(backward / forward)} times as many)",
    )
    return grid


def checked(found: Experiment) -> Text:
    """The verdict of the gradient check."""
    rows = found.check.rows
    if not found.check.ok:
        return Text("WRONG\n" + "\n".join(found.check.findings), "bold red")
    dot, error = max(row.dot for row in rows), max(row.error for row in rows)
    return Text(f"right in all {len(rows)} arrays", "bold green").append(
        f": dot test to {dot:.0e}, differences to {error:.0e}", "none"
    )


def blindness(found: Experiment, pairs: list[Twins]) -> RenderableType:
    """What the first layer cannot see, in a sentence and a pair of pictures."""
    first = found.inspection.layers[0]
    told = Text.assemble(
        "The first layer cannot see ",
        (f"{first.nullity} of {first.rank + first.nullity}", "bold"),
        " directions, and ",
        (percent(first.hidden), "bold"),
        " of a digit’s energy lies in them.",
    )
    if not pairs:
        return told
    pair = pairs[0]
    digit, looks = int(found.test.y[pair.digit]), int(found.test.y[pair.goal])
    told.append_text(
        Text.assemble(
            " So it cannot tell this ",
            (str(digit), "bold"),
            " from the picture beside it, made to look like ",
            (named(looks), "bold"),
            ": the network reads both as ",
            (str(found.predicted[pair.digit]), "bold"),
            ".",
        )
    )
    grid = Table.grid(padding=(0, 3))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(vertical="middle")
    grid.add_row(shaded(found.test.x[pair.digit]), shaded(pair.twin), told)
    return grid


def shaded(x: np.ndarray) -> Text:
    """A picture of 8×8 grey values in letters, two a pixel.

    >>> print(shaded(np.linspace(0, 1, 64)).plain.splitlines()[-1])
    ████████████████
    """
    levels = np.clip(np.round(x * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int).reshape(8, 8)
    return Text("\n".join("".join(2 * SHADES[level] for level in row) for row in levels))


def written(out: Path, seconds: float) -> Table:
    """Where the files are."""
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(style="dim")
    grid.add_row("report", Text(str(out / REPORT), f"link {(out / REPORT).resolve().as_uri()}"), "open it in a browser")
    grid.add_row("weights", str(out / WEIGHTS), "PyTorch’s names")
    grid.add_row("figures", str(out / FIGURES), f"as JSON; all done in {seconds:.0f} s")
    return grid
