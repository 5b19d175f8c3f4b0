"""Spectral questions against NumPy, SciPy and exact arithmetic; bounds must be true, refusals explained."""

from __future__ import annotations

import copy
import functools
import math
import operator
import pickle
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.maps import LinearMap
from adjoint.maps.spaces import ravel
from adjoint.maps.spectra import budget, gram, lanczos
from tests.maps.examples import EXAMPLES, Example, moved, name, plain

EPS = 2.0**-52
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=name)


def with_values(m: int, n: int, s: Any, seed: int = 0) -> np.ndarray:
    """An m×n matrix with these singular values, to rounding."""
    rng = np.random.default_rng(seed)
    k = len(s)
    u, v = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (m, n))
    return (u * np.asarray(s)) @ v.T


def exact_values(*factors: np.ndarray) -> list[mpmath.mpf]:
    """The singular values of a product of matrices in 50 digits, largest first."""
    with mpmath.workdps(50):
        A = functools.reduce(operator.mul, (mpmath.matrix(matrix.tolist()) for matrix in factors))
        if A.rows < A.cols:
            A = A.T
        return sorted(mpmath.svd_r(A, compute_uv=False), reverse=True)


def known(example: Example) -> tuple[LinearMap, np.ndarray]:
    assert example.matrix is not None
    return example.build(*example.arrays()), np.asarray(example.matrix(*example.arrays()), np.float64)


def unlimited(monkeypatch: pytest.MonkeyPatch, flops: float = 0.0) -> None:
    """Every matrix too large."""
    monkeypatch.setattr(budget, "MATRIX_FLOPS", flops)
    monkeypatch.setattr(budget, "MATRIX_BYTES", 0)


# Every kind of map, by whatever method suits it


@pytest.mark.covers("M08")
@every_example
def test_singular_values_and_what_depends_on_them(example: Example) -> None:
    A, M = known(example)
    s = np.linalg.svd(M, compute_uv=False)
    near = 1e-14 * sum(M.shape) * max(s)
    found = A.svdvals()
    assert found.shape == s.shape
    assert np.all(np.abs(found - s) <= found.bound + near)
    for number, expected in (
        (A.norm(), s[0]),
        (A.frobenius(), np.linalg.norm(M)),
        (A.stable_rank(), np.sum(s**2) / s[0] ** 2 if s[0] else 0.0),
    ):
        assert abs(number - expected) <= number.bound + near * max(1.0, 1.0 / max(s[0], 1e-300) if s[0] else 1.0)
        assert number.method
        assert math.isfinite(number.bound)
    full = np.linalg.matrix_rank(M) == min(M.shape)
    assert A.cond() == (pytest.approx(s[0] / s[-1], rel=1e-9) if full else math.inf)
    p = s[s > 0] / np.sum(s) if s[0] else s
    entropy = math.exp(-np.sum(p * np.log(p))) if s[0] else 0.0
    assert abs(A.effective_rank() - entropy) <= A.effective_rank().bound + 1e-10


@pytest.mark.covers("M03", "M04")
@every_example
def test_rank_nullity_kernel_and_image(example: Example) -> None:
    A, M = known(example)
    m, n = M.shape
    s1 = np.linalg.norm(M, 2)
    rank, nullity, kernel, image = A.rank(), A.nullity(), A.kernel(), A.image()
    assert rank == np.linalg.matrix_rank(M) == image.dim
    assert nullity == n - rank == kernel.dim
    assert rank.bound == 0
    near = 1e-14 * (m + n)
    for part, expected, space in (
        (kernel, scipy.linalg.null_space(M), A.in_shape),
        (image, scipy.linalg.orth(M), A.out_shape),
    ):
        B = plain(part.matrix())
        assert part.out_shape == space
        np.testing.assert_allclose(B.T @ B, np.eye(part.dim), 0, near)
        np.testing.assert_allclose(B @ B.T, expected @ expected.T, 0, 1e4 * near)
    assert np.linalg.norm(M @ plain(kernel.matrix())) <= kernel.bound + near * s1
    P = plain(image.projection().matrix())
    assert np.linalg.norm(M - P @ M) <= image.bound + near * s1
    assert A.is_injective() == (rank == n)
    assert A.is_surjective() == (rank == m)
    assert A.is_isomorphism() == (rank == m == n)


@every_example
def test_svd_rebuilds_the_map(example: Example) -> None:
    A, M = known(example)
    U, S, Vh = A.svd()
    take_out = U if A.out_tree is None else A.out_tree.leaves(U)
    take_in = Vh if A.in_tree is None else A.in_tree.leaves(Vh)
    u, v = plain(ravel(take_out, A.out_shape)), plain(ravel(take_in, A.in_shape))
    near = 1e-13 * sum(M.shape) * (1.0 + np.linalg.norm(M))
    np.testing.assert_allclose((u.T * S) @ v, M, 0, near)
    np.testing.assert_allclose(u @ u.T, np.eye(len(S)), 0, near)
    np.testing.assert_allclose(v @ v.T, np.eye(len(S)), 0, near)


