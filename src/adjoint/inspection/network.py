"""`aj.inspect`: a network's weights, and with a sample its layers and blocks, as linear maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from adjoint.arrays.dispatch import Shape
from adjoint.inspection.passage import Loss
from adjoint.inspection.report import Report
from adjoint.inspection.running import report
from adjoint.inspection.sampled import AtSample
from adjoint.inspection.watching import Call
from adjoint.nn.module import Module


def inspect(
    model: Any, sample: Any = None, points: int = 16, *, loss: Loss | None = None, jobs: int | None = None,
    cache: bool = True, progress: bool = True, trust_pickle: bool = False, batch: int | None = None,
    seq: int | None = None,
) -> Report:  # fmt: skip
    """What the maps of a network are like: its weights; and with a sample (n, *in_shape) of inputs, its layers there.

    A `Report` on every weight of a module (this library's or PyTorch's), of `adjoint.interop.Weights`, of a mapping of
    names to arrays, or of a path that `aj.open` opens: identity, a verdict in three lines, the worst weights and why, a
    row for each. All singular values are found once a weight: in float32 and narrower by the eigenvalues of the Gram
    matrix in float64, in float64 by the singular value decomposition. A convolution's are those of the operator, not of
    the reshaped kernel: see `adjoint.inspection.Row`. `jobs` weights are examined at the same time (as
    many as there are cores), with a bar on a terminal where `progress` is wanted. Interrupted by Ctrl-C it gives what
    is there and says so. Results are kept under the hash of the weight's numbers in the user's cache folder, or in that
    which the environment variable ADJOINT_CACHE names ("off": nowhere); `cache=False` switches that off. `trust_pickle`
    is for a path, as in `aj.open`. The cost (see `aj.cost`) is that of the sample, else of a `batch` of sequences of
    `seq` tokens or of images, else of one example; None where the model does not tell what it is given.

    **With a sample** it has, too, each layer of a module as the linear map that is its derivative, and how gradients
    pass block by block (see `adjoint.inspection.flow_by_block`): those of `loss(output, target)` where the sample is a
    pair (x, target), else of a random unit cotangent. Of a program read from PyTorch or ONNX the layers are the modules
    and nodes of its source; where that fixed the batch, as many examples as it takes are used. A layer's Jacobian is
    opened at the first `points` examples (medians are reported); where it is the same at all of them, as of a Linear
    layer, what its kernel hides is averaged over all n. Jacobians of more than 262,144 numbers an example are not
    formed. The network is in evaluation mode. A `Sequential` is no layer of its own, nor is what does not map an array
    of floating numbers to another (of a tuple the first part counts); further arguments are held. Where NaN arises on
    the way, the first layer that gives it is the first finding. Ctrl-C shows what is known until then. `skipped` tells
    all that is left out, and why.

    Raises ShapeError where the sample is no batch, TypeError for what has no weights, for a sample with what is no
    network and for a pair without a loss, ValueError for a batch or a length that the model cannot have and for
    ids beyond its vocabulary, SpectrumError for a sample with NaN, and what `aj.open` raises for a path.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((4, 3, 2), rng=0)
    >>> [(row.name, row.rank, row.nullity) for row in aj.inspect(net, cache=False).rows]
    [('0.weight', 3, 1), ('2.weight', 2, 1)]
    >>> found = aj.inspect(net, np.random.default_rng(0).random((8, 4), "float32"), cache=False)
    >>> [(layer.kind, layer.rank, layer.nullity) for layer in found.layers][::2]
    [('Linear', 3, 1), ('Linear', 2, 1)]
    >>> found.network.map
    'Dense @ Diagonal @ Dense'
    >>> round(found.unseen("0").share, 3)
    0.068
    """
    if sample is not None and (batch is not None or seq is not None):
        raise ValueError("inspect: the cost is that of the sample; give batch and seq without one.")
    if sample is None:
        return report(model, jobs, cache, progress, trust_pickle, None, batch, seq)
    x, target = _parted(sample, loss)
    net = model if isinstance(model, Module) else _opened(model, x, trust_pickle)
    if not isinstance(net, Module):
        raise TypeError(
            f"inspect: a sample passes through a network, and {type(net).__name__} is none: aj.open makes one of "
            "ONNX files and checkpoint folders."
        )
    at = AtSample(net, x, points, loss, target)
    found = report(model, jobs, cache, progress, trust_pickle, (net, at.x), sizes=_sizes(at.seen))
    if found.complete:
        at.run(progress)
    else:
        at.stop()
    return replace(
        found, layers=tuple(at.layers), network=at.network, depths=at.depths, flow=at.flow, at_sample=at.findings,
        sample=at.sample, skipped={**found.skipped, **at.skipped}, complete=found.complete and at.complete,
    )  # fmt: skip


def _sizes(seen: Sequence[Call]) -> dict[str, Shape]:
    """What stood behind batch and channels of what each layer was given, by the name of its weight."""
    given = ((call.name, tuple(getattr(call.input, "shape", ()))) for call in seen)
    return {f"{name}.weight".removeprefix("."): shape[2:] for name, shape in given if len(shape) > 2}


def _parted(sample: Any, loss: Loss | None) -> tuple[Any, Any]:
    """(x, target), None where there is no loss."""
    pair = isinstance(sample, (tuple, list)) and len(sample) == 2
    if pair and loss is None:
        raise TypeError("inspect: a pair (x, target) is for a loss: inspect(net, (x, target), loss=aj.nn.MSELoss()).")
    if loss is not None and not pair:
        raise TypeError("inspect: a loss needs the target beside the sample: inspect(net, (x, target), loss=…).")
    x, target = sample if pair else (sample, None)
    if not hasattr(x, "shape"):
        raise TypeError(f"inspect: the sample is an array of examples, not {type(x).__name__}.")
    return x, target


def _opened(model: Any, x: Any, trust_pickle: bool) -> Any:
    """What a path holds, a module of PyTorch's exported with the sample; anything else as it is."""
    from adjoint.interop import open

    if isinstance(model, (str, os.PathLike)):
        return open(model, trust_pickle=trust_pickle)
    return open(model, x) if hasattr(model, "register_forward_hook") else model
