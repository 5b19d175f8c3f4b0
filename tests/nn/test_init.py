"""Initial values against PyTorch's bounds, SciPy's distributions and the QR property."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import adjoint as aj

init, there = aj.nn.init, torch.nn.init
SHAPES = [(300, 200), (40, 20, 5, 3)]
UNIFORM: dict[str, tuple[Any, Any]] = {
    "xavier_uniform": ({}, {}),
    "xavier_uniform, gain": ({"gain": 2.0}, {"gain": 2.0}),
    "kaiming_uniform": ({}, {}),
    "kaiming_uniform, fan out": ({"mode": "fan_out", "nonlinearity": "relu"},) * 2,
    "kaiming_uniform, tanh": ({"nonlinearity": "tanh"},) * 2,
    "kaiming_uniform, leaky": ({"a": 0.3},) * 2,
}
NORMAL: dict[str, tuple[Any, Any]] = {
    "xavier_normal": ({}, {}),
    "xavier_normal, gain": ({"gain": 0.5},) * 2,
    "kaiming_normal": ({"nonlinearity": "relu"},) * 2,
    "kaiming_normal, fan out": ({"mode": "fan_out"},) * 2,
}


def pair(case: str, shape: tuple[int, ...], options: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    name = case.partition(",")[0]
    torch.manual_seed(0)
    theirs = getattr(there, f"{name}_")(torch.empty(shape, dtype=torch.float64), **options[1]).numpy()
    return getattr(init, name)(shape, **options[0], rng=0, dtype="float64"), theirs


def alike(x: np.ndarray, y: np.ndarray) -> None:
    """One distribution: Kolmogorov and Smirnov's test does not tell the samples apart."""
    assert stats.ks_2samp(x.ravel(), y.ravel()).pvalue > 1e-3


@pytest.mark.covers("N04")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", UNIFORM)
def test_uniform_with_pytorchs_bounds(case: str, shape: tuple[int, ...]) -> None:
    x, y = pair(case, shape, UNIFORM[case])
    assert x.shape == shape
    np.testing.assert_allclose(np.abs(x).max(), np.abs(y).max(), 1e-3)
    np.testing.assert_allclose(x.std() * math.sqrt(3.0), np.abs(x).max(), 0.02)
    alike(x, y)


@pytest.mark.covers("N04")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", NORMAL)
def test_normal_with_pytorchs_deviation(case: str, shape: tuple[int, ...]) -> None:
    x, y = pair(case, shape, NORMAL[case])
    np.testing.assert_allclose(x.std(), y.std(), 0.03)
    assert stats.kstest(x.ravel() / y.std(), "norm").pvalue > 1e-3
    alike(x, y)


def test_lecun_keeps_the_variance_of_a_linear_layer() -> None:
    x = np.random.default_rng(1).standard_normal((500, 400))
    for f in (init.lecun_uniform, init.lecun_normal):
        W = f((300, 400), rng=0, dtype="float64")
        np.testing.assert_allclose(W.std(), 1.0 / 20.0, 0.01)
        np.testing.assert_allclose((x @ W.T).var(), 1.0, 0.05)
    assert np.abs(init.lecun_uniform((300, 400), rng=0)).max() <= math.sqrt(3.0 / 400.0)


@pytest.mark.parametrize(
    ("name", "param"),
    [*((n, None) for n in ("linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu", "leaky_relu")),
     ("leaky_relu", 0.2), ("leaky_relu", 0)],
)  # fmt: skip
def test_gains(name: str, param: float | None) -> None:
    np.testing.assert_allclose(init.calculate_gain(name, param), there.calculate_gain(name, param), 1e-15)


@pytest.mark.covers("N05")
@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3), (1, 4)], ids=str)
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    W = init.orthogonal(shape, gain=2.0, rng=0, dtype="float64").reshape(shape[0], -1)
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    np.testing.assert_allclose(gram, 4.0 * np.eye(min(W.shape)), 0, 1e-14)
    np.testing.assert_allclose(np.linalg.svd(W)[1], 2.0, 1e-14)


