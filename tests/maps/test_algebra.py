"""Maps made of maps against the same expression of matrices; what simplifies, what is refused, and in which words."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.maps import LinearMap
from tests.maps.examples import plain

Pair = tuple[LinearMap, np.ndarray]
SIZES = (1, 2, 3, 5)


# Random expressions


def leaf(rng: np.random.Generator, m: int, n: int) -> Pair:
    """A map from (n,) to (m,) of small whole numbers, of some kind that fits, and its matrix."""
    W = rng.integers(-2, 3, (m, n)).astype(float)
    r = int(rng.integers(1, 3))
    left, right = rng.integers(-2, 3, (m, r)).astype(float), rng.integers(-2, 3, (r, n)).astype(float)
    index = rng.integers(0, n, m)
    fitting: list[Pair] = [
        (aj.Dense(W), W),
        (aj.Dense(W.T.copy()).T, W),
        (aj.Zero((n,), (m,)), np.zeros((m, n))),
        (aj.Outer(W[:, 0], W[0]), np.outer(W[:, 0], W[0])),
        (aj.LowRank(left, right), left @ right),
        (aj.Take(index, 0, (n,)), np.eye(n)[index]),
    ]
    if m == n:
        fitting += [
            (aj.Identity((n,)), np.eye(n)),
            (aj.Negate((n,)), -np.eye(n)),
            (aj.Scale(3.0, (n,)), 3.0 * np.eye(n)),
            (aj.Diagonal(W[0]), np.diag(W[0])),
            (aj.Roll(1, 0, (n,)), np.roll(np.eye(n), 1, 0)),
            (aj.CumulativeSum(0, (n,)), np.tri(n)),
        ]
    return fitting[int(rng.integers(len(fitting)))]


def expression(rng: np.random.Generator, m: int, n: int, depth: int) -> Pair:
    """A random expression from (n,) to (m,), and the same of matrices."""
    if depth == 0:
        return leaf(rng, m, n)
    kind = rng.choice(["@", "+", "-", "*", "T", "**", "neg", "block"])
    if kind == "@":
        k = int(rng.choice(SIZES))
        (A, a), (B, b) = expression(rng, m, k, depth - 1), expression(rng, k, n, depth - 1)
        return A @ B, a @ b
    if kind in "+-":
        (A, a), (B, b) = expression(rng, m, n, depth - 1), expression(rng, m, n, depth - 1)
        f = operator.add if kind == "+" else operator.sub
        return f(A, B), f(a, b)
    if kind == "T":
        A, a = expression(rng, n, m, depth - 1)
        return A.T, a.T
    A, a = expression(rng, m, n, depth - 1)
    if kind == "**" and m == n:
        p = int(rng.integers(0, 4))
        return A**p, np.linalg.matrix_power(a, p)
    if kind == "neg":
        return -A, -a
    if kind == "block":
        B, b = expression(rng, m, 2, depth - 1)
        row = aj.block([[A, B]])
        whole = row @ aj.block([[aj.Identity((n,))], [aj.Dense(np.ones((2, n)))]])
        return whole, a + b @ np.ones((2, n))
    c = float(rng.integers(-3, 4))
    return (c * A if rng.integers(2) else A * c), c * a


@pytest.mark.covers("M06", "V04")
@given(st.sampled_from(SIZES), st.sampled_from(SIZES), st.integers(0, 4), st.integers(0, 2**31))
def test_expressions_of_maps_are_those_of_matrices(m: int, n: int, depth: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, matrix = expression(rng, m, n, depth)
    assert A.shape == (m, n)
    size = 1.0 + np.max(np.abs(matrix), initial=0.0)
    near = 1e-12 * size * 10.0**depth
    np.testing.assert_allclose(A.matrix(), matrix, 0, near)
    np.testing.assert_allclose(A.T.matrix(), matrix.T, 0, near)
    x, y = rng.integers(-2, 3, n).astype(float), rng.integers(-2, 3, m).astype(float)
    np.testing.assert_allclose(A @ x, matrix @ x, 0, n * near)
    np.testing.assert_allclose(A.T @ y, matrix.T @ y, 0, m * near)
    np.testing.assert_allclose(A(np.stack([x, x])), np.stack([matrix @ x] * 2), 0, n * near)
    for claim, holds in {
        "symmetric": m == n and np.allclose(matrix, matrix.T),
        "orthogonal": m == n and np.allclose(matrix.T @ matrix, np.eye(n)),
        "projection": m == n and np.allclose(matrix @ matrix, matrix),
    }.items():
        assert holds or claim not in A.properties
    if "positive" in A.properties:
        assert np.min(np.linalg.eigvalsh((matrix + matrix.T) / 2), initial=0.0) >= -near


@given(st.sampled_from(SIZES), st.sampled_from(SIZES), st.sampled_from(SIZES), st.integers(0, 2**31))
def test_composition_is_associative_and_distributes(m: int, k: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (A, _), (B, _), (C, _), (D, _) = (expression(rng, *shape, 1) for shape in ((m, k), (k, n), (n, m), (k, n)))
    near = 1e-12 * 10.0**4
    np.testing.assert_allclose(((A @ B) @ C).matrix(), (A @ (B @ C)).matrix(), 0, near)
    np.testing.assert_allclose((A @ (B + D)).matrix(), (A @ B + A @ D).matrix(), 0, near)
    np.testing.assert_allclose((A @ B).T.matrix(), (B.T @ A.T).matrix(), 0, near)


@given(st.sampled_from(SIZES), st.sampled_from(SIZES), st.integers(0, 2**31))
def test_kronecker_products(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (A, a), (B, b), (C, c) = expression(rng, m, n, 1), expression(rng, 2, m, 1), expression(rng, n, 3, 1)
    near = 1e-9
    AB = aj.kron(A, B)
    assert AB.in_shape == (*A.in_shape, *B.in_shape)
    np.testing.assert_allclose(AB.matrix(), np.kron(a, b), 0, near)
    np.testing.assert_allclose(AB.T.matrix(), np.kron(a, b).T, 0, near)
    X = rng.standard_normal((n, m))
    np.testing.assert_allclose(AB @ X, a @ X @ b.T, 0, near)
    mixed = AB @ aj.kron(C, B.T)
    np.testing.assert_allclose(mixed.matrix(), np.kron(a @ c, b @ b.T), 0, 1e-6)


@pytest.mark.covers("M06")
@given(st.lists(st.sampled_from(SIZES), min_size=2, max_size=7), st.integers(0, 2**31))
def test_a_chain_of_linear_layers_is_one_matrix(sizes: list[int], seed: int) -> None:
    """Without a nonlinearity depth adds nothing: the chain is one Dense map's matrix, of rank ≤ the narrowest layer."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) for a, b in itertools.pairwise(sizes)]
    one = np.linalg.multi_dot([*weights[::-1], np.eye(sizes[0])])
    x = rng.standard_normal(sizes[0])

    def network(x: Any) -> Any:
        for w in weights:
            x = aj.matmul(w, x)
        return x

    near = 1e-12 * math.prod(np.linalg.norm(w) for w in weights)
    np.testing.assert_allclose(network(x), one @ x, 0, near * np.linalg.norm(x))
    J = aj.jacobian(network, x)
    np.testing.assert_allclose(J.matrix(), one, 0, near)
    np.testing.assert_allclose(aj.Composition([aj.Dense(w) for w in weights[::-1]]).matrix(), one, 0, near)
    assert J.rank() <= min(sizes)


