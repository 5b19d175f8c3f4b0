"""What a hostile reading of the core brought up: each was once a wrong number or an error that said nothing."""

from __future__ import annotations

import dataclasses
import gc
import threading
import weakref

import numpy as np
import pytest
import torch

import adjoint as aj

X = np.array([1.0, 2.0, 3.0])
W = np.arange(9.0).reshape(3, 3)


@pytest.mark.parametrize(
    ("f", "at"),
    [
        (lambda v: np.clip(X * v, 2.5 * v, 10.0), 2.0),
        (lambda v: aj.hardtanh(X * v, -0.9 * v, 0.9 * v), 2.0),
        (lambda v: aj.leaky_relu(-X * v, v), 2.0),
        (lambda v: aj.elu(-X * v, v), 2.0),
        (lambda v: aj.celu(-X * v, v), 2.0),
        (lambda v: aj.softplus(X * v, v), 2.0),
        (lambda v: aj.square(aj.layer_norm(X * v, eps=v)), 2.0),
        (lambda v: aj.var(X * v, correction=0.1 * v), 2.0),
        (lambda v: aj.full(v * X, (4,), v * v), 2.0),
        (lambda v: np.full_like(v * X, v * v), 2.0),
    ],
    ids=["clip", "hardtanh", "leaky_relu", "elu", "celu", "softplus", "layer_norm", "var", "full", "full_like"],
)
def test_options_have_derivatives_too(f, at):
    step = 1e-6
    slope = (np.sum(f(np.float64(at + step))) - np.sum(f(np.float64(at - step)))) / (2 * step)
    assert aj.grad(lambda v: aj.sum(f(v)))(at) == pytest.approx(slope, rel=1e-8, abs=1e-8)
    assert aj.grad(lambda v: aj.grad(lambda w: aj.sum(f(w)) * v)(at))(at) == pytest.approx(slope, rel=1e-8, abs=1e-8)


def test_an_option_without_derivative_refuses_a_traced_value():
    with pytest.raises(aj.TraceError, match="pad: one of its options"):
        aj.grad(lambda v: aj.sum(aj.pad(v, [(1, 1)], v[0])))(X)
    with pytest.raises(aj.TraceError, match=r"aj\.stack"):
        aj.grad(lambda v: aj.sum(aj.asarray(v, [v[0], v[1]])))(X)


@pytest.mark.parametrize(
    "pick",
    [
        lambda v, i: v[i],
        lambda v, i: aj.take(v, i),
        lambda v, i: aj.take_along(v, i, 0),
        lambda v, i: np.take(v, i, 0),
    ],
    ids=["getitem", "take", "take_along", "np.take"],
)
def test_indices_are_guarded(pick):
    def f(v):
        i = np.array([0, 1, 2])
        h = pick(v, i)
        i[:] = 0
        return aj.sum(h * X)

    with pytest.raises(ValueError, match="read-only"):
        aj.grad(f)(X)


@pytest.mark.parametrize(
    ("f", "same"),
    [
        (lambda v: v / [1.0, 2.0, 4.0], lambda v: v / np.array([1.0, 2.0, 4.0])),
        (lambda v: v ** [1.0, 2.0, 3.0], lambda v: v ** np.array([1.0, 2.0, 3.0])),
        (lambda v: W.tolist() @ v, lambda v: W @ v),
        (lambda v: np.concatenate([v, [1.0, 2.0]]), lambda v: np.concatenate([v, np.array([1.0, 2.0])])),
    ],
    ids=["divide", "power", "matmul", "concatenate"],
)
def test_lists_are_arrays(f, same):
    assert aj.jacobian(f, X).dense().tolist() == aj.jacobian(same, X).dense().tolist()


def test_a_list_changed_afterwards_changes_nothing():
    def f(v):
        c = [1.0, 2.0, 3.0]
        h = v * c
        c[0] = 100.0
        return aj.sum(h)

    assert aj.grad(f)(X).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "f", [lambda v: v * 1j, lambda v: abs(v * 1j), lambda v: v * np.array([1j, 1, 1]), lambda v: v.astype("complex128")]
)
def test_complex_numbers_are_refused(f):
    with pytest.raises(aj.DtypeError, match="real"):
        aj.grad(lambda v: aj.sum(f(v)))(X)


def test_has_aux_says_what_it_expects():
    with pytest.raises(TypeError, match=r"\(value, aux\)"):
        aj.value_and_grad(lambda v: 2 * v, has_aux=True)(X[:2])


def test_results_that_are_no_arrays_are_named():
    @dataclasses.dataclass
    class Pair:
        a: object

    for result in (None, "text", Pair(X)):
        with pytest.raises(TypeError, match=type(result).__name__):
            aj.linearize(lambda v, result=result: result, X)


def test_aux_is_a_copy():
    def f(v):
        e = aj.exp(v)
        return e, e

    _, J, aux = aj.linearize(f, X, has_aux=True)
    aux[...] = 0.0
    np.testing.assert_array_equal(J @ np.ones(3), np.exp(X))
    _, pullback, aux = aj.vjp(f, X, has_aux=True)
    aux[...] = 0.0
    np.testing.assert_array_equal(pullback(np.ones(3))[0], np.exp(X))


