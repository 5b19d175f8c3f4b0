"""A factorized network from its file: the shapes that stand there tell which layers are pairs, and of which rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adjoint import arrays as xp
from adjoint.errors import ShapeError
from adjoint.interop.checkpoints import load as read
from adjoint.interop.entries import Path, product
from adjoint.lora.layers import layers
from adjoint.lora.placing import replace
from adjoint.models.checkpoint import Naming
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module, to
from adjoint.slim import pair
from adjoint.slim.factorizing import KINDS
from adjoint.slim.pair import Pair


def load(net: Module, source: Path | Mapping[str, Any]) -> Any:
    """The network with pairs where a factorized one had them, and its weights; `net` itself stays as it is.

    `source` is the file that `aj.save` wrote of what `aj.factorize` gave, or its arrays by name; `net` is of the
    architecture before. Raises CheckpointError for a damaged file, KeyError and ShapeError naming the arrays where
    source and architecture do not fit.

    >>> import tempfile, adjoint as aj
    >>> path = tempfile.mkdtemp() + "/small.safetensors"
    >>> aj.save(path, aj.factorize(aj.nn.MLP((64, 64, 10), rng=0), rank=4, targets="0")[0])
    >>> aj.slim.load(aj.nn.MLP((64, 64, 10)), path)[0].first.weight.shape
    (4, 64)
    """
    state = source if isinstance(source, Mapping) else read(source)
    new = placed(to(net), state)
    new.load_state_dict(state)
    return new


def placed(net: Any, state: Mapping[str, Any], what: str = "slim.load") -> Any:
    """The network, changed, with pairs of zeros where a file's names have two weights in place of one.

    Raises ShapeError, which begins with `what`, for weights that are no pair of the layer's.

    >>> import numpy as np, adjoint as aj
    >>> state = {"0.first.weight": np.ones((2, 8)), "0.second.weight": np.ones((6, 2))}
    >>> placed(aj.nn.MLP((8, 6, 4)), state)[0].second.weight.shape
    (6, 2)
    """
    naming: Naming = getattr(type(net), "naming", Naming())
    for name, layer in [*layers(net)]:
        parts = [
            next((state[x] for x in naming.candidates(f"{name}.{part}.weight".removeprefix(".")) if x in state), None)
            for part in ("first", "second")
        ]
        if type(layer) in KINDS and all(part is not None for part in parts):
            laid = _laid(what, name, layer, *(tuple(part.shape) for part in parts if part is not None))
            net = replace(net, {name: laid.train(layer.training)})
    return net


def _laid(what: str, name: str, layer: Any, first: tuple[int, ...], second: tuple[int, ...]) -> Pair:
    """A pair of zeros for a layer, of the kind and rank that the shapes of its two weights tell."""
    W = layer.weight
    out, into, *kernel = W.shape
    make, rows, columns = pair.linear, out, into
    if not isinstance(layer, Linear):
        make, rows, columns = pair.channels, out, into * product(kernel)
        if len(kernel) == 2 and second[3:] == (kernel[1],) != (1,):
            make, rows, columns = pair.separable, out * kernel[1], into * kernel[0]
    rank = first[0] if first else 0
    if not 0 < rank <= min(rows, columns):
        raise ShapeError(
            f"{what}: {name or 'the layer'} has the weight {tuple(W.shape)}, which no pair of {first} and {second} "
            f"stands for: the rank is 1 to {min(rows, columns)}."
        )
    return make(layer, xp.zeros(W, (rows, rank), W.dtype), xp.zeros(W, (rank, columns), W.dtype))