@pytest.mark.covers("M05")
@every_example
def test_inverse_exactly_where_there_is_one(example: Example) -> None:
    A, M = known(example)
    if M.shape[0] != M.shape[1]:
        with pytest.raises(aj.SpectrumError, match="pseudo-inverse"):
            A.inverse()
    elif np.linalg.matrix_rank(M) < len(M):
        with pytest.raises(aj.SpectrumError, match="singular to working precision"):
            A.inverse()
    else:
        B = A.inverse()
        assert (B.in_shape, B.out_shape) == (A.out_shape, A.in_shape)
        near = 1e-14 * len(M) * np.linalg.cond(M) * max(1.0, np.linalg.norm(np.linalg.inv(M)))
        np.testing.assert_allclose(plain(B.matrix()), np.linalg.inv(M), 0, near)
        np.testing.assert_allclose(plain((A @ B).matrix()), np.eye(len(M)), 0, near * np.linalg.norm(M))


# The bound of every method against exact arithmetic


@pytest.mark.covers("M08")
@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 2), (3, 2), (2, 5), (6, 6), (9, 4)])
@pytest.mark.parametrize("kind", ["random", "graded", "deficient", "tiny"])
def test_bounds_of_the_svd_against_exact_arithmetic(m: int, n: int, kind: str) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        W = rng.standard_normal((m, n))
        if kind == "graded":
            W = W * 10.0 ** rng.uniform(-5.0, 5.0, n)
        if kind == "deficient":
            W[:, -1] = 2.0 * W[:, 0]
        if kind == "tiny":
            W = with_values(m, n, np.logspace(0, -14, min(m, n)), seed)
        s = exact_values(W)
        A = aj.Dense(W)
        found = A.svdvals()
        assert found.method == "svd"
        for value, bound, expected in zip(found, found.bound, s, strict=True):
            assert abs(mpmath.mpf(float(value)) - expected) <= bound
        total = sum(s)
        with mpmath.workdps(50):
            entropy = mpmath.exp(-sum(x / total * mpmath.log(x / total) for x in s if x > 0))
            square = sum(x**2 for x in s)
            for number, expected in (
                (A.norm(), s[0]),
                (A.frobenius(), mpmath.sqrt(square)),
                (A.stable_rank(), square / s[0] ** 2),
                (A.effective_rank(), entropy),
                (A.cond(), s[0] / s[-1] if s[-1] > s[0] * mpmath.mpf(10) ** -40 else mpmath.inf),
            ):
                if math.isfinite(number):
                    assert abs(mpmath.mpf(float(number)) - expected) <= number.bound
                else:
                    assert number.bound == math.inf
        rank = A.rank()
        assert abs(rank - sum(x > rank.tolerance for x in s)) <= rank.bound
        assert rank == np.linalg.matrix_rank(W)
        assert rank.tolerance == pytest.approx(max(m, n) * EPS * found[0]) or m == n == 1


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_bounds_of_the_factors_against_exact_arithmetic(scale: float) -> None:
    """The product of the factors cancels, so its small values are known only to ε‖B‖‖A‖; the tolerance says so."""
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    left = q[:, :3] * [1.0, scale, 1.0]
    right = np.diag([1.0, 1.0 / scale, 1e-15]) @ rng.standard_normal((3, 5))
    A = aj.LowRank(left, right)
    s = exact_values(left, right)
    found = A.svdvals()
    assert found.method == "svd of the factors"
    assert len(found) == 5
    assert all(abs(mpmath.mpf(float(x)) - y) <= b + 1e-40 for x, y, b in zip(found, s, found.bound, strict=True))
    assert A.rank() == 2
    assert A.rank().tolerance >= found.bound[2]


@pytest.mark.parametrize(("m", "n"), [(150, 80), (70, 200), (100, 100)])
def test_bounds_of_the_gram_matrix_of_float32(m: int, n: int) -> None:
    s = np.concatenate([np.logspace(0, -9, min(m, n) - 5), np.zeros(5)])
    W = with_values(m, n, s).astype(np.float32)
    expected = np.linalg.svd(W.astype(np.float64), compute_uv=False)
    A = aj.Dense(W)
    found = A.svdvals()
    assert found.method == "gram in float64"
    assert np.all(np.abs(found - expected) <= found.bound + EPS * max(m, n))
    assert np.any(found.bound > 1e-9)
    assert A.rank() == np.linalg.matrix_rank(W)
    assert A.rank().bound == 0
    assert A.cond().method == "svd"


