"""The transforms against JAX and closed forms: trees, aux, nesting, errors, backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import autograd
import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj

UNIT = 2.0**-52


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def close(got: Any, wanted: Any, terms: int = 64) -> None:
    """Equal up to `terms` roundings of the largest entry, in every array of two trees."""
    got, wanted = jax.tree.leaves(got), jax.tree.leaves(wanted)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(
            a, b, rtol=0, atol=terms * UNIT * max(1.0, float(np.abs(np.asarray(b)).max(initial=0.0)))
        )


X, W1, W2, B1 = normal(3, 4), normal(5, 4, seed=1), normal(2, 5, seed=2), normal(5, seed=3)


def network(xp: Any, x: Any, w1: Any = W1, b1: Any = B1, w2: Any = W2) -> Any:
    """A small smooth network in any library that has NumPy's names."""
    h = xp.tanh(x @ w1.T + b1)
    z = h @ w2.T
    return z / xp.sqrt(1.0 + xp.sum(z * z, -1, keepdims=True)) + xp.exp(-h[..., :2])


def ours(x: Any, *params: Any) -> Any:
    return network(np, x, *params)


def theirs(x: Any, *params: Any) -> Any:
    return network(jnp, x, *params)


# Values and gradients


def test_gradient_is_jaxs() -> None:
    value, gradients = aj.value_and_grad(lambda *a: aj.sum(ours(*a) ** 2), (0, 1, 2, 3))(X, W1, B1, W2)
    expected, wanted = jax.value_and_grad(lambda *a: jnp.sum(theirs(*a) ** 2), (0, 1, 2, 3))(X, W1, B1, W2)
    close(value, expected)
    close(gradients, wanted)


def test_argnums_choose() -> None:
    f = lambda a, b, c: a * b**2 * c**3  # noqa: E731
    assert aj.grad(f, 1)(2.0, 3.0, 5.0) == 2 * 2 * 3 * 125
    assert aj.grad(f, (2, 0))(2.0, 3.0, 5.0) == (2 * 9 * 75, 9 * 125)
    assert aj.grad(f, -1)(2.0, 3.0, 5.0) == 2 * 9 * 75
    assert aj.grad(f, (0,))(2.0, 3.0, 5.0) == (9 * 125,)
    with pytest.raises(TypeError, match="argument 3 of <lambda>"):
        aj.grad(f, 3)(2.0, 3.0, 5.0)


def test_keywords_are_constants() -> None:
    assert aj.grad(lambda x, *, scale: scale * x)(2.0, scale=3.0) == 3.0


def test_aux_is_handed_through() -> None:
    def f(x: Any) -> Any:
        y = x * x
        return aj.sum(y), {"y": y, "name": "square", "n": 3}

    (value, aux), g = aj.value_and_grad(f, has_aux=True)(np.array([1.0, 2.0]))
    assert (value, aux["name"], aux["n"]) == (5.0, "square", 3)
    assert type(aux["y"]) is np.ndarray
    np.testing.assert_array_equal(aux["y"], [1.0, 4.0])
    np.testing.assert_array_equal(g, [2.0, 4.0])
    gradient, aux = aj.grad(f, has_aux=True)(np.array([1.0]))
    assert (gradient, aux["name"]) == ([2.0], "square")
    for transform in (aj.linearize, aj.vjp):
        _, _, aux = transform(lambda x: (x, {"seen": x}), np.array([1.0]), has_aux=True)
        assert type(aux["seen"]) is np.ndarray


def test_trees_in_and_out() -> None:
    p = {"w": W1, "list": [B1, (W2, "name", 3, None)]}

    def f(lib: Any, p: Any, x: Any) -> Any:
        return lib.sum(network(lib, x, p["w"], p["list"][0], p["list"][1][0]))

    g = aj.grad(lambda p: f(np, p, X))(p)
    wanted = jax.grad(lambda w, b, v: f(jnp, {"w": w, "list": [b, (v,)]}, X), (0, 1, 2))(W1, B1, W2)
    close((g["w"], g["list"][0], g["list"][1][0]), wanted)
    assert g["list"][1][1:] == (None, None, None)


