"""`aj.is_linear`: does f(αx + βy) = α f(x) + β f(y) hold?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.checks.differences import Vector
from adjoint.checks.subject import joined, name_of, output_entry, path_name, rounding_unit
from adjoint.errors import DtypeError
from adjoint.maps.base import LinearMap
from adjoint.maps.spaces import is_product
from adjoint.trees import Structure, flatten

SAFETY = 64.0
SIZES = (1.0, 1e-3, 1e3)


@dataclass(frozen=True, slots=True)
class Counterexample:
    """Arguments x, y and numbers α, β with f(αx + βy) ≠ αf(x) + βf(y), and both sides where they differ most."""

    alpha: float
    x: tuple[Any, ...]
    beta: float
    y: tuple[Any, ...]
    entry: str
    left: float
    right: float

    def __str__(self) -> str:
        return (
            f"for α = {self.alpha:.3g}, β = {self.beta:.3g}, {self.entry} of f(αx + βy) is {self.left:.6g}, of "
            f"αf(x) + βf(y) {self.right:.6g}"
        )


@dataclass(frozen=True, slots=True)
class Linearity:
    """What `aj.is_linear` found; true when f is linear on all samples.

    `kind` is "linear", "affine" (f - f(0) is linear, f(0) ≠ 0) or "nonlinear"; `error` is the largest |left - right|
    met, `tolerance` what rounding allows there; `counterexample` is None when f is linear.

    >>> import adjoint as aj
    >>> aj.is_linear(aj.square, (2,))
    square is not linear; for α = ..., β = ..., ... of f(αx + βy) is ..., of αf(x) + βf(y) ...
    """

    function: str
    kind: str
    samples: int
    error: float
    tolerance: float
    counterexample: Counterexample | None = None

    def __bool__(self) -> bool:
        return self.kind == "linear"

    def __str__(self) -> str:
        if self.counterexample is None:
            errors = f"largest difference {self.error:.1e}, rounding allows {self.tolerance:.1e}"
            return f"{self.function} is linear: f(αx + βy) = αf(x) + βf(y) in {self.samples} samples ({errors})"
        kind = "affine, not linear: f(0) ≠ 0" if self.kind == "affine" else "not linear"
        return f"{self.function} is {kind}; {self.counterexample}"

    __repr__ = __str__


def is_linear(f: Callable[..., Any], *like: Any, samples: int = 9, seed: int = 0) -> Linearity:
    """Is f linear, f(αx + βy) = α f(x) + β f(y)? Refutes it by a counterexample, or finds it true on random samples.

    `like` tells what f takes: for every argument a shape (NumPy arrays of float64 are made) or an example (an array of
    any backend, a tree); nothing for a `LinearMap`. x is all arguments together, so f(a, b) = a·b is not linear. The
    samples are small, medium and large, for a function can look linear where it is flat. A counterexample is a proof;
    that no sample refutes linearity is strong evidence. Raises `DtypeError` when `like` holds no floating numbers.

    >>> import numpy as np, adjoint as aj
    >>> W, b = np.array([[2.0, 1.0], [-1.0, 3.0]]), np.array([0.5, -2.0])
    >>> bool(aj.is_linear(lambda x: W @ x, (2,)))
    True
    >>> aj.is_linear(lambda x: W @ x + b, (2,)).kind
    'affine'
    """
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        trials = [Trial(Flat(f, like), SIZES[k % len(SIZES)], rng) for k in range(samples)]
    for kind, refuted in (("nonlinear", [t for t in trials if t.bent]), ("affine", [t for t in trials if t.wrong])):
        if refuted:
            return Linearity(name_of(f), kind, samples, refuted[0].error, refuted[0].tolerance, refuted[0].shown())
    worst = max(trials, key=lambda trial: trial.error / (trial.tolerance or 1.0))
    return Linearity(name_of(f), "linear", samples, worst.error, worst.tolerance)


class Flat:
    """f as a function from one vector, all its arguments joined, to one vector."""

    def __init__(self, f: Callable[..., Any], like: tuple[Any, ...]) -> None:
        if not like and isinstance(f, LinearMap):
            like = (f.in_shape,) if not is_product(f.in_shape) else (tuple(np.zeros(shape) for shape in f.in_shape),)
        example = tuple(np.zeros(x) if is_shape(x) else x for x in like)
        self.f = f
        self.structure = Structure(example)
        self.leaves = self.structure.leaves(example)
        if not self.leaves:
            raise DtypeError(f"is_linear: give a shape, or an example of floats, for each argument of {name_of(f)}.")
        self.n = sum(int(np.prod(np.shape(x))) for x in self.leaves)
        self.unit = max(map(rounding_unit, self.leaves))
        self.outputs: list[tuple[str, Any]] = []

    def arguments(self, x: Vector) -> tuple[Any, ...]:
        """The vector taken apart into arguments of the example's kind."""
        parts, start = [], 0
        for leaf in self.leaves:
            stop = start + int(np.prod(np.shape(leaf)))
            parts.append(xp.asarray(leaf, x[start:stop].reshape(np.shape(leaf)).copy(), getattr(leaf, "dtype", None)))
            start = stop
        return self.structure.whole(parts)

    def __call__(self, x: Vector) -> Vector:
        """f's value, its outputs joined."""
        leaves, treedef = flatten(self.f(*self.arguments(x)))
        self.outputs = [(path_name("the value", p), y) for p, y in zip(treedef.accessors(), leaves, strict=True)]
        self.unit = max(self.unit, *map(rounding_unit, leaves))
        return joined(leaves)

    def output_entry(self, i: int) -> str:
        """The name of an entry of the value."""
        return output_entry(self.outputs, i)


class Trial:
    """Both sides of the equation for one random choice of α, x, β and y."""

    def __init__(self, f: Flat, size: float, rng: np.random.Generator) -> None:
        self.f = f
        self.x, self.y = size * rng.normal(size=(2, f.n))
        self.alpha, self.beta = rng.normal(size=2)
        fx, fy, offset = f(self.x), f(self.y), f(0.0 * self.x)
        self.left = f(self.alpha * self.x + self.beta * self.y)
        self.right = self.alpha * fx + self.beta * fy
        self.straight = self.right + (1.0 - self.alpha - self.beta) * offset
        terms = (self.left, self.alpha * fx, self.beta * fy, offset)
        largest = sum(float(np.abs(term).max(initial=0.0)) for term in terms)
        self.tolerance = SAFETY * f.unit * float(np.sqrt(f.n + 1)) * largest
        self.error = float(np.abs(self.left - self.right).max(initial=0.0))

    @property
    def bent(self) -> bool:
        """Whether even f - f(0) is not linear; also where a value is not finite."""
        return not bool(np.all(np.abs(self.left - self.straight) <= self.tolerance)) or not np.isfinite(self.tolerance)

    @property
    def wrong(self) -> bool:
        """Whether the two sides differ."""
        return self.error > self.tolerance

    def shown(self) -> Counterexample:
        """The trial as a counterexample."""
        i = int(np.argmax(np.abs(self.left - self.right)))
        x, y = self.f.arguments(self.x), self.f.arguments(self.y)
        left, right = float(self.left[i]), float(self.right[i])
        return Counterexample(float(self.alpha), x, float(self.beta), y, self.f.output_entry(i), left, right)


def is_shape(x: Any) -> bool:
    """Whether x is a shape, a tuple of integers.

    >>> is_shape((2, 3)), is_shape(()), is_shape((1.0, 2.0))
    (True, True, False)
    """
    return isinstance(x, tuple) and all(type(n) is int for n in x)