def test_the_gram_matrix_never_serves_float64() -> None:
    W = with_values(100, 80, np.logspace(0, -12, 80))
    assert aj.Dense(W).svdvals().method == "svd"
    assert aj.Dense(W).rank() == 80
    values_found, bound = gram.by_gram(W)
    assert np.all(np.abs(values_found - np.logspace(0, -12, 80)) <= bound + 1e-14)
    assert bound[-1] > 1e-9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bounds_without_the_matrix(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    W = with_values(90, 60, 3.0 * np.logspace(0, -3, 60)).astype(dtype)
    expected = np.linalg.svd(W.astype(np.float64), compute_uv=False)
    unlimited(monkeypatch)
    A = aj.Dense(W) + aj.Outer(np.zeros(90, dtype), np.zeros(60, dtype))
    found = A.svdvals(4)
    assert found.method == "golub-kahan"
    assert np.all(np.abs(found - expected[:4]) <= found.bound)
    assert np.all(found.bound < 100 * np.finfo(dtype).eps ** 0.7)
    assert abs(A.norm() - expected[0]) <= A.norm().bound
    U, S, Vh = A.svd(4)
    assert U.dtype == Vh.dtype == W.dtype
    np.testing.assert_allclose(W @ Vh.T, U.T * S, 0, 10 * float(found.bound[0]))
    for estimate, truth in (
        (A.frobenius(), np.linalg.norm(expected)),
        (A.stable_rank(), np.sum(expected**2) / expected[0] ** 2),
    ):
        assert "hutch++" in estimate.method
        assert abs(estimate - truth) <= estimate.bound
        assert estimate.bound < 0.2 * truth


def test_hutch_plus_plus_covers_its_standard_errors() -> None:
    """Over many matrices with flat spectra, where it is hardest, three standard errors rarely miss."""
    missed = 0
    for seed in range(60):
        W = np.random.default_rng(seed).standard_normal((80, 70))
        found = lanczos.frobenius(aj.Dense(W))
        missed += abs(found - np.linalg.norm(W)) > found.bound
    assert missed <= 2


def test_the_choice_follows_the_declared_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    W = np.random.default_rng(0).standard_normal((300, 260))
    assert aj.Dense(W).norm().method == "svd"
    monkeypatch.setattr(budget, "VECTOR_PENALTY", 0.1)
    assert aj.Dense(W).norm().method == "golub-kahan"
    assert aj.Dense(W).svdvals(259).method == "svd"
    assert aj.Dense(W).svd(2).method == "golub-kahan"
    assert aj.Dense(W).svdvals().method == "svd"


def test_products_of_huge_maps_by_structure() -> None:
    W = with_values(5, 4, [3.0, 2.0, 1.0])
    batch = 10_000_000
    A = aj.kron(aj.Identity((batch,)), aj.Dense(W))
    assert A.rank() == 3 * batch
    assert A.nullity() == batch
    assert A.norm() == pytest.approx(3.0)
    assert A.frobenius() == pytest.approx(math.sqrt(14.0 * batch))
    np.testing.assert_allclose(A.svdvals(batch + 2)[-3:], [3.0, 2.0, 2.0])
    with pytest.raises(aj.SpectrumError, match="kernel"):
        A.kernel()
    big = aj.kron(aj.Dense(with_values(300, 200, np.ones(2))), aj.Dense(with_values(200, 300, np.arange(1.0, 4.0))))
    assert big.rank() == 6
    np.testing.assert_allclose(big.svdvals(3), [3.0, 3.0, 2.0])
    U, S, Vh = aj.kron(aj.Dense(W), aj.Dense(W.T)).svd(2)
    np.testing.assert_allclose(S, [9.0, 6.0])
    assert U.shape == (2, 5, 4)
    assert Vh.shape == (2, 4, 5)
    weighting = aj.Weighting(np.random.default_rng(0).standard_normal((64, 30)), (1000, 30))
    assert weighting.rank() == 30_000
    softmax = aj.Softmax(np.full((64, 64, 20), 0.05), -1)
    assert softmax.nullity() == 64 * 64
    low = aj.LowRank(np.ones((40_000, 1)), np.ones((1, 50_000)))
    assert low.rank() == 1
    assert low.image().basis.shape == (1, 40_000)


# Tolerances, planted ranks, precision


@pytest.mark.covers("M04")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "r"), [(7, 5, 3), (5, 90, 4), (120, 80, 71), (6, 6, 0)])
def test_planted_ranks(dtype: str, m: int, n: int, r: int) -> None:
    W = with_values(m, n, np.linspace(2.0, 0.5, r) if r else np.zeros(1)).astype(dtype)
    A = aj.Dense(W)
    assert A.rank() == np.linalg.matrix_rank(W) == r
    assert A.nullity() == A.kernel().dim == n - r
    assert A.T.rank() == r
    eps = float(np.finfo(dtype).eps)
    assert A.rank().tolerance == pytest.approx(max(m, n) * eps * A.norm())
    K = A.kernel()
    assert K.vectors.dtype == W.dtype
    assert np.linalg.norm(W @ K.matrix()) <= K.bound * max(1.0, math.sqrt(K.dim)) + 1e-300
    assert (A @ K).norm() <= K.bound + 4 * eps * A.norm()


