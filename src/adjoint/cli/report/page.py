"""The report's page: what the template needs, gathered from an experiment."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adjoint import __version__
from adjoint.cli import experiment as settings
from adjoint.cli.blindness import Twins, Unlit, first_map, named
from adjoint.cli.experiment import Experiment
from adjoint.cli.report import figures, pictures
from adjoint.cli.report.axes import power
from adjoint.inspection import Layer
from adjoint.inspection.table import figures as number
from adjoint.inspection.table import percent, shape
from adjoint.transforms import jacobian

SHOWN_MISTAKES = 12
SHOWN_PARTS = 5


def render(
    found: Experiment, pairs: Sequence[Twins], dark: Unlit, folds: Sequence[float], seconds: Mapping[str, float]
) -> str:
    """The whole report as one HTML page without links to anything outside it."""
    environment = Environment(
        loader=PackageLoader("adjoint.cli", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "power": power, "shape": shape}
    layers = found.inspection.layers
    whole = found.inspection.network
    common, distinct = shares(found)
    return environment.get_template("page.html").render(
        found=found,
        settings=settings,
        first=layers[0],
        whole=whole,
        norms={depth.name: depth.norm for depth in found.inspection.depths},
        error=float(np.sqrt(found.accuracy * (1 - found.accuracy) / len(found.test))),
        folds=folds,
        twins=[twin(found, pair) for pair in pairs],
        difference=max((difference(found, pair) for pair in pairs), default=0.0),
        mistakes=[mistake(found, k) for k in found.mistakes[:SHOWN_MISTAKES]],
        confusion=confusion(found),
        common=common,
        distinct=distinct,
        parts=parts(found),
        directions=directions(found),
        rows=rows(found),
        unlit=dark,
        worst=max(row.error for row in found.check.rows),
        worst_dot=max(row.dot for row in found.check.rows),
        right=sum(row.ok for row in found.check.rows),
        points=settings.POINTS,
        flows=(found.inspection.depths[0].norm, found.untrained[0].norm),
        learning=figures.learning(found.run.history),
        errors=figures.errors(found.check.rows),
        spectra=[figures.spectrum(layer, title) for layer, title in opened(found)],
        flow=figures.flow(found.inspection.depths, found.untrained),
        costs=figures.costs([layer for layer in found.cost.layers if layer.kind != "Residual"], settings.BATCH),
        seconds=seconds,
        versions={"adjoint": __version__, "Python": platform.python_version(), "NumPy": np.__version__},
    )


@dataclass(frozen=True)
class Shown:
    """A picture with the words that go with it."""

    picture: Markup
    caption: str


def twin(found: Experiment, pair: Twins) -> dict[str, Any]:
    """A pair of pictures that the network cannot tell apart, and what it says of them."""
    true, looks = (int(found.test.y[k]) for k in (pair.digit, pair.goal))
    return {
        "digit": Shown(pictures.digit(found.test.x[pair.digit], f"a handwritten {true}"), named(true)),
        "twin": Shown(pictures.digit(pair.twin, "the picture made from it"), f"made to look like {named(looks)}"),
        "answer": int(found.predicted[pair.digit]),
        "certainty": float(found.certainty[pair.digit]),
    }


def difference(found: Experiment, pair: Twins) -> float:
    """The largest difference of the network's scores for the two pictures."""
    two = np.stack([found.test.x[pair.digit], pair.twin.astype(np.float32)])
    return float(np.abs(np.diff(np.asarray(found.net(two)), axis=0)).max())


def mistake(found: Experiment, k: int) -> Shown:
    """A digit that the network reads wrong."""
    true, read = int(found.test.y[k]), int(found.predicted[k])
    return Shown(pictures.digit(found.test.x[k], f"a handwritten {true}"), f"{true}, read as {read}")


def confusion(found: Experiment) -> list[list[tuple[int, float]]]:
    """For each true class and each answer, how many, and their share of the true class."""
    counts = found.confusion.astype(int)
    return [[(int(n), float(n) / max(int(row.sum()), 1)) for n in row] for row in counts]


def parts(found: Experiment) -> list[dict[str, Any]]:
    """Digits taken apart into what the first layer sees and what its kernel hides."""
    hiding = first_map(found.net).kernel().projection()
    shown = []
    for label in range(0, 2 * SHOWN_PARTS, 2):
        x = found.test.x[int(np.flatnonzero(found.test.y == label)[0])]
        hidden = np.asarray(hiding @ x)
        shown.append(
            {
                "whole": pictures.digit(x, f"a handwritten {label}"),
                "seen": pictures.signed(x - hidden, f"the part of the {label} that the layer sees", 1.0),
                "hidden": pictures.signed(hidden, f"the part of the {label} that the layer cannot see", 1.0),
                "share": float(hidden @ hidden / (x @ x)),
            }
        )
    return shown


def shares(found: Experiment) -> tuple[float, float]:
    """How much the first layer hides of the average digit, and of the differences between the classes' averages."""
    hiding = first_map(found.net).kernel().T
    means = np.stack([found.test.x[found.test.y == c].mean(axis=0) for c in np.unique(found.test.y)])
    common = means.mean(axis=0)
    rest = means - common
    return tuple(float(np.sum(np.asarray(hiding(x)) ** 2) / np.sum(x**2)) for x in (common, rest))  # type: ignore[return-value]


def directions(found: Experiment) -> list[Shown]:
    """The directions that the first layer sees, as pictures, the one it stretches most first."""
    _, values, vectors = first_map(found.net).svd()
    # v and -v are one direction: the larger end is shown as positive
    upright = [v * np.sign(v[np.argmax(np.abs(v))]) for v in np.asarray(vectors)]
    return [
        Shown(pictures.signed(v, f"direction {k}"), number(float(s)))
        for k, (v, s) in enumerate(zip(upright, values, strict=True), 1)
    ]


def rows(found: Experiment) -> dict[str, Any]:
    """The network's Jacobian at one digit, a picture for each row."""
    k = int(np.argmax(found.predicted == found.test.y))
    x, label = found.test.x[k], int(found.test.y[k])
    J = np.asarray(jacobian(found.net, x).dense())
    scale = float(np.abs(J).max())
    return {
        "digit": pictures.digit(x, f"a handwritten {label}"),
        "label": label,
        "rows": [Shown(pictures.signed(row, f"row {c} of the Jacobian", scale), str(c)) for c, row in enumerate(J)],
    }


def opened(found: Experiment) -> list[tuple[Layer, str]]:
    """The layers whose spectra are shown: all outside the second block, and the network."""
    layers = [layer for layer in found.inspection.layers if not layer.name.startswith("2")]
    chosen = [(layer, f"{layer.name.replace('inner.', '')} {layer.kind}") for layer in layers]
    whole = found.inspection.network
    return chosen if whole is None else [*chosen, (whole, "the whole network")]
