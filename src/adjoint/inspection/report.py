"""The report on a network: its weights, and with a sample what its layers and blocks do there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adjoint.inspection import spending
from adjoint.inspection.blocks import Block
from adjoint.inspection.circuits import Circuit, circuit
from adjoint.inspection.findings import Finding, findings, flowing
from adjoint.inspection.flow import Depth
from adjoint.inspection.heads import Heads
from adjoint.inspection.layers import Layer
from adjoint.inspection.row import Row, plain
from adjoint.inspection.sample import Sample
from adjoint.inspection.sources import Source
from adjoint.inspection.verdict import Line, verdict
from adjoint.maps.matrices import Dense, LowRank

if TYPE_CHECKING:
    from adjoint.costs.counting import Cost
    from adjoint.inspection.unseen import Unseen

WORST = 5


@dataclass(frozen=True)
class Report:
    """What `inspect` found in a network. Printed, it is one screen.

    `name` is the model's; `parameters` counts what is tied once, `buffers` are numbers that are not learned, `arrays`
    says how many arrays there are, `dtypes` how many bytes of each. `rows` has a `Row` for each weight in the model's
    order, `skipped` the reason for everything else. `complete` is False where the inspection was interrupted.
    `cost` is that of the sample or one example, where it can be counted (see `aj.cost`), else None. `circuits` are
    those of attention heads whose weights have usual names. With a sample, `layers` has every layer as the linear map
    that is its derivative there, `network` the whole (None where its input is not made of floating numbers), `depths`
    the Jacobian from each depth to the output, `flow` how gradients pass block by block, `at_sample` where NaN arises,
    `sample` what they were found at. `findings` is all that is at fault, the gravest first, `worst` the five worst,
    `verdict` three lines, each with its number. `seconds` is what the weights took, `recalled` how many rows came from
    the cache.

    >>> import numpy as np, adjoint as aj
    >>> report = aj.inspect({"fc.weight": np.diag([2.0, 1.0, 0.0]), "fc.bias": np.ones(3)}, cache=False)
    >>> report.parameters, report.skipped
    (12, {'fc.bias': 'one axis: a bias, gain or the like'})
    >>> report.verdict[0].told
    '1 of 3 directions (33 %) are lost, in fc.weight'
    >>> report.layer("fc.weight").kernel().dense().T.tolist()
    [[0.0, 0.0, 1.0]]
    """

    name: str
    parameters: int
    buffers: int
    arrays: int
    dtypes: Mapping[str, int]
    rows: tuple[Row, ...]
    skipped: Mapping[str, str]
    complete: bool = True
    seconds: float = 0.0
    recalled: int = 0
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False)
    layers: tuple[Layer, ...] = ()
    network: Layer | None = None
    depths: tuple[Depth, ...] = ()
    flow: tuple[Block, ...] = ()
    at_sample: tuple[Finding, ...] = ()
    sample: Sample | None = field(default=None, repr=False)
    circuits: tuple[Circuit, ...] = ()
    heads: Mapping[str, Heads] = field(default_factory=dict, repr=False)
    cost: Cost | None = None

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(self.dtypes.values())

    @cached_property
    def findings(self) -> list[Finding]:
        """All that is at fault, the gravest first."""
        found = [*self.at_sample, *findings(self.rows), *flowing(self.flow)]
        return sorted(found, key=lambda found: -found.gravity)

    @property
    def worst(self) -> list[Finding]:
        """The five worst weights and blocks; fewer where fewer are at fault."""
        return self.findings[:WORST]

    @cached_property
    def verdict(self) -> tuple[Line, Line, Line]:
        """Whether information is lost, whether it can be compressed, whether LoRA fits."""
        return verdict(self.rows, self.parameters)

    def row(self, name: str) -> Row:
        """The record of a weight, also by a name that is tied to it; KeyError where there is none."""
        for row in self.rows:
            if name == row.name or name in row.tied:
                return row
        raise KeyError(self._missing(name, [row.name for row in self.rows]))

    def layer(self, name: str) -> Dense:
        """A weight as a linear map, for its kernel, image and all else; floats of less than 32 bits as float32.

        It is the matrix of the first axis by all others, of a convolution what takes a patch to an output; read anew.
        The name may be the layer's, too. Raises KeyError for a name without a weight.
        """
        source = (
            self.sources.get(name)
            or self.sources.get(f"{name}.weight")
            or next((x for x in self.sources.values() if name in x.tied), None)
        )
        if source is None:
            raise KeyError(self._missing(name, list(self.sources)))
        array = source.read().reshape(source.matrix)
        return Dense(array.astype(np.float32) if array.dtype.itemsize < 4 else array)

    def circuit(self, name: str, head: int, kind: str) -> LowRank:
        """A circuit, "QK" or "OV", of a head of the attention `name`, as a map from the residual stream to itself.

        Raises KeyError for a name without an attention, IndexError and ValueError for a head or kind that it lacks.

        >>> import adjoint as aj
        >>> aj.inspect(aj.nn.TransformerEncoderLayer(12, 3, 20, rng=0), cache=False).circuit("self_attn", 2, "OV")
        LowRank: (12,) → (12,)
        """
        if name not in self.heads:
            known = ", ".join(list(self.heads)[:3]) or "none"
            raise KeyError(f"inspect: {self.name} has no attention {name!r} that is known, only {known} and the like.")
        return circuit(self.heads[name], head, kind)

    def unseen(self, name: str, tolerance: float | None = None) -> Unseen:
        """What of the sample a layer cannot see: how much of its energy, in which directions of the layer's input.

        `name` is that of a layer, its end where no other ends so, or of its weight; singular values up to `tolerance`
        count as zero, by default those that its rank does not count. Raises ValueError where there is no sample, or for
        a layer that is no one matrix, KeyError for a name without a layer. See `adjoint.inspection.unseen.Unseen`.

        >>> import adjoint as aj
        >>> net, x = aj.nn.Linear(3, 2, bias=False), np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]], "float32")
        >>> net.weight = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "float32")
        >>> found = aj.inspect(aj.nn.Sequential(net), x, cache=False).unseen("0")
        >>> round(found.share, 4), found.directions.round(6).tolist()
        (0.6667, [[0.0, 0.0, 1.0]])
        """
        from adjoint.inspection.unseen import unseen

        if self.sample is None:
            raise ValueError("inspect: what a layer cannot see of a sample needs one: aj.inspect(net, x).")
        return unseen(self.sample, name, tolerance)

    def _missing(self, name: str, known: list[str]) -> str:
        if name in self.skipped:
            return f"inspect: {name} has no row: {self.skipped[name]}."
        import difflib

        near = difflib.get_close_matches(name, known, 3) or known[:3]
        return f"inspect: {self.name} has no weight {name!r}, only {', '.join(near) or 'none'} and the like."

    def table(self, sort: str | None = None, width: int = 160) -> str:
        """A line a weight as text, in the model's order or by a column: see `adjoint.inspection.screen.SORTS`."""
        from adjoint.inspection.screen import table, text

        return text(table(self, sort), width)

    def to_json(self, indent: int | None = 2) -> str:
        """Everything as JSON; what cannot be told is null, an infinite number "inf".

        >>> import json, numpy as np, adjoint as aj
        >>> json.loads(aj.inspect({"w": np.zeros((2, 3))}, cache=False).to_json())["rows"][0]["cond"]
        'inf'
        """
        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    def as_dict(self) -> dict[str, Any]:
        """What `to_json` tells, as dictionaries and lists."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "buffers": self.buffers,
            "arrays": self.arrays,
            "bytes": self.nbytes,
            "dtypes": dict(self.dtypes),
            "complete": self.complete,
            "seconds": self.seconds,
            "verdict": [line._asdict() for line in self.verdict],
            "findings": [found._asdict() for found in self.findings],
            "rows": [row.as_dict() for row in self.rows],
            "cost": spending.as_dict(self.cost) if self.cost is not None else None,
            "sample": None if self.sample is None else self.sample.as_dict(),
            "flow": plain(self.flow),
            "layers": plain(self.layers),
            "network": plain(self.network),
            "depths": plain(self.depths),
            "circuits": plain(self.circuits),
            "skipped": dict(self.skipped),
        }

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as one page of HTML that holds all it shows, and give its path.

        It opens from disk without a network, light or dark, with a table that sorts and filters, every spectrum, and
        figures to be saved as SVG, PNG or CSV. Written whole or not at all, missing folders made; OSError where that
        cannot be.

        >>> import tempfile, numpy as np, adjoint as aj
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     aj.inspect({"w": np.eye(3)}, cache=False).to_html(f"{folder}/report.html").name
        'report.html'
        """
        from adjoint.inspection.html import render
        from adjoint.interop.writing import write

        goal = Path(path)
        write(goal, render(self).encode())
        return goal

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame, a column a figure; ImportError where pandas is missing."""
        try:
            pd: Any = import_module("pandas")
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install pandas.") from error
        return pd.DataFrame([_flat(row) for row in self.rows])

    def __rich__(self) -> Any:
        from adjoint.inspection.screen import screen

        return screen(self)

    def __repr__(self) -> str:
        from adjoint.inspection.screen import text

        return text(self)


def _flat(row: Row) -> dict[str, Any]:
    """A row's figures, counts in place of places, the file's own numbers in place of texts."""
    told: dict[str, Any] = {}
    for key in row.as_dict():
        if key == "spectrum":  # a curve, no figure
            continue
        value = getattr(row, key)
        told[key] = value.count if hasattr(value, "first") else value
    return told
