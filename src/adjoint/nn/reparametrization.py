"""Reparametrization: a parameter that is a function of others, as PyTorch's torch.nn.utils.parametrize has it.

`reparametrize(module, "weight", function)` takes the array `weight` out of the module; from then on `module.weight` is
function(*originals), computed at every use, and the originals are what learns. Their names in `state_dict` are those of
PyTorch: "parametrizations.weight.original", or original0, original1 … where the function takes several. A module's
gradient has the originals' too: grads.parametrizations["weight"].original.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.maps.base import LinearMap
from adjoint.maps.matrices import Dense
from adjoint.nn import init
from adjoint.nn.convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from adjoint.nn.module import Module
from adjoint.ops.define import plain

M = TypeVar("M", bound=Module)


class Reparametrization(Module):
    """One array as a function of others: fₖ(… f₀(*originals)), each fᵢ a module named "0", "1", …

    A function may have `right_inverse(value)`, which gives originals whose value is the given one (several where the
    function takes several); without one the original is the value itself.

    >>> import numpy as np, adjoint as aj
    >>> layer = aj.nn.weight_norm(aj.nn.Linear(3, 2))
    >>> value = layer.parametrizations["weight"]()
    >>> bool(np.all(value == layer.weight))
    True
    """

    def __init__(self, function: Callable[..., Array], value: Array) -> None:
        self.length = 0
        self.append(function, value)

    @property
    def functions(self) -> list[Any]:
        """The functions in order."""
        return [self.__dict__[str(i)] for i in range(self.length)]

    @property
    def originals(self) -> list[Array]:
        """The arrays that learn."""
        fields = self.__dict__
        if "original" in fields:
            return [fields["original"]]
        return [fields[f"original{i}"] for i in range(len(fields)) if f"original{i}" in fields]

    def append(self, function: Callable[..., Array], value: Array) -> None:
        """One more function, applied last; the array's value is that given."""
        setattr(self, str(self.length), function)
        self.length += 1
        self.assign(value)

    def assign(self, value: Array) -> None:
        """Set the originals so that the array has a value."""
        found: Any = value
        for function in reversed(self.functions):
            found = function.right_inverse(found) if hasattr(function, "right_inverse") else found
        if isinstance(found, tuple):
            for i, part in enumerate(found):
                setattr(self, f"original{i}", part)
        else:
            self.original = found

    def __call__(self) -> Array:
        """The array's value."""
        first, *rest = self.functions
        value = first(*self.originals)
        for function in rest:
            value = function(value)
        return value


def reparametrize(module: M, name: str, function: Callable[..., Array]) -> M:
    """Make the module's array `name` a function of others, and return the module. A second function follows the first.

    Raises KeyError where the module has no such array.

    >>> import numpy as np, adjoint as aj
    >>> class Symmetric(aj.nn.Module):
    ...     def __call__(self, x):
    ...         return (x + x.T) / 2.0
    >>> layer = reparametrize(aj.nn.Linear(3, 3), "weight", Symmetric())
    >>> bool(np.all(layer.weight == layer.weight.T)), sorted(layer.state_dict())
    (True, ['bias', 'parametrizations.weight.original'])
    """
    known = module.__dict__.get("parametrizations", {})
    if name in known:
        known[name].append(function, known[name]())
        return module
    _array(module, name)
    value = module.__dict__[name]
    new = Reparametrization(function, value)
    delattr(module, name)
    setattr(module, "parametrizations", {**known, name: new})  # noqa: B010 (no module declares it)
    return module


def remove_reparametrization(module: M, name: str) -> M:
    """Make the array `name` a parameter of its own again, with the value that it has; returns the module.

    >>> import adjoint as aj
    >>> layer = aj.nn.weight_norm(aj.nn.Linear(3, 2))
    >>> sorted(aj.nn.remove_reparametrization(layer, "weight").state_dict())
    ['bias', 'weight']
    """
    known = dict(module.__dict__.get("parametrizations", {}))
    if name not in known:
        raise KeyError(f"remove_reparametrization: {type(module).__name__} has no reparametrized {name!r}.")
    value = plain(known.pop(name)())
    if known:
        setattr(module, "parametrizations", known)  # noqa: B010
    else:
        delattr(module, "parametrizations")
    setattr(module, name, value)
    return module


def _array(module: Module, name: str) -> Array:
    value = getattr(module, name, None)
    if not hasattr(value, "dtype"):
        raise KeyError(f"reparametrize: {type(module).__name__} has no array {name!r}.")
    return value


