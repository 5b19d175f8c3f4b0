"""One layer as the linear map that is its derivative: rank, kernel, singular values, and what of its input it hides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, median_low

import numpy as np

from adjoint.arrays.dispatch import Array, Shape
from adjoint.maps.base import LinearMap
from adjoint.maps.flat import flat, to_numpy
from adjoint.transforms import jacobian


@dataclass(frozen=True)
class Layer:
    """A layer's Jacobian in numbers; of one that depends on the point, the medians over the points.

    `name`, `kind`: its dotted name and class. `level`: how many modules it is inside of. `in_shape`, `out_shape`: of
    one example. `parameters`: how many numbers it learned. `map`: the Jacobian as an expression. `affine`: whether that
    is the same at all points (when there were at least two). `rank`, `nullity`: the dimensions of image and kernel,
    where singular values up to `tolerance` count as zero. `norm`: σ₁. `cond`: σ₁/σ_min, infinite when the kernel is
    larger than the shape demands. `hidden`: the mean of ‖P x‖²/‖x‖² over the inputs x, P projecting on the kernel.
    `svdvals`: all singular values, largest first.

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


def layer(
    f: Callable[[Array], Array], inputs: Array, points: int, name: str, kind: str, level: int, parameters: int
) -> Layer:
    """What the derivative of f is like on `inputs` (n, *in_shape), opened as a matrix at the first `points` of them."""
    maps = [jacobian(f, inputs[i : i + 1]) for i in range(min(points, inputs.shape[0]))]
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
        in_shape=tuple(J.in_shape[1:]),
        out_shape=tuple(J.out_shape[1:]),
        parameters=parameters,
        map=J.describe().replace("I ⊗ ", ""),  # the batch of one
        affine=affine,
        rank=rank,
        nullity=J.shape[1] - rank,
        tolerance=median(r.tolerance for r in ranks),
        norm=median(float(s[0]) if len(s) else 0.0 for s in values),
        cond=median(float(J.cond()) for J in maps),
        hidden=float(np.mean(shares)) if shares else 0.0,
        svdvals=tuple(float(s) for s in np.median(values, axis=0)),
    )


def same(maps: Sequence[LinearMap]) -> bool:
    """Whether all maps are one and the same."""
    matrices = (to_numpy(J.matrix()) for J in maps)
    first = next(matrices)
    return all(np.array_equal(first, other) for other in matrices)


def hidden(J: LinearMap, inputs: Array) -> list[float]:
    """‖P x‖²/‖x‖² for each of the inputs, P being the projection on J's kernel; inputs that are zero are left out."""
    kernel = J.kernel()
    x = inputs[:, None]  # J acts on a batch of one
    size = np.sum(flat(x, J.in_shape) ** 2, axis=1)
    lost = np.sum(flat(kernel.T(x), kernel.in_shape) ** 2, axis=1)
    return [float(a / b) for a, b in zip(lost, size, strict=True) if b]
