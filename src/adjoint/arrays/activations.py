"""The seam's activations, element by element; most are compositions of the functions before them."""

from __future__ import annotations

import math
from typing import Any

from adjoint.arrays.dispatch import Array, composition, primitive
from adjoint.arrays.elementwise import abs, clip, erf, exp, expm1, logaddexp, minimum, negative, tanh, where
from adjoint.arrays.layout import split
from adjoint.arrays.piecewise import greater
from adjoint.arrays.reductions import logsumexp, max, sum

SQRT_HALF = math.sqrt(0.5)
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)


@primitive
def relu(x: Array, /) -> Array:
    """max(x, 0); the slope at 0 is 0, as in PyTorch.

    >>> import numpy as np, adjoint as aj
    >>> aj.relu(np.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 0.0, 3.0]
    >>> [float(aj.grad(aj.relu)(x)) for x in (-2.0, 0.0, 3.0)]
    [0.0, 0.0, 1.0]
    """


@composition
def relu6(x: Array, /) -> Array:
    """min(max(x, 0), 6).

    >>> import numpy as np, adjoint as aj
    >>> aj.relu6(np.array([-1.0, 3.0, 8.0])).tolist()
    [0.0, 3.0, 6.0]
    """
    return clip(x, 0.0, 6.0)


@composition
def leaky_relu(x: Array, /, negative_slope: float = 0.01) -> Array:
    """x where x > 0, negative_slope · x elsewhere.

    >>> import numpy as np, adjoint as aj
    >>> aj.leaky_relu(np.array([-2.0, 3.0]), negative_slope=0.1).tolist()
    [-0.2, 3.0]
    """
    return where(greater(x, 0.0), x, negative_slope * x)


@composition
def elu(x: Array, /, alpha: float = 1.0) -> Array:
    """x where x > 0, α (eˣ - 1) elsewhere (Clevert et al. 2016).

    >>> import numpy as np, adjoint as aj
    >>> aj.elu(np.array([-1.0, 2.0])).tolist()
    [-0.6321, 2.0]
    """
    return where(greater(x, 0.0), x, alpha * expm1(minimum(x, 0.0)))


@composition
def selu(x: Array, /) -> Array:
    """λ · elu(x, α) with the λ and α at which layers keep mean 0 and variance 1 (Klambauer et al. 2017).

    >>> import numpy as np, adjoint as aj
    >>> aj.selu(np.array([-1.0, 1.0])).tolist()
    [-1.1113, 1.0507]
    """
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@composition
def celu(x: Array, /, alpha: float = 1.0) -> Array:
    """x where x > 0, α (e^(x/α) - 1) elsewhere (Barron 2017).

    >>> import numpy as np, adjoint as aj
    >>> aj.celu(np.array([-2.0, 1.0]), alpha=2.0).tolist()
    [-1.2642, 1.0]
    """
    return where(greater(x, 0.0), x, alpha * expm1(minimum(x, 0.0) / alpha))


