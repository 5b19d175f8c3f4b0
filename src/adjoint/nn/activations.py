"""Activations as modules, with PyTorch's names and defaults."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn.module import Module


class ReLU(Module):
    """max(x, 0)."""

    def __call__(self, x: Array) -> Array:
        """max(x, 0)."""
        return xp.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6)."""

    def __call__(self, x: Array) -> Array:
        """min(max(x, 0), 6)."""
        return xp.relu6(x)


class LeakyReLU(Module):
    """x where x > 0, negative_slope · x elsewhere."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: Array) -> Array:
        """x or negative_slope · x."""
        return xp.leaky_relu(x, self.negative_slope)


class PReLU(Module):
    """x where x > 0, weight · x elsewhere, with a learned weight for all channels or one each (axis 1)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = "float32") -> None:
        self.num_parameters = num_parameters
        self.weight: Array = np.full(num_parameters, init, dtype)

    def __call__(self, x: Array) -> Array:
        """x or weight · x."""
        weight = self.weight
        if self.num_parameters > 1 and len(x.shape) > 2:
            weight = xp.reshape(weight, (-1, *(1,) * (len(x.shape) - 2)))
        return xp.where(xp.greater(x, 0.0), x, weight * x)


class ELU(Module):
    """x where x > 0, α (eˣ - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __call__(self, x: Array) -> Array:
        """x or α (eˣ - 1)."""
        return xp.elu(x, self.alpha)


class CELU(Module):
    """x where x > 0, α (e^(x/α) - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __call__(self, x: Array) -> Array:
        """x or α (e^(x/α) - 1)."""
        return xp.celu(x, self.alpha)


class SELU(Module):
    """The self-normalizing λ · elu(x, α)."""

    def __call__(self, x: Array) -> Array:
        """λ · elu(x, α)."""
        return xp.selu(x)


class GELU(Module):
    """x Φ(x), or its tanh formula with approximate="tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def __call__(self, x: Array) -> Array:
        """x Φ(x)."""
        return xp.gelu(x, self.approximate)


class SiLU(Module):
    """x σ(x)."""

    def __call__(self, x: Array) -> Array:
        """x σ(x)."""
        return xp.silu(x)


class Mish(Module):
    """x tanh(softplus(x))."""

    def __call__(self, x: Array) -> Array:
        """x tanh(softplus(x))."""
        return xp.mish(x)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    def __call__(self, x: Array) -> Array:
        """σ(x)."""
        return xp.sigmoid(x)


class LogSigmoid(Module):
    """log σ(x)."""

    def __call__(self, x: Array) -> Array:
        """log σ(x)."""
        return xp.logsigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def __call__(self, x: Array) -> Array:
        """tanh x."""
        return xp.tanh(x)


class Softplus(Module):
    """log(1 + e^(βx)) / β."""

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def __call__(self, x: Array) -> Array:
        """log(1 + e^(βx)) / β."""
        return xp.softplus(x, self.beta)


class Softsign(Module):
    """x / (1 + |x|)."""

    def __call__(self, x: Array) -> Array:
        """x / (1 + |x|)."""
        return xp.softsign(x)


class Tanhshrink(Module):
    """x - tanh x."""

    def __call__(self, x: Array) -> Array:
        """x - tanh x."""
        return xp.tanhshrink(x)


class Hardtanh(Module):
    """x limited to [min_val, max_val]."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val = min_val
        self.max_val = max_val

    def __call__(self, x: Array) -> Array:
        """x limited."""
        return xp.hardtanh(x, self.min_val, self.max_val)


class Hardsigmoid(Module):
    """min(max(x + 3, 0), 6) / 6."""

    def __call__(self, x: Array) -> Array:
        """min(max(x + 3, 0), 6) / 6."""
        return xp.hardsigmoid(x)


class Hardswish(Module):
    """x · hardsigmoid(x)."""

    def __call__(self, x: Array) -> Array:
        """x · hardsigmoid(x)."""
        return xp.hardswish(x)


class Softmax(Module):
    """eˣ / Σ eˣ along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Array) -> Array:
        """eˣ / Σ eˣ."""
        return xp.softmax(x, self.dim)


class LogSoftmax(Module):
    """x - log Σ eˣ along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Array) -> Array:
        """x - log Σ eˣ."""
        return xp.log_softmax(x, self.dim)
