"""What every kind of map must do, on every backend; a new kind inherits all of it by an entry in `examples/`."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest

import adjoint as aj
from adjoint.arrays.dispatch import backend as backend_of
from adjoint.maps import LinearMap
from adjoint.maps.spaces import Space, factors, is_product, ravel, size, unravel
from tests.maps.examples import EXAMPLES, Example, moved, name, plain

DTYPES = ("float32", "float64")
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=name)
on_both_backends = pytest.mark.parametrize("backend", ["numpy", "torch"])
eager = pytest.mark.parametrize(
    ("backend", "dtype"), [("numpy", "float32"), ("numpy", "float64"), ("torch", "float32")]
)
in_every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def build(example: Example, backend: str = "numpy", dtype: str = "float64") -> LinearMap:
    return example.build(*moved(example.arrays(dtype), backend))


def element(space: Space, backend: str, dtype: str, seed: int, lead: tuple[int, ...] = ()) -> Any:
    """A random element, or a batch of them."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((*lead, *s)).astype("float32").astype(dtype) for s in factors(space)]
    return tuple(moved(parts, backend)) if is_product(space) else moved(parts, backend)[0]


def flat(x: Any, space: Space) -> np.ndarray:
    """The elements as NumPy vectors in float64."""
    return plain(ravel(x, space)).astype(np.float64)


def reference(example: Example) -> np.ndarray:
    assert example.matrix is not None
    return np.asarray(example.matrix(*example.arrays()), np.float64)


def slack(example: Example, dtype: str) -> float:
    """What rounding allows in A x, for x of size 1, in that dtype."""
    matrix = reference(example)
    eps = EPS["float32" if example.kind is aj.Cast else dtype]
    return 4.0 * eps * sum(matrix.shape) * (1.0 + float(np.linalg.norm(matrix)))


def test_every_kind_has_an_example() -> None:
    kinds = {kind for kind in LinearMap.registry if kind.__module__.partition(".")[0] == "adjoint"}
    missing = sorted(kind.__qualname__ for kind in kinds - {example.kind for example in EXAMPLES})
    assert not missing, f"give {missing} an example in tests/maps/examples/"


@every_example
def test_the_example_is_of_its_kind_and_describes_itself(example: Example) -> None:
    A = build(example)
    assert type(A) is example.kind
    assert A.describe()
    assert str(A.out_shape) in repr(A)
    assert A.shape == (size(A.out_shape), size(A.in_shape)) == reference(example).shape


@pytest.mark.covers("M02")
@every_example
@eager
def test_the_matrix_is_the_images_of_the_basis(example: Example, backend: str, dtype: str) -> None:
    A, matrix, near = build(example, backend, dtype), reference(example), slack(example, dtype)
    m, n = A.shape
    eye = moved([np.eye(max(m, n), dtype=dtype)], backend)[0]
    forth = flat(A.apply(unravel(eye[:n, :n], A.in_shape)), A.out_shape).T
    back = flat(A.adjoint(unravel(eye[:m, :m], A.out_shape)), A.in_shape)
    np.testing.assert_allclose(forth, matrix, 0, near)
    np.testing.assert_allclose(back, matrix, 0, near)
    np.testing.assert_allclose(plain(A.matrix()), matrix, 0, near)
    np.testing.assert_allclose(plain(A.T.matrix()), matrix.T, 0, near)
    assert_dense(A, matrix, near)
    like = A.array()
    if like is not None:
        assert type(A.matrix()) is type(like)
        assert str(A.matrix().dtype) == str(A.dtype) == str(like.dtype)


def assert_dense(A: LinearMap, matrix: np.ndarray, near: float) -> None:
    blocks = A.dense() if is_product(A.out_shape) else (A.dense(),)
    rows = []
    for block, out in zip(blocks, factors(A.out_shape), strict=True):
        line = block if is_product(A.in_shape) else (block,)
        for part, shape in zip(line, factors(A.in_shape), strict=True):
            assert tuple(part.shape) == (*out, *shape)
        rows.append([plain(p).reshape(math.prod(out), -1) for p in line])
    np.testing.assert_allclose(np.block(rows), matrix, 0, near)