# What simplifies


def test_what_is_certain_simplifies() -> None:
    rng = np.random.default_rng(0)
    A, d, e = aj.Dense(rng.standard_normal((3, 4))), rng.standard_normal(4), rng.standard_normal(4)
    eye, zero = aj.Identity((4,)), aj.Zero((4,), (2,))
    assert A @ eye is A
    assert aj.Identity((3,)) @ A is A
    assert A.T.T.weight.ctypes.data == A.weight.ctypes.data
    assert aj.Adjoint(aj.Adjoint(A)).T.T is not None
    assert isinstance(aj.Diagonal(d) @ aj.Diagonal(e), aj.Diagonal)
    assert isinstance(aj.Diagonal(d) + aj.Diagonal(e), aj.Diagonal)
    assert isinstance(2.0 * A, aj.Dense)
    assert isinstance(A + A, aj.Dense)
    assert isinstance(zero @ A.T @ A, aj.Zero)
    assert isinstance(5.0 * zero, aj.Zero)
    assert A + aj.Zero((4,), (3,)) is A
    assert aj.Zero((4,), (3,)) + A is A
    assert 1 * A is A
    assert (2.0 * eye @ (3.0 * eye)).factor == 6.0
    assert (-aj.Negate((4,))).factor == 1.0
    assert isinstance(A**0 if A.in_shape == A.out_shape else eye**0, aj.Identity)
    assert isinstance(aj.kron(eye, eye), aj.Identity)
    roll = aj.Roll(2, 0, (4,))
    assert isinstance(roll @ roll.T, aj.Identity)
    assert isinstance(roll.T @ roll, aj.Identity)
    for move in (aj.Permute((1, 2, 0), (2, 3, 4)), aj.Reshape((2, 3), (6,)), aj.Flip(0, (4,))):
        assert isinstance(move.T @ move, aj.Identity)
        assert (move.T @ move).in_shape == move.in_shape
    assert not isinstance(roll @ aj.Roll(1, 0, (4,)).T, aj.Identity)


