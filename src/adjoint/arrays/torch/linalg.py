"""PyTorch's linear algebra; vectors and batches by NumPy's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from adjoint.arrays import linalg

det = torch.linalg.det
matrix_exp = torch.linalg.matrix_exp
svdvals = torch.linalg.svdvals


def checked(name: str, f: Callable[..., Any], x: Any, *rest: Any) -> Any:
    """f, its failure explained."""
    try:
        return f(x, *rest)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise linalg.failure(name, x.detach().cpu().numpy()) from None


def solve(a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return checked("solve", torch.linalg.solve, a, b.unsqueeze(-1).expand(*a.shape[:-2], -1, 1)).squeeze(-1)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    return checked("solve", torch.linalg.solve, a, b.expand(*batch, *b.shape[-2:]))


def solve_triangular(a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    return torch.linalg.solve_triangular(a, b, upper=upper, left=left, unitriangular=unitriangular)


def inv(x: Any) -> Any:
    return checked("inv", torch.linalg.inv, x)


def cholesky(x: Any) -> Any:
    return checked("cholesky", torch.linalg.cholesky, linalg.symmetric_part(x))


def qr(x: Any) -> Any:
    return linalg.QR(*torch.linalg.qr(x))


def svd(x: Any) -> Any:
    return linalg.signed_svd(*checked("svd", lambda x: torch.linalg.svd(x, full_matrices=False), x))


def eigh(x: Any) -> Any:
    return linalg.signed_eigh(*checked("eigh", torch.linalg.eigh, linalg.symmetric_part(x)))


def eigvalsh(x: Any) -> Any:
    return checked("eigh", torch.linalg.eigvalsh, linalg.symmetric_part(x))


def slogdet(x: Any) -> Any:
    return linalg.SignedLog(*torch.linalg.slogdet(x))
