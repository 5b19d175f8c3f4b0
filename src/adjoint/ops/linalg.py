"""Linear algebra: derivatives as products of small maps (Giles 2008; Townsend 2016; Seeger et al. 2017).

dX = A⁻¹ (dB - dA X)          solve         dL = L Φ(L⁻¹ dA L⁻ᵀ)     cholesky, Φ: lower triangle, diagonal halved
dλ = diag(Vᵀ dA V)            eigh          dV = V (F ∘ Vᵀ dA V)     Fᵢⱼ = 1/(λⱼ - λᵢ)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjoint import arrays as xp
from adjoint.arrays.traced import Traced
from adjoint.maps.base import LinearMap
from adjoint.maps.combinations import Composition, Sum
from adjoint.maps.elementary import Diagonal, Identity
from adjoint.maps.layout import DiagonalPart, Permute, Reshape
from adjoint.maps.linalg import CofactorChange, Exponential, Solve, SymmetricPart, TriangularSolve, UpperFold
from adjoint.maps.matrices import LeftProduct, RightProduct
from adjoint.maps.reductions import Reduce
from adjoint.ops.define import OPERATIONS, operation, record
from adjoint.ops.layout import shape_of

Maps = Sequence[LinearMap | None]


def several(fn: Any) -> Callable[[Callable[[Any], tuple[Any, Maps]]], Any]:
    """An operation of one array with several results: decorates trace(x) -> (results, one map each or None)."""

    def with_trace(trace: Callable[[Any], tuple[Any, Maps]]) -> Any:
        def traced(x: Traced) -> Any:
            results, maps = trace(x.value)
            pairs = zip(results, maps, strict=True)
            return type(results)(*[z if map is None else record(x.tape, z, (x,), (map,)) for z, map in pairs])

        fn.table[Traced] = traced
        OPERATIONS[fn.__name__] = fn
        return fn

    return with_trace


def transposition(shape: tuple[int, ...]) -> LinearMap:
    """X ↦ Xᵀ of matrices (…, m, n)."""
    n = len(shape)
    return Permute((*range(n - 2), n - 1, n - 2), shape)


def between(left: Any, shape: tuple[int, ...], right: Any) -> LinearMap:
    """X ↦ A X B."""
    product = RightProduct(right, shape)
    return Composition([LeftProduct(left, product.out_shape), product])


# Systems


def columns(b: Any) -> tuple[Any, list[LinearMap]]:
    """b as a matrix of columns, and the map that makes a vector one."""
    n = shape_of(b)[-1]
    return (xp.expand_dims(b, -1), [Reshape((n,), (n, 1))]) if len(b.shape) == 1 else (b, [])


def back(z: Any, vector: bool) -> list[LinearMap]:
    """The map that takes the column axis away where b was a vector."""
    return [Reshape((*z.shape, 1), shape_of(z))] if vector else []


def solve_in_a(z: Any, a: Any, b: Any) -> LinearMap:
    """dA ↦ -A⁻¹ dA X."""
    vector = len(b.shape) == 1
    product = RightProduct(-(xp.expand_dims(z, -1) if vector else z), shape_of(a))
    return Composition([*back(z, vector), Solve(a, product.out_shape), product])


def solve_in_b(z: Any, a: Any, b: Any) -> LinearMap:
    """dB ↦ A⁻¹ dB."""
    matrix, widen = columns(b)
    return Composition([*back(z, bool(widen)), Solve(a, shape_of(matrix)), *widen])


solve = operation(xp.solve, solve_in_a, solve_in_b)


def triangle(a: Any, upper: bool, unitriangular: bool) -> LinearMap:
    """The part of A that `solve_triangular` reads."""
    k = int(unitriangular)
    return Diagonal(lambda: xp.triu(xp.ones_like(a), k) if upper else xp.tril(xp.ones_like(a), -k))


def triangular_in_a(z: Any, a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> LinearMap:
    """dA ↦ -A⁻¹ dA X, or -X dA A⁻¹."""
    product = RightProduct(-z, shape_of(a)) if left else LeftProduct(-z, shape_of(a))
    divided = TriangularSolve(a, product.out_shape, upper, left, unitriangular)
    return Composition([divided, product, triangle(a, upper, unitriangular)])


def triangular_in_b(z: Any, a: Any, b: Any, upper: bool, left: bool = True, unitriangular: bool = False) -> LinearMap:
    """dB ↦ A⁻¹ dB, or dB A⁻¹."""
    return TriangularSolve(a, shape_of(b), upper, left, unitriangular)


solve_triangular = operation(xp.solve_triangular, triangular_in_a, triangular_in_b)
inv = operation(xp.inv, lambda z, x: between(-z, shape_of(x), z))


def pinv_rule(z: Any, x: Any) -> LinearMap:
    """dA ↦ -A⁺ dA A⁺ + A⁺ A⁺ᵀ dAᵀ (I - A A⁺) + (I - A⁺ A) dAᵀ A⁺ᵀ A⁺."""
    turned = transposition(shape_of(x))
    back = turned.out_shape
    outside = xp.eye(x, x.shape[-2]) - xp.matmul(x, z)
    inside = xp.eye(x, x.shape[-1]) - xp.matmul(z, x)
    return Sum([
        between(-z, shape_of(x), z),
        Composition([between(xp.matmul(z, z.mT), back, outside), turned]),
        Composition([between(inside, back, xp.matmul(z.mT, z)), turned]),
    ])  # fmt: skip


pinv = operation(xp.pinv, pinv_rule)


# Factorizations


def cholesky_rule(z: Any, x: Any) -> LinearMap:
    """dA ↦ L Φ(L⁻¹ dA L⁻ᵀ)."""
    shape = shape_of(x)
    half = Diagonal(lambda: xp.tril(xp.ones_like(z)) - 0.5 * xp.eye(z, shape[-1]))
    left = TriangularSolve(z, shape, upper=False)
    right = TriangularSolve(z.mT, shape, upper=True, left=False)
    return Composition([LeftProduct(z, shape), half, left, right, SymmetricPart(shape)])


cholesky = operation(xp.cholesky, cholesky_rule)


def qr_traced(x: Traced) -> Any:
    """Of a wide matrix: Q from its first columns, R = Qᵀ A."""
    m, n = x.shape[-2:]
    if m >= n:
        return tall_qr(x)
    q, r = tall_qr(x[..., :m])
    return xp.QR(q, xp.concatenate([r, xp.matmul(q.mT, x[..., m:])], -1))


def tall_qr(x: Traced) -> Any:
    """dR = fold(Qᵀ M) R and dQ = M - Q fold(Qᵀ M) with M = dA R⁻¹."""
    q, r = xp.qr(x.value)
    shape, small = shape_of(x), shape_of(r)
    divided = TriangularSolve(r, shape, upper=True, left=False)
    fold = Composition([UpperFold(small), LeftProduct(q.mT, shape)])
    in_r = Composition([RightProduct(r, small), fold, divided])
    in_q = Composition([Sum([Identity(shape), Composition([LeftProduct(-q, small), fold])]), divided])
    return xp.QR(record(x.tape, q, (x,), (in_q,)), record(x.tape, r, (x,), (in_r,)))


xp.qr.table[Traced] = qr_traced  # type: ignore[attr-defined]
OPERATIONS["qr"] = xp.qr


def gaps(rows: Any, columns: Any) -> Any:
    """1/(columnsⱼ - rowsᵢ), 0 on the diagonal, infinite where others are equal."""
    difference = xp.expand_dims(columns, -2) - xp.expand_dims(rows, -1)
    equal = xp.equal(difference, 0.0)
    inverse = xp.where(equal, float("inf"), 1.0 / xp.where(equal, 1.0, difference))
    return xp.where(xp.eye(difference, difference.shape[-1], "bool"), 0.0, inverse)


@several(xp.eigh)
def eigh(x: Any) -> Any:
    """dλ = diag(Vᵀ dA V), dV = V (F ∘ Vᵀ dA V)."""
    w, v = result = xp.eigh(x)
    shape = shape_of(x)
    seen = [between(v.mT, shape, v), SymmetricPart(shape)]
    in_vectors = Composition([LeftProduct(v, shape), Diagonal(lambda: gaps(w, w)), *seen])
    return result, (Composition([DiagonalPart(shape), *seen]), in_vectors)


@several(xp.svd)
def svd(x: Any) -> Any:
    """dS = diag(P), dU = U (G ∘ (P S + S Pᵀ)) + (I - U Uᵀ) dA V S⁻¹, likewise dV, with P = Uᵀ dA V.

    Gᵢⱼ = 1/(sⱼ² - sᵢ²); the last term only where U is not square.
    """
    u, s, vh = result = xp.svd(x)
    shape = shape_of(x)
    m, n = shape[-2:]
    seen = between(u.mT, shape, vh.mT)
    square = seen.out_shape
    row, column = xp.expand_dims(s, -2), xp.expand_dims(s, -1)

    def scale() -> Any:
        diagonal = xp.eye(s, s.shape[-1], "bool")
        return gaps(s, s) / xp.where(diagonal, 1.0, row + column)

    def turned(first: Any, second: Any) -> LinearMap:
        """P ↦ G ∘ (first P + second Pᵀ)."""
        swapped = Composition([Diagonal(lambda: scale() * second), transposition(square)])
        return Composition([Sum([Diagonal(lambda: scale() * first), swapped]), seen])

    in_u: LinearMap = Composition([LeftProduct(u, square), turned(row, column)])
    in_vh: LinearMap = Composition([RightProduct(-vh, square), turned(column, row)])
    if m > n:
        out = outside(u, shape, left=True)
        in_u = Sum([in_u, Composition([out, RightProduct(vh.mT / row, shape)])])
    if n > m:
        out = outside(vh.mT, shape, left=False)
        in_vh = Sum([in_vh, Composition([LeftProduct(u.mT / column, out.out_shape), out])])
    return result, (in_u, Composition([DiagonalPart(square), seen]), in_vh)


def outside(q: Any, shape: tuple[int, ...], left: bool) -> LinearMap:
    """X ↦ (I - Q Qᵀ) X, or X (I - Q Qᵀ), of matrices of that shape, Q with orthonormal columns."""
    if left:
        shape = (*shape[:-1], q.shape[-1])
        inner: LinearMap = LeftProduct(q.mT, shape)
        back: LinearMap = LeftProduct(-q, inner.out_shape)
    else:
        inner = RightProduct(q, shape)
        back = RightProduct(-q.mT, inner.out_shape)
    return Sum([Identity(shape), Composition([back, inner])])


# Determinants and the exponential


def weighted(weights: Callable[[], Any], x: Any) -> LinearMap:
    """dA ↦ Σ weights ∘ dA."""
    return Reduce(weights, (-2, -1), shape_of(x))


@several(xp.slogdet)
def slogdet(x: Any) -> Any:
    """d log|det A| = ⟨A⁻ᵀ, dA⟩; the sign is constant."""
    return xp.slogdet(x), (None, weighted(lambda: xp.inv(x).mT, x))


det = operation(xp.det, lambda z, x: weighted(lambda: xp.cofactors(x), x))


def cofactors_rule(z: Any, x: Any) -> LinearMap:
    """U C(Uᵀ dA V) Vh times det(U Vh), C linear in the frame of singular vectors."""
    u, s, vh = xp.svd(x)
    turned = xp.expand_dims(xp.expand_dims(xp.slogdet(xp.matmul(u, vh)).sign, -1), -1)
    frame = between(u.mT, shape_of(x), vh.mT)
    change = CofactorChange(products_of_others(s))
    return Composition([between(u * turned, shape_of(x), vh), change, frame])


def products_of_others(s: Any) -> Any:
    """∏ of all entries but the i-th and the j-th along the last axis, (…, n) to (…, n, n); 0 where i = j."""
    n = s.shape[-1]
    one = xp.eye(s, n, "bool")
    left = xp.where(one, 1.0, xp.expand_dims(s, -2))
    both = xp.where(one, 1.0, xp.expand_dims(left, -2))
    return xp.where(one, 0.0, xp.prod(both, -1))


cofactors = operation(xp.cofactors, cofactors_rule)
matrix_exp = operation(xp.matrix_exp, lambda z, x: Exponential(x))
