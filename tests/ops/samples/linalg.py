"""Samples of linear algebra: well conditioned matrices, batches, odd, empty and strided shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.ops.samples.operands import Factory, normal, s, strided


def regular(*shape: int) -> Factory:
    """Square matrices near a permutation, of condition number 3 or so."""
    return lambda rng: np.eye(shape[-1])[::-1] + rng.uniform(-0.5, 0.5, shape) / shape[-1] if shape[-1] else np.eye(0)


def spaced(*shape: int) -> Factory:
    """Matrices whose singular values are 1, 2, 3 …"""

    def make(rng: np.random.Generator) -> Any:
        u, _, vh = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
        return u * (1.0 + np.arange(u.shape[-1])) @ vh

    return make


def symmetric(*shape: int) -> Factory:
    """Nearly symmetric matrices whose eigenvalues are near 1, 2, 3 …"""

    def make(rng: np.random.Generator) -> Any:
        q, _ = np.linalg.qr(rng.normal(size=shape))
        return q * (1.0 + np.arange(shape[-1])) @ np.swapaxes(q, -1, -2) + rng.uniform(-0.05, 0.05, shape)

    return make


def deficient(*shape: int) -> Factory:
    """Matrices of rank n - 1, the kernel along the first axis."""

    def make(rng: np.random.Generator) -> Any:
        x = np.asarray(regular(*shape)(rng))
        x[..., 0] = 0.0
        return x

    return make


def squares(of_shape: Any, **options: Any) -> list[Any]:
    return [
        *(s(of_shape(*shape), **options) for shape in [(3, 3), (2, 2, 2)]),
        s(strided(of_shape(2, 2)), **options),
        s(normal(0, 0), **options),
    ]


def rectangles() -> list[Any]:
    return [s(spaced(*shape)) for shape in [(3, 2), (2, 2, 3)]] + [s(strided(spaced(2, 2)))]


SYSTEMS = [
    s(regular(3, 3), normal(3)),
    s(regular(2, 2, 2), normal(2)),
    s(regular(2, 3, 3), normal(3, 1)),
    s(regular(2, 2), normal(2, 2, 1)),
    s(strided(regular(2, 2)), strided(normal(2, 2))),
    s(normal(0, 0), normal(0, 2)),
]


def lower(*shape: int) -> Factory:
    """Matrices whose both triangles, taken alone, are well conditioned."""
    return lambda rng: np.eye(shape[-1]) + rng.uniform(-0.5, 0.5, shape)


TRIANGLES = [
    s(lower(3, 3), normal(3, 2), upper=False),
    s(lower(2, 2), normal(2, 2, 1), upper=True),
    s(lower(2, 2), normal(2, 1), upper=True, unitriangular=True),
    s(lower(2, 2, 2), normal(1, 2), upper=False, left=False),
    s(normal(0, 0), normal(0, 2), upper=True),
]
TABLE: dict[str, list[Any]] = {
    "solve": SYSTEMS,
    "solve_triangular": TRIANGLES,
    "inv": squares(regular),
    "pinv": rectangles(),
    "cholesky": squares(symmetric),
    "qr": rectangles(),
    "svd": rectangles(),
    "svdvals": rectangles(),
    "eigh": squares(symmetric),
    "eigvalsh": squares(symmetric),
    "slogdet": squares(regular),
    "logdet": squares(symmetric),
    "det": [*squares(regular), s(deficient(3, 3))],
    "cofactors": [s(spaced(2, 3, 3)), s(deficient(3, 3)), s(normal(1, 1))],
    "matrix_exp": [s(normal(2, 2)), s(normal(2, 2, 2)), s(strided(normal(3, 3)))],
}


# Peers: PyTorch's, given the symmetric part where it reads one triangle, signs turned where they are free


def symmetrized(f: Any) -> Any:
    return lambda x: f((x + x.mT) / 2)


def first_positive(vectors: Any) -> Any:
    size = vectors.abs()
    if not size.numel():
        return size
    first = (size >= 0.99 * size.amax(-2, True)).byte().argmax(-2, keepdim=True)
    return vectors.gather(-2, first).sign().detach()


def svd(x: Any) -> Any:
    u, values, vh = torch.linalg.svd(x, full_matrices=False)
    return u * first_positive(u), values, vh * first_positive(u).mT


def eigh(x: Any) -> Any:
    w, v = torch.linalg.eigh((x + x.mT) / 2)
    return w, v * first_positive(v)


def cofactors(x: Any) -> Any:
    """By minors: the determinants of the matrices without a row and a column."""
    n = x.shape[-1]
    if n == 1:
        return torch.ones_like(x)
    rest = [[k for k in range(n) if k != i] for i in range(n)]
    rows = [[(-1.0) ** (i + j) * expanded_det(x[..., rest[i], :][..., rest[j]]) for j in range(n)] for i in range(n)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def expanded_det(x: Any) -> Any:
    """Along the first row."""
    return x.sum((-2, -1)) + 1.0 if not x.shape[-1] else (x[..., 0, :] * cofactors(x)[..., 0, :]).sum(-1)


TORCH: dict[str, Any] = {
    "solve": lambda a, b: (
        torch.linalg.solve(a, b.unsqueeze(-1)).squeeze(-1) if b.ndim == 1 else torch.linalg.solve(a, b)
    ),
    "solve_triangular": torch.linalg.solve_triangular,
    "inv": torch.linalg.inv,
    "pinv": torch.linalg.pinv,
    "cholesky": symmetrized(torch.linalg.cholesky),
    "qr": torch.linalg.qr,
    "svd": svd,
    "svdvals": torch.linalg.svdvals,
    "eigh": eigh,
    "eigvalsh": symmetrized(torch.linalg.eigvalsh),
    "slogdet": torch.linalg.slogdet,
    "logdet": torch.logdet,
    "det": expanded_det,
    "cofactors": cofactors,
    "matrix_exp": torch.linalg.matrix_exp,
}
JAX: dict[str, Any] = {}
