"""One layer as the linear map that is its derivative: rank, kernel, singular values, and what of its input it hides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, median_low

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array, Shape
from adjoint.errors import ShapeError
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import epsilon, flat, pull, push, to_numpy
from adjoint.maps.matrices import Dense
from adjoint.transforms import jacobian

NUMBERS = 1 << 22  # of unit vectors at once


@dataclass(frozen=True)
class Layer:
    """A layer's Jacobian in numbers; of one that depends on the point, the medians over the points.

    `name`, `kind`: its dotted name and class. `level`: how many modules it is inside of. `in_shape`, `out_shape`: of
    one example. `parameters`: how many numbers it learned. `map`: the Jacobian as an expression. `affine`: whether that
    is the same at all points (when there were at least two). `rank`, `nullity`: the dimensions of image and kernel,
    where singular values up to `tolerance` count as zero. `norm`: σ₁. `cond`: σ₁/σ_min, infinite when the kernel is
    larger than the shape demands. `hidden`: the mean of ‖P x‖²/‖x‖² over the inputs x, P projecting on the kernel.
    `svdvals`: all singular values, largest first. `nth`: the call's number among those of a layer used several times.

    >>> import numpy as np, adjoint as aj
    >>> from adjoint.inspection import inspect
    >>> net, x = aj.nn.MLP((3, 2), rng=0), np.eye(3, dtype="float32")
    >>> first = inspect(net, x).layers[0]
    >>> first.name, first.map, first.affine, first.rank, first.nullity, round(first.hidden, 3)
    ('0', 'Dense', True, 2, 1, 0.333)
    """

    name: str
    kind: str
    level: int
    in_shape: Shape
    out_shape: Shape
    parameters: int
    map: str
    affine: bool
    rank: int
    nullity: int
    tolerance: float
    norm: float
    cond: float
    hidden: float
    svdvals: tuple[float, ...]
    nth: int = 0


def layer(
    f: Callable[[Array], Array], inputs: Array, points: int, name: str, kind: str, level: int, parameters: int,
    nth: int = 0, alone: bool = True,
) -> Layer:  # fmt: skip
    """What the derivative of f is like on `inputs` (n, *in_shape), opened as a matrix at the first `points` of them.

    `alone` says that f takes an example by itself; else it always gets all n.
    """
    if alone:
        maps: list[LinearMap] = [jacobian(f, inputs[i : i + 1]) for i in range(min(points, inputs.shape[0]))]
        whole = maps[0]
    else:
        whole = jacobian(f, inputs)
        maps = [*blocks(whole, inputs, points)]
    affine = len(maps) > 1 and same(maps)
    if affine:
        del maps[1:]
        shares = hidden(maps[0], inputs)
    else:
        shares = [share for i, J in enumerate(maps) for share in hidden(J, inputs[i : i + 1])]
    J = maps[0]
    ranks = [J.rank() for J in maps]
    values = [np.asarray(J.svdvals()) for J in maps]
    rank = median_low(map(int, ranks))
    return Layer(
        name=name,
        kind=kind,
        level=level,
        in_shape=tuple(whole.in_shape[1:]),
        out_shape=tuple(whole.out_shape[1:]),
        parameters=parameters,
        map=whole.describe().replace("I ⊗ ", ""),  # the batch
        affine=affine,
        rank=rank,
        nullity=J.shape[1] - rank,
        tolerance=median(r.tolerance for r in ranks),
        norm=median(float(s[0]) if len(s) else 0.0 for s in values),
        cond=median(float(J.cond()) for J in maps),
        hidden=float(np.mean(shares)) if shares else 0.0,
        svdvals=tuple(float(s) for s in np.median(values, axis=0)),
        nth=nth,
    )


class Mixed(ShapeError):
    """What comes out for one example depends on others: there is no Jacobian of each."""


def blocks(J: LinearMap, x: Array, points: int) -> list[Dense]:
    """The Jacobians of the first examples, from that of a function of all x (n, *in_shape); raises `Mixed`.

    >>> from adjoint.maps import Diagonal
    >>> x = np.array([[1.0, 3.0], [2.0, 0.5]])
    >>> [block.weight.tolist() for block in blocks(Diagonal(x), x, 2)]
    [[[1.0, 0.0], [0.0, 3.0]], [[2.0, 0.0], [0.0, 0.5]]]
    """
    n = x.shape[0]
    if not apart(J, n):
        raise Mixed("what comes out for one example depends on others: the examples are not along the leading axis.")
    outs, ins = J.shape[0] // n, J.shape[1] // n
    few, direction = (ins, push) if ins <= outs else (outs, pull)
    at_once = max(1, NUMBERS // (n * max(outs, ins, 1)))
    found = []
    for k in range(0, few, at_once):
        units = np.broadcast_to(np.eye(few)[k : k + at_once, None], (min(at_once, few - k), n, few))
        found.append(direction(J, units.reshape(len(units), -1)).reshape(len(units), n, -1)[:, :points].copy())
    each = np.concatenate(found).transpose((1, 2, 0) if direction is push else (1, 0, 2))
    return [Dense(xp.asarray(x, np.ascontiguousarray(matrix), x.dtype)) for matrix in each]


def apart(J: LinearMap, n: int) -> bool:
    """Whether what comes out for the first of n examples, and for no other, depends on it.

    >>> from adjoint.maps import Dense
    >>> apart(Dense(np.eye(4)), 2), apart(Dense(np.ones((4, 4))), 2), apart(Dense(np.ones((3, 4))), 2)
    (True, False, False)
    """
    if n == 1:
        return True
    if J.shape[0] % n or J.shape[1] % n:
        return False
    v = np.zeros((1, J.shape[1]))
    v[0, : J.shape[1] // n] = np.random.default_rng(0).standard_normal(J.shape[1] // n)
    first, others = np.split(np.abs(push(J, v)[0]), [J.shape[0] // n])
    return float(np.max(others, initial=0.0)) <= 1e-3 * epsilon(J) * float(np.max(first, initial=0.0))


def same(maps: Sequence[LinearMap]) -> bool:
    """Whether all maps are one and the same."""
    matrices = (to_numpy(J.matrix()) for J in maps)
    first = next(matrices)
    return all(np.array_equal(first, other) for other in matrices)


def hidden(J: LinearMap, inputs: Array) -> list[float]:
    """‖P x‖²/‖x‖² for each of the inputs, P being the projection on J's kernel; inputs that are zero are left out."""
    kernel = J.kernel()
    x = xp.reshape(inputs, (inputs.shape[0], *J.in_shape))
    size = np.sum(flat(x, J.in_shape) ** 2, axis=1)
    lost = np.sum(flat(kernel.T(x), kernel.in_shape) ** 2, axis=1)
    return [float(a / b) for a, b in zip(lost, size, strict=True) if b]