def test_a_module_has_a_gradient_of_its_shape() -> None:
    net = aj.nn.MLP((4, 3, 2), rng=0)
    net[0].freeze("bias")
    g = aj.grad(lambda net: aj.sum(net(X.astype("float32"))))(net)
    assert type(g) is type(net)
    assert g[0].bias is None
    assert g[0].weight.shape == (3, 4)
    assert g[0].weight.dtype == "float32"


def test_integers_in_trees_are_no_operands() -> None:
    g = aj.grad(lambda p: aj.sum(p["x"] * p["i"]))({"x": np.ones(3), "i": np.arange(3)})
    np.testing.assert_array_equal(g["x"], [0.0, 1.0, 2.0])
    assert g["i"] is None


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: np.float64(2.0), lambda x: aj.sum(aj.stop_gradient(x) ** 2)])
def test_constant_functions_have_zero_gradients(f: Callable[[Any], Any]) -> None:
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(aj.grad(f)(x), [0.0, 0.0])
    y, J = aj.linearize(f, x)
    np.testing.assert_array_equal(J @ x, 0.0)
    np.testing.assert_array_equal(J.T @ np.array(1.0), [0.0, 0.0])
    assert aj.jvp(f, (x,), (x,)) == (y, 0.0)


def test_unused_and_repeated_arguments() -> None:
    x = np.array([1.0, 2.0])
    gx, gy = aj.grad(lambda x, y: aj.sum(x * x), (0, 1))(x, np.ones(3))
    np.testing.assert_array_equal(gy, np.zeros(3))
    np.testing.assert_array_equal(gx, 2 * x)
    a, b = aj.grad(lambda a, b: aj.sum(a * b * b), (0, 1))(x, x)
    np.testing.assert_array_equal(a, x**2)
    np.testing.assert_array_equal(b, 2 * x**2)
    _, J = aj.linearize(lambda a, b: a * b * b, x, x)
    np.testing.assert_array_equal(J @ (x, 0 * x), x**3)
    np.testing.assert_array_equal(J @ (0 * x, x), 2 * x**3)
    close(J.T @ x, (x**3, 2 * x**3))


def test_the_same_output_twice() -> None:
    x = np.array([0.3, 0.5])
    _, J = aj.linearize(lambda x: (lambda z: (z, 2.0 * z, z))(aj.sin(x)), x)
    _, pullback = aj.vjp(lambda x: (lambda z: (z, 2.0 * z, z))(aj.sin(x)), x)
    u = (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([10.0, 100.0]))
    expected = np.cos(x) * np.array([11.0, 102.0])
    close(J.T @ u, expected)
    close(pullback(u)[0], expected)


def test_identity_is_the_identity() -> None:
    x = np.array([1.0, 2.0])
    y, J = aj.linearize(lambda x: x, x)
    assert repr(J) == "I: (2,) → (2,)"
    assert y is not x
    np.testing.assert_array_equal(aj.vjp(lambda x: x, x)[1](x)[0], x)
    np.testing.assert_array_equal(aj.jvp(lambda x: x, (x,), (x,))[1], x)
    assert aj.grad(lambda x: x)(2.0) == 1.0


def test_gradients_of_an_identity_share_nothing_with_each_other_that_matters() -> None:
    """The cotangent reaches both operands of a sum as the same array: adding to one must not change the other."""
    x, y = np.ones(2), np.ones(2)

    def f(x: Any, y: Any) -> Any:
        s = x + y
        return aj.sum(s * s + x)

    gx, gy = aj.grad(f, (0, 1))(x, y)
    np.testing.assert_array_equal(gx, [5.0, 5.0])
    np.testing.assert_array_equal(gy, [4.0, 4.0])


def test_dtypes_are_kept() -> None:
    x32, w64 = X.astype("float32"), W1
    gx, gw = aj.grad(lambda x, w: aj.sum(aj.tanh(x @ w.T)), (0, 1))(x32, w64)
    assert (gx.dtype, gw.dtype) == ("float32", "float64")
    g = aj.grad(lambda x: aj.sum(aj.astype(aj.astype(x, "float32") ** 2, "float64")))(X)
    assert g.dtype == "float64"
    np.testing.assert_allclose(g, 2 * X, rtol=2.0**-22)


