"""A network with adapters as two: its weights without them, and what they add to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from adjoint.inspection.sources import Sources
from adjoint.maps.flat import to_numpy


@dataclass(frozen=True)
class Beside:
    """What adapters add to a weight: `rank` is the sum of theirs, `read()` gives the addition in float64.

    It is `rounded` to the weight's dtype where it was merged, or DoRA's norms went over the weight.
    """

    rank: int
    rounded: bool
    read: Callable[[], np.ndarray]


def parted(found: Sources) -> tuple[Sources, Mapping[str, Beside]]:
    """(the weights under the names that they have without adapters, what adapters in use add to them by name).

    >>> import adjoint as aj
    >>> from adjoint.inspection.sources import sources
    >>> net = aj.lora.add(aj.nn.MLP((4, 3, 2)), rank=2, targets="0")
    >>> weights, beside = parted(sources(net))
    >>> [x.name for x in weights.weights], {name: x.rank for name, x in beside.items()}
    (['0.weight', '2.weight'], {'0.weight': 2})
    """
    layers = {} if found.net is None else dict(_adapted(found.net))
    if not layers:
        return found, {}
    starts = {f"{name}." if name else "": layer for name, layer in layers.items()}

    def plain(name: str) -> str | None:
        """The name without adapters; None for an array of theirs."""
        start = next((s for s in starts if name.startswith((f"{s}base_layer.", f"{s}adapters.", f"{s}original"))), None)
        if start is None:
            return name
        inner = name.removeprefix(start)
        return start + inner.removeprefix("base_layer.") if inner.startswith("base_layer.") else None

    renamed = [(plain(x.name), x) for x in found.weights]
    skipped = {own: why for name, why in found.skipped.items() if (own := plain(name)) is not None}
    weights, beside = [], {}
    for name, source in renamed:
        if name is None:
            continue
        layer = layers.get(name.rpartition(".")[0])
        if layer is not None and name.endswith("weight"):
            use = layer.merged or layer.use
            adapters = [layer.adapters[own] for own, _ in use]
            rounded = bool(layer.merged) or any(adapter.dora for adapter in adapters)
            beside[name] = Beside(sum(adapter.rank for adapter in adapters), rounded, _reading(layer, rounded))
            if layer.merged or getattr(layer.base_layer, "groups", 1) > 1:  # whose change has no groups
                source = replace(source, read=partial(_base, layer), shape=tuple(_base(layer).shape))
        weights.append(replace(source, name=name))
    return replace(found, weights=weights, skipped=skipped), beside


def _adapted(net: Any) -> list[tuple[str, Any]]:
    """(name, layer) of the layers with adapters, known by what they have."""
    has = ("base_layer", "adapters", "use", "merged")
    return [(name, m) for name, m in net.named_modules() if all(key in m.__dict__ for key in has)]


def _base(layer: Any) -> np.ndarray:
    """The weight without adapters, that of a convolution in groups with zeros between them."""
    W = to_numpy(layer.original if layer.merged else layer.base_layer.weight)
    return np.asarray(layer.shaped(layer.matrix(W), W.shape))


def _reading(layer: Any, rounded: bool) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        W = _base(layer).astype("float64")
        if rounded:
            return np.asarray(to_numpy(layer.weight), "float64") - W
        total = sum(weight * layer.adapters[name].to("numpy", "float64").delta() for name, weight in layer.use)
        return np.asarray(layer.shaped(total, W.shape)) if layer.use else np.zeros_like(W)

    return read
