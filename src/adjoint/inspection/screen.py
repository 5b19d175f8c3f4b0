"""The report on a network's weights as a person sees it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from adjoint.inspection import spending
from adjoint.inspection.legend import legend
from adjoint.inspection.row import Row
from adjoint.inspection.table import figures
from adjoint.interop.entries import listed
from adjoint.interop.weights import bytes_told

if TYPE_CHECKING:
    from adjoint.inspection.report import Report

LONGEST = 26  # characters of a name
COLUMNS = (
    "shape", "rank", "null", "σ₁", "reshaped", "σ_min", "cond", "stable", "entropy", "k₉₀", "k₉₉", "α", "random",
    "FLOPs", "NF4", "int8",
)  # fmt: skip
LEFT_OUT = (
    "int8",
    "entropy",
    "FLOPs",
    "k₉₀",
    "NF4",
    "null",
    "α",
    "random",
    "stable",
    "reshaped",
)  # first, if too long a line
SHOWN = 16  # weights on the screen
TOLD = 200  # characters of the names that are skipped for one reason
ANSWERS = {"kept": "green", "lost": "red", "broken": "bold red", "fit": "green", "yes": "green"}
QUESTIONS = {"information": "information", "compression": "compressible", "lora": "LoRA"}


def _value(x: float | None) -> float:
    return math.inf if x is None or math.isnan(x) else float(x)


SORTS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row.name,
    "parameters": lambda row: -row.parameters,
    "rank": lambda row: _value(row.rank),
    "lost": lambda row: -(row.lost or 0),
    "norm": lambda row: -row.sigma_max if row.rank is not None else -math.inf,
    "smallest": lambda row: _value(row.sigma_min),
    "cond": lambda row: -_value(row.cond),
    "stable": lambda row: _value(row.stable_rank),
    "k90": lambda row: _value(row.k90),
    "k99": lambda row: _value(row.k99),
    "alpha": lambda row: _value(row.alpha),
}


def text(shown: Any, width: int = 120) -> str:
    """What Rich prints of something, as text without colours or spaces at line ends."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    told: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in told.splitlines())


def screen(report: Report, sort: str | None = None, every: bool = False) -> Group:
    """Identity, verdict, the worst weights and why, the table; `every` weight where there are many."""
    parts: list[Any] = [
        identity(report),
        "",
        verdict(report),
        "",
        worst(report),
        "",
        *_cost(report),
        table(report, sort, every, True),
    ]
    if report.layers:
        from adjoint.inspection.table import table as layers

        parts += ["", Text("Layers at the sample", "bold cyan"), layers(report)]
    if report.flow:
        from adjoint.inspection.blocks_screen import flow

        parts += ["", flow(report.flow, report.sample.cotangent if report.sample else "")]
    if report.circuits:
        from adjoint.inspection.circuits_screen import circuits

        parts += ["", circuits(report.circuits)]
    return Group(*parts)


def _cost(report: Report) -> list[Any]:
    """What the sample or one example costs, where that can be counted."""
    if report.cost is None:
        return []
    grid = Table.grid(padding=(0, 2))
    for k, told in enumerate(spending.lines(report.cost)):
        grid.add_row(Text("" if k else "cost", "dim"), Text(told))
    return [grid, ""]


def identity(report: Report) -> Table:
    """What was inspected, and what was not and why."""
    grid = Table.grid(padding=(0, 2))
    kinds = ", ".join(f"{bytes_told(size)} of {kind}" for kind, size in report.dtypes.items()) or "none"
    buffers = f", and {report.buffers:,} numbers in buffers" if report.buffers else ""
    grid.add_row(Text("model", "dim"), Text(plain(report.name), "bold"))
    grid.add_row(Text("parameters", "dim"), Text(f"{report.parameters:,} in {report.arrays} arrays{buffers}"))
    grid.add_row(Text("memory", "dim"), Text(kinds))
    again = f", {report.recalled} of them known already" if report.recalled else ""
    held = sum(row.parameters for row in report.rows)
    share = f" ({100 * held / report.parameters:.3g} % of the parameters)" if report.parameters else ""
    grid.add_row(Text("examined", "dim"), Text(f"{len(report.rows)} weights{share} in {report.seconds:.2g} s{again}"))
    if report.sample is not None:
        told = f"{report.sample}; {report.sample.gradients}" if report.flow else str(report.sample)
        grid.add_row(Text("sample", "dim"), Text(told))
    if not report.complete:
        weights = any(why.startswith("interrupted before it") for why in report.skipped.values())
        what = "of the weights examined" if weights or report.sample is None else "what was found at the sample"
        grid.add_row(Text("interrupted", "bold red"), Text(f"what follows is {what} until then", "red"))
    reasons: dict[str, list[str]] = {}
    for name, why in report.skipped.items():
        tied = why.startswith("tied:")
        reasons.setdefault("tied, counted once" if tied else why, []).append(f"{name} ({why[6:]})" if tied else name)
    for k, (why, names) in enumerate(reasons.items()):
        others = [name[1:-1] for name in names if name.startswith("(")]  # no arrays, in words
        told = "; ".join(
            [
                *([] if len(others) == len(names) else [plain(listed(x for x in names if not x.startswith("(")))]),
                *others,
            ]
        )
        told = told if len(told) <= TOLD else f"{told[: told.rfind(',', 0, TOLD)]}, …"
        label = Text("left out" if k == 0 else "", "dim")
        count, gap = ("", ": ") if others else (f"{len(names)} ", "  ")
        grid.add_row(label, Text.assemble((count, "dim"), told, (f"{gap}{why}", "dim")))
    return grid


