"""Linear algebra: square where it must be; FLOPs as Golub & Van Loan (Matrix Computations, 4th edition) count them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjoint.arrays import linalg
from adjoint.arrays.dispatch import Shape
from adjoint.arrays.shapes import rules
from adjoint.arrays.shapes.array import ShapeArray, bare, operand, spend
from adjoint.arrays.shapes.elementwise import FLOAT64
from adjoint.arrays.shapes.tally import claim
from adjoint.errors import ShapeError


def factored(name: str, read: tuple[Any, ...], shapes: list[Shape], flops: float) -> list[ShapeArray]:
    """The new arrays that a factorization returns, its cost entered."""
    dtype = FLOAT64 if read[-1].dtype.kind in "biu" else read[-1].dtype
    results = [bare(shape, dtype) for shape in shapes]
    for x in results:
        x.memory = claim(x.nbytes)
    spend(name, round(flops), 0, (*read, *results))
    return results


def matrix(name: str, x: Any) -> tuple[Any, Shape, int, int]:
    """The operand, its batch axes and its two sizes; raises `ShapeError` where it has no two axes."""
    x = operand(x)
    if len(x.shape) < 2:
        raise ShapeError(f"{name}: {x.shape} is no matrix: the last two axes are its rows and columns.")
    return x, x.shape[:-2], *x.shape[-2:]


def square(name: str, x: Any) -> tuple[Any, Shape, int]:
    """The operand, its batch axes and its size; raises `ShapeError` where it is not square."""
    x, batch, m, n = matrix(name, x)
    if m != n:
        remedy = "; for the least squares solution use aj.pinv" if name in ("solve", "inv") else ""
        raise ShapeError(f"{name}: {x.shape} is not square, axis -2 is {m}, axis -1 is {n}{remedy}.")
    return x, batch, n


def system(name: str, a: Any, b: Any, left: bool = True) -> tuple[Any, Any, Shape, int]:
    """The operands, the shape of the result, and the number of right-hand sides."""
    a, batch, n = square(name, a)
    b = operand(b)
    if len(b.shape) == 1 and name == "solve":
        if b.shape != (n,):
            raise ShapeError(f"{name}: a {a.shape} and b {b.shape}: b has {b.shape[0]} entries, not {n}.")
        return a, b, (*batch, n), math.prod(batch)
    axis = -2 if left else -1
    if len(b.shape) < 2 or b.shape[axis] != n:
        hint = " For a batch of vectors add an axis: b[..., None]." if b.shape[-1:] == (n,) and left else ""
        raise ShapeError(f"{name}: a {a.shape} and b {b.shape}: axis {axis} of b must be {n}.{hint}")
    shape = (*rules.broadcast(name, batch, b.shape[:-2]), *b.shape[-2:])
    return a, b, shape, math.prod(shape) // n if n else 0


def solve(a: Any, b: Any) -> Any:
    """2n³/3 for the LU factors, 2n² a right-hand side."""
    a, b, shape, sides = system("solve", a, b)
    n = a.shape[-1]
    (x,) = factored("solve", (a, b), [shape], 2 / 3 * n**3 * math.prod(a.shape[:-2]) + 2 * n**2 * sides)
    return x


def solve_triangular(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """n² a right-hand side."""
    a, b, shape, sides = system("solve_triangular", a, b, left)
    (x,) = factored("solve_triangular", (a, b), [shape], a.shape[-1] ** 2 * sides)
    return x


def of_square(name: str, cost: float, *axes: int) -> Callable[[Any], Any]:
    """A function of a square matrix that costs `cost`·n³ and gives arrays with this many axes of size n."""

    def call(x: Any) -> Any:
        x, batch, n = square(name, x)
        results = factored(name, (x,), [(*batch, *(n,) * k) for k in axes], cost * math.prod(batch) * n**3)
        return results[0] if len(results) == 1 else KINDS[name](*results)

    return call


def qr(x: Any) -> Any:
    """2n²(m - n/3) for R, as much for the n columns of Q, n ≤ m; a wide matrix costs 2m² more a further column."""
    x, batch, m, n = matrix("qr", x)
    k = min(m, n)
    flops = 4 * k * k * (m - k / 3) + 2 * m * m * (n - k)
    return linalg.QR(*factored("qr", (x,), [(*batch, m, k), (*batch, k, n)], math.prod(batch) * flops))


def svd(x: Any) -> Any:
    """6mn² + 20n³ for n ≤ m, both families of vectors (figure 8.6.1 there)."""
    x, batch, m, n = matrix("svd", x)
    k, big = min(m, n), max(m, n)
    shapes = [(*batch, m, k), (*batch, k), (*batch, k, n)]
    return linalg.Factors(*factored("svd", (x,), shapes, math.prod(batch) * (6 * big * k * k + 20 * k**3)))


def svdvals(x: Any) -> Any:
    """4mn² - 4n³/3 for n ≤ m."""
    x, batch, m, n = matrix("svdvals", x)
    k, big = min(m, n), max(m, n)
    (s,) = factored("svdvals", (x,), [(*batch, k)], math.prod(batch) * (4 * big * k * k - 4 / 3 * k**3))
    return s


KINDS: dict[str, Callable[..., Any]] = {"eigh": linalg.Eigh, "slogdet": linalg.SignedLog}
LINALG = {
    "cholesky": of_square("cholesky", 1 / 3, 2),
    "det": of_square("det", 2 / 3, 0),
    "eigh": of_square("eigh", 9, 1, 2),
    "eigvalsh": of_square("eigvalsh", 4 / 3, 1),
    "inv": of_square("inv", 2, 2),
    "matrix_exp": of_square("matrix_exp", 2 * 6 + 2 / 3 + 2, 2),  # the products and the solve of a [13/13] approximant
    "qr": qr,
    "slogdet": of_square("slogdet", 2 / 3, 0, 0),
    "solve": solve,
    "solve_triangular": solve_triangular,
    "svd": svd,
    "svdvals": svdvals,
}
