"""`QuantizedLinear`: a linear layer whose weight is stored in 4 or 8 bits."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn.layers import Linear
from adjoint.quantization import packing
from adjoint.quantization.packing import Quantized


class QuantizedLinear(Linear):
    """y = x Wᵀ + b with W packed: no array of W's size is ever made, and W has no gradient; b is as in `Linear`.

    W is unpacked a panel at a time in forward and backward pass; the product has the dtype of x. `weight` is all of it,
    unpacked anew at every use: merging, and the norms of DoRA's rows, take it.

    >>> import numpy as np, adjoint as aj
    >>> layer = aj.quantize(aj.nn.Linear(64, 32, rng=0), "nf4")
    >>> layer
    QuantizedLinear(in_features=64, out_features=32, nf4, 4.16 bits a parameter)
    >>> layer(np.ones((5, 64), "float32")).shape, [name for name, _ in layer.named_parameters()]
    ((5, 32), ['bias'])
    """

    def __init__(self, packed: Quantized, bias: Array | None = None) -> None:
        self.out_features, self.in_features = packed.shape
        self.packed = packed
        self.bias = bias

    @property
    def weight(self) -> Array:
        """The weight that is stored, in float32."""
        return self.packed.dequantize()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            raise AttributeError(
                "QuantizedLinear: the weight is stored in fewer bits and cannot be assigned: assign `packed`, a "
                "Quantized, or make the layer plain by adjoint.quantization.dequantize."
            )
        super().__setattr__(name, value)

    def __call__(self, x: Array) -> Array:
        """x Wᵀ + b."""
        y = xp.quantized_linear(x, self.packed)
        return y if self.bias is None else y + self.bias

    def __repr__(self) -> str:
        told = f"in_features={self.in_features}, out_features={self.out_features}, {self.packed.format}"
        return f"QuantizedLinear({told}, {self.packed.bits:.3g} bits a parameter)"


def quantized(layer: Linear, *how: Any) -> QuantizedLinear:
    """A linear layer's like with its weight packed."""
    new = QuantizedLinear(packing.array(layer.weight, *how), layer.bias)
    new.training = layer.training
    if "bias" in layer._frozen:
        new.freeze("bias")
    return new


def plain(layer: QuantizedLinear, dtype: Any = "float32") -> Linear:
    """The `Linear` that holds what a quantized layer stands for."""
    new = Linear.__new__(Linear)
    new.in_features, new.out_features = layer.in_features, layer.out_features
    new.weight, new.bias = layer.packed.dequantize(dtype), layer.bias
    new.training = layer.training
    if "bias" in layer._frozen:
        new.freeze("bias")
    return new