# Forward and backward


@pytest.mark.covers("F05")
def test_pushforward_and_pullback_are_jaxs() -> None:
    v, w = normal(3, 4, seed=5), normal(5, 4, seed=6)
    y, pushed = aj.jvp(ours, (X, W1), (v, w))
    close((y, pushed), jax.jvp(theirs, (X, W1), (v, w)))
    y, pullback = aj.vjp(ours, X, W1)
    wanted, expected = jax.vjp(theirs, X, W1)
    u = normal(*y.shape, seed=7)
    close(y, wanted)
    close(pullback(u), expected(u))
    y, J = aj.linearize(ours, X, W1)
    close(J @ (v, w), pushed)
    close(J.T @ u, pullback(u))


@pytest.mark.covers("F05")
def test_one_recording_serves_many_cotangents() -> None:
    _, pullback = aj.vjp(ours, X)
    _, J = aj.linearize(ours, X)
    us = normal(6, *J.out_shape)
    vs = normal(2, 3, *J.in_shape)
    close(J.T(us), np.stack([pullback(u)[0] for u in us]))
    close(J(vs), np.stack([[aj.jvp(ours, (X,), (v,))[1] for v in row] for row in vs]))


def test_trees_of_tangents() -> None:
    p = {"a": np.array([2.0]), "b": [np.array([3.0]), 7]}
    f = lambda p: {"out": p["a"] * p["b"][0], "same": p["a"]}  # noqa: E731
    y, pushed = aj.jvp(f, (p,), ({"a": np.array([1.0]), "b": [np.array([10.0]), None]},))
    assert (y["out"], pushed["out"], pushed["same"]) == (6.0, 23.0, 1.0)
    _, J = aj.linearize(f, p)
    assert J.in_shape == ((1,), (1,))
    back = J.T @ {"out": np.array([1.0]), "same": np.array([100.0])}
    assert (back["a"], back["b"]) == (103.0, [2.0, None])
    assert (J @ {"a": np.array([1.0]), "b": [np.array([10.0]), None]})["out"] == 23.0


@pytest.mark.covers("F06")
def test_jacobian_is_jaxs() -> None:
    for forward_or_backward in (jax.jacfwd, jax.jacrev):
        close(aj.jacobian(ours, X).dense(), forward_or_backward(theirs)(X), 256)
        both = aj.jacobian(ours, X, W1).dense()
        close(both, forward_or_backward(theirs, (0, 1))(X, W1), 256)


@pytest.mark.covers("F06")
@pytest.mark.parametrize(("n", "m"), [(7, 2), (2, 7), (1, 1), (0, 3), (3, 0)])
def test_jacobian_of_any_shape(n: int, m: int) -> None:
    A = normal(m, n)
    J = aj.jacobian(lambda x: np.sin(A @ np.cos(x)), np.arange(n) / 3.0)
    x = np.arange(n) / 3.0
    assert J.shape == (m, n)
    close(J.dense(), np.cos(A @ np.cos(x))[:, None] * A * -np.sin(x))


@pytest.mark.covers("F06")
def test_jacobian_of_scalars() -> None:
    assert aj.jacobian(lambda x: x**3, 2.0).dense() == 12.0
    np.testing.assert_array_equal(aj.jacobian(aj.sum, np.ones((2, 3))).dense(), np.ones((2, 3)))
    assert aj.jacobian(lambda x: x * np.ones(3), 2.0).dense().tolist() == [1.0, 1.0, 1.0]


# Second order


def rosenbrock(x: Any) -> Any:
    return ((1.0 - x[:-1]) ** 2 + 100.0 * (x[1:] - x[:-1] ** 2) ** 2).sum()


@pytest.mark.covers("F10")
def test_hessian_products_are_jaxs() -> None:
    x, v = normal(6), normal(6, seed=1)
    H = jax.hessian(rosenbrock)(x)
    close(aj.hvp(rosenbrock, x, v), H @ v, 1024)
    close(aj.jacobian(aj.grad(rosenbrock), x).dense(), H, 1024)
    close(aj.grad(lambda x: aj.sum(aj.grad(rosenbrock)(x) * v))(x), H @ v, 1024)
    close(aj.vjp(aj.grad(rosenbrock), x)[1](v)[0], H @ v, 1024)


