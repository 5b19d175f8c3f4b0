"""Two narrow layers in place of a wide one."""

from __future__ import annotations

import copy
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module


class Pair(Module):
    """second(first(x)): two linear layers, or two convolutions, whose product stands in for one.

    `weight` is that product in the shape of the one layer's weight, formed anew at every use; `bias` is the second's.

    >>> import numpy as np, adjoint as aj
    >>> pair = Pair(aj.nn.Linear(4, 1, bias=False, rng=0), aj.nn.Linear(1, 3, rng=1))
    >>> x = np.ones((2, 4), "float32")
    >>> pair.weight.shape, bool(np.allclose(pair(x), x @ pair.weight.T + pair.bias))
    ((3, 4), True)
    """

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second

    def __call__(self, x: Array) -> Array:
        """The second at the first."""
        return self.second(self.first(x))

    @property
    def weight(self) -> Array:
        """The weight of the one layer that the two are: (out, in, …)."""
        a, b = self.first.weight, self.second.weight
        if isinstance(self.first, Linear):
            return xp.matmul(b, a)
        if len(a.shape) == 4 and a.shape[2] > 1 == a.shape[3] and b.shape[3] > 1 == b.shape[2]:
            return xp.einsum("ria,orb->oiab", a[..., 0], b[:, :, 0])
        flat = xp.matmul(xp.reshape(b, (b.shape[0], -1)), xp.reshape(a, (a.shape[0], -1)))
        return xp.reshape(flat, (b.shape[0], *a.shape[1:]))

    @property
    def bias(self) -> Array | None:
        """The second layer's."""
        bias: Array | None = self.second.bias
        return bias


def linear(layer: Any, left: Array, right: Array) -> Pair:
    """Of W = left right for a linear layer: left (out, r), right (r, in).

    >>> import numpy as np, adjoint as aj
    >>> linear(aj.nn.Linear(3, 2), np.ones((2, 1)), np.ones((1, 3))).weight.shape
    (2, 3)
    """
    return Pair(
        _like(layer, right, None, in_features=layer.in_features, out_features=right.shape[0]),
        _like(layer, left, layer.bias, in_features=right.shape[0], out_features=layer.out_features),
    )


def channels(layer: Any, left: Array, right: Array) -> Pair:
    """Of W = left right for a convolution with rows (out) and columns (in · kernel): as it walks, to r, then 1×1.

    >>> import numpy as np, adjoint as aj
    >>> pair = channels(aj.nn.Conv2d(3, 8, 5, padding=2), np.ones((8, 2)), np.ones((2, 75)))
    >>> pair.first.weight.shape, pair.second.weight.shape, pair.weight.shape
    ((2, 3, 5, 5), (8, 2, 1, 1), (8, 3, 5, 5))
    """
    r, ones = right.shape[0], (1,) * layer.ndim
    first = _like(layer, xp.reshape(right, (r, *layer.weight.shape[1:])), None, out_channels=r)
    second = _like(
        layer, xp.reshape(left, (-1, r, *ones)), layer.bias, in_channels=r, kernel_size=ones, stride=ones,
        dilation=ones, padding=(0,) * layer.ndim,
    )  # fmt: skip
    return Pair(first, second)


def separable(layer: Any, left: Array, right: Array) -> Pair:
    """Of W[o, i, a, b] = Σᵣ right[r, i a] left[o b, r] for an image convolution: down the rows, then along them.

    >>> import numpy as np, adjoint as aj
    >>> pair = separable(aj.nn.Conv2d(3, 8, 5, padding=2), np.ones((40, 2)), np.ones((2, 15)))
    >>> pair.first.weight.shape, pair.second.weight.shape, pair.weight.shape
    ((2, 3, 5, 1), (8, 2, 1, 5), (8, 3, 5, 5))
    """
    r, (high, wide) = right.shape[0], layer.kernel_size
    pads = (layer.padding, layer.padding)
    if not isinstance(layer.padding, str):
        pads = ((layer.padding[0], 0), (0, layer.padding[1]))
    first = _like(
        layer, xp.reshape(right, (r, layer.in_channels, high, 1)), None, out_channels=r, kernel_size=(high, 1),
        stride=(layer.stride[0], 1), dilation=(layer.dilation[0], 1), padding=pads[0],
    )  # fmt: skip
    kernel = xp.expand_dims(xp.swapaxes(xp.reshape(left, (layer.out_channels, wide, r)), 1, 2), 2)
    second = _like(
        layer, xp.copy(kernel), layer.bias, in_channels=r, kernel_size=(1, wide), stride=(1, layer.stride[1]),
        dilation=(1, layer.dilation[1]), padding=pads[1],
    )  # fmt: skip
    return Pair(first, second)


def _like(layer: Any, weight: Array, bias: Array | None, **changed: Any) -> Any:
    """The layer with other arrays and sizes."""
    new = copy.copy(layer)
    new.__dict__.update(weight=weight, bias=bias, **changed)
    new.__dict__["_form"] = None
    if bias is None:
        new.__dict__["_frozen"] = layer._frozen - {"bias"}
    return new