@pytest.mark.covers("M07")
@every_example
@eager
def test_dot_test_one_element_and_batches(example: Example, backend: str, dtype: str) -> None:
    A, matrix = build(example, backend, dtype), reference(example)
    for lead in ((), (3,), (2, 3), (0,)):
        x, y = element(A.in_shape, backend, dtype, 1, lead), element(A.out_shape, backend, dtype, 2, lead)
        Ax, Aty = flat(A.apply(x), A.out_shape), flat(A.adjoint(y), A.in_shape)
        x, y = flat(x, A.in_shape), flat(y, A.out_shape)
        assert Ax.shape == (*lead, A.shape[0])
        assert Aty.shape == (*lead, A.shape[1])
        near = slack(example, dtype) * (1.0 + np.linalg.norm(x)) * (1.0 + np.linalg.norm(y))
        assert abs(np.sum(Ax * y) - np.sum(x * Aty)) <= near
        np.testing.assert_allclose(Ax, x @ matrix.T, 0, near)
        np.testing.assert_allclose(Aty, y @ matrix, 0, near)


@pytest.mark.covers("M07")
@every_example
def test_on_jax_compiled_against_jax_linear_transpose(example: Example) -> None:
    """Under `jit` the map built of traced arrays gives its matrix both ways, and the adjoint is JAX's transpose."""
    dtype = "float32"
    arrays = moved(example.arrays(dtype), "jax")
    A, near = example.build(*arrays), slack(example, dtype)
    leads: list[tuple[int, ...]] = [(), (2, 3)]
    given = [
        (element(A.in_shape, "jax", dtype, 1, lead), element(A.out_shape, "jax", dtype, 2, lead)) for lead in leads
    ]

    def everything(arrays: list[Any], given: list[tuple[Any, Any]]) -> Any:
        A = example.build(*arrays)
        both = [(A.apply(x), A.adjoint(y)) for x, y in given]
        if example.held or example.kind in (aj.Cast, aj.Exponential):  # what JAX cannot see to be linear
            return both, A.matrix(), None
        return both, A.matrix(), jax.linear_transpose(A.apply, given[0][0])(both[0][0])[0]

    both, matrix, back = (everything if example.held else jax.jit(everything))(arrays, given)
    M = reference(example)
    np.testing.assert_allclose(plain(matrix), M, 0, near)
    for (x, y), (Ax, Aty), lead in zip(given, both, leads, strict=True):
        x, y, Ax, Aty = flat(x, A.in_shape), flat(y, A.out_shape), flat(Ax, A.out_shape), flat(Aty, A.in_shape)
        assert Ax.shape == (*lead, A.shape[0])
        assert Aty.shape == (*lead, A.shape[1])
        np.testing.assert_allclose(Ax, x @ M.T, 0, near * (1.0 + np.linalg.norm(x)))
        np.testing.assert_allclose(Aty, y @ M, 0, near * (1.0 + np.linalg.norm(y)))
    if back is not None:
        again = A.adjoint(both[0][0])
        near *= 10.0 * (1.0 + np.linalg.norm(M))
        np.testing.assert_allclose(flat(back, A.in_shape), flat(again, A.in_shape), 0, near)


@every_example
@eager
def test_backend_and_dtype_are_kept(example: Example, backend: str, dtype: str) -> None:
    A = build(example, backend, dtype)
    x, y = element(A.in_shape, backend, dtype, 1), element(A.out_shape, backend, dtype, 2)
    forth, back = A.apply(x), A.adjoint(y)
    for given, found in ((x, forth), (y, back)):
        first, result = (x[0] if isinstance(x, tuple) else x for x in (given, found))
        assert backend_of(type(result)) is backend_of(type(first))
        if example.kind is not aj.Cast:
            assert str(result.dtype) == str(first.dtype)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.kind is not aj.Cast], ids=name)
