"""What a layer multiplies: its matrix, and the rows of a sample that this meets, at positions or under a kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.errors import SpectrumError
from adjoint.inspection.layers import blocks, same
from adjoint.inspection.watching import Call
from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Composition, Kronecker
from adjoint.maps.convolution import Convolution
from adjoint.maps.elementary import Identity
from adjoint.maps.flat import epsilon, numbers, to_numpy
from adjoint.maps.layout import Reshape
from adjoint.maps.matrices import Dense, RightProduct
from adjoint.program import Door
from adjoint.transforms import jacobian

OPENED = 1 << 22  # numbers of a matrix that is formed for an example as a whole
TOGETHER = 1 << 24  # numbers of the rows that are made at once


class Rows:
    """Rows x (N, size) as far as Σ x xᵀ is concerned, in memory of that matrix's order.

    >>> rows = Rows(2)
    >>> for x in np.eye(2), np.array([[3.0, 4.0]]), np.ones((4, 2)):
    ...     rows.add(x)
    >>> X = rows.folded()
    >>> rows.count, X.shape, (X.T @ X).round(9).tolist()
    (7, (2, 2), [[14.0, 16.0], [16.0, 21.0]])
    """

    def __init__(self, size: int) -> None:
        self.count, self.size = 0, size
        self.held: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Some more of them."""
        self.count += len(rows)
        self.held.append(rows)
        if sum(map(len, self.held)) > 2 * self.size:
            self.held = [self.folded()]

    def folded(self) -> np.ndarray:
        """At most `size` rows with the same sum, or all that there are."""
        X = np.concatenate(self.held)
        if len(X) <= self.size:
            return X
        squares, columns = np.linalg.eigh(X.T @ X)
        folded: np.ndarray = np.sqrt(np.maximum(squares, 0.0))[:, None] * columns.T
        return folded


Product = tuple[np.ndarray, float, str, Callable[[Array], Array]]


def product(call: Call) -> Product:
    """(W in float64, its spacing at 1, what a row is, the rows of some examples) of a call.

    Raises ValueError where it is no product with a matrix that is the same for all examples.
    """
    x = call.input
    whole = jacobian(call.function, x[:1] if call.alone else x)
    known = _by_structure(whole)
    if known is None:
        known = _whole(call, whole), "example", lambda x: xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
    W, of, rows = known
    return numbers(W), epsilon(whole), of, rows


def parts(call: Call, product: Product) -> Iterator[np.ndarray]:
    """The rows of a call, some examples at a time, in float64; raises SpectrumError where they are not finite."""
    x, rows = call.input, product[3]
    at_once = max(1, TOGETHER // max(1, math.prod(rows(x[:1]).shape)))
    for k in range(0, x.shape[0], at_once):
        part = to_numpy(rows(x[k : k + at_once])).astype(np.float64)
        if not np.isfinite(part).all():
            raise SpectrumError(f"unseen: what {call.name} ({call.kind}) is given at the sample is not finite.")
        yield part


def _by_structure(J: LinearMap) -> tuple[Array, str, Callable[[Array], Array]] | None:
    """The matrix that multiplies every position or patch, and these; None where the map is no such product."""
    if isinstance(J, Door):
        J = J.verified()
    parts = [part for part in (J.maps if isinstance(J, Composition) else (J,)) if not isinstance(part, Reshape)]
    if len(parts) != 1:
        return None
    inner = parts[0]
    if isinstance(inner, Kronecker) and isinstance(inner.left, Identity):
        inner = inner.right
    if isinstance(inner, Dense):
        return inner.weight, "position", lambda x: xp.reshape(x, (-1, int(inner.weight.shape[-1])))
    if isinstance(inner, RightProduct):
        return inner.right.mT, "position", lambda x: xp.reshape(x, (-1, int(inner.right.shape[0])))
    if isinstance(inner, Convolution):
        return _kernel(inner), "patch", lambda x: _patches(inner, x)
    return None


def _patches(A: Convolution, x: Array) -> Array:
    """What stands under the kernel of a convolution at every place, a row each."""
    columns = A.im2col(xp.reshape(x, (-1, *A.in_shape)))
    return xp.reshape(xp.swapaxes(columns, -1, -2), (-1, columns.shape[-2]))


def _kernel(A: Convolution) -> Array:
    """The matrix (O, C·∏kernel) that multiplies a patch, with zeros where a group sees nothing."""
    weight = to_numpy(A.weight).reshape(A.weight.shape[0], -1)
    rows, columns = weight.shape[0] // A.groups, weight.shape[1]
    W = np.zeros((weight.shape[0], columns * A.groups), weight.dtype)
    for g in range(A.groups):
        W[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = weight[g * rows : (g + 1) * rows]
    return W


def _whole(call: Call, whole: LinearMap) -> Array:
    """The matrix of a layer that is the same at every example."""
    n = call.input.shape[0]
    lead = 1 if call.alone else n
    if whole.shape[0] // lead * (whole.shape[1] // lead) > OPENED:
        raise ValueError(f"unseen: {call.name} ({call.kind}) is no product with a matrix, and too large to form one.")
    if call.alone:
        maps: list[LinearMap] = [jacobian(call.function, call.input[i : i + 1]) for i in range(min(n, 3))]
    else:
        maps = [*blocks(whole, call.input, 3)]
    if not same(maps):
        raise ValueError(
            f"unseen: {call.name} ({call.kind}) is another map at every example, so that it sees something else "
            "of each: ask for a layer with a weight; `layers` of the report tells what each hides."
        )
    return maps[0].matrix()
