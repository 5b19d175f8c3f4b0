"""Matrix products and linear algebra."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjoint import arrays as xp
from adjoint.arrays import numpy_names as names
from adjoint.arrays.dispatch import Array
from adjoint.arrays.torch_names import TORCH
from adjoint.interop.aten.promotion import cast, is_integral, promoted
from adjoint.ops.define import plain

Entry = Callable[..., Any]


def _matmul(self: Array, other: Array) -> Array:
    return xp.matmul(self, other)


def _added(product: Entry) -> Entry:
    """β self + α of a product."""

    def entry(self: Array, x: Array, y: Array, beta: Any = 1, alpha: Any = 1) -> Array:
        z = product(x, y)
        z = z if alpha == 1 else alpha * z
        return z if beta == 0 else xp.add(self if beta == 1 else beta * self, z)

    return entry


def _linear(input: Array, weight: Array, bias: Any = None) -> Array:
    return xp.linear(input, weight, bias)


def _einsum(equation: str, tensors: Sequence[Array], path: Any = None) -> Array:
    return xp.einsum(equation.replace(" ", ""), *promoted(*tensors))


def _tensordot(self: Array, other: Array, dims_self: Sequence[int], dims_other: Sequence[int]) -> Array:
    return names.tensordot(self, other, (tuple(dims_self), tuple(dims_other)))


def _bilinear(input1: Array, input2: Array, weight: Array, bias: Any = None) -> Array:
    y = xp.einsum("...i,oij,...j->...o", input1, weight, input2)
    return y if bias is None else xp.add(y, bias)


def _outer(self: Array, vec2: Array) -> Array:
    return xp.outer(*promoted(self, vec2))


def _cross(self: Array, other: Array, dim: int = -1) -> Array:
    turn = functools.partial(xp.roll, axis=dim)
    ahead, behind = xp.multiply(turn(self, -1), turn(other, -2)), xp.multiply(turn(self, -2), turn(other, -1))
    return xp.subtract(ahead, behind)


def _distances(x1: Array, x2: Array, p: float = 2.0, compute_mode: int | None = None) -> Array:
    """‖x1ᵢ - x2ⱼ‖ for all pairs of rows."""
    return names.vector_norm(xp.subtract(xp.expand_dims(x1, -2), xp.expand_dims(x2, -3)), p, -1)


def _pair_distances(self: Array, p: float = 2.0) -> Array:
    """‖xᵢ - xⱼ‖ for all pairs of rows i < j."""
    i, j = np.triu_indices(self.shape[0], 1)
    like = plain(self)
    apart = xp.subtract(xp.take(self, xp.asarray(like, i), 0), xp.take(self, xp.asarray(like, j), 0))
    return names.vector_norm(apart, p, -1)


def _right(x: Array) -> Array:
    """No failure to tell of: what LAPACK refuses raises."""
    return cast(xp.zeros(plain(x), tuple(x.shape[:-2])), "int32")


def _lu_like(x: Array) -> tuple[Array, Array]:
    """In place of the factors, which nothing differentiates here."""
    return plain(x), _right(x)


def _power(self: Array, n: int) -> Array:
    return names.matrix_power(self, n)


def _grouped(input: Array, weight: Array, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Array:
    """Rows times the matrix of their group, (n, d) and (g, d, m); group i ends before row offs[i].

    Every group's product is over all rows, those of others set to 0, so that no shape depends on values.
    """
    groups = weight.shape[0]
    like = plain(input)
    row = xp.asarray(like, np.arange(input.shape[0])[:, None])
    owner = xp.sum(cast(xp.less_equal(plain(offs), row), "int64"), 1, True)
    parts = [
        xp.matmul(xp.where(xp.equal(owner, g), input, 0.0), xp.getitem(weight, g)) for g in range(groups)
    ]  # fmt: skip
    return functools.reduce(xp.add, parts)


PRODUCTS: dict[str, Entry] = {
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "linalg_matmul"), _matmul),
    "dot": lambda self, tensor: xp.dot(self, tensor),
    "vdot": lambda self, other: xp.dot(self, other),
    "inner": names.inner,
    "outer": _outer,
    "ger": _outer,
    "addmm": _added(xp.matmul),
    "addmv": _added(xp.matmul),
    "baddbmm": _added(xp.matmul),
    "addr": _added(xp.outer),
    "addbmm": _added(lambda x, y: xp.sum(xp.matmul(x, y), 0)),
    "linear": _linear,
    "einsum": _einsum,
    "tensordot": _tensordot,
    "bilinear": _bilinear,
    "_grouped_mm": _grouped,
    "transformers.grouped_mm_fallback": _grouped,
    "kron": names.kron,
    "linalg_cross": _cross,
    "linalg_vecdot": lambda x, y, dim=-1: xp.sum(xp.multiply(x, y), dim),
    "cosine_similarity": lambda x1, x2, dim=1, eps=1e-8: xp.cosine_similarity(x1, x2, dim, eps),
    "pairwise_distance": lambda x1, x2, p=2.0, eps=1e-6, keepdim=False: names.vector_norm(
        xp.subtract(x1, x2) + eps, p, -1, keepdim
    ),
    "cdist": _distances,
    "_cdist_forward": _distances,
    "_euclidean_dist": _distances,
    "_pdist_forward": _pair_distances,
    "pdist": _pair_distances,
    "trace": lambda self: xp.sum(cast(names.diagonal(self), "int64") if is_integral(self) else names.diagonal(self)),
    # Linear algebra
    "linalg_inv": xp.inv,
    "inverse": xp.inv,
    "linalg_inv_ex": lambda A, check_errors=False: (xp.inv(A), _right(A)),
    "linalg_cholesky": lambda self, upper=False: names.cholesky(self, upper),
    "linalg_cholesky_ex": lambda self, upper=False, check_errors=False: (names.cholesky(self, upper), _right(self)),
    "cholesky": lambda self, upper=False: names.cholesky(self, upper),
    "linalg_solve": lambda A, B, left=True: TORCH["linalg_solve"](A, B, left=left),
    "linalg_solve_ex": lambda A, B, left=True, check_errors=False: (
        TORCH["linalg_solve"](A, B, left=left), _right(A)
    ),
    "linalg_solve_triangular": lambda self, B, upper, left=True, unitriangular=False: xp.solve_triangular(
        self, B, upper, left, unitriangular
    ),
    "linalg_det": xp.det,
    "_linalg_det": lambda A: (xp.det(A), *_lu_like(A)),
    "linalg_slogdet": lambda A: tuple(xp.slogdet(A)),
    "_linalg_slogdet": lambda A: (*xp.slogdet(A), *_lu_like(A)),
    "logdet": xp.logdet,
    "linalg_svdvals": lambda A, driver=None: xp.svdvals(A),
    "linalg_eigvalsh": lambda self, UPLO="L": xp.eigvalsh(self),
    "linalg_matrix_exp": xp.matrix_exp,
    "matrix_exp": xp.matrix_exp,
    "linalg_matrix_power": _power,
    "matrix_power": _power,
}  # fmt: skip
