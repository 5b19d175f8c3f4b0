"""JAX's linear algebra; where LAPACK fails it gives infinity or NaN."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from adjoint.arrays import linalg

solve, inv, det = jnp.linalg.solve, jnp.linalg.inv, jnp.linalg.det


def matrix_exp(x: Any) -> Any:
    return jax.scipy.linalg.expm(x) if x.size else x


def solve_triangular(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    batch = jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = jnp.broadcast_to(a, (*batch, *a.shape[-2:])), jnp.broadcast_to(b, (*batch, *b.shape[-2:]))
    return jax.lax.linalg.triangular_solve(a, b, left_side=left, lower=not upper, unit_diagonal=unitriangular)


def cholesky(x: Any) -> Any:
    return jnp.linalg.cholesky(x, symmetrize_input=True)


def qr(x: Any) -> Any:
    return linalg.QR(*jnp.linalg.qr(x))


def svd(x: Any) -> Any:
    return linalg.signed_svd(*jnp.linalg.svd(x, full_matrices=False))


def svdvals(x: Any) -> Any:
    return jnp.linalg.svd(x, compute_uv=False)


def eigh(x: Any) -> Any:
    return linalg.signed_eigh(*jnp.linalg.eigh(x, symmetrize_input=True))


def eigvalsh(x: Any) -> Any:
    return jnp.linalg.eigvalsh(x, symmetrize_input=True)


def slogdet(x: Any) -> Any:
    return linalg.SignedLog(*jnp.linalg.slogdet(x))
