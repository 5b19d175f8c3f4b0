"""Initial values, drawn by NumPy so that every backend starts from the same numbers.

Each function gives a new array of a shape; `rng` is a generator, a seed, or None for the library's own. A module is
initialized anew by assigning its parameters:

>>> import adjoint as aj
>>> net = aj.nn.MLP((64, 32, 10), rng=0)
>>> for _, module in net.named_modules():
...     if isinstance(module, aj.nn.Linear):
...         module.weight = aj.nn.init.kaiming_normal(module.weight.shape, nonlinearity="relu", rng=0)
...         module.bias = aj.nn.init.zeros(module.bias.shape)
>>> float(net[0].bias.sum())
0.0

`adjoint.inspection.variance_through_depth(net, x)` shows what a choice does to a deep network. Inside `only_shapes()`
nothing is drawn: modules of any size are laid out with arrays that only have shapes.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from adjoint.errors import ShapeError

Rng = np.random.Generator | int | None
Shape = tuple[int, ...]
Initializer = TypeVar("Initializer", bound=Callable[..., np.ndarray])
_generator: np.random.Generator | None = None
_only_shapes = ContextVar("only_shapes", default=False)


@contextmanager
def only_shapes() -> Iterator[None]:
    """Lay out the modules that are made inside with `ShapeArray`s: no memory, no numbers, whatever their size.

    >>> import adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     net = aj.nn.Linear(1_000_000, 1_000_000)
    >>> net.weight, aj.nn.count_parameters(net)
    (ShapeArray((1000000, 1000000), float32), 1000001000000)
    """
    token = _only_shapes.set(True)
    try:
        yield
    finally:
        _only_shapes.reset(token)


def _initializer(f: Initializer) -> Initializer:
    """A function that gives a new array of its `shape` and `dtype`, or only these inside `only_shapes`."""
    given = inspect.signature(f)

    @functools.wraps(f)
    def made(shape: Shape | int, *args: Any, **options: Any) -> Any:
        if not _only_shapes.get():
            return f(shape, *args, **options)
        from adjoint.arrays.shapes import ShapeArray

        bound = given.bind(shape, *args, **options)
        bound.apply_defaults()
        return ShapeArray((shape,) if isinstance(shape, int) else shape, bound.arguments["dtype"])

    return made  # type: ignore[return-value]


def seed(value: int) -> None:
    """Seed the generator that modules draw from when they are given none.

    >>> import adjoint as aj
    >>> aj.seed(0)
    """
    global _generator
    _generator = np.random.default_rng(value)


def generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """The generator meant: itself, a new one from a seed, or the library's own for None.

    >>> import adjoint as aj
    >>> draw = aj.nn.init.generator(0)
    >>> aj.nn.init.generator(draw) is draw
    True
    """
    global _generator
    if rng is None:
        _generator = _generator or np.random.default_rng()
        return _generator
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


@_initializer
def uniform(shape: tuple[int, ...], bound: float, rng: Any = None, dtype: Any = "float32") -> np.ndarray:
    """Independent entries, uniform in [-bound, bound].

    >>> import adjoint as aj
    >>> aj.nn.init.uniform((2, 3), bound=0.5, rng=0).shape
    (2, 3)
    """
    return generator(rng).uniform(-bound, bound, shape).astype(dtype)


@_initializer
def normal(shape: tuple[int, ...], std: float = 1.0, rng: Any = None, dtype: Any = "float32") -> np.ndarray:
    """Independent normal entries with mean 0 and standard deviation `std`.

    >>> import adjoint as aj
    >>> x = aj.nn.init.normal((10_000,), std=0.02, rng=0)
    >>> bool(0.019 < aj.std(x) < 0.021)
    True
    """
    return (std * generator(rng).standard_normal(shape)).astype(dtype)


def fan_in_bound(fan_in: int) -> float:
    """1/√fan_in, the bound of PyTorch's layers: Kaiming's uniform initialization with a = √5 (He et al. 2015).

    >>> import adjoint as aj
    >>> aj.nn.init.fan_in_bound(16)
    0.25
    """
    return 1.0 / math.sqrt(fan_in) if fan_in else 0.0


# Constants


@_initializer
def constant(shape: Shape, value: float, dtype: Any = "float32") -> np.ndarray:
    """Every entry the same number.

    >>> import adjoint as aj
    >>> aj.nn.init.constant((2,), 0.5).tolist()
    [0.5, 0.5]
    """
    return np.full(shape, value, dtype)


@_initializer
def zeros(shape: Shape, dtype: Any = "float32") -> np.ndarray:
    """Zeros.

    >>> import adjoint as aj
    >>> aj.nn.init.zeros((2,)).tolist()
    [0.0, 0.0]
    """
    return np.zeros(shape, dtype)


@_initializer
def ones(shape: Shape, dtype: Any = "float32") -> np.ndarray:
    """Ones.

    >>> import adjoint as aj
    >>> aj.nn.init.ones((2,)).tolist()
    [1.0, 1.0]
    """
    return np.ones(shape, dtype)


@_initializer
def eye(shape: Shape, dtype: Any = "float32") -> np.ndarray:
    """The identity matrix, cut off or filled with zeros where it is not square. Raises `ShapeError` for other shapes.

    >>> import adjoint as aj
    >>> aj.nn.init.eye((2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if len(shape) != 2:
        raise ShapeError(f"eye: a matrix has two axes, not {tuple(shape)}.")
    return np.eye(*shape, dtype=dtype)


@_initializer
def dirac(shape: Shape, groups: int = 1, dtype: Any = "float32") -> np.ndarray:
    """The kernel (out, in, *size) of a convolution that passes its channels through, as many as there are.

    Raises `ShapeError` without one to three axes of size, ValueError where `groups` does not divide the outputs.

    >>> import adjoint as aj
    >>> aj.nn.init.dirac((2, 2, 3)).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    if not 3 <= len(shape) <= 5:
        raise ShapeError(f"dirac: a kernel has two axes and one to three of size, not {tuple(shape)}.")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"dirac: {groups} groups do not divide the {shape[0]} outputs of {tuple(shape)}.")
    kernel = np.zeros(shape, dtype)
    each = shape[0] // groups
    middle = tuple(n // 2 for n in shape[2:])
    for c in range(min(each, shape[1])):
        place: Any = (slice(c, None, each), c, *middle)
        kernel[place] = 1.0
    return kernel


# Variances kept


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, *size): how many numbers an output, or an input, is connected with.

    >>> fans((8, 3, 5, 5))
    (75, 200)
    """
    if len(shape) < 2:
        raise ShapeError(f"a weight (out, in, …) has fans, an array {tuple(shape)} has none: give two axes or more.")
    size = math.prod(shape[2:])
    return shape[1] * size, shape[0] * size


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what the standard deviation must grow so that an activation leaves the variance as it is (He et al. 2015).

    1 for "linear", "sigmoid" and "conv1d" …, 5/3 for "tanh", √2 for "relu", √(2/(1 + slope²)) for "leaky_relu" (slope
    `param`, 0.01 by default), 3/4 for "selu". Raises ValueError for other names.

    >>> calculate_gain("relu"), calculate_gain("leaky_relu", 1.0)
    (1.4142, 1.0)
    """
    if nonlinearity in {"linear", "sigmoid"} or nonlinearity in CONVOLUTIONS:
        return 1.0
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    gains = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 3.0 / 4.0}
    if nonlinearity not in gains:
        told = ", ".join(["linear", "sigmoid", "leaky_relu", *gains])
        raise ValueError(f"calculate_gain: no gain is known for {nonlinearity!r}, only for {told}.")
    return gains[nonlinearity]


CONVOLUTIONS = {f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)}


def xavier_uniform(shape: Shape, gain: float = 1.0, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Uniform in ±gain √(6/(fan_in + fan_out)): variances between those that either direction needs (Glorot 2010).

    >>> import numpy as np, adjoint as aj
    >>> bool(np.abs(aj.nn.init.xavier_uniform((2, 4), rng=0)).max() <= 1.0)
    True
    """
    return uniform(shape, gain * math.sqrt(6.0 / max(sum(fans(shape)), 1)), rng, dtype)


def xavier_normal(shape: Shape, gain: float = 1.0, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Normal with standard deviation gain √(2/(fan_in + fan_out)) (Glorot & Bengio 2010).

    >>> import adjoint as aj
    >>> aj.nn.init.xavier_normal((2, 4), rng=0).shape
    (2, 4)
    """
    return normal(shape, gain * math.sqrt(2.0 / max(sum(fans(shape)), 1)), rng, dtype)


def kaiming_std(shape: Shape, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> float:
    """gain/√fan, the gain that of the nonlinearity (`a` a leaky ReLU's slope), the fan that of `mode`.

    "fan_in" keeps the variance of activations, "fan_out" that of gradients. Raises ValueError for other modes.

    >>> kaiming_std((8, 50), nonlinearity="relu")
    0.2
    """
    if mode not in {"fan_in", "fan_out"}:
        raise ValueError(f"mode is 'fan_in' or 'fan_out', not {mode!r}.")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fans(shape)[mode == "fan_out"], 1))


def kaiming_uniform(
    shape: Shape, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: Rng = None,
    dtype: Any = "float32",
) -> np.ndarray:  # fmt: skip
    """Uniform in ±√3 `kaiming_std`: a rectifier keeps the variance through any depth (He et al. 2015).

    >>> import numpy as np, adjoint as aj
    >>> bool(np.abs(aj.nn.init.kaiming_uniform((2, 6), rng=0)).max() <= 1.0)
    True
    """
    return uniform(shape, math.sqrt(3.0) * kaiming_std(shape, a, mode, nonlinearity), rng, dtype)


def kaiming_normal(
    shape: Shape, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: Rng = None,
    dtype: Any = "float32",
) -> np.ndarray:  # fmt: skip
    """Normal with standard deviation `kaiming_std` (He et al. 2015).

    >>> import adjoint as aj
    >>> aj.nn.init.kaiming_normal((2, 6), mode="fan_out", nonlinearity="relu", rng=0).shape
    (2, 6)
    """
    return normal(shape, kaiming_std(shape, a, mode, nonlinearity), rng, dtype)


def lecun_uniform(shape: Shape, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Uniform in ±√(3/fan_in): a linear layer keeps the variance (LeCun et al. 1998).

    >>> import numpy as np, adjoint as aj
    >>> bool(np.abs(aj.nn.init.lecun_uniform((2, 3), rng=0)).max() <= 1.0)
    True
    """
    return kaiming_uniform(shape, nonlinearity="linear", rng=rng, dtype=dtype)


def lecun_normal(shape: Shape, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Normal with standard deviation 1/√fan_in (LeCun et al. 1998); what SELU asks for (Klambauer et al. 2017).

    >>> import adjoint as aj
    >>> aj.nn.init.lecun_normal((2, 3), rng=0).shape
    (2, 3)
    """
    return kaiming_normal(shape, nonlinearity="linear", rng=rng, dtype=dtype)


# Other distributions


@_initializer
def trunc_normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, rng: Rng = None,
    dtype: Any = "float32",
) -> np.ndarray:  # fmt: skip
    """Normal entries, those outside [a, b] left out: the inverse distribution function of uniform numbers.

    >>> import numpy as np, adjoint as aj
    >>> x = aj.nn.init.trunc_normal((1000,), std=2.0, rng=0)
    >>> bool(x.min() >= -2.0), bool(x.max() <= 2.0)
    (True, True)
    """
    from scipy.special import ndtr, ndtri

    low, high = ndtr((a - mean) / std), ndtr((b - mean) / std)
    drawn = mean + std * ndtri(generator(rng).uniform(low, high, shape))
    return np.asarray(np.clip(drawn, a, b), dtype)


@_initializer
def orthogonal(shape: Shape, gain: float = 1.0, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """gain times orthonormal rows or columns, whichever are fewer, of the matrix (out, in · size): an isometry.

    Q of the QR decomposition of a normal matrix, its signs those that make it uniform (Saxe et al. 2014; Mezzadri
    2007). Raises `ShapeError` for fewer than two axes.

    >>> import numpy as np, adjoint as aj
    >>> W = aj.nn.init.orthogonal((2, 5), rng=0, dtype="float64")
    >>> np.round(W @ W.T, 12).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    fans(shape)
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(generator(rng).standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


@_initializer
def sparse(shape: Shape, sparsity: float, std: float = 0.01, rng: Rng = None, dtype: Any = "float32") -> np.ndarray:
    """Normal entries, a share `sparsity` of every column (rounded up) set to zero (Martens 2010).

    Raises `ShapeError` unless the shape is a matrix's.

    >>> import adjoint as aj
    >>> (aj.nn.init.sparse((10, 3), 0.3, rng=0) == 0).sum(0).tolist()
    [3, 3, 3]
    """
    if len(shape) != 2:
        raise ShapeError(f"sparse: a matrix has two axes, not {tuple(shape)}.")
    rng = generator(rng)
    zeros = rng.random(shape).argsort(0) < math.ceil(sparsity * shape[0])
    return np.where(zeros, 0.0, normal(shape, std, rng, "float64")).astype(dtype)
