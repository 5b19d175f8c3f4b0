"""`adjoint lora`: low-rank adaptation from the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="lora",
    help="Low-rank adaptation: plan the ranks, train an adapter, compare ways to, extract one. "
    "`adjoint diff` tells afterwards whether a change was of low rank.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MODEL = "a folder as Hugging Face lays them out, with config.json"


@app.command("extract")
def _extract(
    base: Annotated[str, typer.Argument(help=f"The model before: {MODEL}.", metavar="BASE")],
    tuned: Annotated[str, typer.Argument(help="The model after.", metavar="TUNED")],
    to: Annotated[Path, typer.Option(help="Folder for the adapter; made where it is missing.", metavar="FOLDER")],
    rank: Annotated[int | None, typer.Option(min=1, help="Of every layer's adapter.")] = None,
    energy: Annotated[float | None, typer.Option(help="Else the share of each layer's ‖ΔW‖² to keep.")] = None,
    every: Annotated[bool, typer.Option("--all", help="A line for every layer.")] = False,
) -> None:
    """Write the best adapter for what fine-tuning changed, as PEFT reads it, and tell what it leaves out."""
    from rich.console import Console

    from adjoint.cli.extracted import extracted

    with mendable():
        extracted(Console(), base, tuned, to, rank, energy, every)


@app.command("plan")
def _plan(
    model: Annotated[str, typer.Argument(help=f"What to adapt: {MODEL}.", metavar="MODEL")],
    budget: Annotated[
        int | None, typer.Option(help="Parameters that may learn: else what rank 8 everywhere takes.")
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(help="Examples as `train` takes them, so that ranks follow the loss's gradients.", metavar="FILE"),
    ] = None,
    targets: Annotated[
        list[str] | None, typer.Option(help="A layer's name, the end of it or a glob; may be given several times.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Examples in a step, for its memory and time: 8 of a sample, else 1.")
    ] = None,
    seq: Annotated[
        int | None,
        typer.Option(min=2, help="Tokens of an example of text: 128 of a sample, else what the model takes."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="A line for every layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of the screen.")] = False,
) -> None:
    """Tell which rank each layer's adapter is worth, what training then costs, and the LoraConfig to paste."""
    from rich.console import Console

    from adjoint.cli.planned import planned

    with mendable():
        planned(Console(), model, budget, sample, tuple(targets or ()), seq, every, as_json, batch)


class Methods(StrEnum):
    """What learns."""

    full = "full"
    lora = "lora"
    dora = "dora"
    adalora = "adalora"
    qlora = "qlora"


@app.command("train")
def _train(
    model: Annotated[Path, typer.Argument(help=f"What to adapt: {MODEL}.", metavar="MODEL")],
    data: Annotated[
        Path,
        typer.Option(
            help="A text (.txt), or examples with labels: .csv or .jsonl with text and label, .npz with x and y."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the adapter; made where it is missing.", metavar="FOLDER")],
    method: Annotated[
        Methods, typer.Option(help="full: every weight; qlora: weights in NF4; else as lora.add has it.")
    ] = Methods.lora,
    rank: Annotated[int, typer.Option(min=1, help="Of each adapter; of adalora on average, in the end.")] = 8,
    alpha: Annotated[float, typer.Option(help="An adapter is multiplied by alpha/rank.")] = 16.0,
    targets: Annotated[
        list[str] | None, typer.Option(help="A layer's name, the end of it or a glob; may be given several times.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(min=0.0, help="Learning rate at its height: 1e-3 unless given, of full 1e-4.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="How many; what is held out is read up to ten times on the way.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In place of steps: how often every example is seen, 3 unless given.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Examples, or blocks of text, in a step.")] = 8,
    seq: Annotated[int, typer.Option(min=2, help="Tokens in a block; longer examples are cut.")] = 128,
    validation: Annotated[float, typer.Option(min=0.001, max=0.9, help="The share that is held out.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of adapters, split and the order of the examples.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
) -> None:
    """Adapt a model to a text or to labelled examples; only what changes is written, as PEFT reads it.

    Ctrl-C finishes the step in hand; the same command with --resume goes on from there.
    """
    from rich.console import Console

    from adjoint.cli.tuning import Options, tune

    options = Options(
        model, data, out, method.value, rank, alpha, tuple(targets or ()), lr, steps, epochs, batch, seq, validation,
        seed, resume,
    )  # fmt: skip
    with mendable():
        try:
            tune(Console(), options)
        except KeyboardInterrupt:
            begun = options.state.exists()
            told = "the same command with --resume goes on" if begun else "no step was taken and nothing written"
            typer.echo(f"interrupted; {told}", err=True)
            raise typer.Exit(130) from None


class Tasks(StrEnum):
    """What is learned anew."""

    digits = "digits"
    text = "text"


@app.command("compare")
def _compare(
    task: Annotated[
        Tasks,
        typer.Option(
            help="digits: 5 to 9, of a network that knows 0 to 4; text: Shakespeare, of one that tells stories."
        ),
    ] = Tasks.digits,
    data: Annotated[
        Path | None, typer.Option(help="MNIST's folder, or a text: else those in the folder that ADJOINT_DATA names.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="For text: the language model's folder, else stories260K in ADJOINT_DATA.")
    ] = None,
    rank: Annotated[int, typer.Option(min=1, help="Of each adapter.")] = 8,
    alpha: Annotated[float, typer.Option(help="An adapter is multiplied by alpha/rank.")] = 16.0,
    steps: Annotated[int | None, typer.Option(min=10, help="Of each run: 300, of text 60.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of networks, adapters and the order of the examples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of the table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw it, too: a .png, .svg or .pdf.", metavar="FILE")] = None,
) -> None:
    """Adapt a network to a new task by full fine-tuning, LoRA, DoRA, AdaLoRA and QLoRA, and tell what each costs.

    Takes 40 seconds on two idle cores for digits, about two minutes for text. Each method gets the learning rate that
    suits it best, out of the same few.
    """
    from adjoint.cli.comparison_screen import show

    with mendable():
        try:
            show(task.value, data, model, rank, alpha, steps, seed, as_json, plot)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


@contextmanager
def mendable() -> Iterator[None]:
    """What the user can mend is told in one line, with exit status 1."""
    try:
        yield
    except (FloatingPointError, TypeError, ValueError) as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
