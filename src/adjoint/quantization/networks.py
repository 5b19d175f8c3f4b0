"""Networks whose linear layers are stored in 4 or 8 bits, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from adjoint.arrays.dispatch import is_array
from adjoint.lora.layers import Adapted, layers
from adjoint.lora.placing import replace
from adjoint.lora.targets import Target, chosen
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module
from adjoint.quantization import packing
from adjoint.quantization.layers import QuantizedLinear, plain, quantized

M = TypeVar("M", bound=Module)


def quantize(
    x: Any, format: str = "nf4", block: int | None = None, double: bool | None = None,
    targets: Target | Iterable[Target] | None = None,
) -> Any:  # fmt: skip
    """Store an array, or the weights of a network's linear layers, in 4 or 8 bits a number and a scale a block.

    | format | levels | scale of | default block |
    |---|---|---|---|
    | "nf4" | 16 quantiles of N(0, 1) (Dettmers et al. 2023, arXiv 2305.14314) | the largest of a block | 64 |
    | "fp4" | a sign, 2 bits of exponent, 1 of mantissa | the largest of a block | 64 |
    | "dynamic8" | 256, more of them towards 0 (Dettmers 2016, arXiv 1511.04561) | the largest of a block | 256 |
    | "int8" | 256 evenly from the least (or 0) to the largest, a zero point | part of a row | the row |
    | "int4" | 16 evenly, as above | part of a row | 128 |

    Blocks go on over the ends of rows, but for "int8" and "int4". With `double`, which "nf4" and "fp4" have unless told
    otherwise, scales are stored as "dynamic8" themselves, which takes 0.127 bits a parameter in place of 0.5. Codes are
    those of bitsandbytes to the bit.

    An array gives a `Quantized`. A network is changed itself, as by `lora.add`, and returned; where it is itself the
    layer the result is another. `targets` are those of `lora.add`: unless named, every `Linear` but heads and tied
    layers. Each becomes a `QuantizedLinear`, and so does the base layer of one that has adapters. Raises ValueError,
    and changes nothing, for numbers that are not finite, unknown formats, and targets that are no linear layers.

    >>> import numpy as np, adjoint as aj
    >>> net = aj.quantize(aj.nn.MLP((256, 128, 64), rng=0), "nf4")
    >>> net[0], net(np.ones((1, 256), "float32")).shape
    (QuantizedLinear(in_features=256, out_features=128, nf4, 4.13 bits a parameter), (1, 64))
    >>> net = aj.lora.add(net, rank=4)  # QLoRA
    """
    if not isinstance(x, Module):
        if targets is not None:
            raise TypeError(f"quantize: targets are for a network, not for {type(x).__name__}.")
        if not is_array(x):
            raise TypeError(f"quantize: {type(x).__name__} is neither an array nor a module.")
        return packing.array(x, format, block, double)
    made: dict[str, QuantizedLinear] = {}
    known: dict[int, QuantizedLinear] = {}  # a layer that stands at two places stays one
    for name, layer in chosen(x, targets, "quantize").items():
        base = layer.base_layer if isinstance(layer, Adapted) else layer
        _check(x, name, layer, base)
        try:
            made[name] = known[id(base)] = known.get(id(base)) or quantized(base, format, block, double)
        except ValueError as error:
            raise ValueError(f"{name or type(x).__name__}: {error}") from None
    return _placed(x, made)


def dequantize(net: M, dtype: Any = "float32") -> Any:
    """Put plain `Linear` layers with what is stored in place of quantized ones; the network is changed and returned.

    Adapters stay, the weights beside them frozen, and can then be merged. Raises ValueError where nothing is quantized.

    >>> import adjoint as aj
    >>> aj.quantization.dequantize(aj.quantize(aj.nn.MLP((8, 4, 2), rng=0)))[0]
    Linear(in_features=8, out_features=4)
    """
    found: dict[str, Linear] = {}
    known: dict[int, Linear] = {}
    for name, layer in layers(net):
        base = layer.base_layer if isinstance(layer, Adapted) else layer
        if isinstance(base, QuantizedLinear):
            found[name] = new = known[id(base)] = known.get(id(base)) or plain(base, dtype)
            if base is not layer:
                new.freeze("weight")
    if not found:
        raise ValueError(f"dequantize: {type(net).__name__} has no quantized layer.")
    return _placed(net, found)


def _placed(net: Any, made: Mapping[str, Any]) -> Any:
    places = dict(layers(net))
    rest = {}
    for name, layer in made.items():
        if isinstance(places[name], Adapted):
            places[name].base_layer = layer
        else:
            rest[name] = layer
    return replace(net, rest)


def _check(net: Module, name: str, layer: Any, base: Any) -> None:
    """Raise where a layer cannot be quantized."""
    told = name or type(net).__name__
    if isinstance(base, QuantizedLinear):
        raise ValueError(f"quantize: {told} is quantized already: adjoint.quantization.dequantize first.")
    if not isinstance(base, Linear):
        raise ValueError(f"quantize: {told} is {type(base).__name__}: only the weights of Linear layers are quantized.")
    if not is_array(base.__dict__.get("weight")):
        raise ValueError(
            f"quantize: the weight of {told} is reparametrized, made anew at every use: remove that first."
        )
    if isinstance(layer, Adapted) and layer.merged:
        raise ValueError(f"quantize: {told} has adapters merged into its weight: lora.unmerge or lora.remove first.")
    if any(part.rpartition(".")[0] in (name, f"{name}.base_layer") for pair in net.form().ties for part in pair):
        raise ValueError(f"quantize: the weight of {told} is tied to another, which would part from it: leave it out.")
