"""Small batches, however unequal, give the large one's gradient."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import adjoint as aj
from tests.patience import HANGS

DATA = aj.data.digits()
CLASSES = 10


def network() -> Any:
    return aj.nn.MLP((64, 7, CLASSES), aj.nn.Tanh, dtype="float64", rng=0)


def loss(net: Any, x: Any, y: Any) -> Any:
    return aj.cross_entropy(net(x), y)


def assert_same(got: Any, expected: Any, n: int) -> None:
    """Up to one rounding for each of n examples, of numbers of order one."""
    for a, b in zip(aj.trees.flatten(got)[0], aj.trees.flatten(expected)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=(n + 64) * np.finfo("float64").eps)


@pytest.mark.covers("N08")
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_equals_the_large_batch(sizes: list[int]) -> None:
    ends = np.cumsum(sizes)
    x, y = DATA.x[: ends[-1]].astype("float64"), DATA.y[: ends[-1]]
    batches = [(x[end - n : end], y[end - n : end]) for n, end in zip(sizes, ends, strict=True)]
    expected = aj.value_and_grad(loss)(network(), x, y)
    assert_same(aj.optim.accumulate(loss)(network(), batches), expected, len(x))


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), workers=st.integers(2, 3))
def test_workers_equal_the_large_batch(sizes: list[int], workers: int) -> None:
    ends = np.cumsum(sizes)
    x, y = DATA.x[: ends[-1]].astype("float64"), DATA.y[: ends[-1]]
    batches = [(x[end - n : end], y[end - n : end]) for n, end in zip(sizes, ends, strict=True)]
    expected = aj.value_and_grad(loss)(network(), x, y)
    assert_same(aj.optim.accumulate(loss, workers=workers)(network(), batches), expected, len(x))


def test_workers_are_threads_that_share_nothing() -> None:
    """Large enough for the compiled kernels, which would use all cores; a failure in one ends all and is told."""
    net = aj.models.GPT(11, 64, n_layer=1, n_head=2, n_embd=64, rng=0)
    tokens = np.random.default_rng(0).integers(0, 11, (4, 65))
    seen = set()

    def mean_loss(net: Any, x: Any) -> Any:
        seen.add(threading.get_ident())
        return net.loss(x[:, :-1], x[:, 1:])

    got = aj.optim.accumulate(mean_loss, workers=2)(net, [(tokens[:2],), (tokens[2:],)])
    assert len(seen) == 2
    for a, b in zip(
        *(aj.trees.flatten(tree)[0] for tree in (got, aj.value_and_grad(mean_loss)(net, tokens))), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * np.finfo("float32").eps)
    assert all(p.flags.writeable for p in net.parameters())
    with pytest.raises(aj.ShapeError):
        aj.optim.accumulate(mean_loss, workers=2)(net, [(tokens[:2],), (np.zeros((2, 99), int),)])
    assert all(p.flags.writeable for p in net.parameters())


def test_workers_refuse_state_that_goes_from_batch_to_batch() -> None:
    net = aj.nn.Sequential(aj.nn.Linear(3, 3, rng=0), aj.nn.Dropout(0.5, rng=0))
    batches = [(np.ones((2, 3), "float32"),)] * 2
    half = aj.optim.accumulate(lambda net, x: aj.mean(net(x)), workers=2)
    with pytest.raises(ValueError, match="buffer"):
        half(net, batches)
    half(net.eval(), batches)
    with pytest.raises(ValueError, match="workers"):
        aj.optim.accumulate(loss, workers=0)


@settings(max_examples=15)
@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=8), cut=st.integers(0, 8))
def test_means_over_what_counts(lengths: list[int], cut: int) -> None:
    """Sequences with padding: the mean is over the tokens that count, whose number differs between batches."""
    n, rng = len(lengths), np.random.default_rng(0)
    mask = (np.arange(6) <= np.array(lengths)[:, None]).astype("float64")
    x = rng.normal(size=(n, 6))

    def mean_square(w: Any, x: Any, mask: Any) -> Any:
        return aj.sum(mask * aj.square(w * x - 1.0)) * (1.0 / aj.sum(mask))

    cut = min(cut, n - 1)
    batches = [(x[:cut], mask[:cut]), (x[cut:], mask[cut:])] if cut else [(x, mask)]
    w = np.array(0.7)
    got = aj.optim.accumulate(mean_square, count=lambda x, mask: mask.sum())(w, batches)
    assert_same(got, aj.value_and_grad(mean_square)(w, x, mask), 6 * n)


def test_under_jit_with_frozen_parts_and_without_batches() -> None:
    net = aj.to(network(), "jax")
    net[0].freeze()
    x, y = aj.to((DATA.x[:10].astype("float64"), DATA.y[:10]), "jax")
    batches = [(x[:3], y[:3]), (x[3:], y[3:])]
    value, grads = jax.jit(aj.optim.accumulate(loss))(net, batches)
    assert grads[0].weight is None
    assert_same((value, grads), aj.value_and_grad(loss)(net, x, y), 10)
    with pytest.raises(ValueError, match="there is no batch"):
        aj.optim.accumulate(loss)(net, [])


def test_accumulation_inside_of_accumulation_ends() -> None:
    inner = aj.optim.accumulate(lambda w, x: aj.mean(aj.square(w * x)), workers=2)

    def outer(w: Any, x: Any) -> Any:
        inner(np.array(1.0), [(np.ones(2),), (np.ones(2),)])
        return aj.mean(w * x)

    value, gradient = aj.optim.accumulate(outer, workers=2)(np.array(2.0), [(np.ones(3),), (np.ones(3),)])
    assert (value, gradient) == (2.0, 1.0)


def test_a_process_forked_meanwhile_has_all_threads() -> None:
    code = (
        "import os\n"
        "from adjoint.arrays.numpy import threads\n"
        "get, set = threads.setting()\n"
        "set(2)\n"
        "with threads.single():\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os._exit(0 if get() == 2 else 1)\n"
        "    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=HANGS)