def test_the_callers_tolerance() -> None:
    A = aj.Dense(np.diag([1.0, 1e-3, 1e-6, 0.0]))
    assert [A.rank(t) for t in (0.0, 1e-7, 1e-4, 0.1, 2.0)] == [3, 3, 2, 1, 0]
    assert A.rank(1e-4).tolerance == A.nullity(1e-4).tolerance == A.kernel(1e-4).tolerance == 1e-4
    assert A.kernel(1e-4).dim == 2
    assert A.image(1e-4).dim == 2
    assert 1e-6 <= A.kernel(1e-4).bound < 2e-6
    assert not A.is_injective(1e-4)
    assert aj.Diagonal(np.array([1.0, 1e-3])).kernel(0.01).basis.tolist() == [[0.0, 1.0]]
    with pytest.raises(ValueError, match="tolerance"):
        A.rank(-1.0)
    with pytest.raises(ValueError, match="tolerance"):
        A.rank(math.nan)


def test_a_count_tells_when_it_hangs_on_the_tolerance() -> None:
    W = with_values(8, 8, [1.0, 1e-9])
    rank = aj.Dense(W).rank(1e-9)
    assert rank.bound == 1
    assert "±1" in repr(rank)


def test_one_answer_whatever_the_representation() -> None:
    d = np.array([1.0, 1e-9, 1e-17, 0.0])
    for A in (aj.Diagonal(d), aj.Dense(np.diag(d)), aj.Dense(np.eye(4)) @ aj.Diagonal(d)):
        assert A.rank() == np.linalg.matrix_rank(np.diag(d)) == 2


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 5), st.integers(0, 10_000))
@pytest.mark.covers("M04")
def test_rank_nullity_theorem(m: int, n: int, r: int, seed: int) -> None:
    """rank + nullity = n; the kernel and the image of the adjoint are each other's complement."""
    rng = np.random.default_rng(seed)
    d = rng.integers(-1, 2, n).astype(float)
    low = rng.integers(-2, 3, (m, r)).astype(float) @ rng.integers(-2, 3, (r, n)).astype(float)
    for A in (aj.Dense(low) @ aj.Diagonal(d), aj.Dense(low) @ aj.Diagonal(d) + aj.Outer(np.ones(m), d)):
        M = A.matrix()
        assert A.rank() == A.T.rank() == np.linalg.matrix_rank(M)
        assert A.rank() + A.nullity() == A.kernel().dim + A.image().dim == n
        both = np.vstack([A.kernel().matrix().T, A.T.image().matrix().T])
        np.testing.assert_allclose(both @ both.T, np.eye(n), 0, 1e-12)


@pytest.mark.covers("M15")
@given(st.integers(1, 4), st.integers(2, 9), st.integers(0, 10_000))
def test_the_rank_of_scores_is_at_most_the_head_size(d_k: int, t: int, seed: int) -> None:
    """QKᵀ has rank d_k at most, however many tokens: every query's scores mix d_k patterns over the keys."""
    rng = np.random.default_rng(seed)
    Q, K = rng.standard_normal((2, t, d_k))
    scores = aj.Dense(Q) @ aj.Dense(K).T
    assert scores.rank() == aj.LowRank(Q, K.T).rank() == np.linalg.matrix_rank(Q @ K.T) <= d_k
    assert scores.nullity() == t - scores.rank()
    patterns = scores.T.image()
    assert patterns.dim <= d_k
    assert all(patterns.contains(row) for row in Q @ K.T)


@pytest.mark.covers("M15")
def test_with_one_dimension_a_head_all_queries_order_the_keys_alike_or_in_reverse() -> None:
    rng = np.random.default_rng(0)
    Q, K = rng.standard_normal((2, 12, 1))
    weights = aj.softmax(Q @ K.T)
    order = np.argsort(K[:, 0])
    for q, row in zip(Q[:, 0], weights, strict=True):
        assert np.argsort(row).tolist() == (order if q > 0 else order[::-1]).tolist()
    assert aj.Dense(weights).rank() > 1


