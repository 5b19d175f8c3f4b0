"""Examples of the maps that derivatives of linear algebra are made of."""

from __future__ import annotations

import numpy as np
import scipy.linalg

import adjoint as aj
from tests.maps.examples.example import Example, Shape, columns, normal


def dominant(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return np.eye(shape[-1]) + rng.uniform(-0.5, 0.5, shape) / shape[-1]


def exchange(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Symmetric, with a zero diagonal."""
    x = rng.standard_normal(shape)
    return (x + x.T) * (1.0 - np.eye(shape[-1]))


EXAMPLES: list[Example] = [
    Example(
        aj.Solve,
        lambda a: aj.Solve(a, (3, 2)),
        ((3, 3),),
        lambda a: np.kron(np.linalg.inv(a), np.eye(2)),
        (dominant,),
    ),
    Example(
        aj.Solve,
        lambda a: aj.Solve(a, (2, 1)),
        ((3, 2, 2),),
        lambda a: columns(lambda v: np.linalg.inv(a) @ v, (2, 1)),
        (dominant,),
    ),
    Example(
        aj.TriangularSolve,
        lambda a: aj.TriangularSolve(a, (3, 2), upper=False),
        ((3, 3),),
        lambda a: np.kron(np.linalg.inv(np.tril(a)), np.eye(2)),
        (dominant,),
    ),
    Example(
        aj.TriangularSolve,
        lambda a: aj.TriangularSolve(a, (2, 1, 3), upper=True, left=False, unitriangular=True),
        ((3, 3),),
        lambda a: columns(lambda v: v @ np.linalg.inv(np.triu(a, 1) + np.eye(3)), (2, 1, 3)),
        (dominant,),
    ),
    Example(
        aj.SymmetricPart, lambda: aj.SymmetricPart((2, 3, 3)), (), lambda: columns(lambda x: (x + x.mT) / 2, (2, 3, 3))
    ),
    Example(
        aj.UpperFold,
        lambda: aj.UpperFold((3, 3)),
        (),
        lambda: columns(lambda x: np.triu(x) + np.tril(x, -1).T, (3, 3)),
    ),
    Example(
        aj.Exponential,
        aj.Exponential,
        ((2, 2),),
        lambda a: columns(lambda v: scipy.linalg.expm_frechet(a, v, compute_expm=False), (2, 2)),
        (normal,),
    ),
    Example(
        aj.CofactorChange,
        aj.CofactorChange,
        ((3, 3),),
        lambda p: columns(lambda w: np.diag(p @ np.diag(w)) - p * w.T, (3, 3)),
        (exchange,),
    ),
]
