"""`aj.inspect`: a network opened layer by layer as linear maps."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, overload

from adjoint.arrays.dispatch import Array
from adjoint.inspection.flow import Depth, examples, gradient_flow
from adjoint.inspection.layers import Layer, layer
from adjoint.inspection.report import Report
from adjoint.inspection.watching import calls, evaluated
from adjoint.nn.module import Module, count_parameters
from adjoint.trees import differentiable


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found: every layer, the network as one map, and the Jacobian's norm from each depth to the output.

    `network` is None where the network's input is not made of floating numbers. Printed, it is a table.

    >>> import numpy as np, adjoint as aj
    >>> print(inspect(aj.nn.MLP((3, 2), rng=0), np.eye(3, dtype="float32")))
    layer       map  params  rank  nullity  hides     σ₁  cond  to output
    0 Linear  3 → 2       8     2        1  33.3%  0.992  3.98       1.00
    network   3 → 2       8     2        1  33.3%  0.992  3.98
    """

    layers: tuple[Layer, ...]
    network: Layer | None
    flow: tuple[Depth, ...]

    def __rich__(self) -> Any:
        from adjoint.inspection.table import table

        return table(self)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=100, color_system=None)
        console.print(self)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return text.rstrip()


@overload
def inspect(
    model: Any, sample: None = None, points: int = 16, *, jobs: int | None = None, cache: bool = True,
    progress: bool = True, trust_pickle: bool = False,
) -> Report: ...  # fmt: skip
@overload
def inspect(model: Module, sample: Array, points: int = 16) -> Inspection: ...
def inspect(
    model: Any, sample: Any = None, points: int = 16, *, jobs: int | None = None, cache: bool = True,
    progress: bool = True, trust_pickle: bool = False,
) -> Report | Inspection:  # fmt: skip
    """What the maps of a network are like: its weights; or with a sample (n, *in_shape) of inputs, its layers there.

    **Without a sample** a `Report` on every weight of a module (this library's or PyTorch's), of
    `adjoint.interop.Weights`, of a mapping of names to arrays, or of a path that `aj.open` opens: identity, a verdict
    in three lines, the worst weights and why, a row for each. All singular values are found once a weight: in float32
    and narrower by the eigenvalues of the Gram matrix in float64, in float64 by the singular value decomposition.
    `jobs` weights are examined at the same time (as many as there are cores), with a bar on a terminal where `progress`
    is wanted. Interrupted by Ctrl-C it gives what is there and says so. Results are kept under the hash of the weight's
    numbers in the user's cache folder, or in that which the environment variable ADJOINT_CACHE names ("off": nowhere);
    `cache=False` switches that off. `trust_pickle` is for a path, as in `aj.open`.

    **With a sample** each layer as the linear map that is its derivative, in an `Inspection`. A layer's Jacobian is
    opened at the first `points` examples (medians are reported); where it is the same at all of them, as of a Linear
    layer, what its kernel hides is averaged over all n. The network is in evaluation mode. A `Sequential` is no layer
    of its own, nor is what takes or gives anything but one array of floating numbers.

    Raises ShapeError where the sample is no batch, TypeError for what has no weights, and what `aj.open` raises for a
    path.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((4, 3, 2), rng=0)
    >>> [(row.name, row.rank, row.nullity) for row in aj.inspect(net, cache=False).rows]
    [('0.weight', 3, 1), ('2.weight', 2, 1)]
    >>> found = inspect(net, np.random.default_rng(0).random((8, 4), "float32"))
    >>> [(layer.kind, layer.rank, layer.nullity) for layer in found.layers][::2]
    [('Linear', 3, 1), ('Linear', 2, 1)]
    >>> found.network.map
    'Dense @ Diagonal @ Dense'
    """
    if sample is None:
        from adjoint.inspection.running import report

        return report(model, jobs, cache, progress, trust_pickle)
    x, net = sample, evaluated(model)
    examples("inspect", x, points)
    layers = tuple(
        layer(call.module, call.input, points, call.name, call.kind, call.level, count_parameters(call.module))
        for call in calls(net, x)[1]
    )
    whole = None
    if differentiable(x):
        whole = layer(net, x, points, "", type(net).__name__, 0, count_parameters(net))
    return Inspection(layers, whole, gradient_flow(net, x, points))