@pytest.mark.covers("M05")
@pytest.mark.parametrize(
    ("A", "injective", "surjective"),
    [
        (aj.Dense(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])), True, False),
        (aj.Dense(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])), False, True),
        (aj.Dense(np.array([[2.0, 1.0], [1.0, 1.0]])), True, True),
        (aj.Dense(np.array([[1.0, 2.0], [2.0, 4.0]])), False, False),
        (aj.Broadcast((3,), (2, 3)), True, False),
        (aj.Slice(slice(1, 3), (4,)), False, True),
        (aj.Reshape((2, 3), (6,)), True, True),
        (aj.Diagonal(np.array([1.0, 0.0])), False, False),
        (aj.CumulativeSum(0, (4,)), True, True),
        (aj.Softmax(np.array([0.5, 0.25, 0.25])), False, False),
    ],
    ids=str,
)
def test_injective_surjective_isomorphism(A: LinearMap, injective: bool, surjective: bool) -> None:
    assert A.is_injective() is injective
    assert A.is_surjective() is surjective
    assert A.is_isomorphism() is (injective and surjective)
    assert A.T.is_injective() is surjective
    assert A.T.is_surjective() is injective


# Refusals


@pytest.mark.parametrize(
    "question", ["rank", "nullity", "kernel", "image", "cond", "effective_rank", "svdvals", "svd", "inverse", "eig"]
)
def test_what_needs_the_matrix_is_refused_when_it_is_too_large(monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    unlimited(monkeypatch)
    A = aj.Dense(np.random.default_rng(0).standard_normal((9, 9)))
    with pytest.raises(aj.SpectrumError, match=r"9 × 9.*above the limits in adjoint\.maps\.spectra\.budget") as refusal:
        getattr(A, question)()
    assert question in str(refusal.value) or question == "effective_rank"
    assert "norm()" in str(refusal.value) or question == "eig"


def test_what_structure_knows_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited(monkeypatch)
    d = aj.Diagonal(np.array([2.0, 0.0, -1.0]))
    assert d.rank() == 2
    assert aj.Diagonal(np.array([2.0, -1.0])).cond() == 2.0
    assert aj.Diagonal(np.array([2.0, -1.0])).inverse().d.tolist() == [0.5, -1.0]
    assert aj.Permute((1, 0), (100, 200)).is_isomorphism()
    assert aj.block([[aj.Identity((2,)), None], [None, d]]).rank() == 4
    assert repr(d.rank()) == "2 (exact, structure)"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("question", ["rank", "kernel", "svdvals", "norm", "frobenius", "cond", "eig", "inverse"])
def test_nan_and_infinity(bad: float, question: str) -> None:
    W = np.ones((3, 3))
    W[1, 2] = bad
    for A in (aj.Dense(W), aj.Diagonal(W[1]), aj.Scale(bad, (2,)), aj.Dense(W) + aj.Identity((3,))):
        with pytest.raises(aj.SpectrumError, match="NaN or infinite"):
            getattr(A, question)()


def test_nan_without_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited(monkeypatch)
    W = np.ones((30, 20))
    W[1, 2] = math.nan
    A = aj.Dense(W) + aj.Dense(W)
    for question in (lambda: A.norm(), lambda: A.svd(1), lambda: A.frobenius()):
        with pytest.raises(aj.SpectrumError, match="NaN or infin"):
            question()


def test_a_wrong_adjoint_is_found_out() -> None:
    class Wrong(aj.Operator):
        def adjoint(self, u: Any) -> Any:
            return 2.0 * super().adjoint(u)

    LinearMap.registry.remove(Wrong)
    A = Wrong(scipy.sparse.csr_array(np.arange(12.0).reshape(3, 4)))
    with pytest.raises(aj.SpectrumError, match="apply and adjoint are not of one matrix"):
        A.rank()


def test_extreme_scales() -> None:
    for scale in (1e-160, 1e160, 1e-300):
        W = scale * with_values(5, 4, [3.0, 1.0])
        A = aj.Dense(W)
        assert A.rank() == 2
        assert A.frobenius() == pytest.approx(scale * math.sqrt(10.0))
        assert A.stable_rank() == pytest.approx(10.0 / 9.0)
        assert aj.Diagonal(scale * np.array([1.0, 2.0])).frobenius() == pytest.approx(scale * math.sqrt(5.0))


@pytest.mark.parametrize(("m", "n"), [(0, 3), (3, 0), (0, 0)])
def test_empty_maps(m: int, n: int) -> None:
    for A in (
        aj.Dense(np.zeros((m, n))),
        aj.Zero((n,), (m,)),
        aj.Dense(np.zeros((m, 2))) @ aj.Dense(np.zeros((2, n))),
        aj.kron(aj.Dense(np.zeros((m, n))), aj.Identity((2,))),
    ):
        assert A.rank() == 0
        assert A.nullity() == A.shape[1]
        assert A.kernel().dim == A.shape[1]
        assert A.image().dim == 0
        assert A.norm() == A.frobenius() == A.stable_rank() == A.effective_rank() == 0.0
        assert len(A.svdvals()) == 0
        assert A.cond() == 1.0
        assert A.is_isomorphism() == (m == n)
        assert len(A.svd().S) == 0
    if m == n:
        assert aj.Dense(np.zeros((0, 0))).inverse().shape == (0, 0)
        assert len(aj.Dense(np.zeros((0, 0))).eig().values) == 0


def test_the_zero_matrix() -> None:
    A = aj.Dense(np.zeros((3, 4)))
    assert A.rank() == 0
    assert A.cond() == math.inf
    assert A.stable_rank() == A.effective_rank() == A.norm() == 0.0
    assert lanczos.triplets(A, 2).values.tolist() == [0.0, 0.0]
    assert aj.Zero((3,), (4,)).cond().bound == 0.0


@pytest.mark.parametrize("k", [0, -1, 2.0, "all"])
def test_k_is_a_positive_whole_number(k: Any) -> None:
    A = aj.Dense(np.eye(3))
    for question in (A.svd, A.svdvals, A.eig):
        with pytest.raises(ValueError, match="whole number ≥ 1"):
            question(k)


def test_k_beyond_the_size_means_all() -> None:
    A = aj.Dense(with_values(5, 4, [3.0, 2.0, 1.0, 0.5]))
    assert len(A.svdvals(9)) == len(A.svd(9).S) == 4
    assert len(aj.Identity((3,)).svdvals(9)) == 3
    assert len(aj.Dense(np.eye(3)).eig(9).values) == 3


# Eigenvectors


@pytest.mark.covers("M09")
@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_eigenvectors_are_the_directions_that_stay(n: int) -> None:
    rng = np.random.default_rng(n)
    W = rng.standard_normal((n, n))
    for M in (W + W.T, W):
        A = aj.Dense(M)
        found, vectors = A.eig()
        expected = np.linalg.eigvals(M)
        assert np.all(np.diff(np.abs(found)) <= 1e-12)
        for value, bound in zip(found, found.bound, strict=True):
            assert np.min(np.abs(expected - value)) <= bound + 1e-12
        np.testing.assert_allclose(M @ vectors.T, vectors.T * found, 0, 1e-12 * n)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0)
    assert aj.Dense(W + W.T).eig().method == "eigh"
    assert np.isrealobj(aj.Dense(W + W.T).eig().values)