@pytest.mark.covers("F10")
def test_hessian_product_of_a_network() -> None:
    direction = normal(5, 4, seed=9)
    got = aj.hvp(lambda w: aj.sum(aj.log_softmax(ours(X, w)) ** 2), W1, direction)
    loss = lambda w: jnp.sum(jax.nn.log_softmax(theirs(X, w)) ** 2)  # noqa: E731
    close(got, jax.jvp(jax.grad(loss), (W1,), (direction,))[1], 512)


@pytest.mark.covers("F10")
def test_gauss_newton_is_jaxs() -> None:
    target = np.array([1, 0, 1])
    loss = lambda y: aj.cross_entropy(y, target)  # noqa: E731
    G = aj.ggn(lambda w: ours(X, w), loss, W1)
    J = jax.jacobian(lambda w: theirs(X, w))(W1).reshape(6, -1)
    jax_loss = lambda y: -jnp.mean(jax.nn.log_softmax(y)[jnp.arange(3), target])  # noqa: E731
    H = jax.hessian(jax_loss)(theirs(X, W1)).reshape(6, 6)
    close(G.dense().reshape(20, 20), J.T @ H @ J, 256)
    v = normal(5, 4, seed=8)
    close(G @ v, (J.T @ (H @ (J @ v.reshape(-1)))).reshape(5, 4), 256)
    assert np.linalg.eigvalsh(G.dense().reshape(20, 20)).min() > -1e-12


@pytest.mark.covers("F10")
def test_gauss_newton_over_a_module() -> None:
    net = aj.nn.MLP((4, 3, 2), rng=0)
    G = aj.ggn(lambda net: net(X.astype("float32")), lambda y: 0.5 * aj.sum(y * y), net)
    J = aj.jacobian(lambda net: net(X.astype("float32")), net)
    v = J.T @ normal(3, 2, seed=4).astype("float32")
    got, wanted = G @ v, J.T @ (J @ v)
    np.testing.assert_allclose(got[0].weight, wanted[0].weight, rtol=1e-5)


POLYNOMIALS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "power": (lambda x: x**5, lambda x: 60 * x**2),
    "exponential": (lambda x: aj.exp(2.0 * x), lambda x: 8 * np.exp(2 * x)),
    "tanh": (aj.tanh, lambda x: -2 * (1 - np.tanh(x) ** 2) * (1 - 3 * np.tanh(x) ** 2)),
    "product": (lambda x: aj.sin(x) * aj.cos(x), lambda x: -4 * np.cos(2 * x)),
    "quotient": (lambda x: 1.0 / x, lambda x: -6 / x**4),
    "matrix": (lambda x: aj.sum((np.ones((2, 2)) * x) @ (x * np.ones(2)) * x), lambda x: 24.0 + 0 * x),
}


@pytest.mark.parametrize("name", POLYNOMIALS)
@pytest.mark.parametrize("x", [0.7, -1.3])
def test_third_order_in_every_mixture(name: str, x: float) -> None:
    f, third = POLYNOMIALS[name]
    forward = lambda f: lambda x: aj.jvp(f, (x,), (np.float64(1.0),))[1]  # noqa: E731
    backward = aj.grad
    mapped = lambda f: lambda x: aj.linearize(f, x)[1] @ np.float64(1.0)  # noqa: E731
    for a in (forward, backward, mapped):
        for b in (forward, backward, mapped):
            for c in (forward, backward, mapped):
                assert a(b(c(f)))(x) == pytest.approx(third(x), rel=1e-12)


def test_gradient_through_a_jacobian_applied() -> None:
    """The map that linearize gives may depend on a value of the transform outside, and is differentiated there."""
    v = normal(3, 4, seed=3)
    got = aj.grad(lambda x: aj.sum((aj.linearize(ours, x)[1] @ v) ** 2))(X)
    wanted = jax.grad(lambda x: jnp.sum(jax.jvp(theirs, (x,), (v,))[1] ** 2))(X)
    close(got, wanted, 256)
    u = normal(3, 2, seed=4)
    got = aj.grad(lambda x: aj.sum((aj.linearize(ours, x)[1].T @ u) ** 2))(X)
    wanted = jax.grad(lambda x: jnp.sum(jax.vjp(theirs, x)[1](u)[0] ** 2))(X)
    close(got, wanted, 256)


