"""Random numbers: unrelated streams with the right distributions, alike on every backend, in compiled programs too."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx

import adjoint as aj
from adjoint import arrays as xp
from adjoint.arrays.dispatch import backend
from adjoint.arrays.random import key_of
from adjoint.errors import DtypeError, ShapeError
from tests.ops.samples.random import word

KEY = aj.random.key(2024)
MOVED = {"numpy": lambda x: x, "torch": torch.from_numpy, "jax": jnp.asarray}


def plain(x: Any) -> np.ndarray:
    return np.asarray(backend(type(x)).to_numpy(x))


@given(a=st.integers(0, 2**32 - 1), b=st.integers(0, 2**32 - 1), start=st.integers(0, 2**33))
def test_words_are_those_of_the_formula(a: int, b: int, start: int) -> None:
    key = np.array([a, b], "uint32")
    expected = [word((start + i) % 2**32, a, b) for i in range(4)]
    assert xp.random_bits(key, (4,), start=start).tolist() == expected
    assert xp.random_bits(torch.from_numpy(key), (4,), start=start).tolist() == expected


@pytest.mark.parametrize("moved", MOVED.values(), ids=list(MOVED))
def test_every_backend_draws_the_same(moved: Any) -> None:
    key = moved(KEY)
    for n in (7, 1 << 15):  # NumPy takes its kernel for the larger
        np.testing.assert_array_equal(plain(xp.random_bits(key, (n,))), xp.random_bits(KEY, (n,)))
        np.testing.assert_array_equal(plain(aj.random.uniform(key, (n,))), aj.random.uniform(KEY, (n,)))
    keys = aj.random.split(key, 3)
    assert type(keys) is type(key)
    assert "uint32" in str(keys.dtype)
    np.testing.assert_array_equal(plain(keys), aj.random.split(KEY, 3))
    np.testing.assert_array_equal(plain(aj.random.fold_in(key, 2)), aj.random.split(KEY, 3)[2])
    np.testing.assert_allclose(plain(aj.random.normal(key, (99,))), aj.random.normal(KEY, (99,)), rtol=1e-4, atol=1e-6)


def test_keys_are_traced() -> None:
    draw = lambda key, i: aj.random.uniform(aj.random.fold_in(key, i), (5,))  # noqa: E731
    expected = [draw(KEY, i).tolist() for i in range(3)]
    compiled = jax.jit(draw)
    graph = make_fx(draw, tracing_mode="fake")(torch.from_numpy(KEY), torch.tensor(1))
    for i, wanted in enumerate(expected):
        assert compiled(jnp.asarray(KEY), i).tolist() == wanted
        assert graph(torch.from_numpy(KEY), torch.tensor(i)).tolist() == wanted


def test_uniform_numbers() -> None:
    for dtype in ("float16", "float32", "float64"):
        u = aj.random.uniform(KEY, (200, 500), dtype)
        assert u.dtype == dtype
        assert 0.0 <= u.min() < u.max() < 1.0
        assert stats.kstest(u.astype("float64").ravel(), "uniform").pvalue > 1e-3
    assert len(np.unique(aj.random.uniform(KEY, (100_000,), "float64"))) == 100_000
    with pytest.raises(DtypeError, match="floating"):
        aj.random.uniform(KEY, (2,), "int32")


def test_normal_numbers() -> None:
    x = aj.random.normal(KEY, (100_000,), "float64")
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert np.isfinite(aj.random.normal(KEY, (100_000,))).all()


def test_bits_are_independent_of_each_other_and_of_the_key() -> None:
    """Every bit is set half of the time, also given any bit of the next word, or of a neighbouring key's word."""
    n = 1 << 16
    first = bits(xp.random_bits(KEY, (n,)))
    others = [bits(xp.random_bits(KEY, (n,), start=1))]
    others += [bits(xp.random_bits(KEY ^ np.array(flip, "uint32"), (n,))) for flip in ([1, 0], [0, 1], [2**31, 0])]
    bound = 5.0 / math.sqrt(n)  # five standard deviations of a correlation, of which there are 5120
    assert np.abs(first.mean(0)).max() < bound
    for other in others:
        assert np.abs(first.T @ other / n).max() < bound


def bits(words: np.ndarray) -> np.ndarray:
    """The bits as ±1."""
    return np.unpackbits(words.astype("<u4").view("u1").reshape(-1, 4), axis=1).astype("float32") * 2.0 - 1.0


def test_seeds_and_splits_are_unrelated() -> None:
    for keys in (np.stack([aj.random.key(seed) for seed in range(2000)]), aj.random.split(KEY, 2000)):
        assert len(np.unique(keys, axis=0)) == 2000
        first = np.array([aj.random.uniform(key, (), "float64") for key in keys])
        assert stats.kstest(first, "uniform").pvalue > 1e-3


def test_categorical_follows_the_softmax() -> None:
    p = np.array([0.5, 0.3, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.broadcast_to(np.log(p), (20_000, 4))
    counts = np.bincount(aj.random.categorical(logits, KEY), minlength=4)
    assert counts[3] == 0
    assert stats.chisquare(counts[:3], 20_000 * p[:3]).pvalue > 1e-3
    assert aj.random.categorical(logits[:5].T, KEY, axis=0).shape == (5,)


def test_what_a_key_may_be() -> None:
    assert key_of(3).tolist() == aj.random.key(3).tolist()
    for generator in (np.random.default_rng(0), torch.Generator().manual_seed(0)):
        one, other = key_of(generator), key_of(generator)
        assert one.shape == (2,)
        assert one.tolist() != other.tolist()
    with pytest.raises(TypeError, match="a seed or a generator, not NoneType"):
        key_of(None)
    with pytest.raises(ShapeError, match=r"not \(3, 2\)"):
        key_of(aj.random.split(KEY, 3))
    with pytest.raises(DtypeError, match="not float64"):
        key_of(np.ones(2))
