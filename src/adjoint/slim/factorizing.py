"""`factorize`: layers of a network replaced by pairs of low rank, where that takes fewer parameters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from adjoint.arrays.shapes import ShapeArray, count, like
from adjoint.lora.layers import layers
from adjoint.lora.placing import replace
from adjoint.lora.targets import Target, check_layers, matches
from adjoint.maps.spectra.truncation import check_wish
from adjoint.nn.convolution import Conv1d, Conv2d, Conv3d
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module, count_parameters, to
from adjoint.slim.candidates import Candidate, candidates
from adjoint.slim.inputs import Inputs, gathered
from adjoint.slim.record import Factorization, Factorized, Standing
from adjoint.slim.spreading import Choice, by_budget, by_energy, by_rank
from adjoint.trees import map as tree_map

KINDS = (Linear, Conv1d, Conv2d, Conv3d)


def factorize(
    net: Module, *, energy: float | None = None, rank: int | None = None, budget: float | None = None,
    sample: Any = None, targets: Target | Iterable[Target] | None = None,
    evaluate: Callable[[Any], float] | None = None,
) -> tuple[Any, Factorization]:  # fmt: skip
    """(the network with pairs of low rank in place of layers, what became of each); the network itself stays as it is.

    A linear layer W becomes B A; a convolution one of fewer channels and a 1×1, or, of images, one down the rows and
    one along them, whichever keeps more for its parameters. Only layers that get smaller are replaced. Give one of:
    `energy`, the share Σσ² that each layer keeps; `rank`, of each (of a separable pair as many as cost no more);
    `budget`, the parameters of the whole network, a number or a share of those that it has, spread so that the layers
    together lose the least.

    Without a `sample` the energy is ‖W‖² (the truncated SVD, Eckart & Young 1936). With one (an array, a tuple of
    arguments, or a function of the network) it is that of the layer's outputs, ‖XWᵀ‖²: the SVD of W L, L the Cholesky
    factor of XᵀX (SVD-LLM, Wang et al. 2024, arXiv 2403.07378), which loses the least on these inputs; convolutions
    then become the channel pair. `evaluate` is a function of a network, such as its accuracy, called on both.

    `targets` are names, globs or types, else all linear layers and convolutions whose weight is not tied. Raises
    ValueError for targets that match nothing, wishes that exclude each other, ranks above every layer's size, a budget
    that ranks of 1 exceed, a layer that the sample does not reach, and numbers that are not finite.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((20, 30, 5), rng=0, dtype="float64")
    >>> net[0].weight = np.outer(np.arange(30.0), np.ones(20))
    >>> small, found = aj.factorize(net, energy=0.999)
    >>> [(x.name, x.rank, x.parameters) for x in found.replaced]
    [('0', 1, (600, 50))]
    >>> x = np.ones((3, 20))
    >>> bool(np.allclose(small(x), net(x)))
    True
    """
    if sum(x is not None for x in (energy, rank, budget)) != 1:
        raise ValueError("factorize: give one of energy, rank and budget.")
    if budget is None:
        check_wish("factorize", rank, energy)
    found = _targets(net, targets)
    inputs = {} if sample is None else gathered(net, sample, found)
    ways = {name: _ways(name, layer, inputs.get(name)) for name, layer in found.items()}
    sizes = {name: int(np.prod(layer.weight.shape)) for name, layer in found.items()}
    most = max(len(x[0].values) for x in ways.values())
    if rank is not None and rank > most:
        raise ValueError(f"factorize: rank {rank} is above {most}, the most that any of the layers can have.")
    if budget is not None:
        room, rest = _room(net, budget), count_parameters(net) - sum(sizes.values())
        try:
            spread = by_budget(list(ways.values()), list(sizes.values()), room - rest)
        except ValueError as error:
            raise ValueError(
                f"factorize: the budget of {room:,} is too small: {error}, and all else in the network {rest:,}."
            ) from None
        choices = dict(zip(ways, spread, strict=True))
    elif rank is not None:
        choices = {name: by_rank(x, sizes[name], rank) for name, x in ways.items()}
    else:
        choices = {name: by_energy(x, sizes[name], float(energy or 1.0)) for name, x in ways.items()}
    new = to(net)
    own = dict(layers(new))
    pairs = {name: x.candidate.pair(own[name], x.rank) for name, x in choices.items() if x.candidate is not None}
    for name, pair in pairs.items():
        pair.train(own[name].training)
        new = replace(new, {name: pair})
    rows = tuple(
        _row(name, layer, pairs.get(name), choices[name], ways[name], inputs.get(name)) for name, layer in found.items()
    )
    return new, Factorization(rows, *_standings(net, new, evaluate), sample is not None)


def _targets(net: Module, targets: Target | Iterable[Target] | None) -> dict[str, Any]:
    """The layers that may be replaced: those whose weight stands at one place alone."""
    check_layers(net, "factorize")
    uses = Counter(id(x) for _, x in net.named_arrays())
    found = {
        name: layer for name, layer in layers(net)
        if type(layer) in KINDS and getattr(layer, "groups", 1) == 1 and uses[id(layer.__dict__.get("weight"))] == 1
    }  # fmt: skip
    given = [targets] if isinstance(targets, (str, type)) else None if targets is None else list(targets)
    for target in given or ():
        if not any(matches(target, name, layer, net) for name, layer in found.items()):
            what = target.__name__ if isinstance(target, type) else repr(target)
            raise ValueError(
                f"factorize: the target {what} matches no linear layer and no plain convolution of "
                f"{type(net).__name__} whose weight is its own."
            )
    if given is not None:
        found = {n: layer for n, layer in found.items() if any(matches(t, n, layer, net) for t in given)}
    if not found:
        raise ValueError(f"factorize: {type(net).__name__} has no linear layer and no plain convolution.")
    return found


def _ways(name: str, layer: Any, inputs: Inputs | None) -> list[Candidate]:
    try:
        return candidates(layer, None if inputs is None else inputs.root())
    except ValueError as error:
        raise ValueError(f"factorize: the weight of {name or 'the layer'} {error}.") from None


def _room(net: Module, budget: Any) -> int:
    """The parameters that the whole network may have."""
    whole = count_parameters(net)
    if type(budget) is float and 0.0 < budget < 1.0:
        return int(budget * whole)
    if type(budget) is not int or budget < 1:
        raise ValueError(f"factorize: a budget is a number of parameters or a share between 0 and 1, not {budget!r}.")
    return budget


def _row(
    name: str, layer: Any, pair: Any, choice: Choice, ways: list[Candidate], inputs: Inputs | None
) -> Factorized:  # fmt: skip
    size, first = int(np.prod(layer.weight.shape)), choice.candidate or ways[0]
    if choice.candidate is None or pair is None:
        flops = _flops(layer, inputs)
        return Factorized(name, "", 0, len(first.values), 0.0, (size, size), None if flops is None else (flops, flops))
    before, after = _flops(layer, inputs), _flops(pair, inputs)
    return Factorized(
        name, first.kind, choice.rank, len(first.values), float(np.sqrt(first.lost[choice.rank - 1])),
        (size, choice.parameters(size)), None if before is None or after is None else (before, after),
    )  # fmt: skip


def _flops(layer: Any, inputs: Inputs | None) -> int | None:
    """FLOPs in products of one call: on the sample's shape, or for one row."""
    first = getattr(layer, "first", layer)
    if inputs is None and not isinstance(first, Linear):
        return None
    shape = (1, first.in_features) if inputs is None else inputs.shape
    shaped = tree_map(like, to(layer))
    with count() as tally:
        shaped(ShapeArray(shape, first.weight.dtype))
    return int(tally.matmul_flops)


def _standings(net: Module, new: Module, evaluate: Callable[[Any], float] | None) -> tuple[Standing, Standing]:
    sizes = count_parameters(net), count_parameters(new)
    if evaluate is None:
        return Standing(sizes[0]), Standing(sizes[1])
    result = []
    for network, size in zip((net, new), sizes, strict=True):
        score = float(evaluate(network))
        began = time.perf_counter()
        evaluate(network)
        result.append(Standing(size, score, time.perf_counter() - began))
    return result[0], result[1]