def test_gradient_of_a_dense_jacobian() -> None:
    x = normal(4)
    A = normal(3, 4)
    got = aj.grad(lambda x: aj.sum(aj.jacobian(lambda z: aj.tanh(A @ z), x).dense() ** 2))(x)
    wanted = jax.grad(lambda x: jnp.sum(jax.jacobian(lambda z: jnp.tanh(A @ z))(x) ** 2))(x)
    close(got, wanted)


def test_tangents_and_cotangents_are_differentiable_too() -> None:
    v = normal(3, 4, seed=3)
    got = aj.grad(lambda v: aj.sum(aj.jvp(ours, (X,), (v,))[1] ** 2))(v)
    close(got, jax.grad(lambda v: jnp.sum(jax.jvp(theirs, (X,), (v,))[1] ** 2))(v))
    u = normal(3, 2, seed=4)
    got = aj.grad(lambda u: aj.sum(aj.vjp(ours, X)[1](u)[0] ** 2))(u)
    close(got, jax.grad(lambda u: jnp.sum(jax.vjp(theirs, X)[1](u)[0] ** 2))(u))


# Levels are kept apart (Siskind & Pearlmutter 2005)


def test_perturbations_are_not_confused() -> None:
    assert aj.grad(lambda x: x * aj.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert aj.grad(lambda x: x * aj.grad(lambda y: x * y)(2.0))(3.0) == 6.0
    assert aj.grad(lambda x: aj.grad(lambda y: x * y * y)(x * 2.0))(3.0) == 24.0
    assert (
        aj.jvp(lambda x: x * aj.jvp(lambda y: x + y, (1.0,), (np.float64(1.0),))[1], (1.0,), (np.float64(1.0),))[1]
        == 1.0
    )
    assert aj.grad(lambda x: aj.jvp(lambda y: x * y, (2.0,), (x,))[1])(3.0) == 6.0
    assert aj.grad(lambda x: aj.vjp(lambda y: x * y, np.float64(2.0))[1](x)[0])(3.0) == 6.0


def test_an_inner_function_that_ignores_its_argument() -> None:
    assert aj.grad(lambda x: x * aj.grad(lambda y: x * x)(5.0))(2.0) == 0.0
    assert aj.grad(lambda x: aj.grad(lambda y: x * y)(5.0) ** 2)(2.0) == 4.0


def test_an_outer_value_as_an_inner_argument() -> None:
    assert aj.grad(lambda x: aj.grad(lambda y: y**3)(x))(2.0) == 12.0
    assert aj.grad(lambda x: aj.value_and_grad(lambda y: y * x, 0)(x)[0])(3.0) == 6.0
    assert aj.grad(lambda x: aj.grad(lambda y, z: y * z, (0, 1))(x, x * x)[0])(3.0) == 6.0


def test_stop_gradient_at_every_level() -> None:
    assert aj.grad(lambda x: x * aj.stop_gradient(x * x))(3.0) == 9.0
    assert aj.grad(aj.grad(lambda x: x**2 * aj.stop_gradient(x)))(3.0) == 6.0
    assert aj.grad(lambda x: aj.grad(lambda y: y * aj.stop_gradient(x * y))(2.0))(3.0) == 0.0
    g = aj.grad(lambda p: aj.sum(aj.stop_gradient(p)["a"] * p["a"]))({"a": np.array([2.0])})
    assert g["a"] == 2.0
    assert aj.stop_gradient({"a": 1.0, "b": "text"}) == {"a": 1.0, "b": "text"}


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=5), st.integers(0, 2**31))
def test_derivatives_of_random_programs_nest(values: list[float], seed: int) -> None:
    """Random chains of operations: reverse over reverse equals forward over reverse, and both HIPS autograd's."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 5, size=6)

    def program(lib: Any, x: Any) -> Any:
        y = x
        for step in steps:
            y = [
                lambda y: lib.sin(y) + x,
                lambda y: y * x,
                lambda y: lib.tanh(y),
                lambda y: y / (2.0 + x * x),
                lambda y: y - lib.sum(y),
            ][step](y)
        return lib.sum(y * y)

    x = np.array(values)
    v = rng.normal(size=x.shape)
    wanted = autograd.grad(lambda x: anp.sum(autograd.grad(lambda x: program(anp, x))(x) * v))(x)
    scale = 1e6 * float(np.abs(wanted).max()) + 1e6
    close(aj.hvp(lambda x: program(np, x), x, v), wanted, int(scale))
    close(aj.grad(lambda x: aj.sum(aj.grad(lambda x: program(np, x))(x) * v))(x), wanted, int(scale))


# What is wrong is said


def test_a_loss_must_be_a_scalar() -> None:
    with pytest.raises(aj.ShapeError, match=r"scalar loss.*of shape \(2,\): reduce it with aj.sum or aj.mean"):
        aj.grad(lambda x: x * x)(np.ones(2))
    with pytest.raises(aj.ShapeError, match=r"type tuple.*has_aux=True"):
        aj.grad(lambda x: (aj.sum(x), x))(np.ones(2))
    with pytest.raises(aj.ShapeError, match=r"of shape \(1,\)"):
        aj.grad(lambda x: x[:1])(np.ones(2))
    with pytest.raises(aj.ShapeError, match="type str"):
        aj.grad(lambda x: "loss")(np.ones(2))


@pytest.mark.parametrize("x", [np.ones(3), torch.ones(3), jnp.ones(3)])
@pytest.mark.parametrize("count", [lambda x: aj.sum(x) > 0, lambda x: aj.sum(x > 0)])
def test_a_loss_is_no_count_or_comparison(x: Any, count: Callable[[Any], Any]) -> None:
    """Its gradient would be zero, which nobody wants; JAX refuses it, too."""
    with pytest.raises(
        aj.DtypeError, match=r"loss of real floating numbers, but <lambda> returned one of (torch\.)?\w+\d*:"
    ):
        aj.grad(count)(x)


def test_an_argument_is_named_once() -> None:
    """Differentiated twice at once, each would get a part of the derivative."""
    for argnums in ((0, 0), (0, 1, -2)):
        for x in (np.ones(2), {"x": np.ones(2)}):
            with pytest.raises(ValueError, match=r"argument -?\d of <lambda> is named twice in argnums=\(0, "):
                aj.grad(lambda x, y: aj.sum(y), argnums)(x, np.ones(2))


SHARING: list[Callable[..., Any]] = [
    lambda x, y: aj.reshape(x, (2, 3)) + aj.reshape(y, (2, 3)),
    lambda x, y: aj.tanh(aj.reshape(x, (3, 2)).mT - aj.reshape(y, (2, 3)) * -1.0),
    lambda x, y: aj.concatenate([x, y, y]),
    lambda x, y: aj.reshape(x[1:], (5, 1)) + y[:-1, None],
]


@pytest.mark.parametrize("f", SHARING)
@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_gradients_can_be_changed_in_place(f: Callable[..., Any], convert: Callable[[Any], Any]) -> None:
    """Scaling one of them (clipping, say) leaves the others as they are, and the cotangent that they came from."""
    x, y = convert(normal(6)), convert(normal(6, seed=1))
    gradients = aj.grad(lambda x, y: aj.sum(f(x, y)), (0, 1))(x, y)
    value, pullback = aj.vjp(f, x, y)
    u = aj.ones_like(value)
    for first, second in (gradients, pullback(u)):
        before = second * 1.0
        first *= 100.0
        close(second, before)
        second *= 100.0
    close(u, aj.ones_like(value))


def test_both_biases_of_an_lstm_have_gradients_of_their_own() -> None:
    net = aj.nn.LSTM(3, 2, rng=0)
    grads = aj.grad(lambda net: aj.sum(net(np.ones((4, 3), "float32"))[0]))(net)
    assert not np.shares_memory(grads.bias_ih_l0, grads.bias_hh_l0)
    np.testing.assert_array_equal(grads.bias_ih_l0, grads.bias_hh_l0)


@pytest.mark.parametrize(
    "transform",
    [
        aj.grad(aj.sum),
        lambda x: aj.linearize(aj.sum, x),
        lambda x: aj.vjp(aj.sum, x),
        lambda x: aj.jvp(aj.sum, (x,), (x,)),
    ],
)
@pytest.mark.parametrize("x", [np.arange(3), np.ones(2, bool), torch.arange(3), jnp.arange(3), np.ones(2, complex)])
def test_only_floating_numbers_have_a_derivative(transform: Callable[[Any], Any], x: Any) -> None:
    with pytest.raises(aj.DtypeError, match="only real floating numbers"):
        transform(x)


def test_nothing_to_differentiate() -> None:
    with pytest.raises(TypeError, match="no floating array to differentiate in dict"):
        aj.grad(lambda p: 1.0)({"i": np.arange(3)})


def test_tangents_and_cotangents_must_fit() -> None:
    x = np.ones((2, 3))
    with pytest.raises(aj.ShapeError, match=r"jvp: a tangent of shape \(3,\) for a primal of shape \(2, 3\)"):
        aj.jvp(aj.sin, (x,), (np.ones(3),))
    with pytest.raises(TypeError, match=r"jvp takes tuples of primals and tangents: aj\.jvp\(\w+, \(x,\), \(v,\)\)"):
        aj.jvp(aj.sin, x, x)
    for wrong, kind, told in (
        ([1.0, 2.0], TypeError, r"of type list for a %s of shape \(2, 3\): pass an array"),
        (None, TypeError, r"of type NoneType for a %s of shape \(2, 3\)"),
        (1.0, aj.ShapeError, r"of shape \(\) for a %s of shape \(2, 3\)"),
        (1j * x, aj.DtypeError, "of complex128 for a %s of float64: only real numbers"),
        (torch.ones(2, 3), aj.BackendError, r"and its %s are arrays of torch and numpy: move one by aj\.to"),
    ):
        with pytest.raises(kind, match="jvp: a tangent " + told % "primal"):
            aj.jvp(aj.sin, (x,), (wrong,))
        if wrong is not None:  # none arrives there
            with pytest.raises(kind, match="vjp: a cotangent " + told % "value"):
                aj.vjp(aj.sin, x)[1](wrong)
    with pytest.raises(aj.ShapeError, match="it is a list: pass an array"):
        aj.jacobian(aj.sin, x) @ [1.0, 2.0]
    with pytest.raises(aj.ShapeError, match="1 primals but 2 tangents"):
        aj.jvp(aj.sin, (x,), (x, x))
    with pytest.raises(aj.ShapeError, match=r"vjp: a cotangent of shape \(3, 2\)"):
        aj.vjp(aj.sin, x)[1](np.ones((3, 2)))
    with pytest.raises(aj.ShapeError, match=r"takes one element of shape \(2, 3\), got \(3, 2\); transpose it"):
        aj.jacobian(aj.sin, x) @ np.ones((3, 2))


def test_errors_inside_the_function_leave_no_trace() -> None:
    x = np.ones(3)
    with pytest.raises(ZeroDivisionError):
        aj.grad(lambda x: aj.sum(x * x) / (1 // 0))(x)
    assert x.flags.writeable
    assert aj.grad(lambda x: x * x)(2.0) == 4.0
    with pytest.raises(aj.ShapeError, match="matmul"):
        aj.linearize(lambda a: x @ (a @ a), np.ones((2, 3)))
    assert x.flags.writeable


def test_values_of_traced_arrays_are_not_read_as_numbers() -> None:
    for read in (float, int, bool, np.asarray, lambda x: x.item()):
        with pytest.raises(aj.TraceError, match="would lose its derivative"):
            aj.grad(lambda x, read=read: x * read(x * 1.0))(2.0)


def test_branches_on_comparisons_take_the_side_of_the_value() -> None:
    f = aj.grad(lambda x: x * x if x > 0 else -x)
    assert (f(3.0), f(-3.0)) == (6.0, -1.0)


# All backends


def step(x: Any, w: Any, t: Any) -> Any:
    return aj.cross_entropy(aj.gelu(aj.layer_norm(x @ w, None, None)), t)


@pytest.mark.parametrize("move", [torch.tensor, jnp.asarray], ids=["torch", "jax"])
def test_transforms_agree_on_every_backend(move: Callable[[Any], Any]) -> None:
    x, w, t = X, normal(4, 5, seed=1), np.array([0, 4, 2])
    value, gradients = aj.value_and_grad(step, (0, 1))(x, w, t)
    got, found = aj.value_and_grad(step, (0, 1))(move(x), move(w), move(t))
    assert type(found[0]) is type(move(x)) or isinstance(found[0], jax.Array)
    close([np.asarray(a) for a in (got, *found)], (value, *gradients))
    v = normal(4, 5, seed=2)
    H = aj.hvp(lambda w: step(x, w, t), w, v)
    close(np.asarray(aj.hvp(lambda w: step(move(x), w, move(t)), move(w), move(v))), H)
    dense = aj.jacobian(lambda x: aj.softmax(x @ w), x).dense()
    close(np.asarray(aj.jacobian(lambda x: aj.softmax(x @ move(w)), move(x)).dense()), dense)


def test_everything_works_under_jit() -> None:
    x, w, t, v = X, normal(4, 5, seed=1), np.array([0, 4, 2]), normal(4, 5, seed=2)
    traces = []

    @jax.jit
    def everything(x: Any, w: Any, v: Any) -> Any:
        traces.append(1)
        J = aj.linearize(lambda w: aj.tanh(x @ w), w)[1]
        return aj.grad(step, 1)(x, w, t), aj.hvp(lambda w: step(x, w, t), w, v), J.T @ (J @ v), J.dense()

    J = aj.jacobian(lambda w: aj.tanh(x @ w), w)
    wanted = (aj.grad(step, 1)(x, w, t), aj.hvp(lambda w: step(x, w, t), w, v), J.T @ (J @ v), J.dense())
    close(everything(x, w, v), wanted)
    close(everything(x + 0.0, w, v), wanted)
    assert len(traces) == 1


def test_pytorch_builds_no_graph_behind() -> None:
    w = torch.tensor(normal(4, 5, seed=1), requires_grad=True)
    g = aj.grad(step, 1)(torch.tensor(X), w, torch.tensor([0, 4, 2]))
    loss = torch.nn.functional.cross_entropy(
        torch.nn.functional.gelu(torch.nn.functional.layer_norm(torch.tensor(X) @ w, (5,))), torch.tensor([0, 4, 2])
    )
    loss.backward()
    assert w.grad is not None
    close(g.numpy(), w.grad.numpy())
    assert not g.requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.covers("F11")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x,
        lambda x: -2 * x,
        lambda x: x.reshape(3, 2),
        lambda x: x[1:],
        lambda x: x.sum(0),
        lambda x: x + x.reshape(3, 2).reshape(2, 3),
    ],
)
def test_a_jacobian_without_numbers_is_of_its_points_kind(f: Any, dtype: str) -> None:
    """Where the map only moves, picks and adds, the matrix has the point's dtype and backend, as PyTorch's has."""
    point = torch.arange(6.0, dtype=getattr(torch, dtype)).reshape(2, 3)
    theirs = torch.func.jacrev(f)(point)
    for x in (point, point.numpy()):
        J = aj.jacobian(f, x)
        for mine, peer in ((J.dense(), theirs), ((2 * J).dense(), 2 * theirs), ((J + J).dense(), 2 * theirs)):
            assert type(mine) is type(x)
            assert mine.dtype == x.dtype
            assert np.array_equal(np.asarray(mine), peer.numpy())
        assert type(J.T.matrix()) is type(x)
        assert J.T.matrix().dtype == x.dtype


def test_a_loss_that_returns_nothing() -> None:
    def forgetful(x: Any) -> None:
        aj.sum(x)

    with pytest.raises(aj.ShapeError, match="scalar loss, but forgetful returned None: is its `return` missing"):
        aj.grad(forgetful)(np.ones(2))