def verdict(report: Report) -> Table:
    """Three lines."""
    grid = Table.grid(padding=(0, 2))
    for line in report.verdict:
        answer = Text(line.answer, ANSWERS.get(line.answer, "yellow"))
        grid.add_row(Text(QUESTIONS[line.question], "dim"), answer, Text(plain(line.told)))
    return grid


def worst(report: Report) -> Any:
    """The five worst weights and why."""
    if not report.findings:
        return Text("No weight stands out.", "green")
    grid = Table.grid(padding=(0, 2))
    for found in report.worst:
        grid.add_row(Text(plain(found.name), "bold red" if found.gravity >= 2 else "yellow"), Text(found.told))
    more = len(report.findings) - len(report.worst)
    heading = Text("Worst weights" + (f", of {len(report.findings)} at fault" if more else ""), "bold cyan")
    return Group(heading, grid)


class Fitted:
    """A table that leaves out its least important columns where the line is too short for all, and what is below it.

    `made(without)` is the table without some columns, which are left out in the order of `columns`; `below(without)`
    what follows it, such as a legend of those that are shown.
    """

    def __init__(
        self,
        made: Callable[[Collection[str]], Table],
        columns: Sequence[str],
        below: Callable[[Collection[str]], Sequence[Any]] = lambda without: (),
    ) -> None:
        self._made, self._columns, self._below = made, columns, below

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found, without = self._made(()), self._columns[:0]
        for left in range(len(self._columns) + 1):
            without = self._columns[:left]
            found = self._made(without)
            if found.__rich_measure__(console, options.update_width(10_000)).maximum <= options.max_width:
                break
        yield found
        yield from self._below(without)


def table(report: Report, sort: str | None = None, every: bool = True, explained: bool = False) -> Fitted:
    """A line a weight, and how its figures were found; ValueError for a column that it cannot be sorted by."""
    rows = list(report.rows)
    if sort is not None:
        if sort not in SORTS:
            raise ValueError(f"inspect: the table is sorted by {', '.join(SORTS)}, not {sort!r}.")
        rows.sort(key=SORTS[sort])
    grave = {found.name: found.gravity for found in report.findings}
    shown = rows if every else rows[:SHOWN]

    names = [plain(row.name) for row in shown] if every else shortened([row.name for row in shown])

    absent = [] if any(row.torus for row in rows) else ["reshaped"]
    absent += [] if any(not math.isnan(row.share) for row in rows) else ["FLOPs"]

    def made(without: Collection[str]) -> Table:
        without = (*without, *absent)
        result = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold cyan")
        result.add_column("weight", no_wrap=True)
        for header in COLUMNS:
            if header not in without:
                result.add_column(header, justify="right", no_wrap=True)
        for name, row in zip(names, shown, strict=True):
            style = "" if row.name not in grave else "red" if grave[row.name] >= 2 else "yellow"
            figures = [cell for header, cell in zip(COLUMNS, cells(row), strict=True) if header not in without]
            result.add_row(Text(name, style), *figures)
        return result

    def below(without: Collection[str]) -> list[Any]:
        left = len(rows) - len(shown)
        more = [Text(f"… and {left} more", "dim")] if left else []
        return [*more, "", Text(legend(report, (*without, *absent)), "dim")]

    return Fitted(made, LEFT_OUT, below) if explained else Fitted(made, LEFT_OUT)


def shortened(names: Sequence[str]) -> list[str]:
    """Names without their ".weight"; too long ones without what all have in common, or without their middle.

    >>> shortened(["model.layers.0.self_attn.q_proj.weight", "model.norm.weight"])
    ['layers.0.self_attn.q_proj', 'norm']
    >>> shortened(["vision.encoder.layers.11.self_attention.query"])
    ['vision.enco…ttention.query']
    """
    parts = [name.removesuffix(".weight").split(".") for name in names]
    first = 0
    if len(names) > 1 and max(map(len, names)) > LONGEST:
        fewest = min(map(len, parts))
        while first < fewest - 1 and len({part[first] for part in parts}) == 1:
            first += 1
    told = [plain(".".join(part[first:])) for part in parts]
    if len(set(told)) < len(told):
        told = [plain(name) for name in names]
    return [middle(name) for name in told]


def middle(name: str, longest: int = LONGEST) -> str:
    """A name without its middle, if it is too long.

    >>> middle("vision.encoder.layers.11.query", 16)
    'vision….11.query'
    """
    start = longest // 2 - 2
    return name if len(name) <= longest else f"{name[:start]}…{name[1 + start - longest :]}"


def plain(name: str) -> str:
    """A name of a file with escapes for what would steer the terminal.

    >>> plain("fc\\x1b[2J")
    'fc\\\\x1b[2J'
    """
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def cells(row: Row) -> tuple[str, ...]:
    """The figures of a line, one for each of `COLUMNS`."""
    size = "×".join(map(str, row.shape))
    if row.rank is None:
        return (size, *["–"] * (len(COLUMNS) - 1))
    return (
        size,
        f"{row.rank:,}",
        f"{row.nullity:,}",
        figures(row.sigma_max),
        figures(row.reshaped_norm) if row.torus else "",
        figures(row.sigma_min),
        figures(row.cond),
        figures(row.stable_rank),
        figures(row.entropy_rank),
        f"{row.k90:,}",
        f"{row.k99:,}",
        "–" if math.isnan(row.alpha) else f"{row.alpha:.3g}",
        "yes" if row.random else "–" if math.isnan(row.randomness) else "no",
        "–" if math.isnan(row.share) else f"{row.share:.1%}",
        *("–" if math.isnan(error) else f"{error:.1%}" for error in (row.nf4_error, row.int8_error)),
    )