def test_products_of_dense_maps_are_formed_only_where_that_is_cheaper() -> None:
    tall, wide = np.ones((100, 2)), np.ones((2, 100))
    assert isinstance(aj.Dense(tall) @ aj.Dense(wide), aj.Composition)
    assert isinstance(aj.Dense(wide) @ aj.Dense(tall), aj.Dense)
    chain = aj.Dense(tall) @ aj.Dense(wide) @ aj.Dense(tall)
    assert isinstance(chain, aj.Dense)
    np.testing.assert_array_equal(chain.matrix(), tall @ (wide @ tall))


def test_properties_propagate() -> None:
    rng = np.random.default_rng(0)
    W, d = rng.standard_normal((5, 3)), rng.uniform(size=5)
    A = aj.Dense(W)
    assert (A.T @ A).properties == {"symmetric", "positive"}
    assert (A @ A.T).properties == {"symmetric", "positive"}
    assert (A.T @ aj.Diagonal(d) @ A).properties == {"symmetric"}
    assert (A.T @ aj.Softmax(d / d.sum()) @ A).properties == {"symmetric", "positive"}
    lowrank = aj.LowRank(W, W.T)
    assert (lowrank.T @ lowrank).properties == frozenset()
    broadcast = aj.Broadcast((3,), (2, 3))
    assert (broadcast.T @ broadcast).properties == (broadcast @ broadcast.T).properties == {"symmetric", "positive"}
    assert (aj.Identity((3,)) + aj.Diagonal(d[:3])).properties == {"symmetric"}
    assert (aj.Softmax(d / d.sum()) + aj.Softmax(d / d.sum())).properties == {"symmetric", "positive"}
    assert aj.kron(aj.Roll(1, 0, (3,)), aj.Flip(0, (2,))).properties == {"orthogonal"}
    assert (aj.Roll(1, 0, (3,)) @ aj.Flip(0, (3,))).properties == {"orthogonal"}
    assert (-2.0 * aj.Dense(np.eye(2), frozenset({"symmetric", "positive"}))).properties == {"symmetric"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chosen", [aj.relu, lambda x: aj.clip(x, -1.5, 1.5), lambda x: aj.where(x > 0, x, 2.0 * x)])
def test_what_is_chosen_twice_counts_twice(chosen: Any, dtype: str) -> None:
    """Diagonals of truth values: their sum is one of numbers, in the dtype that they are applied to."""
    x, v = np.array([1.0, -1.0, 2.0], dtype), np.array([1.0, 2.0, 3.0], dtype)
    J = aj.jacobian(chosen, x)
    for twice in (J + J, aj.jacobian(lambda x: chosen(x) + chosen(x), x)):
        np.testing.assert_array_equal(twice @ v, 2 * (J @ v))
        assert (twice @ v).dtype == dtype
        np.testing.assert_array_equal(twice.dense(), 2 * J.dense())


EXPRESSIONS: dict[str, Any] = {
    "A": lambda A, I: A,
    "2 A": lambda A, I: 2 * A,
    "A 0.5": lambda A, I: A * 0.5,
    "-A": lambda A, I: -A,
    "A / 3": lambda A, I: A / 3,
    "A + A": lambda A, I: A + A,
    "A - A": lambda A, I: A - A,
    "A + I": operator.add,
    "AᵀA": lambda A, I: A.T @ A,
    "AAA": lambda A, I: A @ A @ A,
    "2 A (3 A)ᵀ": lambda A, I: 2 * A @ (3 * A).T,
}
FUNCTIONS = [
    *(aj.relu, aj.relu6, aj.hardtanh, aj.leaky_relu, aj.elu, aj.abs, aj.square, aj.exp, aj.gelu, aj.softmax),
    *(lambda x: aj.clip(x, -1.0, 1.0), lambda x: aj.where(x > 0, x, 0.5), lambda x: aj.where(x > 0, x, 2 * x)),
    *(lambda x: aj.maximum(x, 0.5), lambda x: aj.minimum(x, 2.0 * x), lambda x: 2.0**x, lambda x: x**3),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_expressions_of_jacobians_have_the_dtype_of_their_matrices(expression: str, dtype: str) -> None:
    """What is made of a Jacobian is what PyTorch makes of the matrix that its autograd gives, in the same dtype."""
    x, v = (torch.tensor(t, dtype=getattr(torch, dtype)) for t in ([0.25, -1.5, 2.0, 0.75], [1.0, 2.0, -3.0, 4.0]))
    made, near = EXPRESSIONS[expression], 64 * torch.finfo(x.dtype).eps
    for f in FUNCTIONS:
        want = made(torch.autograd.functional.jacobian(f, x), torch.eye(4, dtype=x.dtype))
        J = made(aj.jacobian(f, x), aj.Identity((4,)))
        assert want.dtype == J.dense().dtype == J.dtype == (J @ v).dtype == (J.T @ v).dtype == x.dtype
        torch.testing.assert_close(J.dense(), want, rtol=near, atol=near)
        if dtype in ("float32", "float64"):  # NumPy's halves are widened where a backward pass keeps more
            J = made(aj.jacobian(f, x.numpy()), aj.Identity((4,)))
            assert J.dense().dtype == J.dtype == (J @ v.numpy()).dtype == (J.T @ v.numpy()).dtype == dtype
            np.testing.assert_allclose(J.dense(), want.numpy(), near, near)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_expressions_of_truth_values_keep_the_dtype_of_what_they_are_applied_to(expression: str, dtype: str) -> None:
    kept, v = np.array([True, False, True, True]), np.array([1.0, 2.0, -3.0, 4.0], dtype)
    made = EXPRESSIONS[expression]
    for d, x in ((kept, v), (torch.tensor(kept), torch.tensor(v))):
        found = made(aj.Diagonal(d), aj.Identity((4,))) @ x
        assert found.dtype == x.dtype
        np.testing.assert_allclose(found, made(np.diag(kept.astype(float)), np.eye(4)) @ v, 1e-3)


# The zero, the identity, the order


@pytest.mark.covers("V05")
def test_identity_zero_diagonal_and_transpose_where_they_occur() -> None:
    """A residual connection adds I, relu is a diagonal of zeros and ones, what is not connected is 0, Wᵀ goes back."""
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((4, 4)), rng.standard_normal(4)
    relu = aj.jacobian(aj.relu, x)
    assert isinstance(relu, aj.Diagonal)
    assert set(relu.d.tolist()) <= {0.0, 1.0}
    assert relu.rank() == np.sum(x > 0)
    residual = aj.jacobian(lambda x: x + aj.matmul(W, x), x)
    np.testing.assert_allclose(residual.matrix(), np.eye(4) + W)
    assert "I" in residual.describe()
    apart = aj.jacobian(lambda p: (2.0 * p[0], p[1]), (x, x))
    np.testing.assert_array_equal(apart.dense()[0][1], np.zeros((4, 4)))
    dense = aj.jacobian(lambda x: aj.matmul(W, x), x)
    np.testing.assert_array_equal(dense.T @ x, W.T @ x)
    np.testing.assert_array_equal((dense.T.T @ x), W @ x)
    np.testing.assert_array_equal((aj.Zero((4,), (2,)) @ x), np.zeros(2))
    np.testing.assert_array_equal(aj.Identity((4,)) @ x, x)


@pytest.mark.covers("V08")
def test_order_matters() -> None:
    """A B and B A differ, may have different shapes, or exist in one order only."""
    turn, stretch = aj.Dense(np.array([[0.0, -1.0], [1.0, 0.0]])), aj.Diagonal(np.array([2.0, 1.0]))
    np.testing.assert_array_equal((turn @ stretch).matrix(), [[0.0, -1.0], [2.0, 0.0]])
    np.testing.assert_array_equal((stretch @ turn).matrix(), [[0.0, -2.0], [1.0, 0.0]])
    A, B = aj.Dense(np.ones((2, 3))), aj.Dense(np.ones((3, 2)))
    assert (A @ B).shape == (2, 2)
    assert (B @ A).shape == (3, 3)
    C = aj.Dense(np.ones((4, 2)))
    assert (C @ A).shape == (4, 3)
    with pytest.raises(aj.ShapeError, match="the other order fits"):
        A @ C


@pytest.mark.covers("V04")
def test_products_with_vectors_matrices_and_batches() -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((3, 4)), rng.standard_normal((5, 6, 4))
    A = aj.Dense(W)
    np.testing.assert_allclose(A @ x[0, 0], W @ x[0, 0])
    np.testing.assert_allclose(A(x), torch.nn.functional.linear(torch.tensor(x), torch.tensor(W)).numpy())
    np.testing.assert_allclose((A @ aj.Dense(W.T)).matrix(), W @ W.T)
    assert A(np.zeros((0, 4))).shape == (0, 3)


# Scalars


@pytest.mark.parametrize("c", [2, 2.0, np.float64(2.0), np.array(2.0)])
def test_scalars_from_either_side(c: Any) -> None:
    W = np.arange(6.0).reshape(2, 3)
    for A in (aj.Dense(W), aj.LowRank(np.ones((2, 1)), np.ones((1, 3))), aj.Take(np.array([0, 2]), 0, (3,))):
        expected = 2.0 * A.matrix()
        np.testing.assert_array_equal((c * A).matrix(), expected)
        np.testing.assert_array_equal((A * c).matrix(), expected)
        np.testing.assert_array_equal((A / c).matrix(), expected / 4.0)
        np.testing.assert_array_equal((A - A * c).matrix(), -expected / 2.0)
        np.testing.assert_array_equal((-A).matrix(), -expected / 2.0)


def test_a_tensor_as_scalar() -> None:
    A = torch.tensor(2.0) * aj.Dense(torch.eye(2))
    assert plain(A @ torch.ones(2)).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("other", [np.ones(3), "2", None, [1.0]])
def test_other_operands_are_refused(other: Any) -> None:
    A = aj.Dense(np.ones((2, 3)))
    for f in (operator.add, operator.sub, operator.mul):
        with pytest.raises(TypeError):
            f(A, other)
    with pytest.raises(TypeError):
        other @ A


# Errors


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda A: A @ np.ones((5, 3)), ["one element of shape (3,)", "got (5, 3)", "call A(x)"]),
        (lambda A: A @ np.ones(2), ["Dense @ x", "(3,)", "did you mean A.T?"]),
        (lambda A: A(np.ones((5, 2))), ["trailing axes must be (3,)", "got (5, 2)", "did you mean A.T?"]),
        (lambda A: A.T @ np.ones(3), ["one element of shape (2,)", "did you mean A.T?"]),
        (lambda A: A(np.ones(7)), ["must be (3,)", "got (7,)"]),
        (lambda A: A @ 1.0, ["(3,)", "got ()"]),
        (lambda A: A @ A, ["Dense @ Dense", "takes (3,)", "gives (2,)", "did you mean the adjoint"]),
        (lambda A: A + A.T, ["different spaces", "(3,) → (2,)", "add the adjoint"]),
        (lambda A: A**2, ["only a map from a space to itself has powers"]),
        (lambda A: aj.block([[A, None], [None]]), ["every row needs the same number", "[2, 1]"]),
        (lambda A: aj.block([[A, None], [A, None]]), ["column 1 has only None", "aj.Zero"]),
        (lambda A: aj.block([[A], [A.T]]), ["column 0 mixes the spaces"]),
        (lambda A: aj.block([[A, A.T]]), ["row 0 mixes the spaces"]),
        (lambda A: aj.block([[aj.Identity(((2,), (3,)))]]), ["product of spaces already"]),
        (lambda A: aj.kron(A, aj.Identity(((2,), (3,)))), ["plain spaces"]),
        (
            lambda A: aj.LowRank(np.ones((2, 3)), np.ones((4, 5))),
            ["LowRank", "(2, 3)", "(4, 5)", "disagree on the rank"],
        ),
        (lambda A: aj.Dense([[1.0, 2.0]]), ["Dense takes a matrix", "this is a list"]),
        (lambda A: aj.Dense(np.ones(3)), ["Dense takes a matrix", "this has shape (3,)"]),
        (lambda A: aj.Dense(np.ones((2, 3, 4))), ["Dense takes a matrix", "this has shape (2, 3, 4)"]),
        (lambda A: aj.Reshape((2, 3), (6,)) @ np.ones((3, 2)), ["(2, 3)", "got (3, 2)", "transpose it"]),
    ],
)
def test_errors_name_the_shapes_and_the_remedy(call: Any, words: list[str]) -> None:
    with pytest.raises(aj.ShapeError) as error:
        call(aj.Dense(np.ones((2, 3))))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("call", [lambda A: aj.kron(A, np.eye(2)), lambda A: aj.block([[A, np.eye(2)]])])