@pytest.mark.covers("M09")
def test_eigenvalues_of_structured_and_known_maps() -> None:
    turn = aj.Dense(np.array([[0.0, -1.0], [1.0, 0.0]]))
    assert sorted(turn.eig().values.values.imag) == [-1.0, 1.0]
    assert aj.Diagonal(np.array([1.0, -3.0, 2.0])).eig().values.values.tolist() == [-3.0, 2.0, 1.0]
    shift = aj.Roll(1, 0, (4,)).eig().values
    np.testing.assert_allclose(np.sort_complex(shift.values), np.sort_complex(np.roots([1, 0, 0, 0, -1])), atol=1e-12)
    jordan = aj.Dense(np.array([[1.0, 1.0], [0.0, 1.0]])).eig()
    assert np.all(np.abs(jordan.values - 1.0) <= jordan.bound)
    assert np.all(jordan.bound > 1e-9)
    with pytest.raises(aj.ShapeError, match="from a space to itself"):
        aj.Dense(np.ones((2, 3))).eig()


def test_a_hessian_is_symmetric_to_rounding() -> None:
    x, W = np.arange(4.0), np.random.default_rng(0).standard_normal((3, 4))
    H = aj.jacobian(aj.grad(lambda x: aj.logsumexp(aj.tanh(aj.matmul(W, x)))), x / 10.0)
    found = H.eig()
    assert found.method == "eigh"
    M = H.dense()
    assert np.all(np.abs(np.sort(found.values) - np.linalg.eigvalsh((M + M.T) / 2)) <= found.bound)


def test_eigenvalues_without_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    W = with_values(80, 50, np.logspace(1, -2, 50))
    A = aj.Composition([aj.Dense(W).T, aj.Dense(W)])
    assert A.properties == {"symmetric", "positive"}
    monkeypatch.setattr(budget, "MATRIX_FLOPS", 0.0)
    found, vectors = A.eig(3)
    assert found.method == "lanczos"
    assert np.all(np.abs(found - np.logspace(1, -2, 50)[:3] ** 2) <= found.bound + 1e-12)
    np.testing.assert_allclose(W.T @ (W @ vectors.T), vectors.T * found, 0, 10 * found.bound[0])
    with pytest.raises(aj.SpectrumError, match="symmetric"):
        (aj.Dense(W[:50]) + aj.Identity((50,))).eig(3)


