"""Forward and backward of linear layers: worked numbers, both orientations, cost, covectors, linearity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import adjoint as aj
from adjoint.arrays import shapes


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def close(got: Any, wanted: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * float(np.abs(wanted).max(initial=1.0)))


@pytest.mark.covers("F01")
def test_a_neuron_a_layer_and_a_batch() -> None:
    w, b, x = np.array([1.0, -2.0, 0.5]), 0.25, np.array([2.0, 0.5, 4.0])
    assert aj.sigmoid(aj.dot(w, x) + b) == pytest.approx(1 / (1 + np.exp(-(2.0 - 1.0 + 2.0 + 0.25))))
    W, bias, X = normal(4, 3), normal(4, seed=1), normal(5, 3, seed=2)
    layer = torch.nn.functional.linear(torch.tensor(X), torch.tensor(W), torch.tensor(bias)).numpy()
    close(aj.linear(X, W, bias), layer)
    close(aj.linear(X, W, bias), X @ W.T + np.outer(np.ones(5), bias))
    for row, x in zip(layer, X, strict=True):
        close(aj.linear(x, W, bias), row)
        close([aj.dot(w, x) + b for w, b in zip(W, bias, strict=True)], row)


WORKED_X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
WORKED_W = np.array([[2.0, 1.0], [-1.0, 3.0]])
WORKED_B = np.array([0.5, -2.0])


@pytest.mark.covers("F02")
@pytest.mark.parametrize(
    "layer", [lambda X, W, b: X @ W + b, aj.affine, lambda X, W, b: aj.linear(X, aj.swapaxes(W, 0, 1), b)]
)
def test_the_worked_numbers(layer: Any) -> None:
    """Y = XW + b and L = ΣY: dW = Xᵀ dY, dX = dY Wᵀ, db = 1ᵀ dY with dY of ones."""
    np.testing.assert_array_equal(layer(WORKED_X, WORKED_W, WORKED_B), [[2.5, -1.0], [-0.5, 1.0], [1.5, 2.0]])
    loss, (dX, dW, db) = aj.value_and_grad(lambda X, W, b: aj.sum(layer(X, W, b)), (0, 1, 2))(
        WORKED_X, WORKED_W, WORKED_B
    )
    assert loss == 5.5
    np.testing.assert_array_equal(dW, [[2.0, 2.0], [2.0, 2.0]])
    np.testing.assert_array_equal(dX, [[3.0, 2.0], [3.0, 2.0], [3.0, 2.0]])
    np.testing.assert_array_equal(db, [3.0, 3.0])


@pytest.mark.covers("F02")
@pytest.mark.parametrize("lead", [(), (1,), (0,), (5,), (2, 3)])
def test_gradients_of_a_layer_in_both_orientations(lead: tuple[int, ...]) -> None:
    X, W, b, dY = normal(*lead, 4), normal(3, 4, seed=1), normal(3, seed=2), normal(*lead, 3, seed=3)
    x, w, bias = (torch.tensor(a, requires_grad=True) for a in (X, W, b))
    torch.nn.functional.linear(x, w, bias).backward(torch.tensor(dY))
    assert x.grad is not None
    assert w.grad is not None
    assert bias.grad is not None
    dX, dW, db = aj.vjp(aj.linear, X, W, b)[1](dY)
    rows, cotangents = X.reshape(-1, 4), dY.reshape(-1, 3)
    close(dX, x.grad.numpy())
    close(dW, w.grad.numpy())
    close(db, bias.grad.numpy())
    close(dX, dY @ W)
    close(dW, cotangents.T @ rows)
    close(db, cotangents.sum(0))
    textbook = aj.vjp(aj.affine, X, W.T, b)[1](dY)
    close(textbook[0], dY @ W)
    close(textbook[1], rows.T @ cotangents)
    close(textbook[2], cotangents.sum(0))


@pytest.mark.covers("F09")
@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(32, 512, 256), (1, 10, 10), (7, 3, 5)])
def test_backward_costs_two_products_for_one(batch: int, inputs: int, outputs: int) -> None:
    x, w = np.zeros((batch, inputs)), np.zeros((outputs, inputs))
    with shapes.count() as forward:
        aj.linear(*shapes.like([x, w]))
    with shapes.count() as both:
        aj.grad(lambda x, w: aj.sum(aj.linear(x, w)), (0, 1))(*shapes.like([x, w]))
    assert forward.matmul_flops == 2 * batch * inputs * outputs
    assert both.matmul_flops - forward.matmul_flops == 2 * forward.matmul_flops
    tx, tw = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.linear(tx, tw).sum().backward()
    assert counter.get_total_flops() == both.matmul_flops


@pytest.mark.covers("F09")
def test_a_network_costs_backward_the_same_order_as_forward() -> None:
    weights = [np.zeros((64, 32)), np.zeros((64, 64)), np.zeros((10, 64))]
    x = np.zeros((16, 32))

    def net(weights: Any, x: Any) -> Any:
        for w in weights[:-1]:
            x = aj.tanh(aj.linear(x, w))
        return aj.sum(aj.linear(x, weights[-1]))

    with shapes.count() as forward:
        net(shapes.like(weights), shapes.like(x))
    with shapes.count() as both:
        aj.grad(net)(shapes.like(weights), shapes.like(x))
    first = 2 * 16 * 32 * 64  # the gradient of the input is not asked for
    assert both.matmul_flops == 3 * forward.matmul_flops - first
    assert both.flops < 4 * forward.flops


@pytest.mark.covers("F13")
def test_a_gradient_is_a_covector() -> None:
    """In new coordinates x = T z vectors change by T⁻¹, gradients by Tᵀ; their pairing ⟨∇f, v⟩ stays."""
    T = normal(3, 3) + 3.0 * np.eye(3)
    x, v = normal(3, seed=1), normal(3, seed=2)
    A = normal(3, 3, seed=3)
    f = lambda x: aj.sum(np.tanh(A @ x) ** 2)  # noqa: E731
    z, w = np.linalg.solve(T, x), np.linalg.solve(T, v)
    in_x, in_z = aj.grad(f)(x), aj.grad(lambda z: f(T @ z))(z)
    close(in_z, T.T @ in_x)
    assert in_z @ w == pytest.approx(in_x @ v)
    assert not np.allclose(in_z, np.linalg.solve(T, in_x))
    close(aj.jvp(f, (x,), (v,))[1], aj.jvp(lambda z: f(T @ z), (z,), (w,))[1])


@pytest.mark.covers("F13")
def test_only_an_orthogonal_change_of_basis_treats_gradients_as_vectors() -> None:
    Q = np.linalg.qr(normal(4, 4))[0]
    x = normal(4, seed=1)
    f = lambda x: aj.logsumexp(x * np.arange(4.0))  # noqa: E731
    rotated = aj.grad(lambda z: f(Q @ z))(Q.T @ x)
    close(rotated, np.linalg.solve(Q, aj.grad(f)(x)))
    assert float(aj.norm(rotated)) == pytest.approx(float(aj.norm(aj.grad(f)(x))))


@pytest.mark.covers("F13")
def test_steepest_descent_depends_on_the_coordinates_and_newtons_step_does_not() -> None:
    T, H, b = normal(3, 3) + 2.0 * np.eye(3), np.diag([1.0, 10.0, 100.0]), normal(3, seed=1)
    f = lambda x: 0.5 * x @ (H @ x) - b @ x  # noqa: E731
    g = lambda z: f(T @ z)  # noqa: E731
    x = normal(3, seed=2)
    z = np.linalg.solve(T, x)
    newton_x = np.linalg.solve(aj.jacobian(aj.grad(f), x).dense(), aj.grad(f)(x))
    newton_z = np.linalg.solve(aj.jacobian(aj.grad(g), z).dense(), aj.grad(g)(z))
    close(T @ newton_z, newton_x, 1e-9)
    assert not np.allclose(T @ aj.grad(g)(z), aj.grad(f)(x))


@pytest.mark.covers("F14")
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 2**31))
def test_differentiation_is_linear(alpha: float, beta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, A, t = rng.normal(size=4), rng.normal(size=(3, 4)), int(rng.integers(3))
    first = lambda x: aj.cross_entropy(A @ x, np.array(t))  # noqa: E731
    second = lambda x: aj.sum(np.exp(np.sin(x)) * x)  # noqa: E731
    mixed = aj.grad(lambda x: alpha * first(x) + beta * second(x))(x)
    close(mixed, alpha * aj.grad(first)(x) + beta * aj.grad(second)(x), 1e-13)
    H = aj.jacobian(aj.grad(lambda x: alpha * first(x) + beta * second(x)), x).dense()
    close(H, alpha * aj.jacobian(aj.grad(first), x).dense() + beta * aj.jacobian(aj.grad(second), x).dense(), 1e-12)