def test_matrices_are_not_taken_for_maps(call: Any) -> None:
    with pytest.raises(TypeError, match=r"takes maps, not ndarray: aj\.Dense\(x\) is the map of a matrix"):
        call(aj.Dense(np.ones((2, 3))))


@pytest.mark.parametrize("n", [-1, 1.5])
def test_powers_are_whole_numbers(n: Any) -> None:
    with pytest.raises(ValueError, match=r"integer ≥ 0; for A⁻¹ call A.inverse\(\)"):
        aj.Dense(np.eye(2)) ** n


def test_text() -> None:
    A, d = aj.Dense(np.ones((2, 2))), aj.Diagonal(np.ones(2))
    assert repr(A) == "Dense: (2,) → (2,)"
    assert repr(d @ A @ d) == "Diagonal @ Dense @ Diagonal: (2,) → (2,)"
    assert repr(aj.Identity((2,)) + d @ A) == "[I + Diagonal @ Dense]: (2,) → (2,)"
    assert repr(aj.kron(aj.Identity((3,)), d @ A)) == "I ⊗ (Diagonal @ Dense): (3, 2) → (3, 2)"
    assert repr(aj.block([[A, d], [None, d]])) == "[Dense, Diagonal; 0, Diagonal]: ((2,), (2,)) → ((2,), (2,))"
    assert repr(0.5 * (d @ A)) == "0.5 I @ Diagonal @ Dense: (2,) → (2,)"
    assert repr(aj.Broadcast((2,), (3, 2)).T) == "Broadcast.T: (3, 2) → (2,)"