# Records


def test_records_are_numbers() -> None:
    A = aj.Dense(np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]))
    rank, norm, s = A.rank(), A.norm(), A.svdvals()
    assert isinstance(rank, int)
    assert rank + 1 == 3
    assert list(range(5))[rank] == 2
    assert f"{rank} {rank:02d} {norm:.1f}" == "2 02 4.0"
    assert str(norm) == "4.0"
    assert norm / 2 == 2.0
    assert repr(rank).startswith("2 (tolerance 2.7e-15, svd")
    assert repr(norm).startswith("4.0 (±")
    assert np.asarray(s).tolist() == [4.0, 3.0] == list(s)
    assert (s[0], len(s), s.shape) == (4.0, 2, (2,))
    assert np.sum(s) == 7.0
    assert (2 * s)[1] == 6.0
    assert s.dtype == np.float64
    assert s.tolerance == rank.tolerance
    assert "svd" in repr(s)
    for record in (rank, norm):
        for again in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):  # noqa: S301
            assert again == record
            assert repr(again) == repr(record)
    svd = A.svd()
    assert (svd.method, svd.tolerance, svd.bound.shape) == ("svd", s.tolerance, (2,))


# Subspaces


@pytest.mark.covers("M03", "M12")
def test_subspaces_are_isometries_and_project() -> None:
    W = with_values(6, 5, [2.0, 1.0, 0.5])
    A = aj.Dense(W) @ aj.Reshape((5, 1), (5,))
    K, R = A.kernel(), A.T.image()
    assert K.basis.shape == (2, 5, 1)
    P = K.projection()
    assert P.properties >= {"projection", "symmetric"}
    np.testing.assert_allclose((P @ P).matrix(), P.matrix(), 0, 1e-14)
    np.testing.assert_allclose(P.matrix() + R.projection().matrix(), np.eye(5), 0, 1e-14)
    x = np.random.default_rng(0).standard_normal((5, 1))
    inside = P @ x
    assert K.contains(inside)
    assert not K.contains(x)
    assert K.contains(x, tol=1.0)
    assert R.contains(x - inside)
    assert K.contains(np.zeros((5, 1)))
    assert np.linalg.norm(A @ inside) < 1e-14
    c = np.array([3.0, 4.0])
    assert np.linalg.norm(K @ c) == pytest.approx(5.0)
    assert K.norm() == pytest.approx(1.0)
    assert (K.T @ K).matrix() == pytest.approx(np.eye(2))
    assert P.rank() == K.dim == 2
    with pytest.raises(aj.ShapeError, match=r"\(5, 1\)"):
        K.contains(np.ones(5))