def test_checkpoint_of_what_belongs_to_the_transform_outside():
    second = aj.checkpoint(lambda a, w: w)
    assert aj.grad(lambda w: w * aj.grad(lambda a: second(a, w))(3.0))(2.0) == 0.0
    assert aj.grad(lambda w: w * aj.jvp(lambda a: second(a, w), (3.0,), (1.0,))[1])(2.0) == 0.0


def test_a_traced_number_times_a_map():
    assert aj.grad(lambda c: aj.sum((c * aj.Dense(W)) @ X))(2.0) == np.sum(W @ X)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(
    "f",
    [
        lambda A, x: A @ aj.relu(x),
        lambda A, x: aj.relu(A @ x),
        lambda A, x: A @ (aj.relu(x) + x),
        lambda A, x: A @ aj.where(x > 0, x, 2 * x),
    ],
)
def test_masks_do_not_widen_a_matrix(backend, f):
    if backend == "torch":
        pytest.importorskip("torch")
    A, x = (aj.to(a.astype("float32"), backend) for a in (W, X))
    dense = aj.jacobian(lambda x: f(A, x), x).dense()
    assert type(dense) is type(A)
    assert dense.dtype == A.dtype


def recurrent(steps):
    def f(v):
        h = v
        for _ in range(steps):
            h = aj.tanh(0.5 * h + v)
        return h

    return f


@pytest.mark.parametrize("steps", [20, 3000])
def test_a_recurrence_of_any_length_has_a_usable_jacobian(steps):
    J = aj.jacobian(recurrent(steps), X)
    gradient = aj.grad(lambda v: aj.sum(recurrent(steps)(v)))(X)
    for found in (J.T @ np.ones(3), J @ np.ones(3), J.dense().sum(0), J.T.T @ np.ones(3)):
        np.testing.assert_allclose(found, gradient, rtol=1e-12)
    assert len(repr(J)) < 5000


def test_long_chains_reduce_in_linear_time_and_are_described_briefly():
    def f(v):
        for _ in range(10_000):
            v = aj.sin(v)
        return v

    J = aj.jacobian(f, X)
    assert len(J.maps) == 10_000
    assert "9980 more" in repr(J)
    assert len(repr(J)) < 500
    np.testing.assert_allclose(J @ X, X * aj.grad(lambda v: aj.sum(f(v)))(X), rtol=1e-10)


def test_a_jacobian_of_trees_goes_without_the_collector():
    gc.disable()
    try:
        J = aj.jacobian(lambda p: p["a"] * p["b"], {"a": X, "b": X})
        assert (J.T @ X)["a"].tolist() == (X * X).tolist()
        assert J.T.T is J
        gone = weakref.ref(J)
        del J
        assert gone() is None
    finally:
        gc.enable()


def test_a_jacobian_made_outside_jit_serves_inside_and_after():
    jax = pytest.importorskip("jax")
    J = aj.jacobian(aj.var, jax.numpy.arange(3.0))
    v = jax.numpy.ones(3)
    assert float(jax.jit(lambda v: J @ v)(v)) == float(J @ v) == 0.0


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_numbers_are_tangents_and_cotangents(backend):
    if backend == "torch":
        pytest.importorskip("torch")
    x = aj.to(X.astype("float32"), backend)
    pulled = [
        aj.vjp(lambda v: aj.mean(v * v), x)[1](1.0)[0],
        aj.jacobian(lambda v: aj.mean(v * v), x).T @ 1.0,
        aj.jacobian(lambda v: aj.mean(v * v), x).T(1),
    ]
    for g in pulled:
        assert g.dtype == x.dtype
        np.testing.assert_allclose(np.asarray(g), 2 * X / 3, rtol=1e-6)
    _, pushed = aj.jvp(lambda v: aj.reshape(v, (1,)) * x, (x[1],), (1.0,))
    assert pushed.dtype == x.dtype
    assert pushed.tolist() == X.tolist()
    assert (aj.jacobian(lambda v: v * x, x[1]) @ 1.0).tolist() == X.tolist()


def test_threads_share_an_array():
    w, wrong = X.copy(), []

    def work(seed):
        z = np.random.default_rng(seed).standard_normal(3)
        try:
            for _ in range(200):
                if not np.allclose(aj.grad(lambda v: aj.sum(aj.sin(v * w) * z))(X), np.cos(X * w) * w * z):
                    wrong.append("gradient")
                aj.jacobian(lambda v: v * w, z)
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not wrong
    assert w.flags.writeable


def test_negative_classes_are_refused() -> None:
    target = np.array([-1, 0, 1])
    with pytest.raises(IndexError, match="class -1 is negative"):
        aj.cross_entropy(np.eye(3), target)
    with pytest.raises(IndexError, match="class -1 is negative"):
        aj.grad(lambda x: aj.cross_entropy(x, target))(np.eye(3))


def test_memory_of_others_stays_writable() -> None:
    """NumPy cannot make an array writable again whose memory belongs to another library: it is not made read-only."""
    x = torch.ones(3).numpy()
    J = aj.jacobian(lambda v: v * x * x[::-1], np.ones(3))
    assert (J @ np.ones(3)).tolist() == [1.0, 1.0, 1.0]
    del J
    x += 1.0
