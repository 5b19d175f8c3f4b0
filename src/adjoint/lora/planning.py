"""`plan`: the rank of each layer's adapter, from gradients on a sample or from the spectra of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint.arrays.shapes import ShapeArray
from adjoint.costs import Cost, Roofline, cost
from adjoint.costs.subjects import shaped
from adjoint.lora.adapters import LoRA
from adjoint.lora.adding import installed, width
from adjoint.lora.config import Config
from adjoint.lora.gains import effective, gradients, matrix, most, pair, share
from adjoint.lora.initial import shapes
from adjoint.lora.layers import Adapted, adapted, adapted_layers, layers
from adjoint.lora.targets import Target, chosen, hub_name
from adjoint.nn.module import Module, count_parameters

USUAL = 8  # the rank everywhere whose parameters are the budget, where none is given
SCALE = 2.0  # α/r of every layer


@dataclass(frozen=True)
class Planned:
    """One layer: its weight as a matrix, the rank of its adapter (0: none), its parameters, and why.

    `weight` is the share of the gradient's energy that the rank holds, or the effective rank of W (Roy & Vetterli
    2007), in proportion to which ranks were given.

    >>> Planned("fc", (32, 64), 4, 30.0).parameters
    384
    """

    name: str
    matrix: tuple[int, int]
    rank: int
    weight: float

    @property
    def parameters(self) -> int:
        """r (m + n)."""
        return self.rank * sum(self.matrix)


@dataclass(frozen=True)
class Plan:
    """Ranks of all layers; what learns then, of how many parameters; memory and seconds of a step.

    `sampled`: whether gradients gave them. `memory` and `full` are the bytes of training with these adapters and of
    training everything, `activations` those of `memory` that the forward pass keeps for the backward pass, `given` the
    shapes for which; None where it is not known what the network takes. `seconds` are
    those of a step on this machine's roofline, None where it was not measured (`adjoint doctor`).

    >>> import adjoint as aj
    >>> found = aj.lora.plan(aj.nn.MLP((64, 32, 10), rng=0), budget=500)
    >>> found.ranks, found.parameters
    ({'0': 4, '2': 2}, 468)
    >>> print(found.block)
    LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=['0', '2'],
        rank_pattern={'2': 2},
        alpha_pattern={'2': 4},
    )
    """

    layers: tuple[Planned, ...]
    budget: int
    sampled: bool
    config: Mapping[str, Any]
    whole: int
    memory: int | None = None
    full: int | None = None
    seconds: float | None = None
    given: tuple[tuple[int, ...], ...] = ()
    activations: int | None = None

    @property
    def ranks(self) -> dict[str, int]:
        """The rank of each layer that gets an adapter, by its name here."""
        return {x.name: x.rank for x in self.layers if x.rank}

    @property
    def options(self) -> dict[str, Any]:
        """What `lora.add` takes for these ranks.

        >>> import adjoint as aj
        >>> net = aj.nn.MLP((64, 32, 10), rng=0)
        >>> net = aj.lora.add(net, **aj.lora.plan(net, budget=500).options)
        >>> [layer.adapters["default"].rank for layer in aj.lora.adapted_layers(net).values()]
        [4, 2]
        """
        return {
            "targets": list(self.ranks),
            "rank_pattern": self.ranks,
            "alpha_pattern": {name: SCALE * rank for name, rank in self.ranks.items()},
        }

    @property
    def parameters(self) -> int:
        """Those that learn."""
        return sum(x.parameters for x in self.layers)

    @property
    def block(self) -> str:
        """The configuration as PEFT takes it, to paste."""
        return "\n".join(["LoraConfig(", *(f"    {key}={_written(value)}," for key, value in self.config.items()), ")"])

    def __rich__(self) -> Any:
        from adjoint.lora.planning_screen import screen

        return screen(self)

    def __repr__(self) -> str:
        from adjoint.inspection.screen import text

        return text(self)


def plan(
    net: Module, budget: int | None = None, sample: Any = None, loss: Callable[[Any, Any], Any] | None = None,
    targets: Target | Iterable[Target] | None = None, *, batch: int | None = None, seq: int | None = None,
) -> Plan:  # fmt: skip
    """The rank of each layer's adapter for so many parameters in all, what training costs then, PEFT's `LoraConfig`.

    With a `sample` (x, t) ranks follow the gradient: G = ∂loss(net(x), t)/∂W of each layer, and direction i of G, which
    costs m + n parameters, is taken in the order of σᵢ(G)²/(m + n) until the budget is spent: what a first step by an
    adapter can lower the loss by goes with Σσᵢ² (as LoRA-GA has it, Wang et al. 2024, arXiv 2407.05000). `loss` is the
    cross-entropy unless given; tokens (n, T) alone are a sample of text, whose next token is the target; a function of
    the network that gives the loss is a sample, too.

    Without one, ranks are in proportion to the effective rank of the weights: a heuristic, that a task needs directions
    where the layer uses many. No adapter gets larger than its weight; layers that get none are left out. `budget` is
    unless given what rank 8 everywhere takes; `targets` are those of `lora.add`. α = 2r everywhere. Memory and time are
    those of a step on `batch` examples of the sample's shape (as many as it has unless given), or without one on a
    `batch` of sequences of `seq` tokens, or of images, as `aj.cost` takes them.

    Raises ValueError for a budget below one direction, targets that match nothing, numbers that are not finite, a loss
    without a sample, a batch or a length that the network cannot have; TypeError for a budget that is no integer.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.nn.MLP((8, 6, 3), rng=0)
    >>> x, t = np.ones((5, 8), "float32"), np.array([0, 1, 2, 0, 0])
    >>> aj.lora.plan(net, budget=30, sample=(x, t)).ranks
    {'0': 1, '2': 1}
    """
    if budget is not None and type(budget) is not int:
        raise TypeError(f"lora.plan: a budget is a number of parameters, an integer, not {budget!r}.")
    if loss is not None and (sample is None or callable(sample)):
        raise ValueError("lora.plan: a loss goes with a sample (x, t), or tokens: give one.")
    wrapped = _wrapped(net, targets)
    sizes = {name: matrix(layer) for name, layer in wrapped.items()}
    if budget is None:
        budget = sum(min(USUAL, most(size)) * sum(size) for size in sizes.values())
    if budget < (least := min(sum(size) for size in sizes.values())):
        raise ValueError(f"lora.plan: a budget of {budget:,} is too small: a rank of 1 takes {least:,} at least.")
    given = _given(sample, batch, seq)
    full = _cost(shaped(net).unfreeze(), given)  # what cannot be counted is told before the work
    costs = {name: sum(size) for name, size in sizes.items()}
    if sample is None:
        known = {name: effective(name, layer) for name, layer in wrapped.items()}
        ranks = spread({name: known[name] / np.arange(1, most(sizes[name]) + 1) for name in known}, costs, budget)
    else:
        squares = gradients(net, wrapped, sample, loss)
        ranks = spread({name: squares[name][: most(sizes[name])] / costs[name] for name in squares}, costs, budget)
        known = {name: share(squares[name], ranks[name]) for name in wrapped}
    rows = tuple(Planned(name, sizes[name], ranks[name], known[name]) for name in wrapped)
    small = _laid_out(net, {name: rank for name, rank in ranks.items() if rank})
    found = _cost(small, given)
    line = Roofline.remembered()
    seconds = None
    if found is not None and line is not None and found.dtype in line.flops:
        seconds = found.predicted(line).training
    return Plan(
        rows, budget, sample is not None, _config(small), count_parameters(net),
        None if found is None else found.memory.training, None if full is None else full.memory.training, seconds,
        () if found is None else found.inputs, None if found is None else found.memory.passes.kept,
    )  # fmt: skip


def _written(value: Any) -> str:
    """A value as Python has it; of several entries each on a line of its own."""
    if not isinstance(value, dict) or len(value) < 2:
        return repr(value)
    return "\n".join(["{", *(f"        {key!r}: {x!r}," for key, x in value.items()), "    }"])


def spread(gains: Mapping[str, np.ndarray], costs: Mapping[str, int], budget: int) -> dict[str, int]:
    """The ranks when directions are taken in the order of their gain, as long as they fit.

    >>> import numpy as np
    >>> spread({"a": np.array([5.0, 1.0]), "b": np.array([4.0, 3.0])}, {"a": 2, "b": 3}, 8)
    {'a': 1, 'b': 2}
    """
    ranks = dict.fromkeys(gains, 0)
    order = sorted((-float(g), k, name) for name, each in gains.items() for k, g in enumerate(each) if g > 0.0)
    for _, _, name in order:
        if costs[name] <= budget:
            ranks[name] += 1
            budget -= costs[name]
    return ranks


def _wrapped(net: Module, targets: Any) -> dict[str, Adapted]:
    if adapted_layers(net):
        raise ValueError("lora.plan: the network has adapters: lora.remove takes them away.")
    found: dict[str, Adapted] = {}
    for name, layer in chosen(net, targets, "lora.plan").items():
        new = adapted(layer)
        assert new is not None
        if getattr(layer, "groups", 1) != 1:
            raise ValueError(f"lora.plan: {name} is a convolution in groups: leave it out of the targets.")
        if id(layer) not in {id(other.base_layer) for other in found.values()}:
            found[name] = new
    return found


def _laid_out(net: Module, ranks: Mapping[str, int]) -> Any:
    """The network with adapters, its arrays only shapes."""
    new = shaped(net)
    own = dict(layers(new))
    made = {}
    for name, rank in ranks.items():
        layer = adapted(own[name])
        assert layer is not None
        dtype = width(dict(layers(net))[name].weight)
        A, B = (ShapeArray(shape, dtype) for shape in shapes(layer, rank))
        made[name] = (layer, LoRA(A, B, SCALE * rank), None)
    return installed(new, made, {id(own[name]): layer for name, (layer, _, _) in made.items()}, "default", (), None)


def _given(sample: Any, batch: int | None, seq: int | None) -> dict[str, Any]:
    """What a step is counted on, as `cost` takes it."""
    if sample is None or callable(sample):
        return {"batch": batch, "seq": seq}
    if seq is not None:
        raise ValueError("lora.plan: seq goes without a sample, whose examples have their length.")
    x = pair(sample)[0]
    if batch is None:
        return {"x": x}
    if type(batch) is not int or batch < 1:
        raise ValueError(f"lora.plan: a batch is a number of examples from 1 on, not {batch!r}.")
    return {"x": ShapeArray((batch, *x.shape[1:]), x.dtype)}


def _cost(net: Module, given: dict[str, Any]) -> Cost | None:
    """What training costs; None where it is not known what the network is given."""
    try:
        return cost(net, **given)
    except ValueError:
        if any(value is not None for value in given.values()):
            raise
        return None


def _config(small: Module) -> dict[str, Any]:
    """r, alpha, names and patterns of PEFT's configuration, names as short as they can be."""
    found = adapted_layers(small)
    config = Config.of({hub_name(small, key): layer.adapters["default"] for key, layer in found.items()}, small, None)
    told = config.fields()
    wanted = {hub_name(small, key) for key in found}
    every = {hub_name(small, name) for name, layer in layers(small) if name and layer.__dict__}
    if isinstance(told["target_modules"], list):
        told["target_modules"] = sorted({_short(name, wanted, every) for name in wanted})
        for key in ("rank_pattern", "alpha_pattern"):
            told[key] = {_short(name, _equal(told[key], name), wanted): int(x) for name, x in told[key].items()}
    keys = ("r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern")
    return {key: told[key] for key in keys} | ({"fan_in_fan_out": True} if config.transposed else {})


def _equal(pattern: Mapping[str, Any], name: str) -> set[str]:
    """The names that have the value of one."""
    return {other for other, x in pattern.items() if x == pattern[name]}


def _short(name: str, wanted: set[str], every: set[str]) -> str:
    """The last part of a name, where all of `every` that end so are wanted."""
    last = name.rpartition(".")[2]
    return last if all(other in wanted for other in every if other.rpartition(".")[2] == last) else name
