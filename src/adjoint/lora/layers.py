"""Adapted layers: a layer that stays as it is, and low-rank changes beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.lora.adapters import DoRA, LoRA
from adjoint.nn.convolution import Conv
from adjoint.nn.embedding import Embedding
from adjoint.nn.layers import Linear
from adjoint.nn.module import Module

observer: ContextVar[Callable[[Any, Array], None] | None] = ContextVar("observer", default=None)


class Adapted(Module):
    """A layer and its adapters: base_layer(x) + s (x Aᵀ) Bᵀ, where B A is never formed, for every adapter in use.

    `use` are (name, weight) of the adapters in use; `merged` those that the base layer's weight already holds, as long
    as the weight before stands in the buffer `original` and those that would learn are `resting`. Other attributes,
    such as `in_features`, are the base layer's.

    >>> import numpy as np, adjoint as aj
    >>> layer = aj.lora.add(aj.nn.Linear(3, 4, rng=0), rank=2, rng=0)
    >>> layer.in_features, [name for name, _ in layer.named_parameters()]
    (3, ['base_layer.weight', 'base_layer.bias', 'adapters.default.lora_A', 'adapters.default.lora_B'])
    """

    base_layer: Any

    def __init__(self, base_layer: Any) -> None:
        self.base_layer = base_layer
        self.adapters: dict[str, Any] = {}
        self.use: tuple[tuple[str, float], ...] = ()
        self.merged: tuple[tuple[str, float], ...] = ()
        self.resting: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        base = self.__dict__.get("base_layer")
        if base is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.", name=name, obj=self)
        return getattr(base, name)

    @property
    def weight(self) -> Array:
        """The weight of the map that the layer is, the adapters in use added: formed anew at every use."""
        return self.base_layer.weight if self.merged else self.effective(self.use)

    @property
    def bias(self) -> Any:
        """The bias, those of the adapters in use added: formed anew at every use."""
        own = self.base_layer.bias
        return own if self.merged else self.shifted(own, self.use)

    def in_use(self) -> Iterator[tuple[Any, float]]:
        """(adapter, weight) of those in use."""
        return ((self.adapters[name], weight) for name, weight in self.use)

    def __call__(self, x: Array) -> Array:
        """The layer at x, with the adapters in use."""
        if (watching := observer.get()) is not None:
            watching(self, x)
        if self.merged:
            return self.base_layer(x)
        use = tuple(self.in_use())
        if len(use) == 1 and (y := self.at_once(*use[0], x)) is not None:
            return y
        y = base = self.base_layer(x)
        for adapter, weight in use:
            y = y + self.change(adapter, weight, x, base)
        return y

    def at_once(self, adapter: Any, weight: float, x: Array) -> Array | None:
        """The layer and an adapter as one operation; None where there is none that does both."""
        return None

    def change(self, adapter: Any, weight: float, x: Array, base: Array) -> Array:
        """What an adapter adds to the base layer's value at x."""
        dropped = self.dropped(adapter, x)
        low = self.up(self.between(adapter, self.down(dropped, adapter.lora_A), weight), adapter.lora_B)
        if adapter.lora_bias is not None:
            low = low + self.along(adapter.lora_bias * (adapter.scale * weight))
        if not isinstance(adapter, DoRA):
            return cast(low, base)
        y = base if dropped is x else self.base_layer(dropped)
        if getattr(self.base_layer, "bias", None) is not None:
            y = y - self.along(self.base_layer.bias)
        factor = self.along(adapter.factor(self.matrix(cast(self.base_layer.weight, adapter.lora_A))))
        return cast((factor - 1.0) * cast(y, low) + factor * low, base)

    def between(self, adapter: LoRA, h: Array, weight: float) -> Array:
        """What stands between A and B."""
        h = adapter.between(h, self.axis)
        return h if weight == 1.0 else h * weight

    def dropped(self, adapter: LoRA, x: Array) -> Array:
        """x, in training with entries left out."""
        return x if adapter.dropout is None or not self.training else adapter.dropout(x)

    def effective(self, use: tuple[tuple[str, float], ...]) -> Array:
        """The weight with adapters added, each times its own weight."""
        W = self.base_layer.weight
        if not use:
            return W
        total = self.matrix(W)
        for name, weight in use:
            adapter = self.adapters[name]
            delta = adapter.delta()
            total = cast(total, delta) + (delta if weight == 1.0 else delta * weight)
            if isinstance(adapter, DoRA):
                total = total * xp.expand_dims(adapter.factor(self.matrix(cast(W, delta))), -1)
        return cast(self.shaped(total, tuple(W.shape)), W)

    def shifted(self, bias: Any, use: tuple[tuple[str, float], ...]) -> Any:
        """A bias with those of adapters added, each times its own weight."""
        for name, weight in use:
            adapter = self.adapters[name]
            if adapter.lora_bias is not None:
                change = adapter.lora_bias * (adapter.scale * weight)
                bias = change if bias is None else cast(cast(bias, change) + change, bias)
        return bias

    # What depends on the kind of layer

    @property
    def axis(self) -> int:
        """Where the channels stand, from the end."""
        return -1

    def down(self, x: Array, A: Array) -> Array:
        """A at x, in the dtype of A."""
        return xp.linear(cast(x, A), A)

    def up(self, h: Array, B: Array) -> Array:
        """B at h."""
        return xp.linear(h, B)

    def along(self, v: Array) -> Array:
        """A vector with an entry for each output, as it is multiplied with outputs."""
        return v

    def matrix(self, W: Array) -> Array:
        """The weight as a matrix (out, in)."""
        return xp.reshape(W, (W.shape[0], -1))

    def shaped(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """A matrix (out, in) as the weight."""
        return xp.reshape(matrix, shape)

    def hold(self, W: Array) -> None:
        """Give the base layer another weight."""
        self.base_layer.weight = W


class AdaptedLinear(Adapted):
    """A linear layer with adapters: lora_A (r, in), lora_B (out, r); any layer with in_features and out_features.

    >>> import adjoint as aj
    >>> type(aj.lora.add(aj.nn.Linear(3, 4), rank=2)).__name__
    'AdaptedLinear'
    """

    def at_once(self, adapter: Any, weight: float, x: Array) -> Array | None:
        """The sum of two products, where the layer is `Linear` itself and all is of one dtype."""
        base, A, B = self.base_layer, adapter.lora_A, adapter.lora_B
        if type(base) is not Linear or isinstance(adapter, DoRA) or adapter.lora_bias is not None:
            return None
        if not x.dtype == base.weight.dtype == A.dtype:
            return None
        low = self.between(adapter, self.down(self.dropped(adapter, x), A), weight)
        return xp.linear_sum(x, base.weight, low, B, base.bias)


class AdaptedEmbedding(Adapted):
    """An embedding with adapters: lora_A (r, num_embeddings), lora_B (embedding_dim, r). Dropout has no part in it.

    >>> import adjoint as aj
    >>> aj.lora.add(aj.nn.Embedding(10, 4), rank=2).adapters["default"].lora_A.shape
    (2, 10)
    """

    def dropped(self, adapter: LoRA, x: Array) -> Array:
        """x: indices stay."""
        return x

    def down(self, x: Array, A: Array) -> Array:
        """The columns of A at the indices."""
        return _with(self.base_layer, xp.swapaxes(A, 0, 1))(x)

    def matrix(self, W: Array) -> Array:
        """The table with a column for each index."""
        return xp.swapaxes(W, 0, 1)

    def shaped(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """The table again."""
        return xp.swapaxes(matrix, 0, 1)


class AdaptedConvolution(Adapted):
    """A convolution with adapters: lora_A (r, in, *kernel) as the base layer walks, then lora_B (out, r, 1, …).

    Where the base layer has g groups, A still sees all channels and B is (out, r/g, 1, …) in g groups, as PEFT has it:
    the change is no grouped convolution, and merging makes the base layer one without groups, its weight (out, in, …).
    A walks with the base layer's dilation and padding mode too, which PEFT's leaves at 1 and zeros.

    >>> import adjoint as aj
    >>> adapter = aj.lora.add(aj.nn.Conv2d(3, 8, 5), rank=2).adapters["default"]
    >>> adapter.lora_A.shape, adapter.lora_B.shape
    ((2, 3, 5, 5), (8, 2, 1, 1))
    """

    @property
    def axis(self) -> int:
        """Channels stand before the positions."""
        return -1 - self.base_layer.ndim

    def down(self, x: Array, A: Array) -> Array:
        """The convolution with A, its stride, padding and dilation those of the base layer."""
        return _with(self.base_layer, A, groups=1)(cast(x, A))

    def up(self, h: Array, B: Array) -> Array:
        """The 1×1 convolution with B."""
        base = self.base_layer
        return (xp.conv1d, xp.conv2d, xp.conv3d)[base.ndim - 1](h, B, None, 1, 0, 1, base.groups)

    def along(self, v: Array) -> Array:
        """Channels before the positions."""
        return xp.reshape(v, (-1,) + (1,) * self.base_layer.ndim)

    def matrix(self, W: Array) -> Array:
        """The weight as a matrix (out, in·size), with zeros where an output does not see a group of channels."""
        out, groups = W.shape[0], self.base_layer.in_channels // W.shape[1]
        if groups == 1:
            return xp.reshape(W, (out, -1))
        own = xp.asarray(W, np.eye(groups).reshape(groups, 1, groups, 1), W.dtype)
        return xp.reshape(xp.reshape(W, (groups, out // groups, 1, -1)) * own, (out, -1))

    def shaped(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """A matrix (out, in·size) as a weight without groups."""
        return xp.reshape(matrix, (shape[0], self.base_layer.in_channels, *shape[2:]))

    def hold(self, W: Array) -> None:
        """Give the base layer another weight, and as many groups as it has."""
        self.base_layer.weight = W
        self.base_layer.groups = self.base_layer.in_channels // W.shape[1]


def _with(layer: Any, weight: Array, **fields: Any) -> Any:
    """The layer with another weight and no bias."""
    new = copy.copy(layer)
    new.__dict__.update(fields, weight=weight, bias=None, _form=None)
    return new


def cast(x: Array, like: Array) -> Array:
    """x in another array's dtype."""
    return x if x.dtype == like.dtype else xp.astype(x, like.dtype)


def adapted(layer: Any) -> Adapted | None:
    """The layer as one that takes adapters; None where its kind has none.

    >>> import adjoint as aj
    >>> adapted(aj.nn.ReLU()) is None
    True
    """
    if isinstance(layer, Adapted):
        return layer
    if isinstance(layer, Conv):
        return AdaptedConvolution(layer)
    if isinstance(layer, Embedding):
        return AdaptedEmbedding(layer)
    fields = layer.__dict__
    if "in_features" in fields and "out_features" in fields and "in1_features" not in fields:
        return AdaptedLinear(layer)
    return None


def layers(net: Module) -> Iterator[tuple[str, Any]]:
    """(dotted name, module) of a network's modules, adapted layers and adapters not entered.

    >>> import adjoint as aj
    >>> [name for name, _ in layers(aj.lora.add(aj.nn.MLP((2, 3, 1)), rank=1))]
    ['', '0', '1', '2']
    """
    inside: tuple[str, ...] = ()
    for name, module in net.named_modules():
        if inside and (name.startswith(inside)):
            continue
        yield name, module
        if isinstance(module, Adapted):
            inside = (f"{name}." if name else "",)


def adapted_layers(net: Module) -> dict[str, Adapted]:
    """The adapted layers of a network by name; one that stands at two places once.

    >>> import adjoint as aj
    >>> list(adapted_layers(aj.lora.add(aj.nn.MLP((2, 3, 1)), rank=1, targets="2")))
    ['2']
    """
    found: dict[int, tuple[str, Adapted]] = {}
    for name, module in layers(net):
        if isinstance(module, Adapted):
            found.setdefault(id(module), (name, module))
    return dict(found.values())
