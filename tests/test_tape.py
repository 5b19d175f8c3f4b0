"""The tape: threads, values that escape, and changes in place that must never corrupt a gradient in silence."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

import adjoint as aj
from adjoint.errors import InPlaceError, TraceError

# Escaped values


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x * 2.0,
        lambda x: 2.0 - x,
        aj.sin,
        lambda x: x[0],
        lambda x: aj.softmax(x),
        lambda x: aj.concatenate([x, x]),
    ],
)
def test_a_value_that_leaves_its_transform_says_so(use: Callable[[Any], Any]) -> None:
    kept: list[Any] = []
    aj.grad(lambda x: (kept.append(x * 1.0), aj.sum(x))[1])(np.ones(3))
    with pytest.raises(TraceError, match="after its transform had returned"):
        use(kept[0])


def test_a_leaked_value_inside_another_transform() -> None:
    kept: list[Any] = []
    aj.grad(lambda x: (kept.append(x), x)[1])(2.0)
    with pytest.raises(TraceError):
        aj.grad(lambda y: y * kept[0])(3.0)
    assert aj.grad(lambda y: y * y)(3.0) == 6.0


def test_an_outer_value_may_be_used_inside() -> None:
    assert aj.grad(lambda x: aj.grad(lambda y: y * x)(1.0) * x)(3.0) == 6.0


def test_writing_into_a_traced_value_says_so() -> None:
    def f(x: Any) -> Any:
        x[0] = 1.0
        return aj.sum(x)

    with pytest.raises(TraceError, match=r"x\[key\] = value"):
        aj.grad(f)(np.ones(3))


# Threads


def test_threads_do_not_disturb_each_other() -> None:
    start, results = threading.Barrier(4), {}

    def work(k: int) -> None:
        start.wait()
        for _ in range(50):
            g = aj.grad(lambda x: aj.sum(aj.grad(lambda y: aj.sum(y**3 * x))(x) * k))(np.arange(4.0))
        results[k] = g

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        np.testing.assert_allclose(results[k], 9 * k * np.arange(4.0) ** 2)


def test_threads_hold_one_constant_together() -> None:
    A = np.ones((3, 3))
    meeting, seen = threading.Barrier(2), []

    def work() -> None:
        def f(x: Any) -> Any:
            y = A @ x
            meeting.wait()
            seen.append(A.flags.writeable)
            meeting.wait()
            return aj.sum(y)

        seen.append(aj.grad(f)(np.ones(3)).tolist())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, seen)) == ["False", "False", "[3.0, 3.0, 3.0]", "[3.0, 3.0, 3.0]"]
    assert A.flags.writeable


# Changes in place (F11)


@pytest.mark.covers("F11")
@pytest.mark.parametrize("transform", [aj.linearize, aj.vjp])
def test_inputs_are_copied(transform: Any) -> None:
    x = np.array([1.0, 2.0])
    y, back = transform(lambda x: x * x, x)
    x[:] = 100.0
    g = back.T @ np.ones(2) if transform is aj.linearize else back(np.ones(2))[0]
    np.testing.assert_array_equal(g, [2.0, 4.0])
    np.testing.assert_array_equal(y, [1.0, 4.0])


@pytest.mark.covers("F11")
@pytest.mark.parametrize("transform", [aj.linearize, aj.vjp])
def test_values_are_copied(transform: Any) -> None:
    """exp's derivative refers to its value, which the caller gets and may change."""
    x = np.array([0.0, 1.0])
    y, back = transform(aj.exp, x)
    y[:] = 100.0
    g = back.T @ np.ones(2) if transform is aj.linearize else back(np.ones(2))[0]
    np.testing.assert_allclose(g, np.exp(x))


