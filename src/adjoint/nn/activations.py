"""Activations as modules, with PyTorch's names and defaults."""

from __future__ import annotations

from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.nn.init import constant
from adjoint.nn.module import Module


class ReLU(Module):
    """max(x, 0).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReLU()(np.array([-2.0, 3.0])).tolist()
    [0.0, 3.0]
    """

    def __call__(self, x: Array) -> Array:
        """max(x, 0)."""
        return xp.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ReLU6()(np.array([-2.0, 8.0])).tolist()
    [0.0, 6.0]
    """

    def __call__(self, x: Array) -> Array:
        """min(max(x, 0), 6)."""
        return xp.relu6(x)


class LeakyReLU(Module):
    """x where x > 0, negative_slope · x elsewhere.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LeakyReLU()(np.array([-2.0, 3.0])).tolist()
    [-0.02, 3.0]
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: Array) -> Array:
        """x or negative_slope · x."""
        return xp.leaky_relu(x, self.negative_slope)


class PReLU(Module):
    """x where x > 0, weight · x elsewhere, with a learned weight for all channels or one each (axis 1).

    It starts at `init` (He et al. 2015).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.PReLU()(np.array([-2.0, 3.0])).tolist()
    [-0.5, 3.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = "float32") -> None:
        self.num_parameters = num_parameters
        self.weight: Array = constant((num_parameters,), init, dtype)

    def __call__(self, x: Array) -> Array:
        """x or weight · x."""
        weight = self.weight
        if len(x.shape) != 2:
            weight = xp.reshape(weight, (-1, *(1,) * (len(x.shape) - 2)) if x.shape else ())
        return xp.where(xp.greater(x, 0.0), x, weight * x)


class ELU(Module):
    """x where x > 0, α (eˣ - 1) elsewhere.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.ELU()(np.array([-2.0, 3.0])).tolist()
    [-0.8647, 3.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __call__(self, x: Array) -> Array:
        """x or α (eˣ - 1)."""
        return xp.elu(x, self.alpha)


class CELU(Module):
    """x where x > 0, α (e^(x/α) - 1) elsewhere.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.CELU(alpha=2.0)(np.array([-2.0, 3.0])).tolist()
    [-1.2642, 3.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __call__(self, x: Array) -> Array:
        """x or α (e^(x/α) - 1)."""
        return xp.celu(x, self.alpha)


class SELU(Module):
    """The self-normalizing λ · elu(x, α).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.SELU()(np.array([-2.0, 3.0])).tolist()
    [-1.5202, 3.1521]
    """

    def __call__(self, x: Array) -> Array:
        """λ · elu(x, α)."""
        return xp.selu(x)


class GELU(Module):
    """x Φ(x), or its tanh formula with approximate="tanh".

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.GELU()(np.array([-2.0, 3.0])).tolist()
    [-0.0455, 2.9960]
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def __call__(self, x: Array) -> Array:
        """x Φ(x)."""
        return xp.gelu(x, self.approximate)


class SiLU(Module):
    """x σ(x).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.SiLU()(np.array([-2.0, 3.0])).tolist()
    [-0.2384, 2.8577]
    """

    def __call__(self, x: Array) -> Array:
        """x σ(x)."""
        return xp.silu(x)


class Mish(Module):
    """x tanh(softplus(x)).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Mish()(np.array([-2.0, 3.0])).tolist()
    [-0.2525, 2.9865]
    """

    def __call__(self, x: Array) -> Array:
        """x tanh(softplus(x))."""
        return xp.mish(x)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Sigmoid()(np.array([-1000.0, 0.0])).tolist()
    [0.0, 0.5]
    """

    def __call__(self, x: Array) -> Array:
        """σ(x)."""
        return xp.sigmoid(x)


class LogSigmoid(Module):
    """log σ(x).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LogSigmoid()(np.array([-1000.0, 0.0])).tolist()
    [-1000.0, -0.6931]
    """

    def __call__(self, x: Array) -> Array:
        """log σ(x)."""
        return xp.logsigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Tanh()(np.array([-2.0, 3.0])).tolist()
    [-0.9640, 0.9951]
    """

    def __call__(self, x: Array) -> Array:
        """tanh x."""
        return xp.tanh(x)


class Softplus(Module):
    """log(1 + e^(βx)) / β, and x itself where βx > threshold, as PyTorch's.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Softplus()(np.array([-2.0, 3.0, 30.0])).tolist()
    [0.1269, 3.0486, 30.0]
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def __call__(self, x: Array) -> Array:
        """log(1 + e^(βx)) / β, or x."""
        return xp.where(xp.greater(self.beta * x, self.threshold), x, xp.softplus(x, self.beta))


class Softsign(Module):
    """x / (1 + |x|).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Softsign()(np.array([-2.0, 3.0])).tolist()
    [-0.6667, 0.75]
    """

    def __call__(self, x: Array) -> Array:
        """x / (1 + |x|)."""
        return xp.softsign(x)


class Tanhshrink(Module):
    """x - tanh x.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Tanhshrink()(np.array([-2.0, 3.0])).tolist()
    [-1.0360, 2.0049]
    """

    def __call__(self, x: Array) -> Array:
        """x - tanh x."""
        return xp.tanhshrink(x)


class Hardtanh(Module):
    """x limited to [min_val, max_val].

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Hardtanh()(np.array([-2.0, 3.0])).tolist()
    [-1.0, 1.0]
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val = min_val
        self.max_val = max_val

    def __call__(self, x: Array) -> Array:
        """x limited."""
        return xp.hardtanh(x, self.min_val, self.max_val)


class Hardsigmoid(Module):
    """min(max(x + 3, 0), 6) / 6.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Hardsigmoid()(np.array([-2.0, 3.0])).tolist()
    [0.1667, 1.0]
    """

    def __call__(self, x: Array) -> Array:
        """min(max(x + 3, 0), 6) / 6."""
        return xp.hardsigmoid(x)


class Hardswish(Module):
    """x · hardsigmoid(x).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Hardswish()(np.array([-2.0, 3.0])).tolist()
    [-0.3333, 3.0]
    """

    def __call__(self, x: Array) -> Array:
        """x · hardsigmoid(x)."""
        return xp.hardswish(x)


class Softmax(Module):
    """eˣ / Σ eˣ along the axis `dim`.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Softmax()(np.array([[0.0, np.log(3.0)]])).tolist()
    [[0.25, 0.75]]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Array) -> Array:
        """eˣ / Σ eˣ."""
        return xp.softmax(x, self.dim)


class LogSoftmax(Module):
    """x - log Σ eˣ along the axis `dim`.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.LogSoftmax()(np.array([[1000.0, 0.0]])).tolist()
    [[0.0, -1000.0]]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Array) -> Array:
        """x - log Σ eˣ."""
        return xp.log_softmax(x, self.dim)