@eager
def test_what_is_made_of_it_keeps_the_dtype(example: Example, backend: str, dtype: str) -> None:
    A = build(example, backend, dtype)
    x, y = element(A.in_shape, backend, dtype, 1), element(A.out_shape, backend, dtype, 2)
    given = {str(part.dtype) for part in (x if isinstance(x, tuple) else (x,))}
    for B in (2 * A, A * 0.5, -A, A / 3, A + A, A - 2 * A, (A + A).T.T, A @ A.T @ A):
        for found in (B.apply(x), B.adjoint(y)):
            assert {str(part.dtype) for part in (found if isinstance(found, tuple) else (found,))} == given, B
        if A.array() is not None:
            assert str(B.dtype) == str(B.matrix().dtype) == str(A.dtype), B


@every_example
@in_every_dtype
def test_called_by_people(example: Example, dtype: str) -> None:
    """A @ x, A(x) and A.T @ y agree with apply and adjoint, through trees where the spaces are trees."""
    A = build(example, "numpy", dtype)
    x, y = element(A.in_shape, "numpy", dtype, 1), element(A.out_shape, "numpy", dtype, 2)
    tree_x = x if A.in_tree is None else A.in_tree.tree(x)
    tree_y = y if A.out_tree is None else A.out_tree.tree(y)
    leaves = (lambda z: z) if A.out_tree is None else A.out_tree.leaves
    back = (lambda z: z) if A.in_tree is None else A.in_tree.leaves
    for found in (leaves(A @ tree_x), leaves(A(tree_x)), leaves(A.T.T @ tree_x)):
        np.testing.assert_allclose(flat(found, A.out_shape), flat(A.apply(x), A.out_shape), 10 * EPS[dtype], EPS[dtype])
    for found in (back(A.T @ tree_y), back(A.T(tree_y))):
        np.testing.assert_allclose(flat(found, A.in_shape), flat(A.adjoint(y), A.in_shape), 10 * EPS[dtype], EPS[dtype])
    assert (A.T.in_shape, A.T.out_shape) == (A.out_shape, A.in_shape)
    assert A.T.T.in_shape == A.in_shape


@every_example
@in_every_dtype
def test_linear(example: Example, dtype: str) -> None:
    A = build(example, "numpy", dtype)
    x, y = (flat(element(A.in_shape, "numpy", dtype, seed), A.in_shape).astype(dtype) for seed in (3, 4))
    both, of_x, of_y = (
        flat(A.apply(unravel(z.astype(dtype), A.in_shape)), A.out_shape) for z in (2.0 * x - 0.5 * y, x, y)
    )
    near = 4.0 * slack(example, dtype) * float(np.linalg.norm(x) + np.linalg.norm(y))
    np.testing.assert_allclose(both, 2.0 * of_x - 0.5 * of_y, 0, near)


@every_example
@on_both_backends
def test_bound_to_a_batch_it_is_a_block_diagonal(example: Example, backend: str) -> None:
    A = build(example, backend)
    if is_product(A.in_shape) or is_product(A.out_shape) or isinstance(A.bind(A.in_shape), aj.Scale):
        assert A.bind(A.in_shape).in_shape == A.in_shape
        return
    lead = (2, 1)
    B = A.bind((*lead, *A.in_shape))
    assert (B.in_shape, B.out_shape) == ((*lead, *A.in_shape), (*lead, *A.out_shape))
    x, y = element(B.in_shape, backend, "float64", 5), element(B.out_shape, backend, "float64", 6)
    near = 10.0 * slack(example, "float64")
    np.testing.assert_allclose(plain(B.apply(x)), plain(A.apply(x)), 0, near)
    np.testing.assert_allclose(plain(B.adjoint(y)), plain(A.adjoint(y)), 0, near)
    np.testing.assert_allclose(plain(B.matrix()), np.kron(np.eye(2), reference(example)), 0, near)


PLAIN = [e for e in EXAMPLES if not any(is_product(s) for s in (build(e).in_shape, build(e).out_shape))]
PROPERTIES = {
    "symmetric": lambda M: np.abs(M - M.T),
    "orthogonal": lambda M: np.abs(M.T @ M - np.eye(len(M))),
    "projection": lambda M: np.abs(M @ M - M),
    "positive": lambda M: -np.linalg.eigvalsh((M + M.T) / 2).clip(None, 0.0),
}