@pytest.mark.covers("M13")
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 10_000))
def test_outputs_lie_in_the_column_space_and_gradients_in_the_row_space(m: int, n: int, r: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((m, r)) @ rng.standard_normal((r, n))
    x, u = rng.standard_normal(n), rng.standard_normal(m)
    A = aj.Dense(W)
    assert A.image().contains(W @ x)
    gradient = aj.grad(lambda x: aj.sum(u * aj.matmul(W, x)))(x)
    assert A.T.image().contains(gradient)
    assert np.linalg.norm(A.kernel().T @ gradient) <= 1e-12 * np.linalg.norm(gradient)


@pytest.mark.covers("M12")
@given(st.integers(1, 8), st.integers(0, 10_000))
def test_orthogonal_maps_keep_norms_forward_and_backward(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    Q = aj.Dense(np.linalg.qr(rng.standard_normal((n, n)))[0], aj.Identity((n,)).properties & {"orthogonal"})
    x = rng.standard_normal(n)
    assert np.linalg.norm(Q @ x) == pytest.approx(np.linalg.norm(x))
    assert np.linalg.norm(Q.T @ x) == pytest.approx(np.linalg.norm(x))
    s = Q.svdvals()
    assert np.all(np.abs(s - np.linalg.svd(Q.weight, compute_uv=False)) <= s.bound)
    assert Q.rank() == n
    np.testing.assert_allclose(Q.inverse().matrix(), np.linalg.inv(Q.weight), 0, 1e-12)


# Backends and networks


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_answers_live_where_the_map_does(backend: str) -> None:
    W = with_values(6, 5, [2.0, 1.0, 0.5]).astype(np.float32)
    (w,) = moved([W], backend)
    A = aj.Dense(w) @ aj.Reshape((5, 1), (5,))
    K = A.kernel()
    assert type(K.basis) is type(A.svd().U) is type(w)
    assert str(K.basis.dtype) == str(w.dtype)
    assert A.rank() == 3
    assert (A @ K).norm() <= K.bound + 1e-6
    assert K.contains(K @ moved([np.ones(2, np.float32)], backend)[0])
    square = aj.Dense(moved([W[:5] + 3.0 * np.eye(5, dtype=np.float32)], backend)[0])
    x = moved([np.arange(5.0, dtype=np.float32)], backend)[0]
    y = square.inverse() @ (square @ x)
    assert type(y) is type(w)
    np.testing.assert_allclose(plain(y), np.arange(5.0), atol=1e-5)
    assert np.iscomplexobj(plain(square.eig().vectors))


def test_a_network_in_bfloat16() -> None:
    W = torch.eye(6, dtype=torch.bfloat16)
    W[5, 5] = 1e-3
    A = aj.Dense(W)
    assert A.rank() == 5
    assert A.rank().tolerance == pytest.approx(6 * 2.0**-7)
    assert A.kernel().basis.dtype == torch.bfloat16


@pytest.mark.covers("M03")
def test_the_kernel_of_a_networks_jacobian_in_its_parameters() -> None:
    rng = np.random.default_rng(0)
    p = {"w": rng.standard_normal((3, 4)), "b": rng.standard_normal(3)}
    x = rng.standard_normal(4)
    _, J = aj.linearize(lambda p: aj.tanh(p["w"] @ x + p["b"]), p)
    K = J.kernel()
    assert K.dim == J.nullity() == 15 - 3
    assert set(K.basis) == {"w", "b"}
    assert K.basis["w"].shape == (12, 3, 4)
    assert (J @ K).norm() < 1e-14
    direction = K @ np.ones(12)
    assert np.linalg.norm(J @ direction) < 1e-13
    assert K.contains(direction)
    assert not K.contains(p)
    assert J.svd(2).Vh["b"].shape == (2, 3)


def test_a_traced_map_has_no_spectrum_of_its_own() -> None:
    with pytest.raises(aj.TraceError, match="derivative"):
        aj.grad(lambda w: aj.Dense(w).norm() * aj.sum(w))(np.ones((2, 2)))


def test_only_shapes_have_no_spectrum() -> None:
    from adjoint.arrays.shapes import ShapeArray

    with pytest.raises(aj.SpectrumError, match="only has a shape"):
        aj.Dense(ShapeArray((2, 3), np.dtype("float32"))).rank()


# Inverses


@pytest.mark.covers("M05")
def test_inverses_by_structure() -> None:
    rng = np.random.default_rng(0)
    W = rng.standard_normal((3, 3)) + 5.0 * np.eye(3)
    A = aj.Dense(W)
    assert isinstance(A.inverse(), aj.Inverse)
    assert A.inverse().inverse() is A
    assert repr(A.inverse()) == "Dense⁻¹: (3,) → (3,)"
    assert isinstance(aj.Diagonal(np.array([2.0, 4.0])).inverse(), aj.Diagonal)
    assert aj.Scale(4.0, (2,)).inverse().factor == 0.25
    assert isinstance(aj.Roll(1, 0, (3,)).inverse(), aj.Roll)
    chain = aj.Composition([A, aj.Diagonal(np.array([1.0, 2.0, 3.0]))])
    np.testing.assert_allclose(chain.inverse().matrix(), np.linalg.inv(W @ np.diag([1.0, 2.0, 3.0])), 1e-12)
    both = aj.kron(A, aj.Diagonal(np.array([1.0, 2.0])))
    np.testing.assert_allclose(both.inverse().matrix(), np.linalg.inv(np.kron(W, np.diag([1.0, 2.0]))), 1e-12, 1e-15)
    _, J = aj.linearize(lambda p: {"c": A.weight @ p["a"]}, {"a": np.ones(3)})
    assert set(J.inverse() @ {"c": np.ones(3)}) == {"a"}


@pytest.mark.covers("M05")
def test_an_inverse_says_how_much_is_lost() -> None:
    with pytest.raises(aj.SpectrumError, match=r"its rank is 2 \(tolerance .*1 short of 3.*kernel"):
        aj.Dense(with_values(3, 3, [1.0, 0.5])).inverse()
    with pytest.raises(aj.SpectrumError, match="singular"):
        (aj.Dense(np.eye(2)) @ aj.Diagonal(np.array([1.0, 0.0]))).inverse()
    with pytest.raises(aj.SpectrumError, match=r"these have 3 and 2; a pseudo-inverse is not given"):
        aj.Dense(np.ones((2, 3))).inverse()


def test_a_value_of_zero_beside_huge_ones_has_a_bound_without_a_warning() -> None:
    values, bound = gram.of_gram(np.diag([1e300, 0.0]), 2)
    np.testing.assert_array_equal(values, [1e150, 0.0])
    assert np.isfinite(bound).all()
    assert bound[1] == pytest.approx((2**0.5 * gram.EPSILON * 1e300) ** 0.5)
