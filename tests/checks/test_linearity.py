"""aj.is_linear: constructed cases, and counterexamples that are what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import adjoint as aj
from adjoint.maps import Dense, Reshape

W, B = np.array([[2.0, 1.0], [-1.0, 3.0], [0.5, 0.0]]), np.array([0.5, -2.0, 1.0])

LINEAR: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "matrix": (lambda x: W @ x, ((2,),)),
    "NumPy": (np.cumsum, ((5,),)),
    "zero": (lambda x: 0.0 * x, ((2, 2),)),
    "sum": (aj.sum, ((3, 4),)),
    "no entries": (lambda x: x, ((0,),)),
    "scalar": (lambda x: 3.0 * x, ((),)),
    "of two": (lambda x, y: x - 2.0 * y, ((3,), (3,))),
    "tree": (lambda p: {"s": p["a"] + p["b"][0]}, ({"a": np.ones(2), "b": [np.ones(2)]},)),
    "layer without bias": (aj.nn.Linear(2, 3, bias=False, rng=0), (np.ones((4, 2), "float32"),)),
    "map": (Dense(W), ()),
    "map's adjoint": (Dense(W).T, ()),
    "map of a product": (aj.block([[Dense(W), Dense(W)]]), ()),
    "map of shapes": (Reshape((2, 3), (6,)), ()),
    "torch": (lambda x: torch.cumsum(x, 0), (torch.ones(7),)),
    "jax": (lambda x: jnp.flip(x), (jnp.ones(7),)),
    "large and small": (lambda x: np.array([1e12, 1e-12]) * x, ((2,),)),
    "many terms": (lambda x: np.ones(1000) @ x, ((1000,),)),
}
AFFINE: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "W x + b": (lambda x: W @ x + B, ((2,),)),
    "layer": (aj.nn.Linear(2, 3, rng=0), ((4, 2),)),
    "small offset": (lambda x: x + 1e-9, ((2,),)),
    "large offset": (lambda x: x + 1e9, ((2,),)),
    "constant": (lambda x: np.ones(2), ((2,),)),
}
NONLINEAR: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "relu": (aj.relu, ((3,),)),
    "abs": (np.abs, ((),)),
    "square": (np.square, ((3,),)),
    "softmax": (aj.softmax, ((3,),)),
    "product": (lambda a, b: a * b, ((3,), (3,))),
    "norm": (aj.norm, ((3,),)),
    "a little": (lambda x: x + 1e-6 * x**2, ((3,),)),
    "flat far out": (lambda x: np.clip(x, -100.0, 100.0), ((3,),)),
    "flat close by": (lambda x: np.where(np.abs(x) < 1e-2, 0.0, x), ((3,),)),
    "one entry": (lambda x: np.where(np.arange(50) == 17, np.sin(x), x), ((50,),)),
    "logarithm": (np.log, ((3,),)),
    "position": (np.argmax, ((5,),)),
    "rounding": (np.round, ((3,),)),
}


def found(table: dict[str, Any], name: str) -> aj.Linearity:
    f, like = table[name]
    return aj.is_linear(f, *like)


@pytest.mark.covers("M01")
@pytest.mark.parametrize("name", LINEAR)
def test_linear(name: str) -> None:
    linearity = found(LINEAR, name)
    assert linearity, linearity
    assert linearity.kind == "linear"
    assert linearity.counterexample is None
    assert linearity.error <= linearity.tolerance
    assert "is linear: f(αx + βy) = αf(x) + βf(y) in 9 samples" in str(linearity)


@pytest.mark.covers("M01")
@pytest.mark.parametrize("name", AFFINE)
def test_affine_is_not_linear(name: str) -> None:
    linearity = found(AFFINE, name)
    assert not linearity
    assert linearity.kind == "affine"
    assert "affine, not linear: f(0) ≠ 0" in repr(linearity)


@pytest.mark.covers("M01")
@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear(name: str) -> None:
    linearity = found(NONLINEAR, name)
    assert not linearity
    assert linearity.kind == "nonlinear"
    assert " is not linear; for α = " in repr(linearity)


@pytest.mark.covers("M01")
@pytest.mark.parametrize(
    ("table", "name"), [(AFFINE, "W x + b"), (NONLINEAR, "relu"), (NONLINEAR, "product"), (NONLINEAR, "one entry")]
)
def test_the_counterexample_is_one(table: dict[str, Any], name: str) -> None:
    f, like = table[name]
    example = aj.is_linear(f, *like).counterexample
    assert example is not None
    mixed = [example.alpha * x + example.beta * y for x, y in zip(example.x, example.y, strict=True)]
    left, right = f(*mixed), example.alpha * f(*example.x) + example.beta * f(*example.y)
    assert not np.allclose(left, right, rtol=1e-9, atol=0)
    i = int(np.argmax(np.abs(left - right)))
    assert (left[i], right[i]) == pytest.approx((example.left, example.right))
    assert f"the value[{i}]" in str(example)


@pytest.mark.covers("M01")
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_any_matrix_is_linear_and_any_offset_is_noticed(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(m, n)), rng.normal(size=m)
    assert aj.is_linear(lambda x: A @ x, (n,))
    assert aj.is_linear(lambda x: A @ x + b, (n,)).kind == "affine"


def test_the_example_gives_the_backend() -> None:
    seen = []
    aj.is_linear(lambda x: seen.append(type(x)) or x, torch.ones(2))
    aj.is_linear(lambda x: seen.append((type(x), x.dtype, x.shape)) or x, (2, 3))
    assert seen[0] is torch.Tensor
    assert seen[-1] == (np.ndarray, np.float64, (2, 3))


def test_nothing_to_vary() -> None:
    with pytest.raises(aj.DtypeError, match="give a shape"):
        aj.is_linear(lambda x: x)
    with pytest.raises(aj.DtypeError, match="give a shape"):
        aj.is_linear(lambda x: x, np.arange(3))
