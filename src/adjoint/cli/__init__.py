"""The command line: `adjoint demo`, `train`, `open`, `inspect`, `diff`, `cost`, `lora`, `generate` and `doctor`."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adjoint import __version__
from adjoint.cli import lora

app = typer.Typer(
    name="adjoint",
    help="Deep learning as linear maps and their adjoints.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(lora.app)


def main() -> None:
    """Run the command line; what the user can mend is told in one line, with exit status 1."""
    from adjoint.errors import CheckpointError

    try:
        app()
    except (CheckpointError, ImportError, OSError) as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adjoint {__version__}")
        raise typer.Exit


@app.callback()
def _adjoint(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("demo")
def _demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the report, the weights and the figures; made where it is missing.")
    ] = Path("adjoint-demo"),
    epochs: Annotated[int, typer.Option(min=1, max=10_000, help="How often training sees every digit.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of split, initial weights and order of the digits.")] = 1,
    folds: Annotated[
        int, typer.Option(min=1, max=10, help="1: one network; 5: cross-validation with five as well.")
    ] = 1,
) -> None:
    """Train on real handwritten digits, check the gradients, open the network as linear maps.

    Takes well under a minute on two cores, and needs no network connection.

    Writes report.html, weights.safetensors and figures.json; they replace those of an earlier run.
    """
    from rich.console import Console

    from adjoint.cli.demo import demo

    if not demo(Console(), out, epochs=epochs, seed=seed, folds=folds).check.ok:
        raise typer.Exit(1)


class Recipes(StrEnum):
    """What `adjoint train` knows."""

    cnn = "cnn"
    encoder = "encoder"
    gpt = "gpt"


class Backends(StrEnum):
    """Where it computes."""

    numpy = "numpy"
    torch = "torch"
    jax = "jax"


@app.command("train")
def _train(
    recipe: Annotated[
        Recipes,
        typer.Argument(
            help="cnn: images; encoder: images row by row; gpt: text, character by character.", metavar="RECIPE"
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="MNIST's folder, or for gpt a text file. Without it: mnist/ or text/tinyshakespeare.txt in the folder "
            "that ADJOINT_DATA names, else scikit-learn's digits."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoint, weights and history: adjoint-RECIPE.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="How often training sees every example.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and the order of the examples.")] = 0,
    backend: Annotated[Backends, typer.Option(help="What computes.")] = Backends.numpy,
) -> None:
    """Train cnn, encoder or gpt on real data; run again, it goes on where it was interrupted.

    Takes some minutes on two cores. Ctrl-C finishes the step in hand and writes the checkpoint.
    """
    from rich.console import Console

    from adjoint.cli.train import train
    from adjoint.errors import CheckpointError

    folder = out or Path(f"adjoint-{recipe.value}")
    try:
        train(Console(), recipe.value, data, folder, epochs, seed, backend.value)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; run the same command again to go on from {folder}", err=True)
        raise typer.Exit(130) from None
    except CheckpointError as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


TRUST = typer.Option(
    "--trust-pickle", help="Execute the code that a PyTorch file may bring: only for files whose maker you trust."
)


@app.command("open")
def _open(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder as Hugging Face lays them out, a file of weights (safetensors, .npz, .pt, .pth, .bin), or "
            "an .onnx file.",
            metavar="SOURCE",
        ),
    ],
    every: Annotated[bool, typer.Option("--all", help="A line for every array; else alike layers share one.")] = False,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A field of config.json to pass over; may be given several times.")
    ] = None,
    trust_pickle: Annotated[bool, TRUST] = False,
) -> None:
    """Tell what a file or folder holds: the network, its parameters, its arrays.

    Only names and shapes are read, so that a file of any size takes a moment and no memory.
    """
    from rich.console import Console

    from adjoint.cli.opened import show

    show(Console(), source, trust_pickle, every, ignore or ())


class Sorts(StrEnum):
    """What the table of `adjoint inspect` is sorted by."""

    name = "name"
    parameters = "parameters"
    rank = "rank"
    lost = "lost"
    norm = "norm"
    smallest = "smallest"
    cond = "cond"
    stable = "stable"
    k90 = "k90"
    k99 = "k99"
    alpha = "alpha"


class Losses(StrEnum):
    """What gradients are of, where `adjoint inspect` has a sample with targets."""

    cross_entropy = "cross_entropy"
    mse = "mse"


@app.command("inspect")
def _inspect(
    model: Annotated[str, typer.Argument(help="What `adjoint open` opens.", metavar="MODEL")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of the screen.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="How many weights are examined at the same time; else one a core.")
    ] = None,
    sort: Annotated[Sorts | None, typer.Option(help="The table's order; else the model's own.")] = None,
    every: Annotated[bool, typer.Option("--all", help="A line for every weight, with its whole name.")] = False,
    cache: Annotated[bool, typer.Option(help="Keep results, so that a second look is instant.")] = True,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as a page, too, with every spectrum.")
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Examples (.npy; .npz with x and target), leading axis first: gradient flow."
        ),
    ] = None,
    loss: Annotated[
        Losses | None, typer.Option(help="Gradients are of this loss of the sample's target, else of a random vector.")
    ] = None,
    unseen: Annotated[
        str | None, typer.Option(metavar="LAYER", help="Show which directions of the sample this layer cannot see.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Tell the cost of so many sequences or images.")] = None,
    seq: Annotated[int | None, typer.Option(min=1, help="Tell the cost of sequences of so many tokens.")] = None,
    trust_pickle: Annotated[bool, TRUST] = False,
) -> None:
    """Tell what is wrong with a model's weights: rank, conditioning, energy, faults, each with its number.

    Ctrl-C shows what is known until then. Some seconds for a hundred million parameters.
    """
    from rich.console import Console

    from adjoint.cli.inspected import show
    from adjoint.errors import SpectrumError

    try:
        whole = show(
            Console(), model, as_json, jobs, sort and sort.value, every, cache, trust_pickle, html, sample,
            loss and loss.value, unseen, batch, seq,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (IndexError, KeyError, SpectrumError, TypeError, ValueError) as error:
        if all(x is None for x in (sample, loss, unseen, batch, seq)):
            raise
        typer.secho(f"adjoint: {error.args[0] if isinstance(error, KeyError) else error}", fg="red", err=True)
        raise typer.Exit(1) from None
    if not whole:
        raise typer.Exit(130)


@app.command("diff")
def _diff(
    base: Annotated[str, typer.Argument(help="The model before: what `adjoint open` opens.", metavar="BASE")],
    tuned: Annotated[str, typer.Argument(help="The model after, or a folder of adapters.", metavar="TUNED")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of the screen.")] = False,
    every: Annotated[bool, typer.Option("--all", help="A line for every weight that changed.")] = False,
    intruders: Annotated[bool, typer.Option(help="Look for new leading directions, most of the time.")] = True,
    trust_pickle: Annotated[bool, TRUST] = False,
) -> None:
    """Tell what training changed in each weight, and whether an update of low rank would have done."""
    from rich.console import Console

    from adjoint.cli.changed import show

    try:
        show(Console(), base, tuned, as_json, every, intruders, trust_pickle)
    except ValueError as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


@app.command("cost")
def _cost(
    config: Annotated[
        str,
        typer.Argument(
            help="A model's config.json, the folder where it lies, or a name such as gpt2, bert-tiny or llama-3-8b.",
            metavar="CONFIG",
        ),
    ],
    batch: Annotated[str, typer.Option(help="How many sequences or images at once; 1,8 compares.")] = "1",
    seq: Annotated[
        str | None,
        typer.Option(help="Tokens in each: else what the model was made for, 1024 at most; 128,256,512 compares."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of weights, gradients and moments.")] = "float32",
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw FLOPs against the length of the sequence, or what is compared: .png, .svg, .pdf."),
    ] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Compare layouts over so many devices.")] = None,
    memory: Annotated[str | None, typer.Option(help="Of each device, such as 80GB: what fits.")] = None,
    link: Annotated[str | None, typer.Option(help="Bandwidth between devices a second, such as 50GB.")] = None,
    measured: Annotated[
        bool, typer.Option("--measure", help="Run it on this machine, too: time measured beside time predicted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of the screen.")] = False,
) -> None:
    """Tell what a model costs: FLOPs, bytes, memory of training, by component and by length of the sequence.

    Needs only its configuration, no weights, and no machine that could hold them.
    """
    from adjoint.cli.costs import show
    from adjoint.cli.costs_figures import figures
    from adjoint.cli.layouts import asked
    from adjoint.cli.sweeps import sizes

    try:
        batches, lengths = sizes(batch, "--batch"), None if seq is None else sizes(seq, "--seq")
        compared = asked(devices, memory, link)
        if as_json:
            if plot is not None:
                raise ValueError("cost: give --json or --plot, not both.")
            typer.echo(json.dumps(figures(config, batches, lengths, dtype, compared, measured), indent=2))
            return
        from rich.console import Console

        show(Console(), config, batches, lengths, dtype, plot, compared, measured)
    except (TypeError, ValueError) as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


@app.command("generate")
def _generate(
    model: Annotated[str, typer.Argument(help="A language model's folder, with its tokenizer.", metavar="MODEL")],
    prompt: Annotated[str, typer.Option(help="How the text begins.")] = "",
    adapter: Annotated[
        str | None, typer.Option(help="A folder of adapters, such as `lora train` writes.", metavar="FOLDER")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--tokens", min=1, help="How many tokens at most.")] = 200,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0: always the likeliest token; larger: more varied.")
    ] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from so many likeliest tokens only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest that have this probability.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another text.")] = 0,
    backend: Annotated[Backends, typer.Option(help="What computes.")] = Backends.numpy,
    dtype: Annotated[str, typer.Option(help="What it computes in, whatever the file has.")] = "float32",
    trust_pickle: Annotated[bool, TRUST] = False,
) -> None:
    """Write text with a language model, as it is produced."""
    from adjoint.cli.generation import generate

    try:
        count, seconds = generate(
            lambda text: typer.echo(text, nl=False),
            model,
            prompt,
            n,
            seed=seed,
            backend=backend.value,
            dtype=dtype,
            trust_pickle=trust_pickle,
            adapter=adapter,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
    except KeyboardInterrupt:
        typer.echo()
        raise typer.Exit(130) from None
    except (TypeError, ValueError) as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    typer.echo()
    typer.secho(f"{count} tokens in {seconds:.1f} s, {count / max(seconds, 1e-9):,.0f} a second", dim=True, err=True)


@app.command("doctor")
def _doctor(
    curves: Annotated[
        bool,
        typer.Option(
            "--curves", help="Measure loops against products, growing batches, forward against backward, GPU, too."
        ),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves: a .png, .svg or .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of the screen.")] = False,
) -> None:
    """Tell what this machine offers, what the library gets of it, and what to mend; less than ten seconds."""
    from adjoint.cli.doctor import doctor, examined

    try:
        if as_json:
            typer.echo(json.dumps(examined(curves=curves, plot=plot)[0], indent=2))
            return
        from rich.console import Console

        doctor(Console(), curves, plot)
    except ValueError as error:
        typer.secho(f"adjoint: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
