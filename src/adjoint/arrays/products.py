"""The seam's products: every function is linear in each array with the others held."""

from __future__ import annotations

import math

import numpy as np

from adjoint.arrays.dispatch import Array, Shape, composition, primitive
from adjoint.arrays.layout import broadcast_to, permute, reshape, swapaxes, take
from adjoint.arrays.normalization import normalize
from adjoint.arrays.reductions import sum
from adjoint.errors import ShapeError


@primitive
def matmul(x: Array, y: Array, /) -> Array:
    """x @ y: (…, n, k) by (…, k, m) gives (…, n, m); a vector counts as a row on the left, as a column on the right.

    Raises `ShapeError` where the inner dimensions differ.

    >>> import numpy as np, adjoint as aj
    >>> x, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0])
    >>> aj.matmul(x, y).tolist(), aj.matmul(y, x).tolist()
    ([3.0, 7.0], [4.0, 6.0])
    """


@composition
def linear(x: Array, weight: Array, bias: Array | None = None, /) -> Array:
    """x Wᵀ + b, PyTorch's orientation: x (…, in), weight (out, in), bias (out,) or None, result (…, out).

    >>> import numpy as np, adjoint as aj
    >>> W, b = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0.5, 0.0])
    >>> aj.linear(np.array([1.0, 1.0, 1.0]), W, b).tolist()
    [3.5, 1.0]
    """
    y = matmul(x, swapaxes(weight, -1, -2))
    return y if bias is None else y + bias


@composition
def linear_sum(x: Array, weight: Array, y: Array, other: Array, bias: Array | None = None, /) -> Array:
    """x Wᵀ + y Vᵀ + b, V the other weight: x and y side by side by one weight [W V]."""
    return linear(x, weight, bias) + linear(y, other)


@composition
def linear_added(total: Array, x: Array, weight: Array, /) -> Array:
    """total + x Wᵀ; in the memory of `total`, which nothing else is to refer to, where the backend can."""
    return total + linear(x, weight)


@composition
def affine(x: Array, weight: Array, bias: Array | None = None, /) -> Array:
    """x W + b, the textbook's orientation: x (…, in), weight (in, out), bias (out,) or None, result (…, out).

    >>> import numpy as np, adjoint as aj
    >>> aj.affine(np.array([1.0, 1.0]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).tolist()
    [5.0, 7.0, 9.0]
    """
    y = matmul(x, weight)
    return y if bias is None else y + bias


@primitive
def einsum_apply(arrays: list[Array], /, spec: str) -> Array:
    """`einsum` with the arrays as one sequence."""


def einsum(spec: str, /, *arrays: Array) -> Array:
    """Einstein summation: letters are axes, multiplied entry by entry; those missing right of the arrow are summed.

    >>> import numpy as np, adjoint as aj
    >>> a, b = np.ones((2, 3)), np.ones((3, 4))
    >>> aj.einsum("ij,jk->ik", a, b).tolist() == (a @ b).tolist()
    True
    """
    return einsum_apply(list(arrays), spec)


@composition
def dot(x: Array, y: Array, /) -> Array:
    """Σ xᵢyᵢ over the last axis of both: ⟨x, y⟩ = ‖x‖ ‖y‖ cos θ.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.dot(np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    11.0
    """
    return sum(x * y, -1)


@composition
def outer(x: Array, y: Array, /) -> Array:
    """The matrix x yᵀ: (…, m) and (…, n) give (…, m, n).

    >>> import numpy as np, adjoint as aj
    >>> aj.outer(np.array([1.0, 2.0]), np.array([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    return reshape(x, (*x.shape, 1)) * reshape(y, (*y.shape[:-1], 1, y.shape[-1]))


@composition
def weight_product(x: Array, u: Array, /) -> Array:
    """Σ over all leading axes of x uᵀ: x (…, n, k) and u (…, n, m) give xᵀu, (k, m), as one 2-D product.

    >>> import numpy as np, adjoint as aj
    >>> aj.weight_product(np.ones((4, 5, 2)), np.ones((4, 5, 3))).tolist()
    [[20.0, 20.0, 20.0], [20.0, 20.0, 20.0]]
    """
    return matmul(permute(rows(x), (1, 0)), rows(u))


def rows(x: Array) -> Array:
    """x with all axes but the last joined: (…, d) to (n, d)."""
    shape: Shape = tuple(x.shape)
    return x if len(shape) == 2 else reshape(x, (math.prod(shape[:-1]), shape[-1]))


@composition
def cosine_similarity(x: Array, y: Array, /, axis: int = -1, eps: float = 1e-8) -> Array:
    """⟨x, y⟩ / (max(‖x‖, eps) max(‖y‖, eps)) along an axis: cos of the angle between x and y.

    >>> import numpy as np, adjoint as aj
    >>> float(aj.cosine_similarity(np.array([3.0, 4.0]), np.array([2.0, 0.0])))
    0.6
    """
    shape = np.broadcast_shapes(tuple(x.shape), tuple(y.shape))
    x, y = broadcast_to(x, shape), broadcast_to(y, shape)
    return sum(normalize(x, axis, eps) * normalize(y, axis, eps), axis)


@composition
def embedding(indices: Array, weight: Array, /) -> Array:
    """The rows of weight, shape (n, d), at integer indices of any shape: result (*indices, d).

    Negative indices count from the end. Raises IndexError for one outside the table (where the backend looks at values:
    JAX under jit does not), ShapeError for a table that is no matrix.

    >>> import numpy as np, adjoint as aj
    >>> aj.embedding(np.array([1, 0, 1]), np.array([[0.0, 1.0], [2.0, 3.0]])).tolist()
    [[2.0, 3.0], [0.0, 1.0], [2.0, 3.0]]
    """
    if len(weight.shape) != 2:
        raise ShapeError(f"embedding: weight is (n, d), one row an index, got {tuple(weight.shape)}.")
    try:
        return take(weight, indices, 0)
    except IndexError as error:
        rows = weight.shape[0]
        raise IndexError(f"embedding: {error}; the table has {rows} rows: indices are {-rows} to {rows - 1}.") from None
