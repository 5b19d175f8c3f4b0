"""`aj.inspect`: a network's weights, and with a sample its layers and blocks, as linear maps."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

from adjoint.inspection.blocks import Block
from adjoint.inspection.blockwise import flow_by_block
from adjoint.inspection.flow import Depth, examples, gradient_flow
from adjoint.inspection.layers import layer
from adjoint.inspection.report import Report
from adjoint.inspection.running import report
from adjoint.inspection.watching import calls, evaluated
from adjoint.nn.module import Module, count_parameters
from adjoint.trees import differentiable

OPENED = 1 << 18  # numbers of a Jacobian that is formed
LARGE = f"their Jacobians have more than {OPENED:,} numbers and are not formed"


def inspect(
    model: Any, sample: Any = None, points: int = 16, *, jobs: int | None = None, cache: bool = True,
    progress: bool = True, trust_pickle: bool = False,
) -> Report:  # fmt: skip
    """What the maps of a network are like: its weights; and with a sample (n, *in_shape) of inputs, its layers there.

    A `Report` on every weight of a module (this library's or PyTorch's), of `adjoint.interop.Weights`, of a mapping of
    names to arrays, or of a path that `aj.open` opens: identity, a verdict in three lines, the worst weights and why, a
    row for each. All singular values are found once a weight: in float32 and narrower by the eigenvalues of the Gram
    matrix in float64, in float64 by the singular value decomposition. `jobs` weights are examined at the same time (as
    many as there are cores), with a bar on a terminal where `progress` is wanted. Interrupted by Ctrl-C it gives what
    is there and says so. Results are kept under the hash of the weight's numbers in the user's cache folder, or in that
    which the environment variable ADJOINT_CACHE names ("off": nowhere); `cache=False` switches that off. `trust_pickle`
    is for a path, as in `aj.open`.

    **With a sample** it has, too, each layer of a module as the linear map that is its derivative, and how gradients
    pass block by block (see `adjoint.inspection.flow_by_block`; left out, and so said, where the output is no one array
    of floating numbers). A layer's Jacobian is opened at the first `points` examples (medians are reported); where it
    is the same at all of them, as of a Linear layer, what its kernel hides is averaged over all n. Jacobians of more
    than 262,144 numbers an example are not formed, and `skipped` says so. The network is in evaluation mode. A
    `Sequential` is no layer of its own, nor is what does not map an array of floating numbers to another; further
    arguments are held.

    Raises ShapeError where the sample is no batch, TypeError for what has no weights and for a sample with what is no
    module of this library, SpectrumError for layers whose values are NaN, and what `aj.open` raises for a path.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((4, 3, 2), rng=0)
    >>> [(row.name, row.rank, row.nullity) for row in aj.inspect(net, cache=False).rows]
    [('0.weight', 3, 1), ('2.weight', 2, 1)]
    >>> found = aj.inspect(net, np.random.default_rng(0).random((8, 4), "float32"), cache=False)
    >>> [(layer.kind, layer.rank, layer.nullity) for layer in found.layers][::2]
    [('Linear', 3, 1), ('Linear', 2, 1)]
    >>> found.network.map
    'Dense @ Diagonal @ Dense'
    """
    if sample is None:
        return report(model, jobs, cache, progress, trust_pickle)
    net = model if isinstance(model, Module) else _opened(model, trust_pickle)
    if not isinstance(net, Module):
        raise TypeError(
            f"inspect: a sample passes through a module of this library, not through {type(model).__name__}: "
            "aj.open makes one of PyTorch's modules, ONNX files and checkpoint folders."
        )
    x, whole = sample, evaluated(net)
    flow: tuple[Block, ...] = ()
    depths: tuple[Depth, ...] = ()
    examples("inspect", x, points)
    found = report(model, jobs, cache, progress, trust_pickle)
    output, seen = calls(whole, x)
    small = [call for call in seen if entries(call.input, call.output) <= OPENED]
    skipped = dict(found.skipped)
    if len(small) < len(seen):
        skipped[f"({len(seen) - len(small)} layers at the sample)"] = LARGE
    layers = tuple(
        layer(call.function, call.input, points, call.name, call.kind, call.level, count_parameters(call.module))
        for call in small
    )
    network = None
    if differentiable(x) and entries(x, output) <= OPENED:
        network = layer(whole, x, points, "", type(whole).__name__, 0, count_parameters(whole))
    if all(entries(at, output) <= OPENED for at in (x, *(call.output for call in seen))):
        depths = gradient_flow(whole, x, points)
    else:
        skipped["(the Jacobians from each depth to the output)"] = LARGE
    if differentiable(output):
        flow = flow_by_block(whole, x, points)
    else:
        skipped["(gradient flow)"] = "the output is no one array of floating numbers"
    return replace(found, layers=layers, network=network, depths=depths, flow=flow, skipped=skipped)


def entries(x: Any, y: Any) -> int:
    """How many numbers the Jacobian of y by x has for one example; 0 where one of them is no floating array.

    >>> import numpy as np
    >>> entries(np.ones((5, 3)), np.ones((5, 2)))
    6
    """
    if not (differentiable(x) and differentiable(y)):
        return 0
    return math.prod(x.shape[1:]) * math.prod(y.shape[1:])


def _opened(model: Any, trust_pickle: bool) -> Any:
    """What a path holds; anything else as it is."""
    if not isinstance(model, (str, os.PathLike)):
        return model
    from adjoint.interop import open

    return open(model, trust_pickle=trust_pickle)