@pytest.mark.covers("F11")
@pytest.mark.parametrize("transform", [aj.linearize, aj.vjp])
def test_constants_are_read_only_while_a_jacobian_lives(transform: Any) -> None:
    A = np.ones((2, 2))
    _, back = transform(lambda x: A @ x, np.ones(2))
    with pytest.raises(ValueError, match="read-only"):
        A[0, 0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        A += 1.0
    del back, _
    gc.collect()
    A[0, 0] = 5.0
    assert A.flags.writeable


@pytest.mark.covers("F11")
@pytest.mark.parametrize(
    "made",
    [
        lambda A: aj.jacobian(lambda x: A @ x, np.ones(2)).dense(),
        lambda A: aj.jacobian(lambda x: A @ x, np.ones(2)).dense()[1:].T,
        lambda A: aj.jacobian(lambda x: A @ x, np.ones(2)).T.dense().mT[:1],
        lambda A: aj.jacobian(lambda x: A @ x, np.ones(2)).matrix(),
        lambda A: aj.jacobian(lambda x: A @ x, np.ones(2)).T.matrix().mT[:1],
        lambda A: aj.jacobian(lambda x: aj.reshape(A @ x, (1, 2)), np.ones(2)).matrix(),
    ],
)
def test_constants_are_read_only_while_an_array_of_a_jacobian_lives(made: Callable[[Any], Any]) -> None:
    """The array may be the constant's memory: it cannot change under the one who has it, nor be changed by him."""
    A = np.arange(4.0).reshape(2, 2).copy()
    found = made(A)
    gc.collect()
    assert np.shares_memory(found, A)
    for change in (lambda: A.fill(5.0), lambda: found.fill(5.0), lambda: found.setflags(write=True)):
        with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
            change()
    found = None
    gc.collect()
    A[0, 0] = 5.0


@pytest.mark.covers("F11")
@pytest.mark.parametrize("dtype", ["float16", "float32", ml_dtypes.bfloat16])
@pytest.mark.parametrize("made", [lambda J: J.dense(), lambda J: J.matrix()])
def test_an_array_of_a_jacobian_outlives_it(dtype: Any, made: Callable[[Any], Any]) -> None:
    A = np.arange(6).astype(dtype).reshape(2, 3)
    wanted = A.copy()
    found = made(aj.jacobian(lambda x: A @ x, np.ones(3, dtype)))
    with suppress(ValueError):  # read-only, or no longer the array's memory
        A += A
    assert found.dtype == A.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.covers("F11")
def test_an_array_of_a_jacobian_on_pytorch_is_a_copy() -> None:
    A = torch.ones(2, 2)
    found = aj.jacobian(lambda x: A @ x, torch.ones(2)).dense()
    A.mul_(2.0)
    torch.testing.assert_close(found, torch.ones(2, 2))


@pytest.mark.covers("F11")
def test_two_jacobians_hold_one_constant() -> None:
    A = np.ones((2, 2))
    first, second = (aj.jacobian(lambda x: A @ np.sin(x), np.ones(2)) for _ in range(2))
    del first
    gc.collect()
    assert not A.flags.writeable
    del second
    gc.collect()
    assert A.flags.writeable


@pytest.mark.covers("F11")
@pytest.mark.parametrize(
    "view", [lambda A: A.T, lambda A: A[:2], lambda A: A.reshape(-1)[:6].reshape(2, 3), lambda A: A[::-1].T]
)
def test_the_base_of_a_view_is_held_too(view: Callable[[Any], Any]) -> None:
    A = np.arange(9.0).reshape(3, 3).copy()
    part = view(A)
    J = aj.jacobian(lambda x: part @ x, np.ones(3))
    with pytest.raises(ValueError, match="read-only"):
        A[0, 0] = 5.0
    with pytest.raises(ValueError, match="read-only"):
        part[0, 0] = 5.0
    np.testing.assert_array_equal(J.dense(), part)
    del J
    gc.collect()
    A[0, 0] = 5.0
    part[0, 0] = 6.0


@pytest.mark.covers("F11")
def test_arrays_are_released_after_a_gradient_and_after_an_error() -> None:
    A, x = np.ones((2, 2)), np.ones(2)
    aj.grad(lambda x: aj.sum(A @ x))(x)
    aj.jvp(lambda x: A @ x, (x,), (x,))
    assert A.flags.writeable
    assert x.flags.writeable
    with pytest.raises(RuntimeError, match="interrupted"):
        aj.grad(lambda x: aj.sum(A @ x) + interrupted())(x)
    assert A.flags.writeable
    assert x.flags.writeable


def interrupted() -> float:
    raise RuntimeError("interrupted")


def test_read_only_arrays_stay_read_only() -> None:
    A = np.ones((2, 2))
    A.flags.writeable = False
    aj.grad(lambda x: aj.sum(A @ x))(np.ones(2))
    assert not A.flags.writeable


@pytest.mark.covers("F11")
def test_changes_during_the_function_are_refused() -> None:
    A, x = np.ones((2, 2)), np.ones(2)

    def f(v: Any) -> Any:
        y = A @ v
        A[:] = 0.0
        return aj.sum(y)

    with pytest.raises(ValueError, match="read-only"):
        aj.grad(f)(x)

    def g(v: Any) -> Any:
        y = v * v
        x[:] = 0.0
        return aj.sum(y)

    with pytest.raises(ValueError, match="read-only"):
        aj.grad(g)(x)


@pytest.mark.covers("F11")
def test_adding_in_place_inside_a_function_makes_a_new_value() -> None:
    def f(x: Any) -> Any:
        y = x * 1.0
        y += x
        y *= y
        y -= 1.0
        y /= 2.0
        return aj.sum(y)

    x = np.array([1.0, 3.0])
    np.testing.assert_array_equal(aj.grad(f)(x), 4 * x)
    np.testing.assert_array_equal(x, [1.0, 3.0])
    z = np.array([1.0, 3.0])
    assert aj.value_and_grad(f)(x)[0] == f(z)


@pytest.mark.covers("F11")
def test_a_raw_array_that_adds_a_traced_value_in_place() -> None:
    total = np.zeros(2)

    def f(x: Any) -> Any:
        y = total
        y += x
        return aj.sum(y * y)

    try:
        g = aj.grad(f)(np.ones(2))
    except TraceError as error:
        assert "in place" in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(g, [2.0, 2.0])
    np.testing.assert_array_equal(total, [0.0, 0.0])


@pytest.mark.covers("F11")
@pytest.mark.parametrize(
    "change",
    [lambda A: A.add_(1.0), lambda A: A.T.mul_(2.0), lambda A: A[0].zero_(), lambda A: A.view(-1)[3:].fill_(7.0)],
)
def test_pytorch_tensors_changed_in_place_are_noticed(change: Callable[[Any], Any]) -> None:
    A, x = torch.ones(2, 2), torch.ones(2)
    y, J = aj.linearize(lambda x: A @ torch.tanh(x), x)
    _, pullback = aj.vjp(lambda x: A @ x, x)
    assert (J @ x).shape == (J.T @ y).shape == (2,)
    change(A)
    for use in (lambda: J @ x, lambda: J.T @ y, lambda: pullback(y), J.dense, lambda: J(torch.ones(3, 2))):
        with pytest.raises(InPlaceError, match="changed in place between the forward and the backward pass"):
            use()


@pytest.mark.covers("F11")
def test_pytorch_changes_during_the_function_are_noticed() -> None:
    A, x = torch.ones(2, 2), torch.ones(2)

    def f(v: Any) -> Any:
        y = torch.tanh(A @ v)
        A.mul_(2.0)
        return y.sum()

    with pytest.raises(InPlaceError):
        aj.grad(f)(x)

    def g(v: Any) -> Any:
        y = v * v
        x.add_(1.0)
        return aj.sum(y)

    with pytest.raises(InPlaceError):
        aj.grad(g)(x)


@pytest.mark.covers("F11")
def test_pytorch_inputs_and_values_are_copied() -> None:
    x = torch.tensor([0.0, 1.0])
    y, J = aj.linearize(torch.exp, x)
    wanted = y.clone()
    y.zero_()
    x.zero_()
    torch.testing.assert_close(J.T @ torch.ones(2), wanted)


def test_jax_arrays_cannot_change() -> None:
    A = jnp.ones((2, 2))
    J = aj.jacobian(lambda x: A @ x, jnp.ones(2))
    assert J.dense() is A


def test_gradients_may_be_changed_in_place() -> None:
    """What a caller gets is not the tape's: adding a gradient into another leaves a later one right."""
    x = np.ones(3)
    f = aj.grad(lambda x: aj.sum(3.0 * x))
    g = f(x)
    if g.flags.writeable:
        g += 1.0
    np.testing.assert_array_equal(f(x), [3.0, 3.0, 3.0])
    _, pullback = aj.vjp(lambda x, y: x + y, x, x)
    u = np.ones(3)
    a, b = pullback(u)
    np.testing.assert_array_equal(a, u)
    np.testing.assert_array_equal(b, u)


def test_deep_programs_do_not_recurse() -> None:
    def deep(x: Any) -> Any:
        for _ in range(5000):
            x = x * 1.0
        return x

    assert aj.grad(deep)(2.0) == 1.0
    assert aj.jacobian(deep, 2.0).dense() == 1.0


def test_gradients_are_arrays_of_their_own() -> None:
    c = np.arange(3.0)
    gx, gy = aj.grad(lambda x, y: aj.sum((x + y) * c), (0, 1))(np.ones(3), np.ones(3))
    gx += 1
    np.testing.assert_array_equal(gy, c)
    u = np.ones(3)
    (back,) = aj.vjp(lambda x: x, np.ones(3))[1](u)
    back += 1
    np.testing.assert_array_equal(u, np.ones(3))
    g = aj.grad(aj.sum)(np.ones(10_000))
    g *= 2
    np.testing.assert_array_equal(g, np.full(10_000, 2.0))
    t = aj.grad(aj.sum)(torch.ones(10_000))
    t.mul_(2)
    assert bool((t == 2).all())


def test_std_of_a_constant_has_derivative_zero() -> None:
    x = torch.ones(4, dtype=torch.float64, requires_grad=True)
    x.std().backward()
    np.testing.assert_array_equal(aj.grad(lambda v: aj.std(v, correction=1))(np.ones(4)), x.grad.numpy())