@every_example
def test_declared_properties_are_true(example: Example) -> None:
    A, matrix = build(example), reference(example)
    for each in A.properties:
        assert np.max(PROPERTIES[each](matrix), initial=0.0) <= 10.0 * slack(example, "float64"), each
    assert A.T.properties == A.properties
    if "projection" in A.properties or "positive" in A.properties:
        assert "symmetric" in A.properties


@pytest.mark.parametrize("example", PLAIN, ids=name)
@on_both_backends
def test_both_directions_differentiate_in_what_they_are_applied_to(example: Example, backend: str) -> None:
    """The derivative of v ↦ A v is A, that of u ↦ Aᵀ u is Aᵀ."""
    A, near = build(example, backend), 10.0 * slack(example, "float64")
    v, dv, u = (element(s, backend, "float64", k) for k, s in enumerate((A.in_shape, A.in_shape, A.out_shape), 7))
    value, tangent = aj.jvp(A.apply, (v,), (dv,))
    np.testing.assert_allclose(plain(value), plain(A.apply(v)), 0, near)
    np.testing.assert_allclose(plain(tangent), plain(A.apply(dv)), 0, near)
    _, pullback = aj.vjp(A.adjoint, u)
    np.testing.assert_allclose(plain(pullback(dv)[0]), plain(A.apply(dv)), 0, near)
    batch = element(A.in_shape, backend, "float64", 9, (2,))
    J = aj.jacobian(A.apply, batch)
    np.testing.assert_allclose(plain(J.matrix()), np.kron(np.eye(2), reference(example)), 0, near)


@every_example
def test_both_directions_differentiate_in_products_of_spaces(example: Example) -> None:
    A, near = build(example), 10.0 * slack(example, "float64")
    v, u = (element(s, "numpy", "float64", k) for k, s in enumerate((A.in_shape, A.out_shape), 7))
    parts = v if is_product(A.in_shape) else (v,)
    J = aj.jacobian(lambda *p: A.apply(tuple(p) if is_product(A.in_shape) else p[0]), *parts)
    np.testing.assert_allclose(J.matrix(), reference(example), 0, near)
    parts = u if is_product(A.out_shape) else (u,)
    J = aj.jacobian(lambda *p: A.adjoint(tuple(p) if is_product(A.out_shape) else p[0]), *parts)
    np.testing.assert_allclose(J.matrix(), reference(example).T, 0, near)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.shapes and not e.held], ids=name)
@pytest.mark.parametrize("direction", ["apply", "adjoint"])
def test_both_directions_differentiate_in_the_arrays_of_the_map(example: Example, direction: str) -> None:
    """Against central differences of the reference matrix; a map is made of operations, so it has derivatives."""
    arrays = example.arrays()
    A = example.build(*arrays)
    source = A.in_shape if direction == "apply" else A.out_shape
    target = A.out_shape if direction == "apply" else A.in_shape
    x = element(source, "numpy", "float64", 11)
    tangents = [np.random.default_rng(k).standard_normal(w.shape) for k, w in enumerate(arrays)]

    def product(*held: Any) -> Any:
        return ravel(getattr(example.build(*held), direction)(x), target)

    _, found = aj.jvp(product, tuple(arrays), tuple(tangents))
    step = 1e-5
    turned = (lambda M: M) if direction == "apply" else np.transpose

    def moved_by(t: float) -> np.ndarray:
        assert example.matrix is not None
        matrix = example.matrix(*(w + t * dw for w, dw in zip(arrays, tangents, strict=True)))
        return turned(np.asarray(matrix)) @ flat(x, source)

    expected = (moved_by(step) - moved_by(-step)) / (2.0 * step)
    near = 1e-7 * (1.0 + np.linalg.norm(expected))
    np.testing.assert_allclose(found, expected, 0, near)
    _, pullback = aj.vjp(product, *arrays)
    u = np.random.default_rng(12).standard_normal(expected.shape)
    back = sum(np.sum(g * dw) for g, dw in zip(pullback(u), tangents, strict=True))
    assert abs(back - np.sum(u * expected)) <= near * np.linalg.norm(u)