@primitive
def sigmoid(x: Array, /) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ), with slope σ(x) (1 - σ(x)).

    >>> import adjoint as aj
    >>> float(aj.sigmoid(0.0)), float(aj.grad(aj.sigmoid)(0.0))
    (0.5, 0.25)
    """


@composition
def logsigmoid(x: Array, /) -> Array:
    """log σ(x) = -softplus(-x), without overflow.

    >>> import adjoint as aj
    >>> float(aj.logsigmoid(-1000.0))
    -1000.0
    """
    return negative(softplus(negative(x)))


@composition
def softplus(x: Array, /, beta: float = 1.0) -> Array:
    """log(1 + e^(βx)) / β, a smooth `relu`; its slope is σ(βx).

    >>> import adjoint as aj
    >>> float(aj.softplus(0.0)), float(aj.grad(aj.softplus)(0.0))
    (0.6931, 0.5)
    """
    return logaddexp(x, 0.0) if beta == 1.0 else logaddexp(beta * x, 0.0) / beta


@composition
def softsign(x: Array, /) -> Array:
    """x / (1 + |x|).

    >>> import adjoint as aj
    >>> float(aj.softsign(1.0)), float(aj.grad(aj.softsign)(1.0))
    (0.5, 0.25)
    """
    return x / (1.0 + abs(x))


@composition
def tanhshrink(x: Array, /) -> Array:
    """x - tanh x, with slope tanh² x.

    >>> import adjoint as aj
    >>> float(aj.tanhshrink(1.0)), float(aj.grad(aj.tanhshrink)(1.0))
    (0.2384, 0.58)
    """
    return x - tanh(x)


@composition
def silu(x: Array, /) -> Array:
    """x σ(x), also called swish (Elfwing et al. 2018).

    >>> import adjoint as aj
    >>> float(aj.silu(0.0)), float(aj.grad(aj.silu)(0.0))
    (0.0, 0.5)
    """
    return x * sigmoid(x)


@composition
def mish(x: Array, /) -> Array:
    """x tanh(softplus(x)) (Misra 2019).

    >>> import adjoint as aj
    >>> float(aj.mish(0.0)), float(aj.grad(aj.mish)(0.0))
    (0.0, 0.6)
    """
    return x * tanh(softplus(x))


@composition
def hardtanh(x: Array, /, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x limited to [min_val, max_val].

    >>> import numpy as np, adjoint as aj
    >>> aj.hardtanh(np.array([-3.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    return clip(x, min_val, max_val)


@composition
def hardsigmoid(x: Array, /) -> Array:
    """min(max(x + 3, 0), 6) / 6.

    >>> import numpy as np, adjoint as aj
    >>> aj.hardsigmoid(np.array([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return relu6(x + 3.0) / 6.0


@composition
def hardswish(x: Array, /) -> Array:
    """x · hardsigmoid(x) (Howard et al. 2019).

    >>> import numpy as np, adjoint as aj
    >>> aj.hardswish(np.array([-1.0, 1.0, 3.0])).tolist()
    [-0.3333, 0.6667, 3.0]
    """
    return x * hardsigmoid(x)


@composition
def gelu(x: Array, /, approximate: str = "none") -> Array:
    """x Φ(x), Φ the normal distribution function; approximate="tanh" is Hendrycks & Gimpel's formula (2016).

    Raises ValueError for another `approximate`.

    >>> import adjoint as aj
    >>> float(aj.gelu(1.0)), float(aj.gelu(1.0, approximate="tanh"))
    (0.84134, 0.84119)
    """
    if approximate == "tanh":
        return 0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
    if approximate != "none":
        raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}.")
    return 0.5 * x * (1.0 + erf(SQRT_HALF * x))


@composition
def gated(u: Array, z: Array, /) -> Array:
    """[z > 0] u: what `relu` of value z passes on of u; 0 times NaN is NaN."""
    return greater(z, 0.0) * u


@composition
def gelu_slope(x: Array, /, approximate: str = "none") -> Array:
    """The derivative of `gelu` at x: Φ(x) + x φ(x), or that of its tanh formula."""
    if approximate == "tanh":
        t = tanh(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x))
        return 0.5 * (1.0 + t) + 0.5 * SQRT_2_OVER_PI * x * (1.0 - t * t) * (1.0 + 3 * 0.044715 * x * x)
    return 0.5 * (1.0 + erf(SQRT_HALF * x)) + x * (INV_SQRT_2PI * exp(-0.5 * x * x))


@composition
def gelu_residual(x: Array, /, approximate: str = "none") -> Any:
    """(gelu(x), its slope there)."""
    return gelu(x, approximate), gelu_slope(x, approximate)


@composition
def hardshrink(x: Array, /, lambd: float = 0.5) -> Array:
    """x where |x| > lambd, else 0.

    >>> import numpy as np, adjoint as aj
    >>> aj.hardshrink(np.array([-2.0, 0.25, 3.0])).tolist()
    [-2.0, 0.0, 3.0]
    """
    return where(greater(abs(x), lambd), x, 0.0 * x)


@composition
def softshrink(x: Array, /, lambd: Any = 0.5) -> Array:
    """sign(x) max(|x| - lambd, 0): the proximal map of lambd |x|.

    >>> import numpy as np, adjoint as aj
    >>> aj.softshrink(np.array([-2.0, 0.25, 3.0])).tolist()
    [-1.5, 0.0, 2.5]
    """
    if isinstance(lambd, (int, float)) and not lambd >= 0:
        raise ValueError(f"softshrink: lambd is at least 0, not {lambd}.")
    return x - clip(x, -lambd, lambd)


@composition
def threshold(x: Array, /, threshold: float, value: float) -> Array:
    """x where x > threshold, else value.

    >>> import numpy as np, adjoint as aj
    >>> aj.threshold(np.array([-2.0, 0.25, 3.0]), 0.0, 20.0).tolist()
    [20.0, 0.25, 3.0]
    """
    return where(greater(x, threshold), x, value)


@composition
def glu(x: Array, /, axis: int = -1) -> Array:
    """a σ(b), where a and b are the halves of x along an axis (Dauphin et al. 2017).

    Raises `ShapeError` where the axis has no halves.

    >>> import numpy as np, adjoint as aj
    >>> aj.glu(np.array([3.0, 0.0])).tolist()
    [1.5]
    """
    a, b = split(x, 2, axis)
    return a * sigmoid(b)


@composition
def softmax(x: Array, /, axis: int = -1) -> Array:
    """p = eˣ / Σ eˣ along an axis; a row that is -∞ throughout gives NaN, as in PyTorch.

    Its Jacobian diag(p) - ppᵀ is symmetric and sends constant vectors to 0.

    >>> import numpy as np, adjoint as aj
    >>> aj.softmax(np.array([0.0, np.log(3.0)])).tolist()
    [0.25, 0.75]
    >>> aj.jacobian(aj.softmax, np.zeros(2)).dense().tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    if not x.shape[axis]:
        return x
    e = exp(x - max(x, axis, True))
    return e / sum(e, axis, True)


@composition
def log_softmax(x: Array, /, axis: int = -1) -> Array:
    """x - log Σ eˣ along an axis, without overflow.

    >>> import numpy as np, adjoint as aj
    >>> aj.log_softmax(np.array([1000.0, 0.0])).tolist()
    [0.0, -1000.0]
    """
    return x - logsumexp(x, axis, True) if x.shape[axis] else x
