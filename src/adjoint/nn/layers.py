"""Layers with PyTorch's names, arguments, parameter names and initial distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.arrays.products import einsum
from adjoint.nn import init
from adjoint.nn.module import Module

Rng = np.random.Generator | int | None


class Linear(Module):
    """y = x Wᵀ + b: x (…, in_features), weight (out_features, in_features), bias (out_features,), y (…, out_features).

    Weight and bias start uniform in ±1/√in_features, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Linear(3, 2, rng=0)(np.ones((5, 3), "float32")).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: Any = "float32", rng: Rng = None
    ) -> None:
        _positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        bound = init.fan_in_bound(in_features)
        self.weight: Array = init.uniform((out_features, in_features), bound, rng := init.generator(rng), dtype)
        self.bias: Array | None = init.uniform((out_features,), bound, rng, dtype) if bias else None

    def __call__(self, x: Array) -> Array:
        """x Wᵀ + b."""
        return xp.linear(x, self.weight, self.bias)


class Bilinear(Module):
    """y = x₁ᵀ W x₂ + b: x₁ (…, in1_features), x₂ (…, in2_features), weight (out, in1, in2), y (…, out_features).

    Weight and bias start uniform in ±1/√in1_features, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Bilinear(3, 4, 2, rng=0)(np.ones((5, 3), "float32"), np.ones((5, 4), "float32")).shape
    (5, 2)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:
        _positive("Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        bound, rng = init.fan_in_bound(in1_features), init.generator(rng)
        self.weight: Array = init.uniform((out_features, in1_features, in2_features), bound, rng, dtype)
        self.bias: Array | None = init.uniform((out_features,), bound, rng, dtype) if bias else None

    def __call__(self, x1: Array, x2: Array) -> Array:
        """x₁ᵀ W x₂ + b."""
        shape = tuple(x1.shape[:-1])
        y = einsum("ni,oij,nj->no", xp.rows(x1), self.weight, xp.rows(x2))
        y = xp.reshape(y, (*shape, self.out_features))
        return y if self.bias is None else y + self.bias


class Flatten(Module):
    """Axes start_dim to end_dim joined into one: images (n, 1, 28, 28) become (n, 784).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Flatten()(np.ones((5, 1, 28, 28))).shape
    (5, 784)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def __call__(self, x: Array) -> Array:
        """x with fewer axes."""
        return xp.flatten(x, self.start_dim, self.end_dim)


class Identity(Module):
    """x itself; takes and ignores any arguments, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Identity()(np.array([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, x: Array) -> Array:
        """x."""
        return x


class Sequential(Module):
    """Modules (or functions) one after the other; parameters are named "0.weight", "1.weight", … as PyTorch's.

    >>> import adjoint as aj
    >>> net = aj.nn.Sequential(aj.nn.Linear(4, 8), aj.nn.ReLU(), aj.nn.Linear(8, 2))
    >>> [name for name, _ in net.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Callable[[Array], Array]) -> None:
        self.length = len(layers)
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)

    @property
    def layers(self) -> list[Any]:
        """The modules in order."""
        return [self.__dict__[str(i)] for i in range(self.length)]

    def __call__(self, x: Array) -> Array:
        """x through all layers."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __getitem__(self, i: int | slice) -> Any:
        return Sequential(*self.layers[i]) if isinstance(i, slice) else self.layers[i]


class Residual(Module):
    """x + f(x): its Jacobian is I + J_f, so that gradients have a path on which nothing is lost (He et al. 2016).

    With a `norm` it is x + f(norm(x)), or where `norm_first` is false norm(x + f(x)), as in the first transformer.

    >>> import numpy as np, adjoint as aj
    >>> aj.jacobian(aj.nn.Residual(aj.nn.Linear(2, 2, rng=0)), np.ones(2, "float32"))
    [I + Dense]: (2,) → (2,)
    """

    def __init__(
        self,
        inner: Callable[[Array], Array],
        norm: Callable[[Array], Array] | None = None,
        norm_first: bool = True,
    ) -> None:
        self.inner = inner
        self.norm = norm
        self.norm_first = norm_first

    def __call__(self, x: Array) -> Array:
        """x + f(x)."""
        if self.norm is None:
            return x + self.inner(x)
        return x + self.inner(self.norm(x)) if self.norm_first else self.norm(x + self.inner(x))


class MLP(Sequential):
    """Linear layers with an activation between them: sizes (784, 256, 256, 10) make three linear layers.

    >>> import adjoint as aj
    >>> aj.nn.MLP((64, 32, 10), rng=0)
    MLP(
      (0): Linear(in_features=64, out_features=32)
      (1): ReLU()
      (2): Linear(in_features=32, out_features=10)
    )
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[], Callable[[Array], Array]] | None = None,
        bias: bool = True,
        dtype: Any = "float32",
        rng: Rng = None,
    ) -> None:
        from adjoint.nn.activations import ReLU

        if len(sizes) < 2:
            raise ValueError(f"MLP: sizes are the input, hidden and output widths, at least two, not {sizes!r}.")
        rng = init.generator(rng)
        layers: list[Callable[[Array], Array]] = []
        for i, (n, m) in enumerate(pairwise(sizes)):
            if i:
                layers.append((activation or ReLU)())
            layers.append(Linear(n, m, bias, dtype, rng))
        super().__init__(*layers)


def _positive(name: str, **sizes: Any) -> None:
    for argument, n in sizes.items():
        if not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(f"{name}: {argument} is a number of features, not {n!r}.")
