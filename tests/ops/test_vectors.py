"""Vectors and matrices: the identities that everything else stands on, on every backend, against NumPy and geometry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import adjoint as aj

BACKENDS: dict[str, Callable[[Any], Any]] = {
    "numpy": np.array,
    "torch": lambda x: torch.tensor(np.asarray(x)),
    "jax": jnp.array,
}
every = pytest.mark.parametrize("move", BACKENDS.values(), ids=BACKENDS.keys())
NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 3))
VECTORS = hnp.arrays(np.float64, st.integers(1, 6), elements=NUMBERS)


@pytest.fixture(autouse=True)
def _float64_in_jax() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def close(got: Any, wanted: Any) -> None:
    wanted = np.asarray(wanted)
    assert tuple(got.shape) == wanted.shape
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-13, atol=1e-13 * float(np.abs(wanted).max(initial=0.0)))


@pytest.mark.covers("V01")
@every
def test_magnitude_and_unit_vector(move: Callable[[Any], Any]) -> None:
    close(aj.norm(move([3.0, 4.0])), 5.0)
    close(aj.normalize(move([3.0, 4.0])), [0.6, 0.8])
    x = normal(4, 5)
    close(aj.norm(move(x), -1), np.linalg.norm(x, axis=-1))
    close(aj.norm(aj.normalize(move(x)), -1), np.ones(4))
    close(aj.normalize(move(np.zeros(3))), np.zeros(3))


@pytest.mark.covers("V01")
@every
def test_sum_difference_and_scalar_multiple(move: Callable[[Any], Any]) -> None:
    x, y = normal(4), normal(4, seed=1)
    close(aj.add(move(x), move(y)), x + y)
    close(aj.subtract(move(x), move(y)), x - y)
    close(aj.multiply(-2.5, move(x)), -2.5 * x)


@pytest.mark.covers("V01")
@given(VECTORS, NUMBERS)
def test_norms_scale_and_obey_the_triangle(x: Any, c: float) -> None:
    y = x[::-1]
    size = float(aj.norm(x))
    assert float(aj.norm(c * x)) == pytest.approx(abs(c) * size, rel=1e-14, abs=1e-14)
    assert float(aj.norm(x + y)) <= size + float(aj.norm(y)) + 1e-12 * (1 + size)


@pytest.mark.covers("V02")
@every
def test_the_dot_product_is_a_sum_of_products_and_an_angle(move: Callable[[Any], Any]) -> None:
    for degrees, sign in ((0, 1), (60, 1), (90, 0), (120, -1), (180, -1)):
        theta = math.radians(degrees)
        a, b = np.array([2.0, 0.0]), 3.0 * np.array([math.cos(theta), math.sin(theta)])
        product = float(aj.dot(move(a), move(b)))
        assert product == pytest.approx(2.0 * 3.0 * math.cos(theta), abs=1e-14)
        assert np.sign(round(product, 12)) == sign
        assert float(aj.cosine_similarity(move(a), move(b))) == pytest.approx(math.cos(theta), abs=1e-14)
    x, y = normal(3, 4), normal(3, 4, seed=1)
    close(aj.dot(move(x), move(y)), [sum(p * q for p, q in zip(u, v, strict=True)) for u, v in zip(x, y, strict=True)])


@pytest.mark.covers("V02")
@given(VECTORS)
def test_cosines_ignore_length_and_are_bounded(x: Any) -> None:
    y = np.roll(x, 1) + 1.0
    cosine = float(aj.cosine_similarity(x, y))
    assert abs(cosine) <= 1.0 + 1e-12
    if np.linalg.norm(x) > 1e-3:
        assert float(aj.cosine_similarity(3.0 * x, y)) == pytest.approx(cosine, abs=1e-12)
        assert float(aj.dot(x, x)) == pytest.approx(float(aj.norm(x)) ** 2)


@pytest.mark.covers("V03")
@every
def test_outer_and_hadamard_products(move: Callable[[Any], Any]) -> None:
    x, y, z = normal(3), normal(4), normal(3, seed=2)
    close(aj.outer(move(x), move(y)), np.outer(x, y))
    close(aj.outer(move(x), move(y)) @ move(y), x * (y @ y))
    close(aj.multiply(move(x), move(z)), [a * b for a, b in zip(x, z, strict=True)])
    close(aj.outer(move(normal(2, 3)), move(normal(2, 4))), np.einsum("bi,bj->bij", normal(2, 3), normal(2, 4)))
    assert np.linalg.matrix_rank(np.asarray(aj.outer(move(x), move(y)))) == 1


@pytest.mark.covers("V04")
@every
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (4, 3, 1)),
        ((0, 3), (3, 2)),
    ],
)
def test_products_keep_the_outer_dimensions(
    move: Callable[[Any], Any], left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    x, y = normal(*left), normal(*right, seed=1)
    product = aj.matmul(move(x), move(y))
    close(product, np.matmul(x, y))
    close(product, torch.matmul(torch.tensor(x), torch.tensor(y)))
    if len(left) == len(right) == 2 and x.size:
        close(product, [[sum(x[i, k] * y[k, j] for k in range(3)) for j in range(y.shape[1])] for i in range(len(x))])


@pytest.mark.covers("V05")
@every
def test_transpose_identity_diagonal_and_zero(move: Callable[[Any], Any]) -> None:
    A, B, d = normal(3, 3), normal(3, 4), normal(3)
    close(aj.swapaxes(move(A) @ move(B), 0, 1), B.T @ A.T)
    identity = aj.eye(move(d), 3)
    close(identity @ move(B), B)
    close(aj.diagonal_matrix(move(d)) @ move(B), d[:, None] * B)
    close(aj.diagonal(aj.diagonal_matrix(move(d))), d)
    close(aj.zeros(move(d), (3, 3)) @ move(B), np.zeros((3, 4)))


@pytest.mark.covers("V05")
def test_where_each_occurs_in_a_network() -> None:
    """The transpose takes gradients back; the identity is a residual connection, the diagonal an activation, zero what
    a frozen path lets through."""
    W, x, u = normal(3, 4), normal(4), normal(3, seed=1)
    np.testing.assert_array_equal(aj.vjp(lambda x: W @ x, x)[1](u)[0], W.T @ u)
    close(aj.jacobian(lambda x: x + aj.stop_gradient(x) ** 2, x).dense(), np.eye(4))
    close(aj.jacobian(np.tanh, x).dense(), np.diag(1 - np.tanh(x) ** 2))
    close(aj.jacobian(lambda x: W @ aj.stop_gradient(x), x).dense(), np.zeros((3, 4)))


@pytest.mark.covers("V06", "F08")
def test_the_adjoint_of_broadcasting_is_summation() -> None:
    for small, big in (((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 3), (4, 2, 3)), ((1, 1), (5, 0))):
        u = normal(*big)
        g = aj.vjp(lambda b, big=big: b + np.zeros(big), np.zeros(small))[1](u)[0]
        axes = tuple(range(len(big) - len(small)))
        wanted = u.sum(axes) if axes else u
        kept = tuple(a for a, n in enumerate(small) if n == 1)
        close(g, wanted.sum(kept, keepdims=True) if kept else wanted)


@pytest.mark.covers("F08")
def test_what_the_adjoint_of_each_arrangement_is() -> None:
    x, u = normal(3, 4), normal(2, 4, seed=1)
    scattered = np.zeros((3, 4))
    np.add.at(scattered, [2, 2], u)
    close(aj.vjp(lambda x: aj.take(x, np.array([2, 2])), x)[1](u)[0], scattered)
    padded = normal(5, 6)
    close(aj.vjp(lambda x: aj.pad(x, [(1, 1), (2, 0)]), x)[1](padded)[0], padded[1:4, 2:])
    flat = normal(12)
    close(aj.vjp(lambda x: aj.reshape(x, (12,)), x)[1](flat)[0], flat.reshape(3, 4))
    turned = normal(4, 3)
    close(aj.vjp(lambda x: x.T, x)[1](turned)[0], turned.T)
    cut = np.zeros((3, 4))
    cut[1:, ::2] = padded[:2, :2]
    close(aj.vjp(lambda x: x[1:, ::2], x)[1](padded[:2, :2])[0], cut)


@pytest.mark.covers("V07")
@every
def test_reshape_keeps_the_numbers_in_row_major_order(move: Callable[[Any], Any]) -> None:
    image = np.arange(2 * 28 * 28.0).reshape(2, 28, 28)
    flat = aj.flatten(move(image), 1)
    assert tuple(flat.shape) == (2, 784)
    close(flat, image.reshape(2, -1))
    close(aj.reshape(move(image), (4, -1)), torch.tensor(image).reshape(4, -1))
    close(aj.reshape(move(image.transpose(2, 0, 1)), (-1,)), image.transpose(2, 0, 1).ravel())
    assert np.asarray(flat)[1, 28 * 5 + 7] == image[1, 5, 7]


@pytest.mark.covers("V07")
def test_view_or_copy() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert np.shares_memory(aj.reshape(x, (3, 2)), x)
    assert np.shares_memory(aj.permute(x, (1, 0)), x)
    assert np.shares_memory(aj.getitem(x, (slice(None), 1)), x)
    assert not np.shares_memory(aj.reshape(aj.permute(x, (1, 0)), (6,)), x)
    assert not np.shares_memory(aj.take(x, np.array([0])), x)
    assert not np.shares_memory(aj.copy(x), x)
    t = torch.arange(6.0).reshape(2, 3)
    assert aj.reshape(t, (3, 2)).data_ptr() == t.data_ptr()
    assert not aj.permute(t, (1, 0)).is_contiguous()


@pytest.mark.covers("V08")
@every
def test_products_do_not_commute(move: Callable[[Any], Any]) -> None:
    turn, stretch = np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 1.0]])
    close(move(turn) @ move(stretch), [[0.0, -1.0], [2.0, 0.0]])
    close(move(stretch) @ move(turn), [[0.0, -2.0], [1.0, 0.0]])
    A, B = normal(2, 3), normal(3, 4)
    close(aj.matmul(move(A), move(B)), A @ B)
    with pytest.raises(aj.ShapeError, match=r"matmul: \(3, 4\) @ \(2, 3\)"):
        aj.matmul(move(B), move(A))
