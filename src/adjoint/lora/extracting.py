"""`extract`: the adapter that comes nearest to what a fine-tuned network has become."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.errors import ShapeError
from adjoint.lora.adapters import LoRA
from adjoint.lora.adding import installed, width
from adjoint.lora.initial import shapes
from adjoint.lora.layers import Adapted, adapted, layers
from adjoint.lora.placing import replace
from adjoint.maps.flat import to_numpy
from adjoint.maps.spectra.truncation import Truncated, check_wish, share_kept, truncated
from adjoint.nn.module import Module, to
from adjoint.trees import map as tree_map

SHOWN = 5  # names in an error


@dataclass(frozen=True)
class Extracted:
    """What an adapter holds of one layer's ΔW (rows, columns): rank, ‖ΔW‖_F, the error ‖ΔW - BA‖_F, its parameters.

    By Eckart and Young the error is the norm of the singular values that are left out, and no adapter of that rank has
    less; `bound`: its square may be above the least by bound², where the Gram matrix served.

    >>> Extracted("fc", (4, 3), 2, 2.0, 1.0, 0.0, 14).kept
    0.75
    """

    name: str
    matrix: tuple[int, int]
    rank: int
    norm: float
    error: float
    bound: float
    parameters: int

    @property
    def kept(self) -> float:
        """The share of the energy ‖ΔW‖² that the adapter has."""
        return share_kept(self.error**2, self.norm**2)


@dataclass(frozen=True)
class Extraction:
    """What `extract` did: a row a layer with an adapter, what is stored whole and why, what is not stored and why.

    `tied` are pairs of names of one base weight that both have adapters: each is right where it stands, but PEFT's
    `merge_and_unload` would add both to the one weight.

    >>> import adjoint as aj
    >>> base, tuned = aj.nn.MLP((6, 5, 4), rng=0), aj.nn.MLP((6, 5, 4), rng=1)
    >>> _, found = aj.lora.extract(base, tuned, energy=0.9)
    >>> found.kept >= 0.9, list(found.biases)
    (True, ['0.bias', '2.bias'])
    """

    layers: tuple[Extracted, ...]
    biases: tuple[str, ...]
    whole: Mapping[str, str]
    lost: Mapping[str, str]
    tied: tuple[str, ...]
    parameters: int

    @property
    def error(self) -> float:
        """‖ΔW - BA‖_F over all layers with an adapter."""
        return math.sqrt(sum(x.error**2 for x in self.layers))

    @property
    def kept(self) -> float:
        """The share of the energy of all their changes that adapters have."""
        return share_kept(self.error**2, sum(x.norm**2 for x in self.layers))

    def __rich__(self) -> Any:
        from adjoint.lora.screens import extraction

        return extraction(self)

    def __repr__(self) -> str:
        from adjoint.inspection.screen import text

        return text(self)


def extract(
    base: Module, tuned: Module, rank: int | None = None, energy: float | None = None, *, name: str = "default"
) -> tuple[Any, Extraction]:
    """(base with the best adapters for what `tuned` became, what they hold): the truncated SVD of ΔW, layer by layer.

    Of all B A of a `rank` that one is nearest to ΔW = W_tuned - W_base (Eckart & Young 1936); with `energy` each layer
    has the least rank that keeps this share of ‖ΔW‖². A layer takes no more than its own smaller side. Linear layers,
    embeddings and convolutions have adapters, with α = r so that the scale is 1; their biases are stored with them.
    Everything else that changed, such as norms, is stored whole (PEFT's `modules_to_save`), and so is a table that has
    grown by new tokens. `lora.save(net, folder)` writes it all. `base` itself stays as it is.

    Raises ValueError where the networks differ in their modules, no weight changed, numbers are not finite, or one has
    adapters; ShapeError for arrays of other shapes, and what `truncated` raises for rank and energy.

    >>> import numpy as np, adjoint as aj
    >>> base = aj.nn.MLP((9, 8, 7), rng=0, dtype="float64")
    >>> tuned = aj.to(base)
    >>> tuned[0].weight = base[0].weight + np.outer(np.ones(8), np.arange(9.0))
    >>> net, found = aj.lora.extract(base, tuned, rank=1)
    >>> bool(found.error < 1e-12), bool(np.allclose(net(np.ones(9)), tuned(np.ones(9))))
    (True, True)
    """
    check_wish("lora.extract", rank, energy)
    found = _changed(base, tuned)
    most = max((min(x.matrix) for x in found.updates.values()), default=0)
    if rank is not None and found.updates and rank > most:
        raise ValueError(f"lora.extract: rank {rank} is above {most}, the most that any changed layer can have.")
    net = to(base)
    modules = dict(layers(net))
    made: dict[str, Any] = {}
    rows = []
    for key, update in found.updates.items():
        delta = update.delta()
        if not np.isfinite(delta).all():
            raise ValueError(f"lora.extract: the weight of {key or 'the layer'} has numbers that are not finite.")
        best = truncated(delta, None if rank is None else min(rank, *update.matrix), energy)
        layer = adapted(modules[key])
        assert layer is not None
        made[key] = (layer, _adapter(layer, best), None)
        size = best.rank * sum(update.matrix)
        rows.append(Extracted(key, update.matrix, best.rank, *_norms(best), size))
    sizes = sum(row.parameters for row in rows)
    net = installed(net, made, {id(modules[key]): layer for key, (layer, _, _) in made.items()}, name, (), None)
    there = dict(layers(tuned))
    for key in found.whole:
        net = replace(net, {key: _beside(modules[key], there[key])})
        sizes += sum(int(np.prod(x.shape)) for _, x in there[key].named_arrays())
    own = dict(layers(net))
    for label in found.biases:
        key = _owner(label)
        layer = own[key].base_layer if key in made else own[key]
        layer.bias = xp.asarray(layer.bias, to_numpy(there[key].bias), layer.bias.dtype)
        layer.unfreeze("bias")
        sizes += int(np.prod(layer.bias.shape))
    tied = tuple(f"{a} is {b}" for a, b in base.form().ties if _owner(a) in made and _owner(b) in made)
    return net.eval(), Extraction(tuple(rows), tuple(found.biases), found.whole, found.lost, tied, sizes)


@dataclass(frozen=True)
class Update:
    """A weight before and after, as the layer has it as a matrix."""

    layer: Adapted
    before: Any
    after: Any
    matrix: tuple[int, int]

    def delta(self) -> np.ndarray:
        """ΔW in float64."""
        before, after = (np.asarray(to_numpy(self.layer.matrix(x)), "float64") for x in (self.before, self.after))
        return after - before


@dataclass
class Changed:
    """What differs between two networks, and where each part of it goes."""

    updates: dict[str, Update]
    biases: list[str]
    whole: dict[str, str]
    lost: dict[str, str]


def _changed(base: Module, tuned: Module) -> Changed:
    first, second = dict(layers(base)), dict(layers(tuned))
    for what, found in (("base", first), ("tuned", second)):
        if any(isinstance(module, Adapted) for module in found.values()):
            raise ValueError(f"lora.extract: {what} has adapters: lora.merge and lora.remove make it a plain network.")
    kinds = [{name: type(module).__name__ for name, module in found.items()} for found in (first, second)]
    if kinds[0] != kinds[1]:
        both = sorted(kinds[0].items() ^ kinds[1].items())
        told = ", ".join(dict.fromkeys(f"{name or 'itself'} ({kind})" for name, kind in both[: 2 * SHOWN]))
        raise ValueError(
            f"lora.extract: {type(base).__name__} and {type(tuned).__name__} are networks of other layers; these are "
            f"in one of them only: {told}{' …' if len(both) > 2 * SHOWN else ''}."
        )
    result = Changed({}, [], {}, {})
    for key, module in first.items():
        if not any(key.startswith(f"{name}.") for name in result.whole):
            _compare(result, key, module, second[key])
    if not (result.updates or result.whole or result.biases):
        raise ValueError("lora.extract: the networks are equal: there is nothing to extract.")
    if not result.updates:
        told = ", ".join([*result.whole, *result.biases][:SHOWN])
        raise ValueError(
            f"lora.extract: no weight that takes an adapter changed, only {told}: save these by themselves."
        )
    return result


def _compare(result: Changed, key: str, module: Any, other: Any) -> None:
    """Note what changed in the arrays of one module."""
    own, theirs = _arrays(module), _arrays(other)
    grown, changed = [], []
    for name in own:
        if name not in theirs:
            raise ShapeError(f"lora.extract: {key}.{name} is in the base network only.")
        before, after = own[name], theirs[name]
        if tuple(before.shape) != tuple(after.shape):
            if tuple(before.shape[1:]) != tuple(after.shape[1:]) or after.shape[0] < before.shape[0]:
                raise ShapeError(
                    f"lora.extract: {key}.{name} is {tuple(before.shape)} in the base network and "
                    f"{tuple(after.shape)} in the tuned one; only rows may be added, as for new tokens."
                )
            grown.append(name)
        elif not np.array_equal(to_numpy(before), to_numpy(after)):
            changed.append(name)
    if extra := theirs.keys() - own.keys():
        raise ShapeError(f"lora.extract: {key}.{min(extra)} is in the tuned network only.")
    if not (grown or changed):
        return
    layer = adapted(module) if module.__dict__ else None
    takes = layer is not None and getattr(module, "groups", 1) == 1 and set(changed) <= {"weight", "bias"}
    if not grown and changed == ["bias"]:
        result.biases.append(f"{key}.bias" if key else "bias")
    elif not grown and takes:
        assert layer is not None
        a, b = shapes(layer, 1)
        result.updates[key] = Update(layer, own["weight"], theirs["weight"], (b[0], math.prod(a[1:])))
        result.biases += [f"{key}.bias" if key else "bias"] if "bias" in changed else []
    elif key:
        result.whole[key] = _reason(module, own, theirs, grown, changed)
    else:
        result.lost |= dict.fromkeys(changed, "it stands in the network itself, which PEFT cannot store whole")


def _reason(module: Any, own: Any, theirs: Any, grown: list[str], changed: list[str]) -> str:
    if grown:
        return f"grew from {own[grown[0]].shape[0]:,} to {theirs[grown[0]].shape[0]:,} rows"
    if getattr(module, "groups", 1) != 1:
        return "a convolution in groups"
    return f"{' and '.join(changed)} changed"


def _arrays(module: Any) -> dict[str, Any]:
    """The arrays that stand in a module itself, those that its files have."""
    inside = {name for name, child in layers(module) if name and child.__dict__}
    return {k: x for k, x in module.state_dict().items() if not any(k.startswith(f"{name}.") for name in inside)}


def _adapter(layer: Adapted, best: Truncated) -> LoRA:
    W = layer.base_layer.weight
    first, second = shapes(layer, best.rank)
    dtype = width(W)
    A, B = (xp.asarray(W, x.reshape(s), dtype) for x, s in ((best.right, first), (best.left, second)))
    return LoRA(A, B, float(best.rank))


def _beside(module: Module, other: Module) -> Module:
    """The other module, free to learn, on the backend of the first."""
    like = next(x for _, x in module.named_arrays())
    moved: Module = tree_map(lambda x: xp.asarray(like, to_numpy(x), str(x.dtype).rpartition(".")[2]), to(other))
    return moved.unfreeze()


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _norms(best: Truncated) -> tuple[float, float, float]:
    return float(np.linalg.norm(best.values)), best.error, best.bound