@pytest.mark.covers("N05")
def test_orthogonal_is_uniform() -> None:
    """Of Haar's distribution: traces of random 2×2 rotations and reflections have variance 1, the sign no bias."""
    found = np.array([init.orthogonal((3, 3), rng=k, dtype="float64") for k in range(2000)])
    trace = np.trace(found, axis1=1, axis2=2)
    assert abs(trace.mean()) < 4.0 / math.sqrt(2000)  # E tr = 0, E tr² = 1
    np.testing.assert_allclose((trace**2).mean(), 1.0, 0.15)
    assert abs(np.sign(np.linalg.det(found)).mean()) < 4.0 / math.sqrt(2000)


@pytest.mark.parametrize("where", [{}, {"std": 0.5, "a": -0.3, "b": 1.0}, {"mean": 1.0, "a": 1.5, "b": 3.0}])
def test_truncated_normal(where: dict[str, float]) -> None:
    x = init.trunc_normal((20000,), **where, rng=0, dtype="float64")
    mean, std, a, b = (where.get(k, d) for k, d in (("mean", 0.0), ("std", 1.0), ("a", -2.0), ("b", 2.0)))
    assert x.min() >= a
    assert x.max() <= b
    assert stats.kstest(x, stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std).cdf).pvalue > 1e-3


def test_constants_as_pytorchs() -> None:
    for shape, groups in [((4, 3, 5), 1), ((6, 2, 3, 4), 3), ((2, 4, 1, 3, 3), 2)]:
        np.testing.assert_array_equal(init.dirac(shape, groups), there.dirac_(torch.empty(shape), groups))
    np.testing.assert_array_equal(init.eye((3, 5)), there.eye_(torch.empty(3, 5)))
    assert init.constant((2, 2), 0.5, "float64").tolist() == [[0.5] * 2] * 2
    assert (init.zeros((3,)).sum(), init.ones((3,)).sum()) == (0.0, 3.0)
    conv = aj.nn.Conv1d(3, 3, 3, padding=1, bias=False, dtype="float64")
    conv.weight = init.dirac(conv.weight.shape, dtype="float64")
    x = np.random.default_rng(0).standard_normal((2, 3, 6))
    np.testing.assert_array_equal(conv(x), x)


def test_sparse_columns() -> None:
    x = init.sparse((50, 40), 0.33, std=2.0, rng=0, dtype="float64")
    assert ((x == 0).sum(0) == 17).all()
    assert ((x == 0).sum(1) > 5).all()  # in no special rows
    np.testing.assert_allclose(x[x != 0].std(), 2.0, 0.1)


def test_drawn_anew_by_seed() -> None:
    for name in ("xavier_normal", "kaiming_uniform", "orthogonal", "trunc_normal"):
        f = getattr(init, name)
        np.testing.assert_array_equal(f((4, 3), rng=1), f((4, 3), rng=1))
        assert (f((4, 3), rng=1) != f((4, 3), rng=2)).any()
        assert f((4, 3), rng=1).dtype == "float32"


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda: init.xavier_normal((3,)), "a weight (out, in, …) has fans, an array (3,) has none"),
        (lambda: init.orthogonal((3,)), "a weight (out, in, …) has fans"),
        (lambda: init.kaiming_normal((3, 2), mode="fan"), "mode is 'fan_in' or 'fan_out', not 'fan'"),
        (lambda: init.calculate_gain("gelu"), "no gain is known for 'gelu', only for linear"),
        (lambda: init.dirac((3, 2)), "a kernel has two axes and one to three of size"),
        (lambda: init.dirac((3, 2, 3), groups=2), "2 groups do not divide the 3 outputs"),
        (lambda: init.eye((3,)), "a matrix has two axes"),
        (lambda: init.sparse((3, 2, 3), 0.1), "a matrix has two axes"),
    ],
)
def test_errors(f: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        f()
