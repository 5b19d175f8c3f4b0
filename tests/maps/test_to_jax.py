"""Maps as JAX's functions: every transform of JAX, alone and nested, for every kind of map."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from jax.test_util import check_grads

import adjoint as aj
from adjoint.maps.spaces import factors, is_product, ravel
from tests.maps.examples import EXAMPLES, Example, name, plain

QUICK = {"xla_backend_optimization_level": "0"}  # to compile, that is
KINDS = {e.kind: e for e in EXAMPLES if e.kind.__name__ != "Recomputed"}
every_kind = pytest.mark.parametrize("example", KINDS.values(), ids=name)


def element(space: Any, seed: int, lead: tuple[int, ...] = ()) -> Any:
    rng = np.random.default_rng(seed)
    parts = tuple(rng.standard_normal((*lead, *s)) for s in factors(space))
    return parts if is_product(space) else parts[0]


def near(A: Any, example: Example, found: Any, expected: Any, space: Any) -> None:
    found, expected = plain(ravel(found, space)), plain(ravel(expected, space))
    eps = 1e-6 if example.kind is aj.Cast else 1e-12
    np.testing.assert_allclose(found, expected, 0, eps * (1.0 + np.abs(expected).max(initial=0.0)))


@every_kind
def test_every_transform(example: Example) -> None:
    """Alone, nested and compiled: jacfwd and jacrev are vmap of jvp and of the transpose."""
    A = example.build(*example.arrays())
    call = A.to_jax()

    def f(x: Any) -> Any:
        y = call(x if A.in_tree is None else A.in_tree.tree(x))
        return y if A.out_tree is None else A.out_tree.leaves(y)

    x, v, u = element(A.in_shape, 1), element(A.in_shape, 2), element(A.out_shape, 3)
    batch = element(A.in_shape, 4, (3,))
    if example.kind is aj.Cast:
        u = u.astype("float32")
    plane = not (is_product(A.in_shape) or is_product(A.out_shape))

    def transformed(x: Any, v: Any, u: Any, batch: Any) -> Any:
        value, back = jax.vjp(f, x)
        pushed, twice = jax.jvp(f, (x,), (v,))[1], jax.vjp(lambda u: back(u)[0], u)[1](v)[0]
        jacobians = (jax.jacfwd(f)(x), jax.jacrev(f)(x)) if plane else ()
        return (value, jax.vmap(f)(batch), pushed, twice), (back(u)[0], jax.linear_transpose(f, x)(u)[0]), jacobians

    forth = [A.apply(x), A.apply(batch), A.apply(v), A.apply(v)]
    near(A, example, f(batch), forth[1], A.out_shape)
    near(A, example, jax.vjp(f, x)[1](u)[0], A.adjoint(u), A.in_shape)
    pushed, pulled, jacobians = jax.jit(transformed, compiler_options=QUICK)(x, v, u, batch)
    for found, expected in zip(pushed, forth, strict=True):
        near(A, example, found, expected, A.out_shape)
    for found in pulled:
        near(A, example, found, A.adjoint(u), A.in_shape)
    for found in jacobians:
        np.testing.assert_allclose(found, np.asarray(A.dense()), 1e-6 if example.kind is aj.Cast else 1e-12, 1e-12)


def test_jaxs_own_check() -> None:
    A = aj.Softmax(np.array([0.2, 0.5, 0.3])) @ aj.Dense(np.random.default_rng(0).standard_normal((3, 4)))
    check_grads(A.to_jax(), (np.ones(4),), 2, ["fwd", "rev"], rtol=1e-5)


def test_the_hessian_of_a_quadratic() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3))
    A = aj.Dense(weight).to_jax()
    hessian = jax.jit(jax.hessian(lambda x: 0.5 * jax.numpy.sum(A(x) ** 2)))
    np.testing.assert_allclose(hessian(np.ones(3)), weight.T @ weight, 1e-12)


def test_one_part_of_a_product_alone() -> None:
    """A cotangent for the part that varies, where the other is constant."""
    A = aj.block([[aj.Dense(np.full((2, 2), 2.0)), aj.Dense(np.full((2, 3), 3.0))]])
    f = A.to_jax()
    found = jax.grad(lambda x: jax.numpy.sum(f((x, np.ones(3)))))(np.ones(2))
    np.testing.assert_array_equal(found, [4.0, 4.0])


def test_shapes_are_checked() -> None:
    f = aj.Dense(np.ones((2, 3))).to_jax()
    with pytest.raises(aj.ShapeError, match=r"Dense: the input's trailing axes must be \(3,\), got \(2,\)"):
        jax.jit(f)(np.ones(2))