class Softmin(Module):
    """e⁻ˣ / Σ e⁻ˣ along the axis `dim`.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Softmin()(np.array([[0.0, np.log(3.0)]])).tolist()
    [[0.75, 0.25]]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Array) -> Array:
        """e⁻ˣ / Σ e⁻ˣ."""
        return xp.softmax(-x, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of images (…, C, H, W).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Softmax2d()(np.ones((2, 4, 1, 1)))[0, 0].tolist()
    [[0.25]]
    """

    def __call__(self, x: Array) -> Array:
        """eˣ / Σ eˣ."""
        return xp.softmax(x, -3)


class GLU(Module):
    """a σ(b), where a and b are the halves of x along the axis `dim` (Dauphin et al. 2017).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.GLU()(np.array([3.0, 0.0])).tolist()
    [1.5]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Array) -> Array:
        """a σ(b)."""
        return xp.glu(x, self.dim)


class Hardshrink(Module):
    """x where |x| > lambd, else 0.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Hardshrink()(np.array([-2.0, 0.25])).tolist()
    [-2.0, 0.0]
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def __call__(self, x: Array) -> Array:
        """x or 0."""
        return xp.hardshrink(x, self.lambd)


class Softshrink(Module):
    """sign(x) max(|x| - lambd, 0).

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Softshrink()(np.array([-2.0, 0.25])).tolist()
    [-1.5, 0.0]
    """

    def __init__(self, lambd: float = 0.5) -> None:
        if lambd < 0:
            raise ValueError(f"Softshrink: lambd is at least 0, not {lambd}.")
        self.lambd = lambd

    def __call__(self, x: Array) -> Array:
        """sign(x) max(|x| - lambd, 0)."""
        return xp.softshrink(x, self.lambd)


class Threshold(Module):
    """x where x > threshold, else value.

    >>> import numpy as np, adjoint as aj
    >>> aj.nn.Threshold(0.1, 20.0)(np.array([-2.0, 0.25])).tolist()
    [20.0, 0.25]
    """

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold = threshold
        self.value = value

    def __call__(self, x: Array) -> Array:
        """x or value."""
        return xp.threshold(x, self.threshold, self.value)
