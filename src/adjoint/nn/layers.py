"""Layers with PyTorch's names, arguments, parameter names and initial distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import ShapeError
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


class Embedding(Module):
    """Rows of a table: integer indices of any shape to (*shape, embedding_dim); the table starts N(0, 1).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Embedding(10, 4, rng=0)(np.array([[1, 2, 1]])).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, dtype: Any = "float32", rng: Rng = None) -> None:
        _positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight: Array = init.normal((num_embeddings, embedding_dim), 1.0, rng, dtype)

    def __call__(self, indices: Array) -> Array:
        """The rows at the indices."""
        return xp.embedding(indices, self.weight)


class LayerNorm(Module):
    """(x - mean)/√(var + eps) · weight + bias over the last axes, whose shape is normalized_shape (Ba et al. 2016).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LayerNorm(2)(np.array([[1.0, 3.0]], "float32")).round(3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.weight: Array | None = np.ones(shape, dtype) if elementwise_affine else None
        self.bias: Array | None = np.zeros(shape, dtype) if elementwise_affine and bias else None

    def __call__(self, x: Array) -> Array:
        """The normalized x."""
        n = _normalized("LayerNorm", x, self.normalized_shape)
        return xp.layer_norm(x, self.weight, self.bias, ndim=n, eps=self.eps)


class RMSNorm(Module):
    """x/√(mean x² + eps) · weight over the last axes (Zhang & Sennrich 2019); eps None is the dtype's, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.RMSNorm(2)(np.array([[1.0, 7.0]])).round(4).tolist()
    [[0.2, 1.4]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = "float32",
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = float(np.finfo(dtype).eps) if eps is None else eps
        self.weight: Array | None = np.ones(shape, dtype) if elementwise_affine else None

    def __call__(self, x: Array) -> Array:
        """The normalized x."""
        n = _normalized("RMSNorm", x, self.normalized_shape)
        return xp.rms_norm(x, self.weight, ndim=n, eps=self.eps)


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

    >>> import numpy as np, adjoint as aj
    >>> aj.jacobian(aj.nn.Residual(aj.nn.Linear(2, 2, rng=0)), np.ones(2, "float32"))
    [I + Dense]: (2,) → (2,)
    """

    def __init__(self, inner: Callable[[Array], Array]) -> None:
        self.inner = inner

    def __call__(self, x: Array) -> Array:
        """x + f(x)."""
        return x + self.inner(x)


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


def _normalized(name: str, x: Array, shape: tuple[int, ...]) -> int:
    """How many axes are normalized, those at the end that have this shape."""
    if tuple(x.shape)[-len(shape) :] != shape:
        raise ShapeError(f"{name}: the last axes of x, {tuple(x.shape)}, must be normalized_shape {shape}.")
    return len(shape)


def _positive(name: str, **sizes: Any) -> None:
    for argument, n in sizes.items():
        if not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(f"{name}: {argument} is a number of features, not {n!r}.")
