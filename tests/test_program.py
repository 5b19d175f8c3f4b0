"""The Jacobian as an expression: what a tape reduces to, whose memory it shares, and that it is right all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint.maps import Block, Composition, Dense, Diagonal, Identity, LinearMap, Sum, Zero
from adjoint.program import Program


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


A, B, C = normal(3, 3), normal(3, 3, seed=1), normal(3, 3, seed=2)
X = normal(3, seed=3)

EXPRESSIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "map": (lambda x: A @ x, "Dense: (3,) → (3,)"),
    "row vector": (lambda x: x @ A, "Dense: (3,) → (3,)"),
    "chain": (lambda x: A @ np.tanh(B @ x), "Dense @ Diagonal @ Dense: (3,) → (3,)"),
    "residual": (lambda x: x + A @ np.tanh(B @ x), "[I + Dense @ Diagonal @ Dense]: (3,) → (3,)"),
    "two residuals": (
        lambda x: (lambda y: y + np.sin(B @ y))(x + A @ x),
        "[I + Diagonal @ Dense] @ [I + Dense]: (3,) → (3,)",
    ),
    "parallel": (lambda x: A @ x + B @ x + x, "[I + Dense + Dense]: (3,) → (3,)"),
    "negative": (lambda x: -x, "-I: (3,) → (3,)"),
    "number": (lambda x: 2.0 * x, "2 I: (3,) → (3,)"),
    "loss": (lambda x: aj.sum(x * x), "Reduce @ [Diagonal + Diagonal]: (3,) → ()"),
    "dead end": (lambda x: (A @ np.exp(x), x * 2.0)[1], "2 I: (3,) → (3,)"),
    "constant": (lambda x: np.ones(2), "0: (3,) → (2,)"),
    "identity": (lambda x: x, "I: (3,) → (3,)"),
}


@pytest.mark.covers("F04")
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_tape_reads_as_an_expression(name: str) -> None:
    f, expression = EXPRESSIONS[name]
    J = aj.jacobian(f, X)
    assert repr(J) == expression
    columns = np.stack([aj.jvp(f, (X,), (e,))[1] for e in np.eye(3)], -1)
    np.testing.assert_allclose(J.dense(), columns, rtol=1e-13, atol=1e-15)


def test_a_linear_functions_jacobian_is_its_own_map() -> None:
    J = aj.jacobian(lambda x: A @ x, X)
    assert type(J) is Dense
    assert J.weight is A
    assert np.shares_memory(J.dense(), A)
    J = aj.jacobian(lambda x: x @ A, X)
    assert isinstance(J, Dense)
    assert np.shares_memory(J.weight, A)
    assert np.shares_memory(J.dense(), A)


def test_the_same_for_a_layer() -> None:
    net = aj.nn.Linear(3, 2, rng=0)
    J = aj.jacobian(net, X)
    assert type(J) is Dense
    assert np.shares_memory(J.weight, net.weight)


def test_a_transformer_like_block_is_a_product_of_residuals() -> None:
    def block(x: Any) -> Any:
        x = x + aj.layer_norm(x, None, None) @ A
        return x + np.tanh(aj.layer_norm(x, None, None) @ B) @ C

    J = aj.jacobian(block, normal(2, 3))
    assert isinstance(J, Composition)
    assert [type(m) for m in J.maps] == [Sum, Sum]
    assert all(isinstance(m, Sum) and isinstance(m.maps[0], Identity) for m in J.maps)
    assert repr(J).startswith("[I + ")
    assert "] @ [I + " in repr(J)


def wheatstone(x: Any) -> Any:
    u, v = A @ x, B @ x
    return u * (v + C @ u)


def test_what_is_not_series_parallel_stays_a_program() -> None:
    J = aj.jacobian(wheatstone, X)
    assert isinstance(J, Program)
    u, v = A @ X, B @ X
    dense = np.diag(v + C @ u) @ A + np.diag(u) @ (B + C @ A)
    np.testing.assert_allclose(J.dense(), dense, rtol=1e-13)
    np.testing.assert_allclose(J.T.dense(), dense.T, rtol=1e-13)
    batch = normal(4, 2, 3)
    np.testing.assert_allclose(J(batch), batch @ dense.T, rtol=1e-12)
    np.testing.assert_allclose(J.T(batch), batch @ dense, rtol=1e-12)


def test_a_program_can_be_swept_again_and_again() -> None:
    J = aj.jacobian(wheatstone, X)
    first = J.T @ X
    np.testing.assert_array_equal(J.T @ X, first)
    np.testing.assert_array_equal(J @ X, J @ X)


@pytest.mark.parametrize(
    "f",
    [lambda x, y: (A @ x, x * y), lambda x, y: (y, wheatstone(x), np.ones(2)), lambda x, y: (aj.sum(x) * y, aj.sum(y))],
)
def test_several_inputs_and_outputs(f: Callable[..., Any]) -> None:
    y = normal(3, seed=4)
    J = aj.jacobian(f, X, y)
    dense = J.dense()
    u = tuple(normal(*shape, seed=5) for shape in J.out_shape)
    for i, part in enumerate((X, y)):
        for j, e in enumerate(np.eye(3)):
            tangents = (e, 0 * part) if i == 0 else (0 * part, e)
            pushed = aj.jvp(f, (X, y), tangents)[1]
            for row, column in zip(dense, pushed, strict=True):
                np.testing.assert_allclose(row[i][..., j], column, atol=1e-14)
    for got, wanted in zip(J.T @ u, aj.vjp(f, X, y)[1](u), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-14)


def test_blocks_of_a_table_are_maps() -> None:
    J = aj.jacobian(lambda x, y: (A @ x, x * y), X, X + 1.0)
    inner = J.map  # type: ignore[attr-defined]
    assert isinstance(inner, Block)
    (a, zero), (dx, dy) = inner.rows
    assert (type(a), type(zero), type(dx), type(dy)) == (Dense, Zero, Diagonal, Diagonal)
    np.testing.assert_array_equal(dx.d, X + 1.0)
    np.testing.assert_array_equal(dy.d, X)


@pytest.mark.covers("F04")
def test_the_chain_rule_is_a_product_in_reverse_order() -> None:
    """J of f₃∘f₂∘f₁ is J₃ J₂ J₁, each at the value where it is met; its adjoint J₁ᵀ J₂ᵀ J₃ᵀ."""
    layers = [lambda x: np.tanh(A @ x), lambda x: np.exp(B @ x) / 10.0, lambda x: aj.softmax(C @ x)]
    x, jacobians = X, []
    for layer in layers:
        x, J = aj.linearize(layer, x)
        jacobians.append(J)
    whole = aj.jacobian(lambda x: layers[2](layers[1](layers[0](x))), X)
    product = jacobians[2] @ jacobians[1] @ jacobians[0]
    matrices = [J.dense() for J in jacobians]
    np.testing.assert_allclose(whole.dense(), matrices[2] @ matrices[1] @ matrices[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(product.dense(), whole.dense(), rtol=1e-12, atol=1e-15)
    u = normal(3, seed=6)
    np.testing.assert_allclose(
        whole.T @ u, matrices[0].T @ (matrices[1].T @ (matrices[2].T @ u)), rtol=1e-12, atol=1e-15
    )
    assert not np.allclose(whole.dense(), matrices[0] @ matrices[1] @ matrices[2])


@pytest.mark.covers("F06")
def test_a_jacobian_is_not_formed_unless_asked() -> None:
    """A million inputs and outputs: the matrix would be 8 TB."""
    x = np.ones(1_000_000)
    y, J = aj.linearize(lambda x: np.tanh(x) * np.sum(x) + x[::-1], x)
    assert J.shape == (1_000_000, 1_000_000)
    assert (J @ x).shape == (J.T @ y).shape == (1_000_000,)


def test_maps_of_jacobians_are_linear_maps() -> None:
    J = aj.jacobian(wheatstone, X)
    K = aj.jacobian(lambda x: A @ x, X)
    assert isinstance(K @ J, LinearMap)
    np.testing.assert_allclose((2.0 * (K @ J) + K).dense(), 2.0 * A @ J.dense() + A, rtol=1e-12)
    np.testing.assert_allclose(J.svdvals(), np.linalg.svd(J.dense(), compute_uv=False), rtol=1e-10)