class WeightNorm(Module):
    """g v/‖v‖: the norm of v is taken over all axes but `dim` (over all for None), g learns in its place.

    >>> import numpy as np, adjoint as aj
    >>> WeightNorm(None)(np.array(10.0), np.array([3.0, 4.0])).tolist()
    [6.0, 8.0]
    """

    def __init__(self, dim: int | None = 0) -> None:
        self.dim = dim

    def _norm(self, v: Array) -> Array:
        n = len(v.shape)
        if self.dim in (None, -1):  # -1 means all to PyTorch, too
            return xp.norm(v)
        return xp.norm(v, tuple(a for a in range(n) if a != self.dim % n), True)

    def __call__(self, g: Array, v: Array) -> Array:
        """g v/‖v‖."""
        return v * (g / self._norm(v))

    def right_inverse(self, weight: Array) -> tuple[Array, Array]:
        """(‖w‖, w)."""
        norm = self._norm(weight)
        return xp.asarray(weight, norm, weight.dtype), weight


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Learn length and direction of weights apart: w = g v/‖v‖ (Salimans & Kingma 2016); returns the module.

    g, "parametrizations.weight.original0", has size 1 on all axes but `dim`; v, original1, is like the weight.

    >>> import numpy as np, adjoint as aj
    >>> layer = aj.nn.weight_norm(aj.nn.Linear(3, 2))
    >>> {name: x.shape for name, x in layer.named_parameters() if name != "bias"}
    {'parametrizations.weight.original0': (2, 1), 'parametrizations.weight.original1': (2, 3)}
    """
    return reparametrize(module, name, WeightNorm(dim))


class SpectralNorm(Module):
    """w/σ₁(A), A the map that the weight stands for: see `spectral_norm`."""

    def __init__(
        self,
        weight: Array,
        n_power_iterations: int | None = 1,
        eps: float = 1e-12,
        dim: int = 0,
        map: Callable[[Array], LinearMap] | None = None,
        rng: init.Rng = None,
    ) -> None:
        if not -len(weight.shape) <= dim < len(weight.shape):
            raise IndexError(f"spectral_norm: dim {dim} is out of range for a weight {tuple(weight.shape)}.")
        if n_power_iterations is not None and n_power_iterations < 1:
            raise ValueError(
                f"spectral_norm: n_power_iterations is positive, or None for exact values, not {n_power_iterations}."
            )
        self.n_power_iterations = n_power_iterations
        self.eps = eps
        self.dim = dim % len(weight.shape)
        self.map = map
        if n_power_iterations is not None and self._stretches(weight):
            A, rng = self._map(weight), init.generator(rng)
            starts = [xp.asarray(weight, rng.standard_normal(s), weight.dtype) for s in (A.out_shape, A.in_shape)]
            self.register_buffer("_u", _unit(starts[0], eps))
            self.register_buffer("_v", _unit(starts[1], eps))
            self._iterate(A, 15)

    _u: Array
    _v: Array

    def _stretches(self, weight: Array) -> bool:
        return self.map is not None or len(weight.shape) > 1

    def _map(self, weight: Array) -> LinearMap:
        if self.map is not None:
            return self.map(weight)
        rest = tuple(a for a in range(len(weight.shape)) if a != self.dim)
        front = xp.permute(weight, (self.dim, *rest))
        return Dense(xp.reshape(front, (front.shape[0], -1)))

    def _iterate(self, A: LinearMap, times: int) -> None:
        for _ in range(times):
            self._u = _unit(A.apply(self._v), self.eps)
            self._v = _unit(A.adjoint(self._u), self.eps)

    def _vectors(self, weight: Array) -> tuple[Array, Array]:
        """The singular vectors of the largest value, as constants; in training by further iterations."""
        A = self._map(plain(weight))
        if self.n_power_iterations is not None:
            if self.training:
                self._iterate(A, self.n_power_iterations)
            return self._u, self._v
        if isinstance(A, Dense):
            U, _, Vh = xp.svd(A.array())
            return U[:, 0], Vh[0]
        U, _, Vh = A.svd(1)
        return U[0], Vh[0]

    def __call__(self, weight: Array) -> Array:
        """w/σ₁."""
        if not self._stretches(weight):
            return xp.normalize(weight, 0, self.eps)
        u, v = self._vectors(weight)
        return weight / xp.sum(u * self._map(weight).apply(v))


def _unit(x: Array, eps: float) -> Array:
    return x / xp.maximum(xp.norm(x), eps)


def spectral_norm(
    module: M,
    name: str = "weight",
    n_power_iterations: int | None = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    map: Callable[[Array], LinearMap] | None = None,
    rng: init.Rng = None,
) -> M:
    """Keep the norm of a layer at 1: its weight becomes w/σ₁ (Miyato et al. 2018); returns the module.

    σ₁ = uᵀ A v with u and v from power iterations, `n_power_iterations` more at every use in training; they are the
    buffers "parametrizations.weight.0._u" and "_v". A is the weight as a matrix, axis `dim` its rows (1 for transposed
    convolutions, else 0), as in PyTorch. That is the map of a linear layer, but not of a convolution, whose norm can be
    several times larger or smaller: `map` gives the map that a weight stands for, and its true norm is kept at 1. With
    `n_power_iterations` None the singular vectors are found anew at every use, to rounding.

    Raises KeyError where the module has no such array, ValueError for fewer than one iteration.

    >>> import numpy as np, adjoint as aj
    >>> layer = aj.nn.spectral_norm(aj.nn.Linear(5, 3, rng=0), n_power_iterations=None)
    >>> float(aj.Dense(layer.weight).norm())
    1.0
    >>> conv = aj.nn.Conv2d(2, 3, 3, padding=1, rng=0)
    >>> conv = aj.nn.spectral_norm(conv, map=lambda w: aj.Convolution(w, (2, 8, 8), padding=1), rng=0)
    >>> for _ in range(100):
    ...     y = conv(np.ones((1, 2, 8, 8), "float32"))
    >>> float(aj.Convolution(conv.weight, (2, 8, 8), padding=1).norm())
    1.000
    """
    if dim is None:
        dim = int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))
    return reparametrize(module, name, SpectralNorm(_array(module, name), n_power_iterations, eps, dim, map, rng))
