"""Sums of products in NumPy's memory: against float64, in every layout; what may be written, and what may not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjoint as aj
from adjoint import arrays as xp
from adjoint.arrays.numpy import sum_kernels
from adjoint.tape import pull


def draw(*shape: int, dtype: Any = "float64") -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def close(got: np.ndarray, expected: np.ndarray) -> None:
    tolerance = 1e-5 if got.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * max(np.abs(expected).max(), 1.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("inner", [1, 7, 8, 11, 16, 17])
@pytest.mark.parametrize("lead", [(), (3,), (2, 129), (1100,)])
def test_sums_of_products(lead: tuple[int, ...], inner: int, dtype: str) -> None:
    x, W, b = draw(*lead, 5, dtype=dtype), draw(130, 5, dtype=dtype), draw(130, dtype=dtype)
    y, V = draw(*lead, inner, dtype=dtype), np.asfortranarray(draw(130, inner, dtype=dtype))
    wide = x.astype(float) @ W.T.astype(float) + y.astype(float) @ V.T.astype(float)
    close(xp.linear_sum(x, W, y, V, b), wide + b)
    close(xp.linear_sum(x, W, y, V), wide)
    total = draw(*lead, 130, dtype=dtype)
    before, found = total.copy(), xp.linear_added(total, y, V)
    close(found, before + y.astype(float) @ V.T.astype(float))
    assert np.shares_memory(found, total)


def test_a_bias_of_another_shape_is_broadcast_or_refused() -> None:
    x, W, y, V = draw(1100, 5), draw(130, 5), draw(1100, 8), draw(130, 8)
    plain = x @ W.T + y @ V.T
    for bias in (np.array([2.0]), np.array(2.0), draw(1100, 130)):
        close(xp.linear_sum(x, W, y, V, bias), plain + bias)
    with pytest.raises(ValueError, match=r"131"):
        xp.linear_sum(x, W, y, V, draw(131))


def test_the_kernel_is_for_few_columns_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    kernel = sum_kernels.grow
    monkeypatch.setattr(sum_kernels, "grow", lambda *args: (seen.append(args[1].shape), kernel(*args)))
    for n, inner in ((200, 8), (200, 17), (20, 8)):
        xp.linear_sum(draw(n, 4), draw(100, 4), draw(n, inner), draw(100, inner))
    assert seen == [(200, 8)]


def test_operands_of_several_dtypes_and_shapes_take_the_plain_form() -> None:
    x, W = draw(3, 4, dtype="float32"), draw(5, 4, dtype="float32")
    y, V = draw(3, 2), draw(5, 2)
    assert xp.linear_sum(x, W, y, V).dtype == np.float64
    total = draw(3, 5, dtype="float32")
    assert not np.shares_memory(xp.linear_added(total, y, V), total)
    total.setflags(write=False)
    close(xp.linear_added(total, x, W), total + x @ W.T)
    np.testing.assert_allclose(xp.linear_sum(x, W, V[0], V.astype("float32")), x @ W.T + V[0] @ V.T, rtol=1e-5)
    with pytest.raises(aj.ShapeError):
        xp.linear_sum(x, W, draw(3, 3, dtype="float32"), V.astype("float32"))


class Kept(aj.Dense):
    """A map that keeps what it gave: its cotangent is not to be written."""

    __slots__ = ("given",)
    fresh = False

    def adjoint(self, u: Any) -> Any:
        self.given = super().adjoint(u)
        return self.given


def test_a_cotangent_that_something_else_refers_to_is_not_written() -> None:
    W, u, v = draw(3, 3), draw(2, 3), draw(2, 3)
    for maps in ([aj.Identity((3,)), aj.Dense(W)], [aj.Dense(W), aj.Identity((3,))], [Kept(W) for _ in range(3)]):
        given = u.copy()
        found = pull([(1, 0, m) for m in maps], {1: given})[0]
        close(found, sum(m.adjoint(u) for m in maps))
        np.testing.assert_array_equal(given, u)
        for m in maps:
            if isinstance(m, Kept):
                np.testing.assert_array_equal(m.given, u @ W)
    edges = [(1, 0, aj.Identity((3,))), (2, 0, aj.Dense(W)), (2, 1, aj.Identity((3,))), (3, 2, aj.Identity((3,)))]
    close(pull([*edges, (3, 1, aj.Dense(W))], {3: v})[0], v @ W + v @ W + v)


@pytest.mark.parametrize("f", [
    lambda x: aj.sum(aj.tanh(x @ draw(4, 5)) @ draw(5, 4) * x + x),
    lambda x: aj.sum(aj.layer_norm(x) * aj.linear(x, draw(4, 4)) + aj.linear(x, draw(4, 4)) + x * x),
])  # fmt: skip
def test_gradients_of_sums_and_their_own(f: Any) -> None:
    x, v, h = draw(3, 4), draw(3, 4), 1e-5
    slope = (aj.grad(f)(x + h * v) - aj.grad(f)(x - h * v)) / (2 * h)
    np.testing.assert_allclose(aj.hvp(f, x, v), slope, rtol=1e-5, atol=1e-6)
    _, pullback = aj.vjp(f, x)
    np.testing.assert_array_equal(pullback(np.array(1.0))[0], pullback(np.array(1.0))[0])


def test_second_derivatives_through_sums_of_cotangents() -> None:
    """Cotangents that are traced themselves meet in one place."""
    W, V, U, x = draw(60, 40), draw(60, 40), draw(60, 40), draw(40)
    f = lambda x: aj.sum(aj.tanh(aj.linear(x, W)) * aj.tanh(aj.linear(x, V)) + aj.tanh(aj.linear(x, U)))  # noqa: E731
    v, h = draw(40, 1)[:, 0], 1e-5
    expected = (aj.grad(f)(x + h * v) - aj.grad(f)(x - h * v)) / (2 * h)
    np.testing.assert_allclose(aj.hvp(f, x, v), expected, rtol=0, atol=1e-7 * np.abs(expected).max())
    np.testing.assert_allclose(aj.grad(lambda x: aj.grad(f)(x) @ v)(x), aj.hvp(f, x, v), rtol=0, atol=1e-11)
