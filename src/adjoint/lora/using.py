"""Adapters in use: switched, added with weights, merged into the base weights and taken out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from adjoint.arrays.dispatch import is_array
from adjoint.lora.adapters import DoRA
from adjoint.lora.initial import RESIDUAL
from adjoint.lora.layers import Adapted, adapted_layers, layers
from adjoint.lora.placing import replace
from adjoint.nn.module import Module

M = TypeVar("M", bound=Module)


def names(net: Module) -> tuple[str, ...]:
    """The adapters of a network.

    >>> import adjoint as aj
    >>> names(aj.lora.add(aj.nn.MLP((2, 3, 1)), rank=1))
    ('default',)
    """
    return tuple(dict.fromkeys(name for layer in adapted_layers(net).values() for name in layer.adapters))


def use(net: M, adapters: str | Mapping[str, float] | None) -> M:
    """Use one adapter, or several added with weights {"a": 0.5, "b": 0.5}, or none; returns the network.

    Those in use learn, the others are frozen. Raises KeyError for an adapter that there is not, ValueError where
    adapters are merged, or where a DoRA adapter is to be added to others: its norm is of one adapter.

    >>> import adjoint as aj
    >>> net = aj.lora.add(aj.lora.add(aj.nn.MLP((2, 3, 1)), rank=1, name="a"), rank=1, name="b")
    >>> aj.lora.use(net, {"a": 0.5, "b": 0.5})[0].use
    (('a', 0.5), ('b', 0.5))
    """
    found = _found("use", net)
    wanted = {} if adapters is None else {adapters: 1.0} if isinstance(adapters, str) else dict(adapters)
    known = names(net)
    if unknown := [name for name in wanted if name not in known]:
        raise KeyError(f"lora.use: there is no adapter {unknown[0]!r}, only {', '.join(known)}.")
    for key, layer in found.items():
        if layer.merged:
            raise ValueError("lora.use: adapters are merged into the weights: lora.unmerge first.")
        own = [name for name in wanted if name in layer.adapters]
        magnitudes = [name for name in own if isinstance(layer.adapters[name], DoRA)]
        if magnitudes and (len(own) > 1 or wanted[magnitudes[0]] != 1.0):
            raise ValueError(
                f"lora.use: {magnitudes[0]!r} in {key} is DoRA, which cannot be added to others or weighed."
            )
    for layer in found.values():
        layer.use = tuple((name, float(weight)) for name, weight in wanted.items() if name in layer.adapters)
        for name, adapter in layer.adapters.items():
            adapter.unfreeze() if name in wanted else adapter.freeze()
    return net


def disable(net: M) -> M:
    """Use no adapter: the network as it was before; returns the network. `use` takes one up again.

    Where an adapter began from the weight ("pissa", "olora"), the weight is what was left of it.

    >>> import adjoint as aj
    >>> aj.lora.disable(aj.lora.add(aj.nn.MLP((2, 3, 1)), rank=1))[0].use
    ()
    """
    return use(net, None)


@contextmanager
def disabled(net: Module) -> Iterator[Module]:
    """The network without adapters inside a `with`, and then as it was.

    >>> import adjoint as aj
    >>> net = aj.lora.add(aj.nn.MLP((2, 3, 1)), rank=1)
    >>> with aj.lora.disabled(net):
    ...     net[0].use
    ()
    >>> net[0].use
    (('default', 1.0),)
    """
    found = _found("disabled", net)
    before = {key: layer.use for key, layer in found.items()}
    if any(layer.merged for layer in found.values()):
        raise ValueError("lora.disabled: adapters are merged into the weights: lora.unmerge first.")
    for layer in found.values():
        layer.use = ()
    try:
        yield net
    finally:
        for key, layer in found.items():
            layer.use = before[key]


def merge(net: M) -> M:
    """Put the adapters in use into the base weights, W + s B A, so that a call costs no more; returns the network.

    The weights before are kept (as buffers that no file has), and `unmerge` puts them back to the bit, however often
    and in any dtype: subtracting again, as PEFT does, drifts. The sum itself is rounded once, to the weight's dtype.
    Tied weights part, and adapters are frozen until they are taken out again. `remove` after it leaves a plain network
    with the merged weights. Raises ValueError where adapters are merged already, or a weight is no array of numbers,
    such as a quantized one, or an adapter has a bias and its layer none.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.lora.add(aj.nn.MLP((2, 3, 1), rng=0), rank=1, init="gaussian", rng=0)
    >>> W = net[0].base_layer.weight
    >>> aj.lora.unmerge(aj.lora.merge(net))[0].base_layer.weight is W
    True
    """
    found = _found("merge", net)
    for key, layer in found.items():
        if layer.merged:
            raise ValueError(f"lora.merge: {key or 'the layer'} has its adapters merged already: lora.unmerge first.")
        if layer.use and not is_array(layer.base_layer.__dict__.get("weight")):
            raise ValueError(
                f"lora.merge: the weight of {key or 'the layer'} is not stored as an array of floating numbers (it is "
                "quantized or reparametrized), and would lose the change: dequantize the layer first."
            )
        if getattr(layer.base_layer, "bias", None) is None and any(a.lora_bias is not None for a, _ in layer.in_use()):
            raise ValueError(
                f"lora.merge: the adapter of {key or 'the layer'} has a bias (lora_bias), which the layer has no place "
                "for: build the layer with bias=True, of zeros."
            )
    new = {
        key: (layer.effective(layer.use), layer.shifted(getattr(layer.base_layer, "bias", None), layer.use))
        for key, layer in found.items() if layer.use
    }  # fmt: skip
    for key, (W, bias) in new.items():
        layer = found[key]
        layer.register_buffer("original", layer.base_layer.weight, persistent=False)
        layer.hold(W)
        if bias is not None and bias is not layer.base_layer.bias:
            layer.register_buffer("original_bias", layer.base_layer.bias, persistent=False)
            layer.base_layer.bias = bias
        layer.merged = layer.use
        layer.resting = tuple(name for name, _ in layer.use if not layer.adapters[name]._frozen)
        for name in layer.resting:
            layer.adapters[name].freeze()
    return net


def unmerge(net: M) -> M:
    """Put back the weights that were there before `merge`, to the bit; returns the network. See `merge`.

    >>> import adjoint as aj
    >>> net = aj.lora.add(aj.nn.MLP((2, 3, 1), rng=0), rank=1, init="gaussian", rng=0)
    >>> W = net[0].base_layer.weight
    >>> aj.lora.unmerge(aj.lora.merge(net))[0].base_layer.weight is W
    True
    """
    for layer in _found("unmerge", net).values():
        if layer.merged:
            layer.hold(layer.original)
            if "original_bias" in layer._buffers:
                layer.base_layer.bias = layer.original_bias
            _forget(layer)
    return net


def _forget(layer: Adapted) -> None:
    for name in ("original", "original_bias"):
        if name in layer._buffers:
            delattr(layer, name)
    layer.__dict__["_buffers"] = {k: v for k, v in layer._buffers.items() if not k.startswith("original")}
    layer.merged = ()
    for name in layer.resting:
        layer.adapters[name].unfreeze()
    layer.resting = ()


def remove(net: Any, name: str | None = None) -> Any:
    """Take an adapter away, or all of them where none is named: layers without one are themselves again.

    After `merge`, all are taken away and the merged weights stay. The network stays frozen: `net.unfreeze()` lets it
    learn. Raises KeyError for an adapter that there is not, ValueError for one that was taken out of the base weights
    ("pissa", "olora"), which are not whole without it, unless it is merged.

    >>> import adjoint as aj
    >>> aj.lora.remove(aj.lora.add(aj.nn.MLP((2, 3, 1)), rank=1))
    MLP(
      (0): Linear(in_features=2, out_features=3)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=1)
    )
    """
    found = _found("remove", net)
    if name is not None and name not in names(net):
        raise KeyError(f"lora.remove: there is no adapter {name!r}, only {', '.join(names(net))}.")
    if name is not None and any(layer.merged for layer in found.values()):
        raise ValueError("lora.remove: adapters are merged into the weights: unmerge first, or remove all.")
    for key, layer in found.items():
        taken = [n for n, adapter in layer.adapters.items() if name in (None, n) and adapter.init in RESIDUAL]
        if taken and not layer.merged:
            raise ValueError(
                f"lora.remove: {taken[0]!r} was taken out of the weight of {key or 'the layer'} "
                f"({layer.adapters[taken[0]].init}), which is not whole without it: lora.merge first."
            )
    for layer in found.values():
        if layer.merged:
            _forget(layer)
        layer.adapters = {k: v for k, v in layer.adapters.items() if name not in (None, k)}
        layer.use = tuple(pair for pair in layer.use if pair[0] in layer.adapters)
    bare = {k: m.base_layer for k, m in layers(net) if isinstance(m, Adapted) and not m.adapters}
    return replace(net, bare)


def _found(what: str, net: Module) -> dict[str, Adapted]:
    found = adapted_layers(net)
    if not found:
        raise ValueError(f"lora.{what}: {type(net).__name__} has no adapters: lora.add gives it some.")
    return found
